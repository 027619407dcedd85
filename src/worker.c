/*
 * worker.c
 *	  Main loop of the worker of one database.
 *
 * Three things take turns and never overlap: a transaction (batch.c,
 * retention.c), starting requests, and moving those under way.  Between them
 * the process waits for its latch, the postmaster's death and libcurl's
 * descriptor in one set, made once.
 *
 * SIGTERM ends the loop, not the transaction that is under way, which may
 * record what has been answered.  Only one that takes too long, waiting for a
 * lock perhaps, is broken off.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "fault.h"
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
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "breaker.h"
#include "catalog.h"
#include "compat.h"
#include "delivery.h"
#include "guc.h"
#include "http.h"
#include "lane.h"
#include "pausing.h"
#include "publish.h"
#include "reading.h"
#include "retention.h"
#include "sample.h"
#include "shared.h"
#include "stats_table.h"
#include "worker.h"

#define WORKER_IDLE_MS			1000	/* at most one wake-up a second without cause */
#define WORKER_BACKOFF_MAX_MS	(30 * 1000)
#define WORKER_BYTES_IN_FLIGHT	(32 * 1024 * 1024)
#define WORKER_PATIENCE_MS		2000	/* for a transaction, when asked to stop */
#define WORKER_LAST_ANSWERS_MS	250		/* for requests under way, then */

static MemoryContext worker_context = NULL;
static WaitEventSet *wait_set = NULL;
static int	n_descriptors = 0;	/* libcurl's */
static char database_name[NAMEDATALEN];
static TimeoutId patience;
static volatile sig_atomic_t stop_asked = false;
static volatile sig_atomic_t overdue = false;	/* a transaction has taken longer than that */

/* What is done in transactions; what fails is done again after a while. */
typedef struct Step
{
	bool		(*wanted) (TimestampTz now, long *again);
	void		(*run) (void);
	TimestampTz retry_at;
	long		backoff_ms;		/* 0: the last time it did not fail */
	char		message[SHARED_ERROR_SIZE]; /* that has been reported */
} Step;

static void worker_batch_step(void);
static void worker_retention_step(void);

static Step pausing_step = {pausing_wanted, pausing_run};
static Step batch_step = {batch_wanted, worker_batch_step};
static Step retention_step = {retention_wanted, worker_retention_step};
static Step stats_step = {stats_table_wanted, stats_table_save};
static Step publish_step = {publish_wanted, publish_run};

/* those that come after a batch, unless it fails */
static Step *const other_steps[] = {&retention_step, &stats_step};

/*
 * Two thirds of the descriptors that a process may have are for connections.  The rest is
 * enough for its tables.  AcquireExternalFD would grant one third, which those that are kept
 * for later take almost by themselves.
 */
static bool
worker_reserve_descriptor(void)
{
	if (n_descriptors >= max_safe_fds / 3 * 2)
		return false;
	ReserveExternalFD();
	n_descriptors++;
	return true;
}

static void
worker_release_descriptor(void)
{
	ReleaseExternalFD();
	n_descriptors--;
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

/* ------------------------------------------------------------------- SIGTERM */

static void
worker_handle_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	stop_asked = true;
	if (overdue)
		die(SIGTERM);
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
worker_handle_overdue(void)
{
	overdue = true;
	if (stop_asked)
		die(SIGTERM);
}

/* A step begins, and is not to take longer than that. */
static void
worker_begin_patience(void)
{
	overdue = false;
	enable_timeout_after(patience, WORKER_PATIENCE_MS);
}

static void
worker_end_patience(void)
{
	disable_timeout(patience, false);
	overdue = false;
}

/* From here on, SIGTERM is for the loop. */
static void
worker_take_sigterm(void)
{
	patience = RegisterTimeout(USER_TIMEOUT, worker_handle_overdue);
	pqsignal(SIGTERM, worker_handle_sigterm);
}

/* ------------------------------------------------------------------- errors */

/*
 * A step has failed: report it, once as long as it stays the same, and try
 * again later.
 */
static void
worker_recover(Step *step, MemoryContext context)
{
	ErrorData  *error;

	FAULT_POINT_KILL("worker_recover");
	MemoryContextSwitchTo(context);
	HOLD_INTERRUPTS();
	error = CopyErrorData();
	if (strncmp(step->message, error->message, sizeof(step->message) - 1) != 0)
	{
		EmitErrorReport();
		strlcpy(step->message, error->message, sizeof(step->message));
	}
	FlushErrorState();
	AbortCurrentTransaction();
	batch_abort();
	retention_abort();
	publish_touch();
	shared_worker_report(lane_in_flight(), step->message);
	pgstat_report_activity(STATE_IDLE, NULL);
	FreeErrorData(error);
	step->backoff_ms = Min(Max(step->backoff_ms * 2, 250), WORKER_BACKOFF_MAX_MS);
	step->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), step->backoff_ms);
	RESUME_INTERRUPTS();
}

