/*
 * api_delivery.c
 *	  The SQL functions about deliveries: list, payload, redeliver, test.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#include "api.h"
#include "compat.h"
#include "copy.h"
#include "guc.h"
#include "payload.h"
#include "queue.h"
#include "record.h"
#include "request.h"
#include "sample.h"
#include "wakeup.h"
#include "window.h"

PG_FUNCTION_INFO_V1(api_list_deliveries);
PG_FUNCTION_INFO_V1(api_delivery_payload);
PG_FUNCTION_INFO_V1(api_redeliver);
PG_FUNCTION_INFO_V1(api_test_webhook);

#define LIST_ROWS_MAX	1000

#define SAMPLE_RECORD	"{\"test\":true}"

/*
 * list_deliveries
 */

/* The rows of the last result as the result of a set-returning function. */
static void
api_return_rows(FunctionCallInfo fcinfo, const ApiScope *scope)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	desc;
	Tuplestorestate *store;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	store = tuplestore_begin_heap(true, false, work_mem);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(store, SPI_tuptable->vals[i]);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = store;
	rsinfo->setDesc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);
}

static void
api_check_status(const char *status)
{
	static const char *const known[] = {"pending", "success", "failed", "cancelled"};

	for (int i = 0; i < lengthof(known); i++)
	{
		if (strcmp(status, known[i]) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown status \"%s\"", status),
			 errhint("A delivery is pending, success, failed or cancelled.")));
}

/*
 * list_deliveries(webhook_id uuid, max_rows integer, status text,
 *		since timestamptz, until timestamptz, before uuid)
 *		RETURNS SETOF fluxhooks.deliveries
 */
Datum
api_list_deliveries(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "webhook_id"));
	int			max_rows = DatumGetInt32(api_argument(fcinfo, 1, "max_rows"));
	char	   *status = PG_ARGISNULL(2) ? NULL : TextDatumGetCString(PG_GETARG_DATUM(2));
	TimestampTz since = PG_ARGISNULL(3) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(3);
	TimestampTz until = PG_ARGISNULL(4) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(4);
	pg_uuid_t	lowest = api_lowest_id(since);
	pg_uuid_t	before;
	pg_uuid_t	highest;
	ApiScope	scope;
	ApiWebhook	webhook;

	if (max_rows < 1 || max_rows > LIST_ROWS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be from 1 to %d", LIST_ROWS_MAX),
				 errhint("Page on with the id of the last delivery as \"before\".")));
	if (status != NULL)
		api_check_status(status);
	if (PG_ARGISNULL(5))
		memset(&before, 0xFF, sizeof(before));
	else
		before = *PG_GETARG_UUID_P(5);

	/* of the times as well, for the index: ids begin with milliseconds */
	highest = api_lowest_id(TIMESTAMP_NOT_FINITE(until) ? until : until + USECS_PER_SEC);
	if (memcmp(&highest, &before, UUID_LEN) < 0)
		before = highest;

	api_enter(&scope);
	api_load_webhook(&scope, id, false, true, &webhook);
	{
		ApiParameter parameters[] = {
			API_UUID(id), API_INT(max_rows), API_TEXT(status),
			{TIMESTAMPTZOID, TimestampTzGetDatum(since), false},
			{TIMESTAMPTZOID, TimestampTzGetDatum(until), false},
			API_UUID(&lowest), API_UUID(&before)
		};

		api_query("SELECT * FROM fluxhooks_internal.list_deliveries($1, $2, $3, $4, $5, $6, $7)",
				  parameters, lengthof(parameters));
	}
	api_return_rows(fcinfo, &scope);
	api_leave(&scope);
	PG_RETURN_NULL();
}

/*
 * One delivery
 */

typedef struct ApiDelivery
{
	pg_uuid_t	id;
	pg_uuid_t	webhook_id;
	bool		deleted;		/* its webhook is */
	bool		pending;
	EventPlace	place;
} ApiDelivery;

/* A delivery that the caller may see, inside a scope; 42704 for any other. */
static void
api_load_delivery(const ApiScope *scope, const pg_uuid_t *id, ApiDelivery *delivery)
{
	ApiParameter parameter = API_UUID(id);
	bool		isnull;

	/* webhook by webhook, which is how attempts are indexed */
	if (api_query("SELECT d.webhook_id, d.deleted, d.status = 'pending', d.xid, d.cid, d.seq, d.owner"
				  " FROM fluxhooks_internal.webhook AS w"
				  " CROSS JOIN LATERAL (SELECT * FROM fluxhooks_internal.delivery AS d"
				  " WHERE d.webhook_id = w.id AND d.id = $1 OFFSET 0) AS d", &parameter, 1) == 0 ||
		!has_privs_of_role(scope->caller, DatumGetObjectId(api_datum(scope, 0, 7, &isnull))))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("delivery \"%s\" does not exist", api_show_uuid(id))));
	delivery->id = *id;
	delivery->webhook_id = *DatumGetUUIDP(api_datum(scope, 0, 1, &isnull));
	delivery->deleted = DatumGetBool(api_datum(scope, 0, 2, &isnull));
	delivery->pending = DatumGetBool(api_datum(scope, 0, 3, &isnull));
	delivery->place.xid = DatumGetFullTransactionId(api_datum(scope, 0, 4, &isnull));
	delivery->place.cid = api_int(scope, 0, 5);
	delivery->place.seq = DatumGetInt64(api_datum(scope, 0, 6, &isnull));
}

