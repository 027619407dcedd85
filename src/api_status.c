/*
 * api_status.c
 *	  The SQL functions below the views status and webhook_stats.
 *
 * They tell each role of its own webhooks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "api.h"
#include "backlog.h"
#include "guc.h"
#include "publish.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(api_worker_status);
PG_FUNCTION_INFO_V1(api_backlog);
PG_FUNCTION_INFO_V1(api_counted);
PG_FUNCTION_INFO_V1(api_response_time);

/* A time, where there is one. */
static void
api_put_time(TimestampTz at, TimestampTz none, Datum *value, bool *isnull)
{
	*isnull = at == none;
	*value = TimestampTzGetDatum(at);
}

/*
 * worker_status(OUT pid, OUT running_since, OUT in_flight, OUT last_error,
 *		OUT last_error_at, OUT delivery, OUT preloaded): this database's worker,
 *		and whether the server delivers at all.
 */
Datum
api_worker_status(PG_FUNCTION_ARGS)
{
	WorkerStatus status;
	TupleDesc	desc;
	Datum		values[7] = {0};
	bool		nulls[7] = {true, true, true, true, true, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (shared_worker_status(MyDatabaseId, &status))
	{
		nulls[0] = nulls[1] = (status.pid == 0);
		values[0] = Int32GetDatum(status.pid);
		values[1] = TimestampTzGetDatum(status.running_since);
		/* may tell of any webhook */
		if (api_sees_all_webhooks())
		{
			nulls[2] = false;
			values[2] = Int32GetDatum(status.in_flight);
			nulls[3] = (status.last_error[0] == '\0');
			values[3] = CStringGetTextDatum(status.last_error);
			api_put_time(status.last_error_at, 0, &values[4], &nulls[4]);
		}
	}
	values[5] = BoolGetDatum(guc_delivery);
	values[6] = BoolGetDatum(shared_exists());
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * backlog(OUT webhook_id, OUT pending, OUT unread, OUT oldest_at,
 *		OUT oldest_unread_at) RETURNS SETOF record
 */
Datum
api_backlog(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Tuplestorestate *rows = api_begin_rows(fcinfo, &desc);
	Backlog    *backlogs;
	int			n = backlog_count(&backlogs);

	for (int i = 0; i < n; i++)
	{
		const Backlog *backlog = &backlogs[i];
		Datum		values[5];
		bool		nulls[5] = {false};

		if (!api_sees_webhook(&backlog->webhook_id))
			continue;
		values[0] = UUIDPGetDatum(&backlog->webhook_id);
		values[1] = Int64GetDatum(backlog->pending);
		values[2] = Int64GetDatum(backlog->unread);
		api_put_time(backlog->oldest_at, DT_NOEND, &values[3], &nulls[3]);
		api_put_time(backlog->oldest_unread_at, DT_NOEND, &values[4], &nulls[4]);
		tuplestore_putvalues(rows, desc, values, nulls);
	}
	PG_RETURN_NULL();
}

static Datum
api_times(const Stats *stats)
{
	Datum		values[STATS_TIMES];

	for (int i = 0; i < STATS_TIMES; i++)
		values[i] = Int32GetDatum(stats->times[i]);
	return PointerGetDatum(construct_array(values, STATS_TIMES, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

#define COUNTED_COLUMNS	16

static void
api_describe_counted(const PublishedWebhook *webhook, TimestampTz now, Datum *values, bool *nulls)
{
	const Stats *stats = &webhook->stats;
	double		succeeded;
	double		failed;

	stats_rates(stats, now, &succeeded, &failed);
	memset(nulls, 0, COUNTED_COLUMNS * sizeof(bool));
	values[0] = UUIDPGetDatum(&webhook->webhook_id);
	values[1] = TimestampTzGetDatum(stats->since);
	values[2] = Int64GetDatum(stats->sent);
	values[3] = Int64GetDatum(stats->failed);
	values[4] = Int64GetDatum(stats->retried);
	api_put_time(stats->last_success_at, 0, &values[5], &nulls[5]);
	api_put_time(stats->last_failure_at, 0, &values[6], &nulls[6]);
	nulls[7] = stats->last_error[0] == '\0';
	values[7] = CStringGetTextDatum(stats->last_error);
	values[8] = Int64GetDatum(webhook->in_a_row);
	api_put_time(webhook->failing_since, 0, &values[9], &nulls[9]);
	values[10] = api_times(stats);
	values[11] = Float8GetDatum(succeeded);
	values[12] = Float8GetDatum(failed);
	values[13] = BoolGetDatum(webhook->breaker);
	values[14] = BoolGetDatum(webhook->breaker_open);
	api_put_time(webhook->breaker_open ? webhook->breaker_open_since : 0, 0, &values[15], &nulls[15]);
}

/*
 * counted(OUT webhook_id, ... the columns of webhook_stat ..., OUT succeeded_per_second,
 *		OUT failed_per_second, OUT breaker, OUT breaker_open, OUT breaker_open_since)
 *		RETURNS SETOF record: what the worker has counted up to now.
 */
Datum
api_counted(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Tuplestorestate *rows = api_begin_rows(fcinfo, &desc);
	const Published *published = publish_read();
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; published != NULL && i < published->n_webhooks; i++)
	{
		Datum		values[COUNTED_COLUMNS];
		bool		nulls[COUNTED_COLUMNS];

		if (!api_sees_webhook(&published->webhooks[i].webhook_id))
			continue;
		api_describe_counted(&published->webhooks[i], now, values, nulls);
		tuplestore_putvalues(rows, desc, values, nulls);
	}
	PG_RETURN_NULL();
}

/* response_time(times integer[], fraction double precision) RETURNS double precision */
Datum
api_response_time(PG_FUNCTION_ARGS)
{
	ArrayType  *times = PG_GETARG_ARRAYTYPE_P(0);
	double		ms = -1;

	if (!ARR_HASNULL(times))
		ms = stats_time((const int32 *) ARR_DATA_PTR(times),
						ArrayGetNItems(ARR_NDIM(times), ARR_DIMS(times)), PG_GETARG_FLOAT8(1));
	if (ms < 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(ms);
}
