/*
 * record.c
 *	  Attempts as they ended, and pending deliveries.
 *
 * Attempts are appended to their ring; only what failed, waits or was parked
 * has a row in pending, which goes when the delivery has ended.  Statements on
 * pending rely on the worker's search_path, which is pg_catalog alone.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "fault.h"
#include "guc.h"
#include "record.h"
#include "ring.h"
#include "sql.h"

#define ATTEMPT_ATTRIBUTES	ATTEMPT_ATTR_BODY

/* ----------------------------------------------------------------- attempts */

/*
 * Bytes of an endpoint as valid UTF-8: what is not becomes U+FFFD, NUL goes
 * away, and so does a character that the limit cut in two.
 */
static char *
record_valid_utf8(const char *bytes, size_t len, bool cut)
{
	StringInfoData out;
	const unsigned char *p = (const unsigned char *) bytes;
	const unsigned char *end = p + len;

	initStringInfo(&out);
	while (p < end)
	{
		int			n = pg_utf_mblen(p);

		if (*p == '\0')
		{
			p++;
			continue;
		}
		if (n > end - p && cut)
			break;
		if (n <= end - p && pg_utf8_islegal(p, n))
		{
			appendBinaryStringInfo(&out, (const char *) p, n);
			p += n;
		}
		else
		{
			appendBinaryStringInfo(&out, "\xEF\xBF\xBD", 3);
			p++;
		}
	}
	return out.data;
}

static text *
record_response_text(const HttpResult *result)
{
	size_t		len = Min(result->body_len, (size_t) guc_max_response_size);
	bool		cut = result->body_len >= (size_t) guc_max_response_size;
	char	   *utf8;

	if (GetDatabaseEncoding() == PG_UTF8 && pg_verify_mbstr(PG_UTF8, result->body, len, true))
		return cstring_to_text_with_len(result->body, len);
	utf8 = record_valid_utf8(result->body, len, cut);
	return cstring_to_text(compat_utf8_to_server(utf8, strlen(utf8)));
}

static Datum
record_address(const char *address)
{
	char		plain[HTTP_ADDRESS_SIZE];

	strlcpy(plain, address, sizeof(plain));
	plain[strcspn(plain, "%")] = '\0';	/* inet knows no zones */
	return DirectFunctionCall1(inet_in, CStringGetDatum(plain));
}

/* What the row before had as well, most of the time. */
typedef struct FormedAttempt
{
	const char *url;
	Datum		url_text;
	char		address[HTTP_ADDRESS_SIZE];
	Datum		address_inet;
} FormedAttempt;

