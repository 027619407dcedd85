/*
 * api_pause.c
 *	  pause(), resume() and take_over().
 *
 * A copied database (see copy.c) comes up paused.  There, resume() cancels
 * what was inherited, since the original sends it, before anything is sent;
 * take_over() does not, since there is no original any more.
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "api.h"
#include "copy.h"
#include "id.h"
#include "record.h"
#include "shared.h"
#include "wakeup.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(api_pause);
PG_FUNCTION_INFO_V1(api_resume);
PG_FUNCTION_INFO_V1(api_take_over);

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
				" ON CONFLICT (single) DO UPDATE SET reason = excluded.reason",
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

/* A row of INHERITED as record_cancelled wants it. */
static void
api_describe_inherited(HeapTuple tuple, TupleDesc desc, PendingDelivery *delivery)
{
	bool		isnull;
	Datum		datum;
	bytea	   *body;
	bytea	   *key;

#define GET(column)	SPI_getbinval(tuple, desc, column, &isnull)
	memset(delivery, 0, sizeof(*delivery));
	delivery->row.delivery_id = *DatumGetUUIDP(GET(1));
	delivery->row.webhook_id = *DatumGetUUIDP(GET(2));
	delivery->row.place.xid = DatumGetFullTransactionId(GET(3));
	delivery->row.place.cid = DatumGetInt32(GET(4));
	delivery->row.place.seq = DatumGetInt64(GET(5));
	delivery->row.attempts = DatumGetInt32(GET(6));
	datum = GET(12);
	if (isnull)
		return;
	body = DatumGetByteaPP(datum);
	delivery->body = VARDATA_ANY(body);
	delivery->body_len = VARSIZE_ANY_EXHDR(body);
	delivery->operation = DatumGetChar(GET(7));
	delivery->captured_at = DatumGetTimestampTz(GET(8));
	delivery->table_schema = SPI_getvalue(tuple, desc, 9);
	delivery->table_name = SPI_getvalue(tuple, desc, 10);
	datum = GET(11);
	if (isnull)
		return;
	key = DatumGetByteaPP(datum);
	delivery->record_key = pnstrdup(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
#undef GET
}

#define INHERITED \
	"SELECT p.delivery_id, p.webhook_id, p.xid, p.cid, p.seq, p.attempts, p.operation, p.captured_at," \
	" p.table_schema, p.table_name, p.record_key, p.body" \
	" FROM fluxhooks_internal.pending AS p WHERE p.delivery_id < $1" \
	" UNION ALL" \
	" SELECT d.id, d.webhook_id, d.xid, d.cid, d.seq, 0, NULL, NULL, NULL, NULL, NULL, NULL" \
	" FROM fluxhooks_internal.delivery_unread AS d WHERE d.id < $1"

/*
 * Cancel what was captured before a time.  The worker's cursor stays where it
 * is: like any that starts, the next one passes over what has an outcome.
 */
static void
api_cancel_inherited(TimestampTz before)
{
	pg_uuid_t	id;
	ApiParameter parameter = API_UUID(&id);
	AttemptRow *attempts = palloc(CANCEL_BATCH * sizeof(AttemptRow));
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks inherited",
												ALLOCSET_DEFAULT_SIZES);
	Portal		portal;

	id_lowest(&id, before);
	portal = SPI_cursor_open_with_args(NULL, INHERITED, 1, &parameter.type, &parameter.value,
									   NULL, true, 0);
	for (;;)
	{
		SPITupleTable *table;
		uint64		n;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, CANCEL_BATCH);
		table = SPI_tuptable;
		n = SPI_processed;
		if (n == 0)
			break;
		old = MemoryContextSwitchTo(batch);
		for (uint64 i = 0; i < n; i++)
		{
			PendingDelivery delivery;

			api_describe_inherited(table->vals[i], table->tupdesc, &delivery);
			record_cancelled(&attempts[i], &delivery, GetCurrentTimestamp());
		}
		record_attempts(attempts, (int) n);
		SPI_freetuptable(table);
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch);
	}
	SPI_cursor_close(portal);
	api_execute("DELETE FROM fluxhooks_internal.pending WHERE delivery_id < $1", &parameter, 1);
}

/*
 * Is this a copy, rather than a database that a user paused?  *before: the
 * time when that was found out; what was captured since then is its own.
 */
static bool
api_is_copy(TimestampTz *before)
{
	bool		isnull;

	/* the worker may not have looked yet */
	(void) copy_check();
	if (api_execute("SELECT p.since FROM fluxhooks_internal.pause AS p WHERE p.copy", NULL, 0) == 0)
		return false;
	*before = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return true;
}

static void
api_settle_copy(TimestampTz before)
{
	api_stop_worker();

	/* one that sees what the worker did until it ended */
	PushActiveSnapshot(GetLatestSnapshot());
	api_cancel_inherited(before);
	PopActiveSnapshot();
}

static void
api_end_pause(bool cancel_inherited)
{
	ApiScope	scope;
	TimestampTz before;

	api_require_superuser("resume");
	api_enter(&scope);
	if (api_is_copy(&before))
	{
		api_execute("SELECT fluxhooks_internal.enable_refusal()", NULL, 0);
		if (cancel_inherited)
			api_settle_copy(before);
	}
	api_execute("DELETE FROM fluxhooks_internal.pause", NULL, 0);
	api_leave(&scope);
	wakeup_recheck_at_commit();
}

/* resume() RETURNS void */
Datum
api_resume(PG_FUNCTION_ARGS)
{
	api_end_pause(true);
	PG_RETURN_VOID();
}

/* take_over() RETURNS void */
Datum
api_take_over(PG_FUNCTION_ARGS)
{
	api_end_pause(false);
	PG_RETURN_VOID();
}
