/*
 * value.c
 *	  Values of PostgreSQL's types as canonical JSON, the same whatever the
 *	  session has set.
 *
 * What to_json writes as number, boolean, array, object or embedded JSON is
 * written as that, everything else as a string.  Types whose output follows
 * settings have writers of their own here; what is left goes through its
 * output function, or its cast to json, under settings pinned for the call.
 *
 * Years before 1 and after 9999 are spelled as ISO 8601 expands them and
 * JavaScript reads them: -000043-03-15 (44 BC), +010000-01-01.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "value.h"

/* Settings that output functions heed. */
#define PIN_FLOATS		0x01
#define PIN_MONEY		0x02
#define PIN_NAMES		0x04
#define PIN_DATES		0x08
#define PIN_BYTES		0x10
#define PIN_ALL			0x1F
#define PIN_PATH		0x20

static const struct
{
	int			pin;
	const char *name;
	const char *value;
}			value_settings[] = {
	{PIN_FLOATS, "extra_float_digits", "1"},
	{PIN_MONEY, "lc_monetary", "C"},
	{PIN_NAMES, "quote_all_identifiers", "off"},
	{PIN_DATES, "DateStyle", "ISO"},
	{PIN_DATES, "IntervalStyle", "iso_8601"},
	{PIN_DATES, "TimeZone", "UTC"},
	{PIN_BYTES, "bytea_output", "hex"},
};

/* A composite type's columns, for as long as its definition stays this one. */
typedef struct ValueRow
{
	uint64		identifier;
	int			n_columns;
	ValueColumn *columns;
} ValueRow;

/*
 * Pinned settings
 */

static int
value_set(int level, const char *name, const char *value)
{
	if (level == 0)
		level = NewGUCNestLevel();
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/*
 * Pin settings for a call of this function; the result goes to value_unpin.
 * What is set right already costs a comparison.  As search_path the function
 * gets the schema that it lives in: a cast in SQL finds its helpers there.
 */
static int
value_pin(int pins, Oid function)
{
	int			level = 0;
	int			i;

	for (i = 0; i < lengthof(value_settings); i++)
	{
		const char *now;
		size_t		len = strlen(value_settings[i].value);

		if ((pins & value_settings[i].pin) == 0)
			continue;
		now = GetConfigOption(value_settings[i].name, false, false);
		/* DateStyle says more behind a comma, which ISO output doesn't heed */
		if (strncmp(now, value_settings[i].value, len) != 0 || (now[len] != '\0' && now[len] != ','))
			level = value_set(level, value_settings[i].name, value_settings[i].value);
	}
	if (pins & PIN_PATH)
	{
		char	   *schema = get_namespace_name(get_func_namespace(function));

		if (schema != NULL)
			level = value_set(level, "search_path",
							  psprintf("%s, pg_temp", quote_identifier(schema)));
	}
	return level;
}

static void
value_unpin(int level)
{
	if (level != 0)
		AtEOXact_GUC(true, level);
}

/*
 * Scalars
 */

static void
value_write_bool(JsonWriter *w, ValueWriter *v, Datum value)
{
	if (DatumGetBool(value))
		json_raw(w, "true", 4);
	else
		json_raw(w, "false", 5);
}

static void
value_write_int2(JsonWriter *w, ValueWriter *v, Datum value)
{
	json_int(w, DatumGetInt16(value));
}

static void
value_write_int4(JsonWriter *w, ValueWriter *v, Datum value)
{
	json_int(w, DatumGetInt32(value));
}

/* Below 1e21 JavaScript spells integers plainly, carried or not. */
static void
value_write_int8(JsonWriter *w, ValueWriter *v, Datum value)
{
	json_int(w, DatumGetInt64(value));
}

static void
value_write_float4(JsonWriter *w, ValueWriter *v, Datum value)
{
	json_float4(w, DatumGetFloat4(value));
}

static void
value_write_float8(JsonWriter *w, ValueWriter *v, Datum value)
{
	json_float8(w, DatumGetFloat8(value));
}

static void
value_write_numeric(JsonWriter *w, ValueWriter *v, Datum value)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, value));

	json_decimal(w, text, strlen(text));
}

/*
 * Is a toasted value, whose JSON takes at least growth bytes for each of its
 * own, too large to be worth fetching?
 */