static HeapTuple
record_form_attempt(TupleDesc desc, const AttemptRow *row, FormedAttempt *before)
{
	Datum		values[ATTEMPT_ATTRIBUTES];
	bool		nulls[ATTEMPT_ATTRIBUTES];
	const HttpResult *result = row->result;

	StaticAssertStmt(ATTEMPT_ATTRIBUTES == RING_ATTEMPT_ATTRIBUTES, "ring.h knows the columns of an attempt");
	memset(nulls, true, sizeof(nulls));
#define PUT(attribute, datum) \
	(nulls[(attribute) - 1] = false, values[(attribute) - 1] = (datum))
	PUT(ATTEMPT_ATTR_DELIVERY_ID, UUIDPGetDatum(&row->delivery_id));
	PUT(ATTEMPT_ATTR_WEBHOOK_ID, UUIDPGetDatum(&row->webhook_id));
	PUT(ATTEMPT_ATTR_XID, FullTransactionIdGetDatum(row->place.xid));
	PUT(ATTEMPT_ATTR_SEQ, Int64GetDatum(row->place.seq));
	PUT(ATTEMPT_ATTR_CID, Int32GetDatum(row->place.cid));
	PUT(ATTEMPT_ATTR_STARTED_AT, TimestampTzGetDatum(row->started_at));
	PUT(ATTEMPT_ATTR_ATTEMPT, Int32GetDatum(row->attempt));
	PUT(ATTEMPT_ATTR_OUTCOME, CharGetDatum(row->outcome));
	if (row->url != NULL)
	{
		if (before->url == NULL || strcmp(before->url, row->url) != 0)
			before->url_text = CStringGetTextDatum(compat_utf8_to_server(row->url, strlen(row->url)));
		before->url = row->url;
		PUT(ATTEMPT_ATTR_URL, before->url_text);
	}
	if (result != NULL)
	{
		PUT(ATTEMPT_ATTR_RESPONSE_TIME_MS, Float8GetDatum(result->response_time_ms));
		if (result->status_code != 0)
			PUT(ATTEMPT_ATTR_STATUS_CODE, Int32GetDatum(result->status_code));
		if (result->error_code != NULL)
		{
			PUT(ATTEMPT_ATTR_ERROR_CODE, CStringGetTextDatum(result->error_code));
			PUT(ATTEMPT_ATTR_ERROR, CStringGetTextDatum(result->error));
		}
		if (result->remote_address[0] != '\0')
		{
			if (strcmp(before->address, result->remote_address) != 0)
				before->address_inet = record_address(result->remote_address);
			strlcpy(before->address, result->remote_address, sizeof(before->address));
			PUT(ATTEMPT_ATTR_REMOTE_ADDRESS, before->address_inet);
		}
		if (result->status_code != 0)
			PUT(ATTEMPT_ATTR_RESPONSE_BODY, PointerGetDatum(record_response_text(result)));
	}
	if (row->error != NULL)
		PUT(ATTEMPT_ATTR_ERROR, CStringGetTextDatum(row->error));
	if (row->operation != 0)
	{
		PUT(ATTEMPT_ATTR_OPERATION, CharGetDatum(row->operation));
		PUT(ATTEMPT_ATTR_CAPTURED_AT, TimestampTzGetDatum(row->captured_at));
		PUT(ATTEMPT_ATTR_TABLE_SCHEMA, CStringGetTextDatum(row->table_schema));
		PUT(ATTEMPT_ATTR_TABLE_NAME, CStringGetTextDatum(row->table_name));
		if (row->record_key != NULL)
			PUT(ATTEMPT_ATTR_RECORD_KEY, PointerGetDatum(cstring_to_text(row->record_key)));
		if (row->body != NULL)
			PUT(ATTEMPT_ATTR_BODY, PointerGetDatum(cstring_to_text_with_len(row->body, row->body_len)));
	}
#undef PUT
	return heap_form_tuple(desc, values, nulls);
}

static int
record_compare_attempts(const void *a, const void *b)
{
	const AttemptRow *x = *(const AttemptRow *const *) a;
	const AttemptRow *y = *(const AttemptRow *const *) b;
	int			order = memcmp(&x->webhook_id, &y->webhook_id, UUID_LEN);

	return order != 0 ? order : memcmp(&x->delivery_id, &y->delivery_id, UUID_LEN);
}

