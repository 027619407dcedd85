/*
 * payload.h
 *	  Rows as canonical JSON: the images that an event keeps, and the body
 *	  that is made of them.
 */
#ifndef FLUXHOOKS_PAYLOAD_H
#define FLUXHOOKS_PAYLOAD_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

/* Operations of an event; the letters stand in the event log. */
#define OPERATION_INSERT	'I'
#define OPERATION_UPDATE	'U'
#define OPERATION_DELETE	'D'
#define OPERATION_TEST		'T'

/* "INSERT", "UPDATE", "DELETE", "TEST" */
extern const char *payload_operation_name(char operation);

/*
 * How rows of one table become JSON: escaped column names, a writer for each
 * type, the key.  Made once per table and backend, by subscription.c, which
 * owns the memory (everything is in cxt, deleted as a whole).
 */
typedef struct PayloadPlan PayloadPlan;

/*
 * source: the table whose trigger fires.  reported: the table the user
 * subscribed to: source itself, or a partitioned ancestor of it, whose column
 * names, order and key then count.
 */
extern PayloadPlan *payload_plan_make(Relation source, Relation reported, MemoryContext cxt);

/* A row change as the event log keeps it.  UTF-8, palloc'd, NULL where absent. */
typedef struct PayloadImages
{
	bytea	   *record;			/* the new row; NULL for DELETE */
	bytea	   *old_record;		/* the old row; NULL for INSERT */
	bytea	   *record_key;		/* {"id":1} of the new row (DELETE: the old); NULL without a key */
	bytea	   *truncated;		/* ["body","notes"]; NULL when nothing was left out */
	int64		key_hash;		/* of the new row's key (DELETE: the old's); without
								 * a key of the whole image; mixed with the
								 * reported table's OID */
	int64		old_key_hash;	/* of the old row's; equals key_hash where there is one key */
} PayloadImages;

/*
 * Build the images of a row change.  newtuple NULL for DELETE, oldtuple NULL
 * for INSERT.  Runs output functions and casts with the rights and in the
 * transaction of the caller; results are in CurrentMemoryContext.  Never
 * fails on odd data (see CONTRACT.md, "Payload"); left-out columns are chosen
 * so that payload_body's result for any webhook fits fluxhooks.max_payload_size.
 */
extern void payload_images(PayloadPlan *plan, const char *table_schema, const char *table_name,
						   HeapTuple newtuple, HeapTuple oldtuple, PayloadImages *out);

/*
 * The body of one delivery (UTF-8 bytes, appended to out).  Images are as
 * above: without headers, length given; record NULL and old_record NULL as stored.
 */
typedef struct PayloadEvent
{
	char		operation;
	const char *table_schema;	/* server encoding */
	const char *table_name;
	const char *record;			/* NULL: the same as old_record (DELETE) */
	int			record_len;
	const char *old_record;		/* NULL: null */
	int			old_record_len;
	const char *truncated;		/* NULL: none */
	int			truncated_len;
	TimestampTz captured_at;
} PayloadEvent;

/*
 * Names are in the server's encoding; where that is not UTF-8, the first odd one
 * looks up the conversion, which takes a transaction.
 */
extern void payload_body(StringInfo out, const PayloadEvent *event, const pg_uuid_t *webhook_id);

#endif