static bool
value_too_large(JsonWriter *w, Datum value, double growth)
{
	if (!VARATT_IS_EXTERNAL(DatumGetPointer(value)) &&
		!VARATT_IS_COMPRESSED(DatumGetPointer(value)))
		return false;
	if ((toast_raw_datum_size(value) - VARHDRSZ) * growth > Max(w->limit - w->out.len, 0))
		w->full = true;
	return w->full;
}

static void
value_write_text(JsonWriter *w, ValueWriter *v, Datum value)
{
	bool		converted = GetDatabaseEncoding() != PG_UTF8 &&
		GetDatabaseEncoding() != PG_SQL_ASCII;
	struct varlena *text;

	if (value_too_large(w, value, converted ? 0.5 : 1.0))
		return;
	text = PG_DETOAST_DATUM_PACKED(value);
	json_string(w, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	if ((Pointer) text != DatumGetPointer(value))
		pfree(text);
}

static void
value_write_name(JsonWriter *w, ValueWriter *v, Datum value)
{
	json_string(w, NameStr(*DatumGetName(value)), strlen(NameStr(*DatumGetName(value))));
}

/* A byte that is no character alone is spelled in octal, as PostgreSQL 16 spells it. */
static void
value_write_char(JsonWriter *w, ValueWriter *v, Datum value)
{
	unsigned char c = (unsigned char) DatumGetChar(value);
	char		text[5];

	if (IS_HIGHBIT_SET(c))
		snprintf(text, sizeof(text), "\\%03o", c);
	else
	{
		text[0] = (char) c;
		text[1] = '\0';
	}
	json_string(w, text, strlen(text));
}

static void
value_write_bytea(JsonWriter *w, ValueWriter *v, Datum value)
{
	struct varlena *bytes;
	const char *p;
	size_t		left;
	char		hex[2048];

	if (value_too_large(w, value, 2.0))
		return;
	bytes = PG_DETOAST_DATUM_PACKED(value);
	p = VARDATA_ANY(bytes);
	left = VARSIZE_ANY_EXHDR(bytes);
	json_raw(w, "\"\\\\x", 4);
	while (left > 0 && !w->full)
	{
		size_t		piece = Min(left, sizeof(hex) / 2);

		hex_encode(p, piece, hex);
		json_raw(w, hex, piece * 2);
		p += piece;
		left -= piece;
	}
	json_raw(w, "\"", 1);
	if ((Pointer) bytes != DatumGetPointer(value))
		pfree(bytes);
}

void
value_uuid_text(char *out, const pg_uuid_t *uuid)
{
	static const char hex[] = "0123456789abcdef";
	int			i;

	for (i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[uuid->data[i] >> 4];
		*out++ = hex[uuid->data[i] & 15];
	}
}

static void
value_write_uuid(JsonWriter *w, ValueWriter *v, Datum value)
{
	char		text[VALUE_UUID_LEN];

	value_uuid_text(text, DatumGetUUIDP(value));
	json_plain_string(w, text, sizeof(text));
}

static void
value_write_json(JsonWriter *w, ValueWriter *v, Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

	json_document(w, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	if ((Pointer) text != DatumGetPointer(value))
		pfree(text);
}

static void
value_write_jsonb(JsonWriter *w, ValueWriter *v, Datum value)
{
	json_jsonb(w, DatumGetJsonbP(value));
}

/*
 * Dates and times
 */

static char *
value_put_number(char *p, uint32 value, int width)
{
	return pg_ultostr_zeropad(p, value, width);
}

static char *
value_put_text(char *p, const char *text)
{
	size_t		len = strlen(text);

	memcpy(p, text, len);
	return p + len;
}

/* Days since 2000-01-01. */
static char *
value_put_date(char *p, int64 days)
{
	int			year,
				month,
				day;

	j2date((int) (days + POSTGRES_EPOCH_JDATE), &year, &month, &day);
	if (year >= 0 && year <= 9999)
		p = value_put_number(p, year, 4);
	else
	{
		*p++ = year < 0 ? '-' : '+';
		p = value_put_number(p, abs(year), 6);
	}
	*p++ = '-';
	p = value_put_number(p, month, 2);
	*p++ = '-';
	return value_put_number(p, day, 2);
}

/* A fraction of a second: as many digits as it needs, or cut to so many. */
static char *
value_put_fraction(char *p, int usec, int digits)
{
	char	   *start = p;

	if (digits < 0 && usec == 0)
		return p;
	*p++ = '.';
	p = value_put_number(p, usec, 6);
	if (digits >= 0)
		return start + 1 + digits;
	while (p[-1] == '0')
		p--;
	return p;
}

/* Microseconds since midnight. */
static char *
value_put_time(char *p, int64 time, int digits)
{
	int			seconds = (int) (time / USECS_PER_SEC);

	p = value_put_number(p, seconds / SECS_PER_HOUR, 2);
	*p++ = ':';
	p = value_put_number(p, seconds / SECS_PER_MINUTE % MINS_PER_HOUR, 2);
	*p++ = ':';
	p = value_put_number(p, seconds % SECS_PER_MINUTE, 2);
	return value_put_fraction(p, (int) (time % USECS_PER_SEC), digits);
}

int
value_timestamp_text(char *out, Timestamp value, int digits, const char *zone)
{
	int64		days = value / USECS_PER_DAY;
	int64		time = value % USECS_PER_DAY;
	char	   *p = out;

	if (TIMESTAMP_IS_NOEND(value))
		return (int) (value_put_text(p, "infinity") - out);
	if (TIMESTAMP_IS_NOBEGIN(value))
		return (int) (value_put_text(p, "-infinity") - out);
	if (time < 0)
	{
		time += USECS_PER_DAY;
		days--;
	}
	p = value_put_date(p, days);
	*p++ = 'T';
	p = value_put_time(p, time, digits);
	return (int) (value_put_text(p, zone) - out);
}

static int
value_date_text(char *out, DateADT value)
{
	if (DATE_IS_NOEND(value))
		return (int) (value_put_text(out, "infinity") - out);
	if (DATE_IS_NOBEGIN(value))
		return (int) (value_put_text(out, "-infinity") - out);
	return (int) (value_put_date(out, value) - out);
}

/* A date or timestamp as it stands in strings; 0 for any other type. */
static int
value_point_in_time(char *out, Oid type, Datum value)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
			return value_timestamp_text(out, DatumGetTimestampTz(value), -1, "Z");
		case TIMESTAMPOID:
			return value_timestamp_text(out, DatumGetTimestamp(value), -1, "");
		case DATEOID:
			return value_date_text(out, DatumGetDateADT(value));
		default:
			return 0;
	}
}