/* The body where it was kept by itself, UTF-8 bytes; NULL where the event must be asked. */
static bytea *
api_kept_body(const ApiScope *scope, const ApiDelivery *delivery)
{
	ApiParameter parameters[] = {API_UUID(&delivery->webhook_id), API_UUID(&delivery->id)};
	bool		isnull;

	if (api_query("SELECT p.body FROM fluxhooks_internal.pending AS p"
				  " WHERE p.delivery_id = $2 AND p.body IS NOT NULL"
				  " UNION ALL"
				  " SELECT a.body FROM fluxhooks_internal.attempt AS a"
				  " WHERE a.webhook_id = $1 AND a.delivery_id = $2 AND a.body IS NOT NULL"
				  " LIMIT 1", parameters, lengthof(parameters)) == 0)
		return NULL;
	return DatumGetByteaP(api_datum(scope, 0, 1, &isnull));
}

COMPAT_NORETURN static void
api_no_payload(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the payload of delivery \"%s\" is no longer kept", api_show_uuid(id))));
}

/* delivery_payload(delivery_id uuid) RETURNS text */
Datum
api_delivery_payload(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "delivery_id"));
	ApiScope	scope;
	ApiDelivery delivery;
	bytea	   *kept;
	StringInfoData body;
	char	   *converted;

	initStringInfo(&body);
	api_enter(&scope);
	api_load_delivery(&scope, id, &delivery);
	kept = api_kept_body(&scope, &delivery);
	if (kept != NULL)
		appendBinaryStringInfo(&body, VARDATA_ANY(kept), VARSIZE_ANY_EXHDR(kept));
	else
	{
		LogEvent   *event = window_fetch(&delivery.place, CurrentMemoryContext);

		if (event == NULL)
			api_no_payload(id);
		log_event_body(&body, event, &delivery.webhook_id);
	}
	api_leave(&scope);
	converted = pg_any_to_server(body.data, body.len, PG_UTF8);
	if (converted == body.data)
		PG_RETURN_TEXT_P(cstring_to_text_with_len(body.data, body.len));
	PG_RETURN_TEXT_P(cstring_to_text(converted));
}

/*
 * Reading the event's row, or the copies, keeps their tables from being
 * emptied until this transaction has ended.
 */
static bool
api_insert_pending(const ApiDelivery *delivery)
{
	ApiParameter parameters[] = {API_UUID(&delivery->webhook_id), API_UUID(&delivery->id)};

	return api_execute("INSERT INTO fluxhooks_internal.pending (delivery_id, webhook_id, number, due_at,"
					   " pending_since, xid, seq, key_hash, old_key_hash, cid, attempts, attempts_before,"
					   " operation, captured_at, table_schema, table_name, record_key, body)"
					   " SELECT d.id, d.webhook_id, nextval('fluxhooks_internal.pending_sequence'), now(), now(), d.xid, d.seq,"
					   " coalesce(e.key_hash, 0), coalesce(e.old_key_hash, 0), d.cid, d.attempts, d.attempts,"
					   " c.operation, c.captured_at, c.table_schema, c.table_name, c.record_key, c.body"
					   " FROM fluxhooks_internal.delivery AS d"
					   " LEFT JOIN fluxhooks_internal.event AS e"
					   " ON e.xid = d.xid AND e.cid = d.cid AND e.seq = d.seq"
					   " LEFT JOIN LATERAL (SELECT a.* FROM fluxhooks_internal.attempt AS a"
					   "  WHERE e.id IS NULL AND a.webhook_id = d.webhook_id AND a.delivery_id = d.id"
					   "  AND a.body IS NOT NULL LIMIT 1) AS c ON true"
					   " WHERE d.webhook_id = $1 AND d.id = $2 AND (e.id IS NOT NULL OR c.body IS NOT NULL)"
					   " ON CONFLICT (delivery_id) DO NOTHING",
					   parameters, lengthof(parameters)) > 0;
}

/* redeliver(delivery_id uuid) RETURNS void */
Datum
api_redeliver(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "delivery_id"));
	ApiScope	scope;
	ApiDelivery delivery;

	api_enter(&scope);
	api_load_delivery(&scope, id, &delivery);
	if (delivery.deleted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the webhook of delivery \"%s\" was deleted", api_show_uuid(id))));
	if (!delivery.pending && api_kept_body(&scope, &delivery) == NULL &&
		window_fetch(&delivery.place, CurrentMemoryContext) == NULL)
		api_no_payload(id);

	/* nothing inserted: somebody else has just done so */
	if (delivery.pending || !api_insert_pending(&delivery))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("delivery \"%s\" is pending already", api_show_uuid(id)),
				 errhint("It can be sent again once it has ended.")));
	api_leave(&scope);
	wakeup_recheck_at_commit();
	PG_RETURN_VOID();
}

