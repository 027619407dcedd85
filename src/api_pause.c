/*
 * api_pause.c
 *	  pause() and resume().
 *
 * A copied database (see copy.c) comes up paused.  There, resume() cancels
 * what was inherited, since the original sends it, before anything is sent.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "api.h"
#include "cursor.h"
#include "record.h"
#include "shared.h"
#include "wakeup.h"
#include "window.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(api_pause);
PG_FUNCTION_INFO_V1(api_resume);

#define CANCEL_BATCH	1000

static void
api_require_superuser(const char *what)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to %s deliveries", what)));
}

/* pause(reason text) RETURNS void */
Datum
api_pause(PG_FUNCTION_ARGS)
{
	ApiParameter parameter = {TEXTOID, (Datum) 0, PG_ARGISNULL(0)};
	ApiScope	scope;

	if (!PG_ARGISNULL(0))
		parameter.value = PG_GETARG_DATUM(0);
	api_require_superuser("pause");
	api_enter(&scope);
	api_execute("INSERT INTO fluxhooks_internal.pause (copy, reason, since) VALUES (false, $1, now())"
				" ON CONFLICT (single) DO UPDATE SET reason = excluded.reason, since = excluded.since",
				&parameter, 1);
	api_leave(&scope);
	wakeup_recheck_at_commit();
	PG_RETURN_VOID();
}

/*
 * End the worker, which remembers what it read, and keep its successor from
 * starting before this transaction has ended.
 */
static void
api_stop_worker(void)
{
	WorkerStatus status;
	LOCKTAG		tag;

	if (shared_worker_status(MyDatabaseId, &status) && status.pid != 0)
		(void) kill(status.pid, SIGTERM);
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, WORKER_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
api_cancel_pending(void)
{
	PendingDelivery *pending;
	int			n;

	do
	{
		AttemptRow *attempts = palloc(CANCEL_BATCH * sizeof(AttemptRow));
		pg_uuid_t  *ids = palloc(CANCEL_BATCH * sizeof(pg_uuid_t));

		CHECK_FOR_INTERRUPTS();
		n = record_load_expired(DT_NOEND, CANCEL_BATCH, CurrentMemoryContext, &pending);
		for (int i = 0; i < n; i++)
		{
			record_cancelled(&attempts[i], &pending[i], GetCurrentTimestamp());
			ids[i] = pending[i].row.delivery_id;
		}
		record_attempts(attempts, n);
		record_settled(ids, n);
		pfree(attempts);
		pfree(ids);
	} while (n == CANCEL_BATCH);
}

static void
api_describe_unread(HeapTuple tuple, TupleDesc desc, PendingDelivery *unread)
{
	bool		isnull;

	memset(unread, 0, sizeof(*unread));
	unread->row.delivery_id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &isnull));
	unread->row.webhook_id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 2, &isnull));
	unread->row.place.xid = DatumGetFullTransactionId(SPI_getbinval(tuple, desc, 3, &isnull));
	unread->row.place.cid = DatumGetInt32(SPI_getbinval(tuple, desc, 4, &isnull));
	unread->row.place.seq = DatumGetInt64(SPI_getbinval(tuple, desc, 5, &isnull));
}

/* What the active snapshot sees of the log, and nobody has read. */
static void
api_cancel_unread(void)
{
	Portal		portal = SPI_cursor_open_with_args(NULL,
												   "SELECT id, webhook_id, xid, cid, seq FROM fluxhooks_internal.delivery_unread",
												   0, NULL, NULL, NULL, true, 0);
	AttemptRow *attempts = palloc(CANCEL_BATCH * sizeof(AttemptRow));

	for (;;)
	{
		SPITupleTable *table;
		uint64		n;

		SPI_cursor_fetch(portal, true, CANCEL_BATCH);
		table = SPI_tuptable;
		n = SPI_processed;
		if (n == 0)
			break;
		for (uint64 i = 0; i < n; i++)
		{
			PendingDelivery unread;

			api_describe_unread(table->vals[i], table->tupdesc, &unread);
			record_cancelled(&attempts[i], &unread, GetCurrentTimestamp());
		}
		record_attempts(attempts, (int) n);
		SPI_freetuptable(table);
	}
	SPI_cursor_close(portal);
}

/*
 * Read on from here.  The position says too little rather than too much: what
 * lies behind it and has just been cancelled is passed over, as after any
 * restart, and what this transaction itself captured is not.
 */
static void
api_skip_log(void)
{
	Cursor	   *cursor = cursor_load();

	cursor->last = log_snapshot_take();
	cursor->last->xmax = cursor->last->xmin;
	cursor->last->n_xip = 0;
	cursor->next = NULL;
	cursor_append(cursor);
}

/* Was it a copy that was paused, rather than a user's pause? */
static bool
api_is_copy(void)
{
	ApiParameter parameters[] = {
		{INT8OID, Int64GetDatum((int64) GetSystemIdentifier()), false},
		API_OID(MyDatabaseId)
	};

	return api_execute("SELECT FROM fluxhooks_internal.pause AS p WHERE p.copy"
					   " UNION ALL"
					   " SELECT FROM fluxhooks_internal.instance AS i"
					   " WHERE i.system_identifier <> $1 OR i.database <> $2",
					   parameters, lengthof(parameters)) > 0;
}

static void
api_settle_copy(void)
{
	ApiParameter parameters[] = {
		{INT8OID, Int64GetDatum((int64) GetSystemIdentifier()), false},
		API_OID(MyDatabaseId)
	};

	api_stop_worker();

	/* one that sees what the worker did until it ended */
	PushActiveSnapshot(GetTransactionSnapshot());
	api_cancel_unread();
	api_cancel_pending();
	api_skip_log();
	PopActiveSnapshot();
	api_execute("DELETE FROM fluxhooks_internal.instance", NULL, 0);
	api_execute("INSERT INTO fluxhooks_internal.instance (system_identifier, database) VALUES ($1, $2)",
				parameters, lengthof(parameters));
}

/* resume() RETURNS void */
Datum
api_resume(PG_FUNCTION_ARGS)
{
	ApiScope	scope;

	api_require_superuser("resume");
	api_enter(&scope);
	if (api_is_copy())
		api_settle_copy();
	api_execute("DELETE FROM fluxhooks_internal.pause", NULL, 0);
	api_leave(&scope);
	wakeup_recheck_at_commit();
	PG_RETURN_VOID();
}