static void
value_write_point_in_time(JsonWriter *w, ValueWriter *v, Datum value)
{
	char		text[VALUE_TIME_SIZE];

	json_plain_string(w, text, value_point_in_time(text, v->type, value));
}

static void
value_write_time(JsonWriter *w, ValueWriter *v, Datum value)
{
	char		text[VALUE_TIME_SIZE];

	json_plain_string(w, text, value_put_time(text, DatumGetTimeADT(value), -1) - text);
}

static void
value_write_timetz(JsonWriter *w, ValueWriter *v, Datum value)
{
	const TimeTzADT *time = DatumGetTimeTzADTP(value);
	int			zone = abs(time->zone);
	char		text[VALUE_TIME_SIZE];
	char	   *p = value_put_time(text, time->time, -1);

	*p++ = time->zone > 0 ? '-' : '+';	/* counted westwards */
	p = value_put_number(p, zone / SECS_PER_HOUR, 2);
	*p++ = ':';
	p = value_put_number(p, zone / SECS_PER_MINUTE % MINS_PER_HOUR, 2);
	if (zone % SECS_PER_MINUTE != 0)
	{
		*p++ = ':';
		p = value_put_number(p, zone % SECS_PER_MINUTE, 2);
	}
	json_plain_string(w, text, p - text);
}

static char *
value_put_part(char *p, int64 value, char unit)
{
	if (value == 0)
		return p;
	p += compat_lltoa(value, p);
	*p++ = unit;
	return p;
}