/*
 * test_webhook
 */

static char *
api_to_utf8(const char *text)
{
	return text ? pg_server_to_any(text, strlen(text), PG_UTF8) : NULL;
}

static RequestTemplate *
api_make_template(const WebhookConfig *config)
{
	int			size = JsonContainerSize(&config->headers->root);
	const char **names = palloc((size + 1) * sizeof(char *));
	const char **values = palloc((size + 1) * sizeof(char *));
	JsonbIterator *iterator = JsonbIteratorInit(&config->headers->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	int			n = 0;

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			names[n] = api_to_utf8(pnstrdup(item.val.string.val, item.val.string.len));
		else if (token == WJB_VALUE)
			values[n++] = api_to_utf8(pnstrdup(item.val.string.val, item.val.string.len));
	}
	return request_template_make(api_to_utf8(config->url), api_to_utf8(config->secret),
								 names, values, n, config->timeout_seconds);
}

/* Body of the sample, malloc'd as request_make wants it; NULL when memory is short. */
static char *
api_sample_body(const pg_uuid_t *webhook_id, TimestampTz now, int *len)
{
	PayloadEvent event;
	StringInfoData body;
	char	   *copy;

	memset(&event, 0, sizeof(event));
	event.operation = OPERATION_TEST;
	event.table_schema = "public";
	event.table_name = "test";
	event.record = SAMPLE_RECORD;
	event.record_len = strlen(SAMPLE_RECORD);
	event.captured_at = now;
	initStringInfo(&body);
	payload_body(&body, &event, webhook_id);
	*len = body.len;
	copy = malloc(body.len);
	if (copy != NULL)
		memcpy(copy, body.data, body.len);
	return copy;
}

static void
api_record_sample(const ApiWebhook *webhook, const pg_uuid_t *id, TimestampTz now,
				  const HttpRequest *request, const HttpResult *result)
{
	AttemptRow	row;

	memset(&row, 0, sizeof(row));
	row.delivery_id = *id;
	row.webhook_id = webhook->id;
	row.attempt = 1;
	row.outcome = result->error_code == NULL ? OUTCOME_SUCCESS : OUTCOME_FAILED;
	row.started_at = now;
	row.url = webhook->config.url;
	row.result = result;
	row.operation = OPERATION_TEST;
	row.captured_at = now;
	row.table_schema = "public";
	row.table_name = "test";
	row.body = request->body;
	row.body_len = request->body_len;
	record_attempts(&row, 1);
}

/* Send it and record the answer; what is malloc'd goes on every path. */
static void
api_send_sample(const ApiWebhook *webhook, const pg_uuid_t *id)
{
	TimestampTz now = GetCurrentTimestamp();
	RequestTemplate *volatile template = NULL;
	Request    *volatile request = NULL;

	PG_TRY();
	{
		HttpResult	result;
		int			len;
		char	   *body = api_sample_body(&webhook->id, now, &len);

		template = api_make_template(&webhook->config);
		if (template != NULL && body != NULL)
			request = request_make(template, payload_operation_name(OPERATION_TEST), id,
								   body, len, now, NULL);
		if (request == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("could not make the request")));
		sample_send(request_http(request), &result);
		api_record_sample(webhook, id, now, request_http(request), &result);
	}
	PG_FINALLY();
	{
		if (request != NULL)
			request_free(request);
		if (template != NULL)
			request_template_free(template);
	}
	PG_END_TRY();
}

static void
api_check_not_paused(void)
{
	if (!guc_delivery)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("fluxhooks.delivery is off on this server")));
	if (api_execute("SELECT FROM fluxhooks_internal.pause", NULL, 0) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("deliveries of this database are paused"),
				 errhint("fluxhooks.resume() lets them go on.")));
}

/* test_webhook(webhook_id uuid) RETURNS fluxhooks.deliveries */
Datum
api_test_webhook(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *webhook_id = DatumGetUUIDP(api_argument(fcinfo, 0, "webhook_id"));
	pg_uuid_t	id;
	ApiParameter parameters[] = {API_UUID(webhook_id), API_UUID(&id)};
	ApiScope	scope;
	ApiWebhook	webhook;
	Datum		result;
	bool		isnull;

	PreventCommandIfReadOnly("fluxhooks.test_webhook()");
	api_enter(&scope);
	api_load_webhook(&scope, webhook_id, false, false, &webhook);
	api_check_not_paused();
	api_leave(&scope);

	queue_make_id(&id, GetCurrentTimestamp());
	api_send_sample(&webhook, &id);
	CommandCounterIncrement();

	api_enter(&scope);
	if (api_execute("SELECT d FROM fluxhooks.deliveries AS d WHERE d.webhook_id = $1 AND d.id = $2",
					parameters, lengthof(parameters)) == 0)
		elog(ERROR, "could not find the delivery that was recorded");
	result = api_datum(&scope, 0, 1, &isnull);
	api_leave(&scope);
	PG_RETURN_DATUM(result);
}
