/*
 * launcher.c
 *	  One background worker per database that has the extension.
 *
 * The launcher reads pg_database and nothing else: whether a database has the
 * extension only a worker that connects to it can tell.  One that nothing is
 * known of is probed by starting its worker, one at a time; the worker ends at
 * once where there is no extension, and the launcher then leaves the database
 * alone until CREATE EXTENSION tells it (launcher_notify).  Templates and
 * databases that allow no connections are left alone altogether.
 *
 * What the workers do is read from the slots of shared.c, so that a launcher
 * that was restarted goes on with the workers it finds.  Everything that
 * happens sets the launcher's latch; the list of databases is read when told
 * and, for what no hook sees, once a minute.  An error ends the process, and the
 * postmaster starts it again.
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "fault.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "launcher.h"
#include "shared.h"

#define LAUNCHER_RESTART_S		2	/* the launcher itself, after a failure */
#define LAUNCHER_NAP_MS			60000	/* longest sleep */
#define LAUNCHER_MAX_DELAY_S	60	/* longest back-off */
#define LAUNCHER_RAN_WELL_MS	60000	/* a worker that lived so long starts afresh */
#define LAUNCHER_HOLD_WAIT_MS	10000

typedef enum Knowledge
{
	KNOWN_NOTHING,
	KNOWN_PRESENT,				/* a worker found the extension */
	KNOWN_ABSENT				/* a worker did not */
} Knowledge;

typedef struct Database
{
	Oid			oid;			/* hash key */
	NameData	name;
	bool		eligible;		/* in the last list, and not to be left alone */
	bool		told;			/* CREATE EXTENSION since the last start */
	Knowledge	extension;
	BackgroundWorkerHandle *handle; /* until the worker has attached */
	int64		started_at;		/* ms; 0: by a former launcher */
	int			delay;			/* s, doubled by each failure */
	int64		retry_at;		/* ms; 0: whenever wanted */
} Database;

static HTAB *databases = NULL;

/* All of max_worker_processes is in use: said once, tried again with back-off. */
static int	register_delay = 0;
static int64 register_at = 0;

static bool slots_full = false; /* said once */

static List *held = NIL;		/* in a backend: databases to release */

/* Milliseconds of a clock that nobody sets. */
static int64
launcher_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

static int
launcher_next_delay(int delay)
{
	return Max(1, Min(delay * 2, LAUNCHER_MAX_DELAY_S));
}

/*
 * The list of databases
 */

/* Also one to be left alone, so that a worker it still has is found. */
static void
launcher_enter(Form_pg_database form)
{
	bool		found;
	Database   *db = hash_search(databases, &form->oid, HASH_ENTER, &found);

	if (!found)
	{
		memset(db, 0, sizeof(*db));
		db->oid = form->oid;
	}
	db->name = form->datname;
	db->eligible = form->datallowconn && !form->datistemplate &&
		form->datconnlimit != COMPAT_CONNLIMIT_INVALID_DATABASE;
}