/* ISO 8601, every part with its own sign, as IntervalStyle iso_8601 has it. */
static void
value_write_interval(JsonWriter *w, ValueWriter *v, Datum value)
{
	const Interval *interval = DatumGetIntervalP(value);
	int64		time = interval->time;
	int64		seconds = time % USECS_PER_MINUTE;
	char		text[128];
	char	   *p = text;

	if (compat_interval_infinite(interval) != 0)
	{
		p = value_put_text(p, compat_interval_infinite(interval) > 0 ? "infinity" : "-infinity");
		json_plain_string(w, text, p - text);
		return;
	}
	*p++ = 'P';
	p = value_put_part(p, interval->month / MONTHS_PER_YEAR, 'Y');
	p = value_put_part(p, interval->month % MONTHS_PER_YEAR, 'M');
	p = value_put_part(p, interval->day, 'D');
	if (time != 0)
		*p++ = 'T';
	p = value_put_part(p, time / USECS_PER_HOUR, 'H');
	p = value_put_part(p, time / USECS_PER_MINUTE % MINS_PER_HOUR, 'M');
	if (seconds != 0)
	{
		if (seconds < 0)
		{
			*p++ = '-';
			seconds = -seconds;
		}
		p += pg_ultoa_n((uint32) (seconds / USECS_PER_SEC), p);
		p = value_put_fraction(p, (int) (seconds % USECS_PER_SEC), -1);
		*p++ = 'S';
	}
	if (p == text + 1)
		p = value_put_text(p, "T0S");
	json_plain_string(w, text, p - text);
}

/*
 * Casts and output functions
 */

static bool
value_function_in_c(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		in_c = false;

	if (HeapTupleIsValid(tuple))
	{
		Oid			language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;

		in_c = language == INTERNALlanguageId || language == ClanguageId;
		ReleaseSysCache(tuple);
	}
	return in_c;
}

static Oid
value_cast_function(Oid type)
{
	HeapTuple	tuple = SearchSysCache2(CASTSOURCETARGET, ObjectIdGetDatum(type),
										ObjectIdGetDatum(JSONOID));
	Oid			function = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		/* 0 for a cast by way of text or of equal storage */
		function = ((Form_pg_cast) GETSTRUCT(tuple))->castfunc;
		ReleaseSysCache(tuple);
	}
	return function;
}

/*
 * Write a value through its type's cast to json, if it has one.  Looked up
 * for every value: casts come and go without a word to the tables that use
 * the type, and a function that is gone would fail the user's statement.
 */
static bool
value_write_cast(JsonWriter *w, ValueWriter *v, Datum value)
{
	Oid			function;
	int			level;
	FmgrInfo	flinfo;
	Datum		result;
	LOCAL_FCINFO(fcinfo, 3);

	function = value_cast_function(v->type);
	if (!OidIsValid(function))
		return false;

	level = value_pin(PIN_ALL | (value_function_in_c(function) ? 0 : PIN_PATH), function);
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, flinfo.fn_nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = value;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = Int32GetDatum(-1);	/* typmod */
	fcinfo->args[1].isnull = false;
	fcinfo->args[2].value = BoolGetDatum(true); /* explicit */
	fcinfo->args[2].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	value_unpin(level);

	if (fcinfo->isnull)
		json_raw(w, "null", 4);
	else
		value_write_json(w, v, result);
	return true;
}

static void
value_write_output(JsonWriter *w, ValueWriter *v, Datum value)
{
	int			level;
	char	   *text;

	if (value_write_cast(w, v, value))
		return;
	level = value_pin(v->pins, v->output.fn_oid);
	text = OutputFunctionCall(&v->output, value);
	value_unpin(level);
	json_string(w, text, strlen(text));
}

/* A type such as citext: text by another name. */
static void
value_write_text_like(JsonWriter *w, ValueWriter *v, Datum value)
{
	if (!value_write_cast(w, v, value))
		value_write_text(w, v, value);
}

/*
 * Arrays, composites, ranges
 */

static void
value_write_array(JsonWriter *w, ValueWriter *v, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int			ndim = ARR_NDIM(array);
	int			at[MAXDIM] = {0};
	ArrayIterator iterator;
	Datum		element;
	bool		isnull;
	int			d;

	check_stack_depth();
	if (ArrayGetNItems(ndim, ARR_DIMS(array)) == 0)
	{
		json_raw(w, "[]", 2);
		return;
	}
	iterator = array_create_iterator(array, 0, NULL);
	while (!w->full && array_iterate(iterator, &element, &isnull))
	{
		/* brackets open for each dimension that begins, innermost always last */
		for (d = ndim - 1; d >= 0 && at[d] == 0; d--)
			;
		if (d >= 0)
			json_raw(w, ",", 1);
		json_raw(w, "[[[[[[", ndim - 1 - d);

		if (isnull)
			json_raw(w, "null", 4);
		else
			value_write(w, v->element, element);

		for (d = ndim - 1; d >= 0 && ++at[d] == ARR_DIMS(array)[d]; d--)
		{
			at[d] = 0;
			json_raw(w, "]", 1);
		}
	}
	array_free_iterator(iterator);
}

