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
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "api.h"
#include "compat.h"
#include "copy.h"
#include "guc.h"
#include "payload.h"
#include "id.h"
#include "listing.h"
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
	ListingFilter filter = {.webhook_id = *id, .status = status, .max_rows = max_rows};
	ListedDelivery *deliveries;
	Tuplestorestate *store;
	TupleDesc	desc;
	pg_uuid_t	until;
	ApiScope	scope;
	ApiWebhook	webhook;
	int			n;

	if (max_rows < 1 || max_rows > LIST_ROWS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be from 1 to %d", LIST_ROWS_MAX),
				 errhint("Page on with the id of the last delivery as \"before\".")));
	if (status != NULL)
		api_check_status(status);
	id_lowest(&filter.lowest, PG_ARGISNULL(3) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(3));
	id_lowest(&until, PG_ARGISNULL(4) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(4));
	filter.before = PG_ARGISNULL(5) ? until : *PG_GETARG_UUID_P(5);
	if (memcmp(&until, &filter.before, UUID_LEN) < 0)
		filter.before = until;

	store = api_begin_rows(fcinfo, &desc);
	api_enter(&scope);
	api_load_webhook(&scope, id, false, true, &webhook);
	filter.deleted = webhook.deleted;
	n = listing_find(&filter, &deliveries);
	for (int i = 0; i < n; i++)
		tuplestore_puttuple(store, listing_form_row(&deliveries[i], webhook.deleted, desc));
	api_leave(&scope);
	PG_RETURN_NULL();
}

/*
 * One delivery
 */

/* Webhooks that the caller may see, deleted ones too; palloc'd. */
static int
api_visible_webhooks(const ApiScope *scope, pg_uuid_t **ids, bool **deleted)
{
	ApiParameter parameter = API_OID(scope->caller);
	uint64		n = api_query("SELECT w.id, w.deleted_at IS NOT NULL FROM fluxhooks_internal.webhook AS w"
							  " WHERE pg_has_role($1, fluxhooks_internal.reference_oid(w.owner), 'USAGE')",
							  &parameter, 1);
	bool		isnull;

	*ids = palloc(Max(n, 1) * sizeof(pg_uuid_t));
	*deleted = palloc(Max(n, 1) * sizeof(bool));
	for (uint64 i = 0; i < n; i++)
	{
		(*ids)[i] = *DatumGetUUIDP(api_datum(scope, i, 1, &isnull));
		(*deleted)[i] = DatumGetBool(api_datum(scope, i, 2, &isnull));
	}
	return (int) n;
}

/* A delivery that the caller may see, inside a scope; 42704 for any other. */
static void
api_load_delivery(const ApiScope *scope, const pg_uuid_t *id, ListedDelivery *delivery, bool *deleted)
{
	pg_uuid_t  *ids;
	bool	   *gone;
	int			n = api_visible_webhooks(scope, &ids, &gone);

	*deleted = false;
	if (!listing_find_one(id, ids, n, delivery))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("delivery \"%s\" does not exist", api_show_uuid(id))));
	for (int i = 0; i < n; i++)
	{
		if (memcmp(&ids[i], &delivery->webhook_id, UUID_LEN) == 0)
			*deleted = gone[i];
	}
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
	ListedDelivery delivery;
	bool		deleted;
	StringInfoData body;
	char	   *converted;

	initStringInfo(&body);
	api_enter(&scope);
	api_load_delivery(&scope, id, &delivery, &deleted);
	if (!listing_append_body(&delivery, &body))
		api_no_payload(id);
	api_leave(&scope);
	converted = pg_any_to_server(body.data, body.len, PG_UTF8);
	if (converted == body.data)
		PG_RETURN_TEXT_P(cstring_to_text_with_len(body.data, body.len));
	PG_RETURN_TEXT_P(cstring_to_text(converted));
}

/* A parameter of type bytea; null for NULL. */
static ApiParameter
api_bytes(const char *bytes, size_t len)
{
	ApiParameter parameter = {BYTEAOID, (Datum) 0, bytes == NULL};

	if (bytes != NULL)
		parameter.value = PointerGetDatum(cstring_to_text_with_len(bytes, len));
	return parameter;
}