static void
launcher_read_databases(void)
{
	HASH_SEQ_STATUS status;
	Database   *db;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	hash_seq_init(&status, databases);
	while ((db = hash_seq_search(&status)) != NULL)
		db->eligible = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		launcher_enter((Form_pg_database) GETSTRUCT(tuple));
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

static void
launcher_take_news(bool overdue)
{
	Oid			notices[SHARED_NOTICES];
	int			n_notices;
	HASH_SEQ_STATUS status;
	Database   *db;
	int			i;

	if (!shared_take_news(notices, &n_notices) && !overdue)
		return;
	launcher_read_databases();

	for (i = 0; i < n_notices; i++)
	{
		db = hash_search(databases, &notices[i], HASH_FIND, NULL);
		if (db != NULL)
			db->told = true;
	}
	if (n_notices < 0)
	{
		hash_seq_init(&status, databases);
		while ((db = hash_seq_search(&status)) != NULL)
			db->told = true;
	}
}

/*
 * The workers
 */

/* It has gone: when does it come back? */
static void
launcher_conclude(Database *db, const SharedWorker *worker, int64 now)
{
	FAULT_POINT("launcher_conclude");
	db->retry_at = 0;
	if (worker->absent)
	{
		db->extension = KNOWN_ABSENT;
		db->delay = 0;
	}
	else if (worker->stopped)
		db->delay = 0;
	else
	{
		if (now - db->started_at >= LAUNCHER_RAN_WELL_MS)
			db->delay = 0;
		db->delay = launcher_next_delay(db->delay);
		db->retry_at = now + db->delay * INT64CONST(1000);
	}
	shared_slot_acknowledge(db->oid);
}

static void
launcher_forget_handle(Database *db)
{
	if (db->handle != NULL)
		pfree(db->handle);
	db->handle = NULL;
}

/* Take note of what a database's worker has come to; tell how it stands now. */
static SharedPhase
launcher_observe(Database *db, int64 now)
{
	SharedWorker worker;
	pid_t		pid;

	shared_slot_look(db->oid, &worker);
	if (!db->eligible && !worker.stopped)
	{
		shared_slot_stop(db->oid);
		shared_slot_look(db->oid, &worker);
	}
	if (worker.phase == SHARED_STARTING)
	{
		if (worker.stopped)
			TerminateBackgroundWorker(db->handle);
		if (GetBackgroundWorkerPid(db->handle, &pid) == BGWH_STOPPED)
		{
			shared_slot_ended(db->oid);
			shared_slot_look(db->oid, &worker);
		}
	}
	if (worker.phase != SHARED_STARTING)
		launcher_forget_handle(db);
	if (worker.phase == SHARED_RUNNING)
		db->extension = KNOWN_PRESENT;
	if (worker.phase == SHARED_ENDED)
	{
		launcher_conclude(db, &worker, now);
		return SHARED_IDLE;
	}
	return worker.phase;
}

static bool
launcher_register(Database *db)
{
	BackgroundWorker worker;
	MemoryContext old;
	bool		registered;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "fluxhooks");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "worker_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "fluxhooks worker for database %u", db->oid);
	snprintf(worker.bgw_type, BGW_MAXLEN, "fluxhooks worker");
	worker.bgw_main_arg = ObjectIdGetDatum(db->oid);
	worker.bgw_notify_pid = MyProcPid;

	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &db->handle);
	MemoryContextSwitchTo(old);
	return registered;
}

static void
launcher_report_full(Database *db)
{
	if (!slots_full)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no room to note the fluxhooks worker of database \"%s\"",
						NameStr(db->name)),
				 errdetail("Its events wait until another database needs no worker any more."),
				 errhint("Consider increasing max_worker_processes.")));
	slots_full = true;
}

static void
launcher_report_registered(Database *db, bool registered, int64 now)
{
	if (registered)
	{
		if (register_delay > 0)
			ereport(LOG,
					(errmsg("fluxhooks workers can be started again")));
		register_delay = 0;
		return;
	}
	if (register_delay == 0)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start the fluxhooks worker of database \"%s\"",
						NameStr(db->name)),
				 errdetail("All background worker slots are in use; fluxhooks tries again from time to time."),
				 errhint("Consider increasing max_worker_processes.")));
	register_delay = launcher_next_delay(register_delay);
	register_at = now + register_delay * INT64CONST(1000);
}

/* False where no further worker can be started for now. */
static bool
launcher_start(Database *db, int64 now)
{
	bool		registered;

	switch (shared_slot_start(db->oid))
	{
		case SHARED_START_HELD:
			return true;
		case SHARED_START_FULL:
			launcher_report_full(db);
			return false;
		case SHARED_START_OK:
			break;
	}
	slots_full = false;
	registered = launcher_register(db);
	FAULT_POINT("launcher_registered");
	if (registered)
	{
		elog(DEBUG1, "starting fluxhooks worker for database \"%s\"", NameStr(db->name));
		db->told = false;
		db->started_at = now;
	}
	else
	{
		shared_slot_ended(db->oid);
		shared_slot_acknowledge(db->oid);
	}
	launcher_report_registered(db, registered, now);
	return registered;
}

/*
 * Start what is wanted and due: those that are known first, then one that
 * nothing is known of, unless one such is just starting.  Milliseconds until
 * the next is due.
 */
static long
launcher_start_due(int64 now, bool probing)
{
	HASH_SEQ_STATUS status;
	Database   *db;
	Database   *probe = NULL;
	int64		next = now + LAUNCHER_NAP_MS;

	if (register_delay > 0 && now < register_at)
		return (long) (register_at - now);

	hash_seq_init(&status, databases);
	while ((db = hash_seq_search(&status)) != NULL)
	{
		SharedWorker worker;

		shared_slot_look(db->oid, &worker);
		if (!db->eligible || worker.phase != SHARED_IDLE)
			continue;
		if (db->extension == KNOWN_ABSENT && !db->told)
			continue;
		if (db->retry_at > now && !db->told)
			next = Min(next, db->retry_at);
		else if (db->extension == KNOWN_NOTHING && !db->told)
			probe = db;
		else if (!launcher_start(db, now))
		{
			hash_seq_term(&status);
			probe = NULL;
			break;
		}
	}
	if (probe != NULL && !probing)
		(void) launcher_start(probe, now);
	if (register_delay > 0)
		next = Min(next, register_at);
	return (long) Max(next - now, 0);
}