static const ValueRow *
value_row(ValueWriter *v, TupleDesc desc, uint64 identifier)
{
	MemoryContext old;

	if (v->row != NULL && v->row->identifier == identifier)
		return v->row;

	/* an older one may be in use further up the stack: it stays */
	old = MemoryContextSwitchTo(v->context);
	v->row = palloc(sizeof(ValueRow));
	v->row->identifier = identifier;
	v->row->n_columns = value_columns_make(desc, &v->row->columns);
	MemoryContextSwitchTo(old);
	return v->row;
}

static void
value_write_composite(JsonWriter *w, ValueWriter *v, Datum value)
{
	HeapTupleHeader header;
	TypeCacheEntry *type;
	TupleDesc	desc;
	const ValueRow *row;
	HeapTupleData tuple;
	Datum	   *values;
	bool	   *nulls;
	int			i;

	check_stack_depth();
	if (value_write_cast(w, v, value))
		return;

	type = lookup_type_cache(v->type, TYPECACHE_TUPDESC);
	desc = lookup_rowtype_tupdesc(v->type, -1);
	row = value_row(v, desc, type->tupDesc_identifier);

	header = DatumGetHeapTupleHeader(value);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	values = palloc(desc->natts * sizeof(Datum));
	nulls = palloc(desc->natts * sizeof(bool));
	heap_deform_tuple(&tuple, desc, values, nulls);

	json_raw(w, "{", 1);
	for (i = 0; i < row->n_columns && !w->full; i++)
	{
		const ValueColumn *column = &row->columns[i];

		if (i > 0)
			json_raw(w, ",", 1);
		json_raw(w, column->label, column->label_len);
		if (nulls[column->attnum - 1])
			json_raw(w, "null", 4);
		else
			value_write(w, column->writer, values[column->attnum - 1]);
	}
	json_raw(w, "}", 1);
	ReleaseTupleDesc(desc);
}

/* The inside of a range of dates or timestamps, which need no quotes. */
static void
value_write_bounds(JsonWriter *w, TypeCacheEntry *range_type, RangeType *range)
{
	Oid			element = getBaseType(range_type->rngelemtype->type_id);
	RangeBound	lower,
				upper;
	bool		empty;
	char		text[VALUE_TIME_SIZE * 2 + 4];
	char	   *p = text;

	range_deserialize(range_type, range, &lower, &upper, &empty);
	if (empty)
	{
		json_raw(w, "empty", 5);
		return;
	}
	*p++ = lower.inclusive ? '[' : '(';
	if (!lower.infinite)
		p += value_point_in_time(p, element, lower.val);
	*p++ = ',';
	if (!upper.infinite)
		p += value_point_in_time(p, element, upper.val);
	*p++ = upper.inclusive ? ']' : ')';
	json_raw(w, text, p - text);
}

static void
value_write_time_range(JsonWriter *w, ValueWriter *v, Datum value)
{
	if (value_write_cast(w, v, value))
		return;
	json_raw(w, "\"", 1);
	value_write_bounds(w, v->range, DatumGetRangeTypeP(value));
	json_raw(w, "\"", 1);
}

static void
value_write_time_multirange(JsonWriter *w, ValueWriter *v, Datum value)
{
	RangeType **ranges;
	int			n;
	int			i;

	if (value_write_cast(w, v, value))
		return;
	n = compat_multirange_ranges(v->range, value, &ranges);
	json_raw(w, "\"{", 2);
	for (i = 0; i < n && !w->full; i++)
	{
		if (i > 0)
			json_raw(w, ",", 1);
		value_write_bounds(w, v->range, ranges[i]);
	}
	json_raw(w, "}\"", 2);
}

/*
 * Which writer a type has
 */

static ValueWrite
value_scalar_writer(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return value_write_bool;
		case INT2OID:
			return value_write_int2;
		case INT4OID:
			return value_write_int4;
		case INT8OID:
			return value_write_int8;
		case FLOAT4OID:
			return value_write_float4;
		case FLOAT8OID:
			return value_write_float8;
		case NUMERICOID:
			return value_write_numeric;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return value_write_text;
		case NAMEOID:
			return value_write_name;
		case CHAROID:
			return value_write_char;
		case BYTEAOID:
			return value_write_bytea;
		case UUIDOID:
			return value_write_uuid;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return value_write_point_in_time;
		case TIMEOID:
			return value_write_time;
		case TIMETZOID:
			return value_write_timetz;
		case INTERVALOID:
			return value_write_interval;
		case JSONOID:
			return value_write_json;
		case JSONBOID:
			return value_write_jsonb;
		default:
			return NULL;
	}
}