/* In the order of their index, which then mostly grows at its end. */
void
record_attempts(const AttemptRow *rows, int n_rows)
{
	MemoryContext context;
	MemoryContext old;
	const AttemptRow **sorted;
	FormedAttempt before = {0};
	HeapTuple  *tuples;
	Relation	rel;

	if (n_rows == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks attempts", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	sorted = palloc(n_rows * sizeof(AttemptRow *));
	for (int i = 0; i < n_rows; i++)
		sorted[i] = &rows[i];
	qsort(sorted, n_rows, sizeof(AttemptRow *), record_compare_attempts);
	tuples = palloc(n_rows * sizeof(HeapTuple));
	rel = ring_open(RING_ATTEMPT);
	for (int i = 0; i < n_rows; i++)
		tuples[i] = record_form_attempt(ring_descriptor(RING_ATTEMPT), sorted[i], &before);
	FAULT_POINT("record_attempts");
	ring_append(RING_ATTEMPT, rel, tuples, n_rows);
	FAULT_POINT("record_attempts_written");
	table_close(rel, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* --------------------------------------------------------- pending, by SPI */

/* A column of parameters for unnest(). */
static Datum
record_array(Datum *values, int n, Oid type)
{
	int16		len;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &len, &by_value, &align);
	return PointerGetDatum(construct_array(values, n, type, len, by_value, align));
}

static Datum
record_pending_value(const PendingRow *row, int parameter)
{
	switch (parameter)
	{
		case 0:
			return UUIDPGetDatum(&row->delivery_id);
		case 1:
			return UUIDPGetDatum(&row->webhook_id);
		case 2:
			return Int64GetDatum(row->number);
		case 3:
			return TimestampTzGetDatum(row->due_at);
		case 4:
			return TimestampTzGetDatum(row->pending_since);
		case 5:
			return FullTransactionIdGetDatum(row->place.xid);
		case 6:
			return Int64GetDatum(row->place.seq);
		case 7:
			return Int64GetDatum(row->key_hash);
		case 8:
			return Int64GetDatum(row->old_key_hash);
		case 9:
			return Int32GetDatum(row->place.cid);
		case 10:
			return Int32GetDatum(row->attempts);
		default:
			return Int32GetDatum(row->attempts_before);
	}
}

void
record_pending(const PendingRow *rows, int n_rows)
{
	static SPIPlanPtr plan = NULL;
	static const Oid elements[] = {
		UUIDOID, UUIDOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, XID8OID,
		INT8OID, INT8OID, INT8OID, INT4OID, INT4OID, INT4OID
	};
	static Oid	types[] = {
		UUIDARRAYOID, UUIDARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, XID8ARRAYOID,
		INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID
	};
	Datum		values[lengthof(elements)];
	Datum	   *column;

	if (n_rows == 0)
		return;
	column = palloc(n_rows * sizeof(Datum));
	for (int c = 0; c < lengthof(elements); c++)
	{
		for (int i = 0; i < n_rows; i++)
			column[i] = record_pending_value(&rows[i], c);
		values[c] = record_array(column, n_rows, elements[c]);
	}
	sql_execute_kept(&plan,
				   "INSERT INTO fluxhooks_internal.pending AS p "
				   "(delivery_id, webhook_id, number, due_at, pending_since, xid, seq, "
				   " key_hash, old_key_hash, cid, attempts, attempts_before) "
				   "SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
				   "ON CONFLICT (delivery_id) DO UPDATE SET due_at = excluded.due_at, "
				   " attempts = excluded.attempts, attempts_before = excluded.attempts_before",
				   SPI_OK_INSERT, lengthof(elements), types, values);
	FAULT_POINT("record_pending_written");
}

void
record_settled(const pg_uuid_t *delivery_ids, int n)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {UUIDARRAYOID};
	Datum		value;
	Datum	   *ids;

	if (n == 0)
		return;
	ids = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
		ids[i] = UUIDPGetDatum(&delivery_ids[i]);
	value = record_array(ids, n, UUIDOID);
	sql_execute_kept(&plan,
				   "DELETE FROM fluxhooks_internal.pending "
				   "WHERE delivery_id OPERATOR(pg_catalog.=) ANY ($1)",
				   SPI_OK_DELETE, 1, types, &value);
	FAULT_POINT("record_settled_deleted");
}

/* ---------------------------------------------------------- pending, reading */

/* bytea or text as a NUL-terminated copy in the current context. */
static char *
record_get_bytes(HeapTuple tuple, TupleDesc desc, int column, size_t *len)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(tuple, desc, column, &isnull);
	struct varlena *value;

	if (isnull)
		return NULL;
	value = PG_DETOAST_DATUM_PACKED(datum);
	if (len != NULL)
		*len = VARSIZE_ANY_EXHDR(value);
	return pnstrdup(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static void
record_read_pending(HeapTuple tuple, TupleDesc desc, PendingDelivery *delivery)
{
	PendingRow *row = &delivery->row;
	bool		isnull;
	Datum		operation;

#define GET(column) SPI_getbinval(tuple, desc, (column), &isnull)
	row->delivery_id = *DatumGetUUIDP(GET(1));
	row->webhook_id = *DatumGetUUIDP(GET(2));
	row->number = DatumGetInt64(GET(3));
	row->due_at = DatumGetTimestampTz(GET(4));
	row->pending_since = DatumGetTimestampTz(GET(5));
	row->place.xid = DatumGetFullTransactionId(GET(6));
	row->place.seq = DatumGetInt64(GET(7));
	row->key_hash = DatumGetInt64(GET(8));
	row->old_key_hash = DatumGetInt64(GET(9));
	row->place.cid = DatumGetInt32(GET(10));
	row->attempts = DatumGetInt32(GET(11));
	row->attempts_before = DatumGetInt32(GET(12));

	operation = GET(13);
	delivery->operation = isnull ? 0 : DatumGetChar(operation);
	if (delivery->operation == 0)
		return;
	delivery->captured_at = DatumGetTimestampTz(GET(14));
#undef GET
	delivery->table_schema = record_get_bytes(tuple, desc, 15, NULL);
	delivery->table_name = record_get_bytes(tuple, desc, 16, NULL);
	delivery->record_key = record_get_bytes(tuple, desc, 17, NULL);
	delivery->body = record_get_bytes(tuple, desc, 18, &delivery->body_len);
}

int
record_take_pending(MemoryContext context, PendingDelivery **deliveries)
{
	int			n = SPI_processed;
	MemoryContext old = MemoryContextSwitchTo(context);

	*deliveries = palloc0(sizeof(PendingDelivery) * Max(n, 1));
	for (int i = 0; i < n; i++)
		record_read_pending(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &(*deliveries)[i]);
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

#define RECORD_SELECT_PENDING(body) \
	"SELECT delivery_id, webhook_id, number, due_at, pending_since, xid, seq, " \
	" key_hash, old_key_hash, cid, attempts, attempts_before, " \
	" operation, captured_at, table_schema, table_name, record_key, " body " " \
	"FROM fluxhooks_internal.pending "

int
record_load_expired(TimestampTz before, int limit, MemoryContext context, PendingDelivery **deliveries)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TIMESTAMPTZOID, INT4OID};
	Datum		values[] = {TimestampTzGetDatum(before), Int32GetDatum(limit)};

	sql_execute_kept(&plan, RECORD_SELECT_PENDING("body") "WHERE pending_since < $1 LIMIT $2",
				   SPI_OK_SELECT, lengthof(types), types, values);
	return record_take_pending(context, deliveries);
}

PendingDelivery *
record_load_delivery(const pg_uuid_t *delivery_id, MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {UUIDOID};
	Datum		values[] = {UUIDPGetDatum(delivery_id)};
	PendingDelivery *delivery;

	sql_execute_kept(&plan, RECORD_SELECT_PENDING("body") "WHERE delivery_id = $1",
				   SPI_OK_SELECT, lengthof(types), types, values);
	return record_take_pending(context, &delivery) > 0 ? delivery : NULL;
}

void
record_cancelled(AttemptRow *attempt, const PendingDelivery *pending, TimestampTz now)
{
	memset(attempt, 0, sizeof(AttemptRow));
	attempt->delivery_id = pending->row.delivery_id;
	attempt->webhook_id = pending->row.webhook_id;
	attempt->place = pending->row.place;
	attempt->attempt = pending->row.attempts;
	attempt->outcome = OUTCOME_CANCELLED;
	attempt->started_at = now;
	attempt->operation = pending->operation;
	attempt->captured_at = pending->captured_at;
	attempt->table_schema = pending->table_schema;
	attempt->table_name = pending->table_name;
	attempt->record_key = pending->record_key;
	attempt->body = pending->body;
	attempt->body_len = pending->body_len;
}

int
record_load_pending(const pg_uuid_t *webhook_id, const PendingPosition *after,
					TimestampTz until, int limit, MemoryContext context,
					PendingDelivery **deliveries)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {UUIDOID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT4OID};
	Datum		values[] = {
		UUIDPGetDatum(webhook_id), TimestampTzGetDatum(after->due_at), Int64GetDatum(after->number),
		TimestampTzGetDatum(until), Int32GetDatum(limit)
	};

	sql_execute_kept(&plan, RECORD_SELECT_PENDING("NULL::bytea")
				   "WHERE webhook_id = $1 AND (due_at, number) > ($2, $3) AND due_at <= $4 "
				   "ORDER BY due_at, number LIMIT $5",
				   SPI_OK_SELECT, lengthof(types), types, values);
	return record_take_pending(context, deliveries);
}

bool
record_next_due(const pg_uuid_t *webhook_id, const PendingPosition *after, TimestampTz *due_at)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {UUIDOID, TIMESTAMPTZOID, INT8OID};
	Datum		values[] = {
		UUIDPGetDatum(webhook_id), TimestampTzGetDatum(after->due_at), Int64GetDatum(after->number)
	};
	bool		isnull;

	sql_execute_kept(&plan,
				   "SELECT due_at FROM fluxhooks_internal.pending "
				   "WHERE webhook_id = $1 AND (due_at, number) > ($2, $3) "
				   "ORDER BY due_at, number LIMIT 1",
				   SPI_OK_SELECT, lengthof(types), types, values);
	if (SPI_processed == 0)
		return false;
	*due_at = DatumGetTimestampTz(sql_value(0, 1, &isnull));
	return true;
}

int64
record_max_number(void)
{
	bool		isnull;

	sql_execute("SELECT COALESCE(max(number), 0) FROM fluxhooks_internal.pending",
				SPI_OK_SELECT, 0, NULL, NULL);
	return DatumGetInt64(sql_value(0, 1, &isnull));
}
