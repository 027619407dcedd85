/*
 * webhook.c
 *	  The configuration of all webhooks, as the worker's lanes need it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "lane.h"
#include "sql.h"
#include "webhook.h"

/* columns of the query */
#define COLUMN_ID			1
#define COLUMN_URL			2
#define COLUMN_SECRET		3
#define COLUMN_NAMES		4
#define COLUMN_VALUES		5
#define COLUMN_MAX_RETRIES	6
#define COLUMN_TIMEOUT		7
#define COLUMN_BACKOFF		8
#define COLUMN_ENABLED		9
#define COLUMN_DELETED		10
#define COLUMN_OLD_SECRET	11
#define COLUMN_OLD_EXPIRES	12
#define COLUMN_PAUSED		13
#define COLUMN_FAILURES		14
#define COLUMN_PROBE		15
#define COLUMN_PAUSE_AFTER	16

/* A text value as UTF-8. */
static char *
webhook_utf8(Datum datum)
{
	char	   *value = TextDatumGetCString(datum);

	return pg_server_to_any(value, strlen(value), PG_UTF8);
}

static int
webhook_strings(Datum array, const char ***strings)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	*strings = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*strings)[i] = nulls[i] ? "" : webhook_utf8(elements[i]);
	return n;
}

static void
webhook_set_template(Lane *lane, RequestTemplate *template)
{
	HttpUrl		url;
	bool		moved;

	if (template == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	moved = lane->template != NULL &&
		strcmp(request_template_url(lane->template), request_template_url(template)) != 0;
	request_template_free(lane->template);
	lane->template = template;
	if (http_url_parse(request_template_url(template), &url) == HTTP_URL_OK)
		lane_set_host(lane, url.key);
	if (moved)
	{
		lane_start_anew(lane);
		breaker_reset(lane);
	}
}

/* A pause that begins or ends is a line in the log; one that was found is not. */
static void
webhook_set_paused(Lane *lane, char *reason, bool is_new)
{
	bool		paused = reason != NULL;

	if (!is_new && paused != lane->paused && !lane->deleted)
	{
		char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&lane->webhook_id)));

		if (paused)
			ereport(LOG, (errmsg("fluxhooks webhook %s paused: %s", id, reason)));
		else
			ereport(LOG, (errmsg("fluxhooks webhook %s resumed", id)));
	}
	lane->paused = paused;
}

static void
webhook_set_sending(Lane *lane, bool sending)
{
	bool		resumes = sending && (!lane->sending || lane->breaker.pause == BREAKER_PAUSE_WRITTEN);

	lane->sending = sending;
	if (resumes)
		breaker_reset(lane);
}

static void
webhook_wipe(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
}

static RequestTemplate *
webhook_make_template(HeapTuple tuple, TupleDesc desc)
{
	RequestConfig config;
	RequestTemplate *template;
	char	   *secret;
	char	   *old_secret;
	bool		isnull;
	Datum		datum;

#define GET(column) SPI_getbinval(tuple, desc, (column), &isnull)
	datum = GET(COLUMN_SECRET);
	secret = isnull ? NULL : webhook_utf8(datum);
	datum = GET(COLUMN_OLD_SECRET);
	old_secret = isnull ? NULL : webhook_utf8(datum);
	config.url = webhook_utf8(GET(COLUMN_URL));
	config.secret = secret;
	config.old_secret = old_secret;
	config.old_secret_expires_at = DatumGetTimestampTz(GET(COLUMN_OLD_EXPIRES));
	config.n_headers = webhook_strings(GET(COLUMN_NAMES), &config.header_names);
	webhook_strings(GET(COLUMN_VALUES), &config.header_values);
	config.timeout_seconds = DatumGetInt32(GET(COLUMN_TIMEOUT));
#undef GET
	template = request_template_make(&config);
	webhook_wipe(secret);
	webhook_wipe(old_secret);
	return template;
}

static void
webhook_load_one(HeapTuple tuple, TupleDesc desc, uint64 stamp)
{
	bool		isnull;
	Lane	   *lane;
	bool		is_new;
	Datum		id = SPI_getbinval(tuple, desc, COLUMN_ID, &isnull);

#define GET(column) SPI_getbinval(tuple, desc, (column), &isnull)
	lane = lane_find(DatumGetUUIDP(id));
	is_new = lane == NULL;
	if (is_new)
		lane = lane_make(DatumGetUUIDP(id));
	lane->seen = stamp;
	lane->deleted = DatumGetBool(GET(COLUMN_DELETED));
	webhook_set_paused(lane, SPI_getvalue(tuple, desc, COLUMN_PAUSED), is_new);
	webhook_set_sending(lane, DatumGetBool(GET(COLUMN_ENABLED)) && !lane->paused && !lane->deleted);
	breaker_configure(lane, DatumGetInt32(GET(COLUMN_FAILURES)), DatumGetInt32(GET(COLUMN_PROBE)),
					  DatumGetInt32(GET(COLUMN_PAUSE_AFTER)));
	lane->max_retries = DatumGetInt32(GET(COLUMN_MAX_RETRIES));
	lane->retry_backoff_seconds = DatumGetInt32(GET(COLUMN_BACKOFF));
#undef GET
	webhook_set_template(lane, webhook_make_template(tuple, desc));
	lane_update(lane);
}

static void
webhook_drop_unseen(uint64 stamp)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (lane->seen == stamp)
			continue;
		lane->sending = false;
		lane->deleted = true;
		lane_update(lane);
		if (lane->n_queued == 0 && lane->in_flight == 0 && lane->n_ended == 0)
			lane_remove(lane);
	}
}

void
webhook_load(void)
{
	static uint64 stamp = 0;

	sql_execute("SELECT id, url, secret, "
				" ARRAY(SELECT h.key FROM jsonb_each_text(headers) AS h ORDER BY h.key), "
				" ARRAY(SELECT h.value FROM jsonb_each_text(headers) AS h ORDER BY h.key), "
				" max_retries, timeout_seconds, retry_backoff_seconds, "
				" enabled, deleted_at IS NOT NULL, old_secret, old_secret_expires_at, "
				" fluxhooks_internal.webhook_paused_reason(w), "
				" CASE WHEN options->'circuit_breaker' = 'false' THEN 0 "
				"      ELSE COALESCE((options->'circuit_breaker'->>'failures')::integer, " CppAsString2(BREAKER_FAILURES) ") END, "
				" COALESCE((options->'circuit_breaker'->>'probe_seconds')::integer, " CppAsString2(BREAKER_PROBE_SECONDS) "), "
				" COALESCE((options->>'pause_after_seconds')::integer, 0) "
				"FROM fluxhooks_internal.webhook AS w",
				SPI_OK_SELECT, 0, NULL, NULL);
	stamp++;
	for (uint64 i = 0; i < SPI_processed; i++)
		webhook_load_one(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, stamp);
	webhook_drop_unseen(stamp);
}