/* Settings that a type's output function heeds. */
static int
value_type_pins(Oid type)
{
	switch (type)
	{
		case POINTOID:
		case LSEGOID:
		case PATHOID:
		case BOXOID:
		case POLYGONOID:
		case LINEOID:
		case CIRCLEOID:
			return PIN_FLOATS;
		case MONEYOID:
			return PIN_MONEY;
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGCOLLATIONOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
			return PIN_NAMES | PIN_PATH;
		default:
			return type < FirstNormalObjectId ? 0 : PIN_ALL;
	}
}

/* A type that is written as a string, or through its cast. */
static void
value_writer_output(ValueWriter *v)
{
	Oid			function;
	bool		is_varlena;

	getTypeOutputInfo(v->type, &function, &is_varlena);
	fmgr_info(function, &v->output);
	v->pins = type_is_enum(v->type) ? 0 : value_type_pins(v->type);
	if (is_varlena && v->output.fn_addr == textout)
		v->write = value_write_text_like;
	else
		v->write = value_write_output;
}

/* True where v is a range or multirange of what has a session-independent text here. */
static bool
value_writer_range(ValueWriter *v)
{
	Oid			range = compat_multirange_range(v->type);
	char		text[VALUE_TIME_SIZE];
	bool		is_multirange = OidIsValid(range);

	if (!is_multirange)
		range = v->type;
	if (!is_multirange && !type_is_range(v->type))
		return false;
	v->range = lookup_type_cache(range, TYPECACHE_RANGE_INFO);
	if (value_point_in_time(text, getBaseType(v->range->rngelemtype->type_id), (Datum) 0) == 0)
		return false;
	v->write = is_multirange ? value_write_time_multirange : value_write_time_range;
	return true;
}

ValueWriter *
value_writer_make(Oid type)
{
	ValueWriter *v = palloc0(sizeof(ValueWriter));
	Oid			element;

	v->type = getBaseType(type);
	v->context = CurrentMemoryContext;
	v->write = value_scalar_writer(v->type);
	if (v->write != NULL)
	{
		v->allocates = v->type == NUMERICOID || v->type == JSONBOID;
		return v;
	}

	v->allocates = true;
	element = get_element_type(v->type);
	if (OidIsValid(element))
	{
		v->element = value_writer_make(element);
		v->write = value_write_array;
	}
	else if (type_is_rowtype(v->type))
		v->write = value_write_composite;
	else if (!value_writer_range(v))
		value_writer_output(v);
	return v;
}

/*
 * Columns
 */

static int
value_column_compare(const void *a, const void *b)
{
	const ValueColumn *x = a;
	const ValueColumn *y = b;
	uint32		x_index,
				y_index;
	bool		x_indexed = json_index_key(x->label + 1, x->label_len - 3, &x_index);
	bool		y_indexed = json_index_key(y->label + 1, y->label_len - 3, &y_index);

	if (x_indexed != y_indexed)
		return x_indexed ? -1 : 1;
	if (x_indexed)
		return x_index < y_index ? -1 : 1;
	return x->position < y->position ? -1 : 1;
}

int
value_columns_make(TupleDesc desc, ValueColumn **columns)
{
	int			n = 0;
	int			i;

	*columns = palloc0(Max(desc->natts, 1) * sizeof(ValueColumn));
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		ValueColumn *column = &(*columns)[n];
		JsonWriter	label;

		if (attribute->attisdropped)
			continue;
		json_init(&label, NAMEDATALEN + 4, JSON_SIZE_MAX);
		json_string(&label, NameStr(attribute->attname), strlen(NameStr(attribute->attname)));
		json_raw(&label, ":", 1);
		column->label = label.out.data;
		column->label_len = label.out.len;
		column->attnum = attribute->attnum;
		column->position = n++;
		column->writer = value_writer_make(attribute->atttypid);
	}
	qsort(*columns, n, sizeof(ValueColumn), value_column_compare);
	return n;
}
