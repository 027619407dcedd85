/*
 * value.h
 *	  Values of PostgreSQL's types as canonical JSON, the same whatever the
 *	  session has set.
 */
#ifndef FLUXHOOKS_VALUE_H
#define FLUXHOOKS_VALUE_H

#include "access/tupdesc.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "json.h"

#define VALUE_TIME_SIZE		48	/* a timestamp in the widest form */
#define VALUE_UUID_LEN		36

/* How values of one type are written. */
typedef struct ValueWriter ValueWriter;
typedef void (*ValueWrite) (JsonWriter *w, ValueWriter *v, Datum value);

struct ValueWriter
{
	ValueWrite	write;
	Oid			type;			/* domains looked through */
	bool		allocates;		/* leaves memory behind in CurrentMemoryContext */
	int			pins;			/* settings that the output function heeds */
	FmgrInfo	output;
	ValueWriter *element;		/* of an array */
	TypeCacheEntry *range;		/* of a range or multirange */
	struct ValueRow *row;		/* of a composite, as it was when last written */
	MemoryContext context;		/* what this lives in */
};

/* Made in CurrentMemoryContext, for as long as that lives. */
extern ValueWriter *value_writer_make(Oid type);

/* Write a value that is not null.  May be toasted. */
static inline void
value_write(JsonWriter *w, ValueWriter *v, Datum value)
{
	v->write(w, v, value);
}

/* Columns of a row type as members of an object, in the object's order. */
typedef struct ValueColumn
{
	const char *label;			/* "name": as it stands in the object */
	int			label_len;
	AttrNumber	attnum;
	int			position;		/* among the columns of the row type */
	ValueWriter *writer;
} ValueColumn;

/* All but dropped ones; returns how many.  In CurrentMemoryContext. */
extern int	value_columns_make(TupleDesc desc, ValueColumn **columns);

/* ISO 8601 with the given number of digits of a second, negative: as needed. */
extern int	value_timestamp_text(char *out, Timestamp value, int digits, const char *zone);

extern void value_uuid_text(char *out, const pg_uuid_t *uuid);

#endif
