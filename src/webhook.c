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
#define COLUMN_SENDING		9
#define COLUMN_DELETED		10

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
		lane_start_anew(lane);
}

static void
webhook_load_one(HeapTuple tuple, TupleDesc desc, uint64 stamp)
{
	bool		isnull;
	Lane	   *lane;
	const char **names;
	const char **values;
	int			n_headers;
	char	   *url;
	char	   *secret;
	Datum		datum;

#define GET(column) SPI_getbinval(tuple, desc, (column), &isnull)
	datum = GET(COLUMN_ID);
	lane = lane_find(DatumGetUUIDP(datum));
	if (lane == NULL)
		lane = lane_make(DatumGetUUIDP(datum));
	lane->seen = stamp;
	lane->deleted = DatumGetBool(GET(COLUMN_DELETED));
	lane->sending = DatumGetBool(GET(COLUMN_SENDING));
	lane->max_retries = DatumGetInt32(GET(COLUMN_MAX_RETRIES));
	lane->retry_backoff_seconds = DatumGetInt32(GET(COLUMN_BACKOFF));

	url = webhook_utf8(GET(COLUMN_URL));
	datum = GET(COLUMN_SECRET);
	secret = isnull ? NULL : webhook_utf8(datum);
	n_headers = webhook_strings(GET(COLUMN_NAMES), &names);
	webhook_strings(GET(COLUMN_VALUES), &values);
	webhook_set_template(lane, request_template_make(url, secret, names, values, n_headers,
													 DatumGetInt32(GET(COLUMN_TIMEOUT))));
#undef GET
	if (secret != NULL)
		memset(secret, 0, strlen(secret));
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
				" enabled AND deleted_at IS NULL AND fluxhooks_internal.webhook_paused_reason(w) IS NULL, "
				" deleted_at IS NOT NULL "
				"FROM fluxhooks_internal.webhook AS w",
				SPI_OK_SELECT, 0, NULL, NULL);
	stamp++;
	for (uint64 i = 0; i < SPI_processed; i++)
		webhook_load_one(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, stamp);
	webhook_drop_unseen(stamp);
}
