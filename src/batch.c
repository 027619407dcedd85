/*
 * batch.c
 *	  One transaction of the worker: it records what has ended, reads what is
 *	  new, and loads what is due.
 *
 * What the steps are is here: outcome.c, loading.c and reading.c stage what is to
 * be done, and take it on after the commit.  Besides, what decides whether
 * anything is sent, and the cursor.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "fault.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "catalog.h"
#include "compat.h"
#include "copy.h"
#include "cursor.h"
#include "guc.h"
#include "lane.h"
#include "loading.h"
#include "outcome.h"
#include "parking.h"
#include "progress.h"
#include "reading.h"
#include "right.h"
#include "sql.h"
#include "stage.h"
#include "stats_table.h"
#include "webhook.h"

#define RECORD_DELIVERIES	1024	/* recorded at once */
#define RECORD_DELAY_MS		20		/* and no later than after this time */
#define CURSOR_DELAY_MS		1000

static MemoryContext worker_context = NULL;

/* what is known */
static bool started = false;	/* the cursor has been loaded */
static bool stale = true;		/* configuration and pause are to be read */
static uint64 rights_read = 0;	/* as of the last reading */
static bool rewind_lanes = false;	/* somebody else wrote to pending */
static bool paused = true;
static bool stopping = false;
static Oid	watched = InvalidOid;	/* the relation "webhook" */
static int64 cursor_number;		/* of the one written last */
static Cursor cursor_now;		/* the one to be written */
static bool cursor_moved = false;
static TimestampTz cursor_written_at = 0;
static bool applying = false;	/* it has committed; no way back */

/* -------------------------------------------------------------------- state */

static void
batch_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		stale = true;
}

void
batch_set_stale(void)
{
	stale = true;
	rewind_lanes = true;
}

/* Is the configuration to be read anew, or what its owners have a right to? */
static bool
batch_is_stale(void)
{
	return stale || rights_read != right_changes();
}

bool
batch_reached(Cursor *reached, const LogSnapshot **checked)
{
	if (!started)
		return false;
	reached->number = cursor_number;
	reading_reached(reached, checked);
	return true;
}

bool
batch_sending(void)
{
	return started && guc_delivery && !paused && !stopping && !batch_is_stale();
}

void
batch_stop(void)
{
	stopping = true;
}

static bool
batch_read_paused(void)
{
	bool		isnull;

	sql_execute("SELECT EXISTS (SELECT FROM fluxhooks_internal.pause)", SPI_OK_SELECT, 0, NULL, NULL);
	return DatumGetBool(sql_value(0, 1, &isnull));
}

/* said: the log has been told already */
static void
batch_set_paused(bool now_paused, bool said)
{
	static bool known = false;

	if (known && now_paused && !paused && !said)
		ereport(LOG, (errmsg("fluxhooks paused deliveries of database \"%s\"", get_database_name(MyDatabaseId))));
	else if (known && !now_paused && paused)
		ereport(LOG, (errmsg("fluxhooks resumed deliveries of database \"%s\"", get_database_name(MyDatabaseId))));
	paused = now_paused;
	known = true;
}

static void
batch_refresh(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	bool		is_copy;

	if (!batch_is_stale())
		return;
	stale = false;
	rights_read = right_changes();
	webhook_load();
	stage.configuration_read = true;
	stats_table_load();
	is_copy = copy_check();
	batch_set_paused(batch_read_paused(), is_copy);
	FAULT_POINT("batch_refreshed");
	if (!rewind_lanes)
		return;
	rewind_lanes = false;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
		lane_rewind(lane);
}

/* Take up where the last worker left off. */
static void
batch_start(void)
{
	Cursor	   *loaded;

	if (started)
		return;
	loaded = cursor_load();
	cursor_number = loaded->number;
	progress_init(worker_context, loaded);
	reading_start(loaded);
	FAULT_POINT("batch_started");
	started = true;
}

static bool
batch_cursor_due(TimestampTz now)
{
	return now >= TimestampTzPlusMilliseconds(cursor_written_at, CURSOR_DELAY_MS);
}

/* What is settled by now; this batch's own share follows with the next one. */
static void
batch_write_cursor(void)
{
	cursor_moved |= progress_cursor(&cursor_now);
	if (!cursor_moved || !batch_cursor_due(stage.now))
		return;
	cursor_now.number = cursor_number;
	cursor_append(&cursor_now);
	FAULT_POINT("batch_cursor_written");
	stage.cursor_written = true;
}

