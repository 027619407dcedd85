/*
 * worker.c
 *	  Main loop of the worker of one database.
 *
 * Three things take turns and never overlap: a transaction (batch.c,
 * retention.c), starting requests, and moving those under way.  Between them
 * the process waits for its latch, the postmaster's death and libcurl's
 * descriptor in one set, made once.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "catalog.h"
#include "compat.h"
#include "delivery.h"
#include "guc.h"
#include "http.h"
#include "lane.h"
#include "retention.h"
#include "sample.h"
#include "shared.h"
#include "worker.h"

#define WORKER_IDLE_MS			1000	/* at most one wake-up a second without cause */
#define WORKER_BACKOFF_MAX_MS	(30 * 1000)
#define WORKER_BYTES_IN_FLIGHT	(32 * 1024 * 1024)

static MemoryContext worker_context = NULL;
static WaitEventSet *wait_set = NULL;
static TimestampTz retry_at = 0;	/* after a failed step */
static long backoff_ms = 0;
static char last_message[SHARED_ERROR_SIZE];

static bool
worker_reserve_descriptor(void)
{
	return AcquireExternalFD();
}

static void
worker_release_descriptor(void)
{
	ReleaseExternalFD();
}

static void
worker_http_done(const HttpResult *result)
{
	if (sample_is(result->arg))
		sample_done(result);
	else
		delivery_done(result);
}

static void
worker_set_policy(void)
{
	HttpPolicy	policy;
	char		error[HTTP_ERROR_SIZE];

	policy.allowed_networks = guc_allowed_networks ? guc_allowed_networks : "";
	policy.allow_http = guc_allow_http;
	policy.ca_file = guc_ca_file ? guc_ca_file : "";
	policy.proxy = guc_proxy ? guc_proxy : "";
	if (!http_set_policy(&policy, error, sizeof(error)))
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("fluxhooks worker cannot use its settings: %s", error)));
}

static void
worker_start_http(void)
{
	char		error[HTTP_ERROR_SIZE];

	if (!http_startup(worker_http_done, worker_reserve_descriptor, worker_release_descriptor,
					  error, sizeof(error)))
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("fluxhooks worker could not start libcurl: %s", error)));
	worker_set_policy();
	wait_set = compat_create_wait_event_set(3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, http_descriptor(), NULL, NULL);
}

/* ------------------------------------------------------------------- errors */

/*
 * A step has failed: report it, once as long as it stays the same, and try
 * again later.
 */
static void
worker_recover(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	HOLD_INTERRUPTS();
	error = CopyErrorData();
	if (strncmp(last_message, error->message, sizeof(last_message) - 1) != 0)
	{
		EmitErrorReport();
		strlcpy(last_message, error->message, sizeof(last_message));
	}
	FlushErrorState();
	AbortCurrentTransaction();
	batch_abort();
	retention_abort();
	shared_worker_report(lane_in_flight(), last_message);
	pgstat_report_activity(STATE_IDLE, NULL);
	FreeErrorData(error);
	backoff_ms = Min(Max(backoff_ms * 2, 250), WORKER_BACKOFF_MAX_MS);
	retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), backoff_ms);
	RESUME_INTERRUPTS();
}

/* Run one step, which does what it does in transactions; false when it failed. */
static bool
worker_try(void (*step) (void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = true;

	PG_TRY();
	{
		step();
	}
	PG_CATCH();
	{
		done = false;
		worker_recover(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (done && backoff_ms > 0)
	{
		backoff_ms = 0;
		retry_at = 0;
		last_message[0] = '\0';
	}
	return done;
}

/* -------------------------------------------------------------------- steps */

static void
worker_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
worker_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
worker_leave(void)
{
	shared_worker_absent();
	proc_exit(0);
}

/* Wait until no other worker of this database sends. */
static void
worker_take_over(void)
{
	LOCKTAG		tag;

	worker_begin();
	if (catalog_get() == NULL)
	{
		worker_commit();
		worker_leave();
	}
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, WORKER_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	worker_commit();
}

static void
worker_batch_step(void)
{
	switch (batch_run())
	{
		case BATCH_DONE:
			retention_touch(GetCurrentTimestamp());
			break;
		case BATCH_NO_EXTENSION:
			worker_leave();
			break;
		case BATCH_OTHER_VERSION:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension fluxhooks is not of the version %s that the server has loaded: restart needed",
							FLUXHOOKS_VERSION),
					 errhint("Restart the server, or run ALTER EXTENSION fluxhooks UPDATE.")));
	}
}