static bool
launcher_needs_slot(Oid oid, SharedPhase phase)
{
	Database   *db = hash_search(databases, &oid, HASH_FIND, NULL);

	if (db == NULL)
		return false;
	return phase == SHARED_ENDED || (db->eligible && db->extension == KNOWN_PRESENT);
}

/* One look at every database.  Milliseconds until the next is needed. */
static long
launcher_pass(int64 now)
{
	HASH_SEQ_STATUS status;
	Database   *db;
	bool		probing = false;

	hash_seq_init(&status, databases);
	while ((db = hash_seq_search(&status)) != NULL)
	{
		SharedPhase phase = launcher_observe(db, now);

		if (phase == SHARED_STARTING && db->extension == KNOWN_NOTHING)
			probing = true;
		if (phase == SHARED_IDLE && !db->eligible)
			hash_search(databases, &db->oid, HASH_REMOVE, NULL);
	}
	shared_slot_sweep(launcher_needs_slot);
	return launcher_start_due(now, probing);
}

/*
 * The process
 */

/*
 * Workers that have not attached cannot be found by a successor: they do not
 * outlive this process.  The others do.
 */
static void
launcher_exit(int code, Datum arg)
{
	HASH_SEQ_STATUS status;
	Database   *db;

	shared_launcher_detach();
	hash_seq_init(&status, databases);
	while ((db = hash_seq_search(&status)) != NULL)
	{
		if (db->handle != NULL)
			TerminateBackgroundWorker(db->handle);
	}
}

static void
launcher_setup(void)
{
	HASHCTL		ctl;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	/* no database: shared catalogs only */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Database);
	databases = hash_create("fluxhooks databases", 64, &ctl, HASH_ELEM | HASH_BLOBS);

	before_shmem_exit(launcher_exit, (Datum) 0);
	shared_launcher_attach();
}

void
launcher_main(Datum arg)
{
	static uint32 wait_event = 0;
	int64		read_at = 0;

	launcher_setup();
	for (;;)
	{
		int64		now = launcher_now();
		long		timeout;

		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(1);		/* 0 would mean: never start again */
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		launcher_take_news(now >= read_at);
		if (now >= read_at)
			read_at = now + LAUNCHER_NAP_MS;
		FAULT_POINT("launcher_pass");
		timeout = launcher_pass(now);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(timeout, (long) (read_at - now)), compat_wait_event(&wait_event, "FluxhooksLauncher"));
		ResetLatch(MyLatch);
	}
}

void
launcher_init(void)
{
	BackgroundWorker worker;

	/* pg_upgrade wants a server where nothing happens by itself */
	if (IsBinaryUpgrade)
		return;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = LAUNCHER_RESTART_S;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "fluxhooks");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "launcher_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "fluxhooks launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, "fluxhooks launcher");
	RegisterBackgroundWorker(&worker);
}

/*
 * What backends ask for
 */

void
launcher_notify(Oid database)
{
	shared_tell_extension(database);
}

/*
 * By the transaction's end, not the command's: an altered or dropped database
 * stays locked until then, and a worker that started would only wait for it.
 * It does wait where the transaction was prepared.
 */
static void
launcher_xact_callback(XactEvent event, void *arg)
{
	ListCell   *cell;

	if (held == NIL ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	foreach(cell, held)
		shared_release(lfirst_oid(cell));
	list_free(held);
	held = NIL;
}

void
launcher_hold(Oid database)
{
	static bool registered = false;
	MemoryContext old;

	if (!shared_exists())
		return;
	if (!registered)
		RegisterXactCallback(launcher_xact_callback, NULL);
	registered = true;

	/* have the memory before there is something to remember */
	old = MemoryContextSwitchTo(TopMemoryContext);
	held = lappend_oid(held, database);
	MemoryContextSwitchTo(old);
	if (!shared_hold(database))
	{
		held = list_delete_last(held);
		return;
	}

	if (!shared_wait_gone(database, LAUNCHER_HOLD_WAIT_MS))
		ereport(LOG,
				(errmsg("fluxhooks worker of database %u did not end in time", database)));
}
