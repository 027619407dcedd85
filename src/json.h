/*
 * json.h
 *	  Canonical JSON: the spelling that JSON.stringify(JSON.parse(text)) gives
 *	  back byte for byte wherever a double carries the numbers (CONTRACT.md,
 *	  "Payload").
 *
 * Output is UTF-8, input is text in the database's encoding.  No function
 * raises an error on odd data: bytes that are no character become U+FFFD, and
 * a writer that reaches its limit is full and writes nothing further.
 */
#ifndef FLUXHOOKS_JSON_H
#define FLUXHOOKS_JSON_H

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* The most that any writer may hold: StringInfo's own limit is never met. */
#define JSON_SIZE_MAX	((int) (MaxAllocSize / 4 * 3))

typedef struct JsonWriter
{
	StringInfoData out;
	int			limit;			/* bytes that out may hold, JSON_SIZE_MAX at most */
	bool		full;			/* more was due: out ends anywhere */
} JsonWriter;

extern void json_init(JsonWriter *w, int size, int limit);

/* Bytes that are JSON already. */
extern void json_raw(JsonWriter *w, const char *bytes, size_t len);

/* A string, quoted and escaped. */
extern void json_string(JsonWriter *w, const char *text, size_t len);

/* The inside of a string: what a caller puts between quotes in pieces. */
extern void json_chars(JsonWriter *w, const char *text, size_t len);

/* One character of it; half of a surrogate pair stays as JSON.stringify writes it. */
extern void json_code_point(JsonWriter *w, pg_wchar code);

/* A string of ASCII without quote, backslash and control characters. */
extern void json_plain_string(JsonWriter *w, const char *text, size_t len);

extern void json_int(JsonWriter *w, int64 value);
extern void json_float4(JsonWriter *w, float4 value);
extern void json_float8(JsonWriter *w, float8 value);

/* Decimal text as numeric_out writes it: a number, or NaN and infinities as strings. */
extern void json_decimal(JsonWriter *w, const char *text, size_t len);

/*
 * Documents (document.c)
 */

/* json text: rewritten; as a string where it is no JSON (a type made by force). */
extern void json_document(JsonWriter *w, const char *text, size_t len);

extern void json_jsonb(JsonWriter *w, Jsonb *jb);

/*
 * Is this name, as it stands between its quotes, an array index to JavaScript
 * ("0" to "4294967294")?  Such keys come first in an object, ascending.
 */
extern bool json_index_key(const char *name, size_t len, uint32 *index);

#endif