/* Run one step, which does what it does in transactions; false when it failed. */
static bool
worker_try(Step *step)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = true;

	worker_begin_patience();
	PG_TRY();
	{
		step->run();
	}
	PG_CATCH();
	{
		done = false;
		worker_recover(step, context);
	}
	PG_END_TRY();
	worker_end_patience();
	MemoryContextSwitchTo(context);
	if (done && step->backoff_ms > 0)
	{
		step->backoff_ms = 0;
		step->retry_at = 0;
		step->message[0] = '\0';
	}
	return done;
}

/* Whoever did something about an error need not wait for the next try. */
static void
worker_try_soon(void)
{
	pausing_step.retry_at = 0;
	batch_step.retry_at = 0;
	for (int i = 0; i < lengthof(other_steps); i++)
		other_steps[i]->retry_at = 0;
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
	FAULT_POINT("worker_take_over");
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, WORKER_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	strlcpy(database_name, get_database_name(MyDatabaseId), sizeof(database_name));
	worker_commit();
}

static void
worker_batch_step(void)
{
	uint64		counted = delivery_n_counted;

	publish_begin_move();
	switch (batch_run())
	{
		case BATCH_DONE:
			publish_touch();
			if (delivery_n_counted != counted)
				stats_table_touch(false);
			retention_touch(GetCurrentTimestamp());
			break;
		case BATCH_NO_EXTENSION:
			ereport(LOG, (errmsg("fluxhooks worker of database \"%s\" stopped: the extension was dropped", database_name)));
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
worker_retention_step(void)
{
	publish_begin_move();
	retention_run();
	publish_touch();
}

static void
worker_start_deliveries(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Delivery   *delivery;

	if (breaker_poll(now))
	{
		publish_touch();
		stats_table_touch(true);
	}
	/* what cannot be recorded is not sent */
	if (!batch_sending() || batch_step.backoff_ms > 0)
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
		FAULT_POINT("worker_reload");
		worker_set_policy();
		retention_touch(GetCurrentTimestamp());
		batch_set_stale();
		worker_try_soon();
	}
	if (shared_worker_take_recheck())
	{
		batch_set_stale();
		worker_try_soon();
	}
}

/* Run a step if it is due; false while it fails. */
static bool
worker_take_step(Step *step, TimestampTz now)
{
	long		again;

	if (now >= step->retry_at && step->wanted(now, &again))
		(void) worker_try(step);
	return step->backoff_ms == 0;
}

/* Run what is due in transactions. */
static void
worker_transact(void)
{
	TimestampTz now = GetCurrentTimestamp();

	(void) worker_take_step(&pausing_step, now);
	if (worker_take_step(&batch_step, now))
	{
		for (int i = 0; i < lengthof(other_steps); i++)
			(void) worker_take_step(other_steps[i], now);
	}
	(void) worker_take_step(&publish_step, GetCurrentTimestamp());
}

static long
worker_min_timeout(long a, long b)
{
	return b >= 0 && b < a ? b : a;
}

/* The time until a step may be due, in *timeout if that is less. */
static void
worker_consider(const Step *step, TimestampTz now, long *timeout)
{
	long		again = 0;

	if (now < step->retry_at)
		again = (long) ((step->retry_at - now) / 1000 + 1);
	else if (step->wanted(now, &again))
		again = 0;
	*timeout = worker_min_timeout(*timeout, again);
}

/* Milliseconds until there may be something to do. */
static long
worker_timeout(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = worker_min_timeout(WORKER_IDLE_MS, http_timeout_ms());

	timeout = worker_min_timeout(timeout, breaker_timeout_ms(now));
	worker_consider(&pausing_step, now, &timeout);
	worker_consider(&batch_step, now, &timeout);
	worker_consider(&publish_step, now, &timeout);
	if (batch_step.backoff_ms > 0)
		return timeout;
	for (int i = 0; i < lengthof(other_steps); i++)
		worker_consider(other_steps[i], now, &timeout);
	return timeout;
}

static uint32
worker_wait_event(void)
{
	static uint32 wait_event = 0;

	return compat_wait_event(&wait_event, "FluxhooksWorker");
}

/*
 * The latch is set for events, most likely; paused, there is no batch that would
 * see them.  But an alarm sets it as well, as the one that each step leaves
 * behind does: then no transaction has ended, and there is nothing to look after.
 */
static void
worker_note_latch(void)
{
	static TransactionId seen = InvalidTransactionId;
	TransactionId latest = compat_latest_completed_xid();

	reading_wake();
	if (latest != seen)
		retention_touch(GetCurrentTimestamp());
	seen = latest;
}

static void
worker_wait(long timeout)
{
	WaitEvent	events[3];
	int			n = WaitEventSetWait(wait_set, timeout, events, lengthof(events), worker_wait_event());

	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			worker_note_latch();
		}
	}
}