/* False where it has a row already. */
static bool
api_insert_pending(const PendingDelivery *delivery)
{
	const PendingRow *row = &delivery->row;
	bool		in_log = delivery->operation == 0;
	ApiParameter parameters[] = {
		API_UUID(&row->delivery_id), API_UUID(&row->webhook_id),
		{XID8OID, FullTransactionIdGetDatum(row->place.xid), false},
		API_INT(row->place.cid),
		{INT8OID, Int64GetDatum(row->place.seq), false},
		{INT8OID, Int64GetDatum(row->key_hash), false},
		{INT8OID, Int64GetDatum(row->old_key_hash), false},
		API_INT(row->attempts),
		{CHAROID, CharGetDatum(delivery->operation), in_log},
		{TIMESTAMPTZOID, TimestampTzGetDatum(delivery->captured_at), in_log},
		API_TEXT(delivery->table_schema), API_TEXT(delivery->table_name),
		api_bytes(delivery->record_key, delivery->record_key ? strlen(delivery->record_key) : 0),
		api_bytes(delivery->body, delivery->body_len)
	};

	return api_execute("INSERT INTO fluxhooks_internal.pending (delivery_id, webhook_id, number, due_at,"
					   " pending_since, xid, cid, seq, key_hash, old_key_hash, attempts, attempts_before,"
					   " operation, captured_at, table_schema, table_name, record_key, body)"
					   " VALUES ($1, $2, nextval('fluxhooks_internal.pending_sequence'), now(),"
					   " now(), $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13, $14)"
					   " ON CONFLICT (delivery_id) DO NOTHING",
					   parameters, lengthof(parameters)) > 0;
}

/* redeliver(delivery_id uuid) RETURNS void */
Datum
api_redeliver(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "delivery_id"));
	ApiScope	scope;
	ListedDelivery delivery;
	PendingDelivery again;
	bool		deleted = false;

	api_enter(&scope);
	api_load_delivery(&scope, id, &delivery, &deleted);
	if (deleted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the webhook of delivery \"%s\" was deleted", api_show_uuid(id))));

	/*
	 * Reading the event's row, or the copies, keeps their tables from being
	 * emptied until this transaction has ended.
	 */
	if (delivery.ended != NULL && !listing_make_pending(&delivery, &again))
		api_no_payload(id);

	/* nothing inserted: somebody else has just done so */
	if (delivery.ended == NULL || !api_insert_pending(&again))
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
	RequestConfig request;
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
	request.url = api_to_utf8(config->url);
	request.secret = api_to_utf8(config->secret);
	request.old_secret = api_to_utf8(config->old_secret);
	request.old_secret_expires_at = config->old_secret_expires_at;
	request.n_headers = n;
	request.header_names = names;
	request.header_values = values;
	request.timeout_seconds = config->timeout_seconds;
	return request_template_make(&request);
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
	TimestampTz now = id_time(id);
	RequestTemplate *volatile template = NULL;
	Request    *volatile request = NULL;

	PG_TRY();
	{
		HttpResult	result;
		int			len;
		char	   *body = NULL;

		template = api_make_template(&webhook->config);
		if (template != NULL)
			body = api_sample_body(&webhook->id, now, &len);
		if (body != NULL)
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
	ApiScope	scope;
	ApiWebhook	webhook;
	ListedDelivery delivery;
	TupleDesc	desc;
	Datum		result;

	PreventCommandIfReadOnly("fluxhooks.test_webhook()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	api_enter(&scope);
	api_load_webhook(&scope, webhook_id, false, false, &webhook);
	api_check_not_paused();
	api_leave(&scope);

	id_make(&id, GetCurrentTimestamp());
	api_send_sample(&webhook, &id);
	CommandCounterIncrement();

	/* under a snapshot that sees what has just been recorded */
	api_enter(&scope);
	MemoryContextSwitchTo(scope.context);
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	if (!listing_find_one(&id, webhook_id, 1, &delivery))
		elog(ERROR, "could not find the delivery that was recorded");
	result = HeapTupleGetDatum(listing_form_row(&delivery, false, desc));
	PopActiveSnapshot();
	api_leave(&scope);
	PG_RETURN_DATUM(result);
}
