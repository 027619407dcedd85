/*
 * stats_table.c
 *	  What has been counted of each webhook, kept in webhook_stat.
 *
 * One row for each webhook, updated no more than once a minute: while somebody
 * holds xmin back, every update leaves a dead row.  Failures in a row are written at
 * once when a breaker opens, so that the next worker finds it open.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog.h"
#include "fault.h"
#include "lane.h"
#include "sql.h"
#include "stats_table.h"

#define SAVE_DELAY_MS		(60 * 1000)
#define SAVE_SOON_MS		1000

static TimestampTz due_at = DT_NOEND;
static TimestampTz saved_at = 0;

void
stats_table_touch(bool soon)
{
	TimestampTz due = TimestampTzPlusMilliseconds(saved_at, soon ? SAVE_SOON_MS : SAVE_DELAY_MS);

	due_at = Min(due_at, due);
}

bool
stats_table_is_behind(void)
{
	return due_at != DT_NOEND;
}

bool
stats_table_wanted(TimestampTz now, long *again)
{
	*again = -1;
	if (due_at == DT_NOEND)
		return false;
	if (now >= due_at)
		return true;
	*again = (long) Min((due_at - now) / 1000 + 1, SAVE_DELAY_MS);
	return false;
}

/* ---------------------------------------------------------------------- load */

static void
stats_table_take_times(Stats *stats, Datum datum)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	int			n = Min(ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)), STATS_TIMES);

	if (ARR_HASNULL(array))
		return;
	memcpy(stats->times, ARR_DATA_PTR(array), n * sizeof(int32));
	stats->n_times = 0;
	for (int i = 0; i < STATS_TIMES; i++)
		stats->n_times += stats->times[i];
}

static void
stats_table_take(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Lane	   *lane;
	Stats	   *stats;
	Datum		datum;
	int64		in_a_row;
	char	   *error;

#define GET(column) SPI_getbinval(tuple, desc, (column), &isnull)
	datum = GET(1);
	lane = lane_find(DatumGetUUIDP(datum));
	if (lane == NULL)
		return;
	stats = &lane->stats;
	stats->since = DatumGetTimestampTz(GET(2));
	stats->sent = DatumGetInt64(GET(3));
	stats->failed = DatumGetInt64(GET(4));
	stats->retried = DatumGetInt64(GET(5));
	datum = GET(6);
	stats->last_success_at = isnull ? 0 : DatumGetTimestampTz(datum);
	datum = GET(7);
	stats->last_failure_at = isnull ? 0 : DatumGetTimestampTz(datum);
	error = SPI_getvalue(tuple, desc, 8);
	strlcpy(stats->last_error, error ? error : "", sizeof(stats->last_error));
	in_a_row = DatumGetInt64(GET(9));
	datum = GET(10);
	if (!isnull && lane->sending)
		breaker_restore(lane, in_a_row, DatumGetTimestampTz(datum));
	datum = GET(11);
	if (!isnull)
		stats_table_take_times(stats, datum);
#undef GET
}

void
stats_table_load(void)
{
	static bool loaded = false;

	if (loaded)
		return;
	sql_execute("SELECT webhook_id, since, sent, failed, retried, last_success_at, last_failure_at, last_error, "
				" consecutive_failures, failing_since, times FROM fluxhooks_internal.webhook_stat",
				SPI_OK_SELECT, 0, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		stats_table_take(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	FAULT_POINT("stats_loaded");
	loaded = true;
}

/* ---------------------------------------------------------------------- save */

static Datum
stats_table_times(const Stats *stats)
{
	Datum		values[STATS_TIMES];

	for (int i = 0; i < STATS_TIMES; i++)
		values[i] = Int32GetDatum(stats->times[i]);
	return PointerGetDatum(construct_array(values, STATS_TIMES, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static void
stats_table_write(const Lane *lane)
{
	const Stats *stats = &lane->stats;
	static Oid	types[] = {
		UUIDOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		TEXTOID, INT8OID, TIMESTAMPTZOID, INT4ARRAYOID
	};
	Datum		values[] = {
		UUIDPGetDatum(&lane->webhook_id), TimestampTzGetDatum(stats->since),
		Int64GetDatum(stats->sent), Int64GetDatum(stats->failed), Int64GetDatum(stats->retried),
		TimestampTzGetDatum(stats->last_success_at ? stats->last_success_at : DT_NOBEGIN),
		TimestampTzGetDatum(stats->last_failure_at ? stats->last_failure_at : DT_NOBEGIN),
		CStringGetTextDatum(stats->last_error), Int64GetDatum(lane->breaker.in_a_row),
		TimestampTzGetDatum(lane->breaker.failing_since ? lane->breaker.failing_since : DT_NOBEGIN),
		stats_table_times(stats)
	};
	static SPIPlanPtr plan = NULL;

	sql_execute_kept(&plan,
					 "INSERT INTO fluxhooks_internal.webhook_stat AS s "
					 "SELECT $1, $2, $3, $4, $5, NULLIF($6, '-infinity'), NULLIF($7, '-infinity'), NULLIF($8, ''), $9, "
					 " NULLIF($10, '-infinity'), $11 "
					 "ON CONFLICT (webhook_id) DO UPDATE SET since = excluded.since, sent = excluded.sent, "
					 " failed = excluded.failed, retried = excluded.retried, last_success_at = excluded.last_success_at, "
					 " last_failure_at = excluded.last_failure_at, last_error = excluded.last_error, "
					 " consecutive_failures = excluded.consecutive_failures, failing_since = excluded.failing_since, "
					 " times = excluded.times "
					 "WHERE (s.sent, s.failed, s.retried, s.consecutive_failures) "
					 " IS DISTINCT FROM (excluded.sent, excluded.failed, excluded.retried, excluded.consecutive_failures)",
					 SPI_OK_INSERT, lengthof(types), types, values);
}

void
stats_table_save(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	saved_at = GetCurrentTimestamp();
	due_at = TimestampTzPlusMilliseconds(saved_at, SAVE_DELAY_MS);	/* if this fails */
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "fluxhooks statistics");
	(void) catalog_lock();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (!lane->deleted && lane->stats.sent + lane->stats.failed + lane->stats.retried > 0)
			stats_table_write(lane);
	}
	sql_execute("DELETE FROM fluxhooks_internal.webhook_stat AS s "
				"WHERE NOT EXISTS (SELECT FROM fluxhooks_internal.webhook AS w "
				"                  WHERE w.id = s.webhook_id AND w.deleted_at IS NULL)",
				SPI_OK_DELETE, 0, NULL, NULL);
	FAULT_POINT("stats_saved");
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	FAULT_POINT("stats_committed");
	due_at = DT_NOEND;
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}