static void
worker_start_deliveries(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Delivery   *delivery;

	if (!batch_sending())
		return;
	while (delivery_bytes_in_flight < WORKER_BYTES_IN_FLIGHT && (delivery = lane_next()) != NULL)
		delivery_start(delivery, now);
}

static void
worker_note_interrupts(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		worker_set_policy();
		retention_touch(GetCurrentTimestamp());
		batch_set_stale();
	}
	if (shared_worker_take_recheck())
		batch_set_stale();
}

/* Run what is due in transactions. */
static void
worker_transact(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		again;

	if (now < retry_at)
		return;
	if (batch_wanted(now, &again) && !worker_try(worker_batch_step))
		return;
	if (retention_wanted(now, &again))
		(void) worker_try(retention_run);
}

static long
worker_min_timeout(long a, long b)
{
	return b >= 0 && b < a ? b : a;
}

/* Milliseconds until there may be something to do. */
static long
worker_timeout(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = worker_min_timeout(WORKER_IDLE_MS, http_timeout_ms());
	long		again;

	if (now < retry_at)
		return worker_min_timeout(timeout, (long) ((retry_at - now) / 1000 + 1));
	if (batch_wanted(now, &again))
		return 0;
	timeout = worker_min_timeout(timeout, again);
	if (retention_wanted(now, &again))
		return 0;
	return worker_min_timeout(timeout, again);
}

static void
worker_wait(long timeout)
{
	WaitEvent	events[3];
	int			n = WaitEventSetWait(wait_set, timeout, events, lengthof(events), PG_WAIT_EXTENSION);

	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			/* events, most likely; paused, there is no batch that would see them */
			ResetLatch(MyLatch);
			batch_wake();
			retention_touch(GetCurrentTimestamp());
		}
	}
}

/*
 * Asked to stop: what has been answered is recorded; what is under way will be
 * sent again.
 */
static void
worker_stop(void)
{
	HOLD_INTERRUPTS();
	if (delivery_n_ended > 0)
		(void) worker_try(worker_batch_step);
	http_shutdown();
	proc_exit(0);
}

static void
worker_loop(void)
{
	for (;;)
	{
		if (ProcDiePending)
			worker_stop();
		CHECK_FOR_INTERRUPTS();
		worker_note_interrupts();
		worker_transact();
		sample_poll();
		sample_reap();
		http_progress();
		worker_start_deliveries();
		shared_worker_report(lane_in_flight(), NULL);
		worker_wait(worker_timeout());
	}
}

void
worker_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);

	/* own statements: no writer waits for them, and no name is looked up elsewhere */
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("fluxhooks.capture", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_USERSET, PGC_S_OVERRIDE);
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		SetConfigOption("transaction_timeout", "0", PGC_USERSET, PGC_S_OVERRIDE);

	/* as a replica, our tables would drop what is written to them */
	SetConfigOption("session_replication_role", "origin", PGC_SUSET, PGC_S_OVERRIDE);

	worker_context = AllocSetContextCreate(TopMemoryContext, "fluxhooks worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(worker_context);
	worker_take_over();
	shared_worker_attach();
	lane_init(worker_context);
	delivery_init(worker_context);
	batch_init(worker_context);
	retention_init(worker_context);
	worker_start_http();
	pgstat_report_activity(STATE_IDLE, NULL);
	worker_loop();
}