/* ------------------------------------------------------------ after commit */

static void
batch_apply(void)
{
	outcome_apply();
	FAULT_POINT("batch_apply_recorded");
	reading_apply();
	FAULT_POINT("batch_apply_events");
	stage_queue();
	FAULT_POINT("batch_apply_queued");
	parking_apply();
	FAULT_POINT("batch_apply_parked");
	if (stage.cursor_written)
	{
		cursor_number = cursor_now.number;
		cursor_written_at = stage.now;
		cursor_moved = false;
	}
	loading_look();
}

/* ------------------------------------------------------------------ running */

/* Is the script that made this database's tables the one this library is for? */
static BatchResult
batch_check_version(void)
{
	char	   *version;

	sql_execute("SELECT extversion FROM pg_extension WHERE extname = 'fluxhooks'",
				SPI_OK_SELECT, 0, NULL, NULL);
	if (SPI_processed == 0)
		return BATCH_NO_EXTENSION;
	version = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	return strcmp(version, FLUXHOOKS_VERSION) == 0 ? BATCH_DONE : BATCH_OTHER_VERSION;
}

static void
batch_steps(void)
{
	batch_start();
	batch_refresh();
	outcome_stage();
	parking_bound_memory(reading_next_number());
	if (batch_sending())
	{
		loading_run();
		reading_run();
	}
	stage_write();
	batch_write_cursor();
}

BatchResult
batch_run(void)
{
	BatchResult result = BATCH_DONE;
	const Catalog *catalog;

	stage_clear();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	FAULT_POINT("batch_begin");
	pgstat_report_activity(STATE_RUNNING, "fluxhooks batch");
	stage.now = GetCurrentTimestamp();
	catalog = catalog_lock();
	if (catalog == NULL)
		result = BATCH_NO_EXTENSION;
	else
	{
		watched = catalog->webhook;
		SPI_connect();
		MemoryContextSwitchTo(stage_context);
		reading_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (batch_is_stale())
			result = batch_check_version();
		if (result == BATCH_DONE)
			batch_steps();
		PopActiveSnapshot();
		SPI_finish();
	}
	FAULT_POINT("batch_commit");
	CommitTransactionCommand();
	applying = true;
	MemoryContextSwitchTo(worker_context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	FAULT_POINT("batch_committed");
	if (stage.flush_to != InvalidXLogRecPtr)
		XLogFlush(stage.flush_to);
	FAULT_POINT("batch_flushed");
	if (result == BATCH_DONE)
		batch_apply();
	applying = false;
	stage_clear();
	return result;
}

void
batch_abort(void)
{
	/* some are in lanes already, and pending rows may have been committed */
	if (applying)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("fluxhooks worker cannot take on what it has committed")));

	/* staged ones are among those that were saved */
	parking_abort();
	stage_drop();
	reading_abort();
	stale = true;
	FAULT_POINT_KILL("batch_abort");
	loading_look();
}

/* ------------------------------------------------------------ what is to do */

static void
batch_by(TimestampTz now, TimestampTz when, long *again)
{
	long		ms;

	if (when == DT_NOEND)
		return;
	ms = when <= now ? 0 : (long) Min((when - now) / 1000 + 1, 3600 * 1000);
	if (*again < 0 || ms < *again)
		*again = ms;
}

bool
batch_wanted(TimestampTz now, long *again)
{
	*again = -1;
	if (batch_is_stale() || !started)
		return true;
	if (delivery_n_ended > 0)
	{
		if (delivery_n_ended >= RECORD_DELIVERIES || lane_in_flight() == 0)
			return true;
		batch_by(now, TimestampTzPlusMilliseconds(delivery_ended_since, RECORD_DELAY_MS), again);
	}
	if (batch_sending())
	{
		TimestampTz when;

		batch_by(now, loading_due(), again);
		if (*again != 0)
		{
			if (reading_wanted(now, &when))
				return true;
			batch_by(now, when, again);
		}
	}
	cursor_moved |= progress_cursor(&cursor_now);
	if (cursor_moved)
		batch_by(now, TimestampTzPlusMilliseconds(cursor_written_at, CURSOR_DELAY_MS), again);
	return *again == 0;
}

void
batch_init(MemoryContext context)
{
	worker_context = context;
	stage_init(context);
	reading_init(context);
	CacheRegisterRelcacheCallback(batch_relcache_callback, (Datum) 0);
}