/* Most of what is under way will be answered in a moment. */
static void
worker_take_last_answers(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WORKER_LAST_ANSWERS_MS);
	WaitEvent	event;
	long		ms;

	http_progress();
	while (lane_in_flight() > 0 && (ms = (long) ((end - GetCurrentTimestamp()) / 1000)) > 0)
	{
		(void) WaitEventSetWait(wait_set, worker_min_timeout(ms, http_timeout_ms()), &event, 1,
								worker_wait_event());
		ResetLatch(MyLatch);
		http_progress();
	}
}

/*
 * Asked to stop: what has been answered is recorded; what is under way will be
 * sent again.
 */
static void
worker_stop(void)
{
	ProcDiePending = false;		/* that is being done */
	FAULT_POINT("worker_stop");
	batch_stop();
	worker_take_last_answers();
	if (delivery_n_ended > 0)
		(void) worker_try(&batch_step);
	FAULT_POINT("worker_stopped");
	if (stats_table_is_behind())
		(void) worker_try(&stats_step);
	http_shutdown();
	ereport(LOG, (errmsg("fluxhooks worker of database \"%s\" stopped", database_name)));
	proc_exit(0);
}

static void
worker_loop(void)
{
	for (;;)
	{
		if (stop_asked)
			worker_stop();
		QueryCancelPending = false; /* there is nothing to cancel between two transactions */
		CHECK_FOR_INTERRUPTS();
		FAULT_POINT("worker_loop");
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
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("fluxhooks.capture", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	/* plans are kept, and would be made while there is next to nothing in pending */
	SetConfigOption("enable_seqscan", "off", PGC_USERSET, PGC_S_OVERRIDE);
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
	FAULT_POINT("worker_attached");
	lane_init(worker_context);
	delivery_init(worker_context);
	batch_init(worker_context);
	retention_init(worker_context);
	pausing_init(worker_context);
	worker_start_http();
	worker_take_sigterm();
	pgstat_report_activity(STATE_IDLE, NULL);
	ereport(LOG, (errmsg("fluxhooks worker of database \"%s\" started", database_name)));
	worker_loop();
}
