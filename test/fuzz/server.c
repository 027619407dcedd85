/*
 * server.c
 *	  The little that json.c and document.c take from the server, for programs
 *	  that are none.  Memory, strings and character sets come from libpgcommon,
 *	  whose palloc is malloc, so that each chunk is watched.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

MemoryContext TopMemoryContext = NULL;

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

int
pg_ulltoa_n(uint64 value, char *out)
{
	char		text[24];
	int			length = snprintf(text, sizeof(text), UINT64_FORMAT, value);

	memcpy(out, text, length);
	return length;
}

int
pg_ultoa_n(uint32 value, char *out)
{
	return pg_ulltoa_n(value, out);
}

int
pg_ltoa(int32 value, char *out)
{
	return sprintf(out, "%d", value);
}

/* Never reached: jsonb, and databases in other encodings. */

#define UNREACHED(function, type, arguments) \
	type function arguments { abort(); }

UNREACHED(pg_encoding_mbcliplen, int, (int encoding, const char *text, int len, int limit))
UNREACHED(FindDefaultConversion, Oid, (Oid namespace, int32 from, int32 to))
UNREACHED(fmgr_info_cxt, void, (Oid function, FmgrInfo *info, MemoryContext context))
UNREACHED(FunctionCall6Coll, Datum, (FmgrInfo *info, Oid collation, Datum a, Datum b, Datum c, Datum d, Datum e, Datum f))
UNREACHED(DirectFunctionCall1Coll, Datum, (PGFunction function, Oid collation, Datum argument))
UNREACHED(numeric_out, Datum, (FunctionCallInfo call))
UNREACHED(JsonbIteratorInit, JsonbIterator *, (JsonbContainer *container))
UNREACHED(JsonbIteratorNext, JsonbIteratorToken, (JsonbIterator **it, JsonbValue *value, bool skip))
