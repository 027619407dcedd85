/*
 * shared.c
 *	  What the processes of fluxhooks share.
 *
 * One LWLock guards everything.  Two things are done without it, since every
 * writer does them at commit: finding a database's slot and setting its
 * worker's latch.  A slot's database is written last when it is taken, and a
 * latch belongs to a PGPROC, which outlives its process: who reads a stale one
 * wakes a stranger for nothing.
 *
 * A slot goes IDLE -> STARTING (launcher) -> RUNNING (worker attaches) ->
 * ENDED (worker exits, or the launcher learns that it never attached) -> IDLE
 * (launcher has drawn its conclusions).  Whoever waits for a database without
 * worker waits for IDLE or ENDED.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared.h"

#define SHARED_TRANCHE		"fluxhooks"
#define SHARED_MIN_SLOTS	128

typedef struct Slot
{
	volatile Oid database;		/* InvalidOid: slot is free */
	Latch	   *volatile latch; /* NULL: nobody to wake */
	pg_atomic_uint32 recheck;
	SharedWorker worker;
	int			pid;			/* 0 unless SHARED_RUNNING */
	int			holders;		/* transactions that want no worker here */
	TimestampTz running_since;	/* 0: never ran */
	volatile int in_flight;
	volatile uint32 samples[SHARED_SAMPLES];
	volatile uint32 published;	/* handle of the segment, 0 = none */
	char		last_error[SHARED_ERROR_SIZE];
	TimestampTz last_error_at;
} Slot;

typedef struct Shared
{
	Latch	   *launcher;		/* NULL: it is restarting */
	bool		read_databases;
	int			n_notices;		/* -1: too many to tell apart */
	Oid			notices[SHARED_NOTICES];
	ConditionVariable gone;		/* some worker has ended */
	int			n_slots;
	Slot		slots[FLEXIBLE_ARRAY_MEMBER];
} Shared;

static Shared *shared = NULL;
static LWLock *lock = NULL;
static Slot *own = NULL;		/* in the worker: its slot */
static Slot *last_found = NULL;

static shmem_startup_hook_type previous_startup = NULL;
static void (*previous_request) (void) = NULL;

/*
 * No more workers than max_worker_processes run at once, but a slot also
 * remembers a worker that failed and notes a hold.
 */
static int
shared_n_slots(void)
{
	return Max(max_worker_processes, SHARED_MIN_SLOTS);
}

static Size
shared_size(void)
{
	return add_size(offsetof(Shared, slots),
					mul_size(shared_n_slots(), sizeof(Slot)));
}

static void
shared_request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(SHARED_TRANCHE, 1);
}

static void
shared_startup(void)
{
	bool		found;
	int			i;

	if (previous_startup)
		previous_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("fluxhooks", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		ConditionVariableInit(&shared->gone);
		shared->n_slots = shared_n_slots();
		for (i = 0; i < shared->n_slots; i++)
			pg_atomic_init_u32(&shared->slots[i].recheck, 0);
	}
	lock = &GetNamedLWLockTranche(SHARED_TRANCHE)->lock;
	LWLockRelease(AddinShmemInitLock);
}

void
shared_init(void)
{
	previous_request = compat_on_shmem_request(shared_request);
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

bool
shared_exists(void)
{
	return shared != NULL;
}

/* With or without the lock; without, the slot may change hands at any time. */
static Slot *
shared_find(Oid database)
{
	int			i;

	if (shared == NULL || !OidIsValid(database))
		return NULL;
	if (last_found != NULL && last_found->database == database)
		return last_found;
	for (i = 0; i < shared->n_slots; i++)
	{
		if (shared->slots[i].database == database)
		{
			last_found = &shared->slots[i];
			return last_found;
		}
	}
	return NULL;
}

/* Under the lock.  NULL where every slot is taken. */
static Slot *
shared_find_or_take(Oid database)
{
	Slot	   *slot = shared_find(database);
	int			i;

	if (slot != NULL)
		return slot;
	for (i = 0; i < shared->n_slots; i++)
	{
		slot = &shared->slots[i];
		if (slot->database != InvalidOid)
			continue;
		slot->latch = NULL;
		pg_atomic_write_u32(&slot->recheck, 0);
		memset(&slot->worker, 0, sizeof(slot->worker));
		slot->pid = 0;
		slot->holders = 0;
		slot->running_since = 0;
		slot->in_flight = 0;
		memset((void *) slot->samples, 0, sizeof(slot->samples));
		slot->published = 0;
		slot->last_error[0] = '\0';
		slot->last_error_at = 0;
		pg_write_barrier();
		slot->database = database;
		return slot;
	}
	return NULL;
}

static bool
shared_occupied(const Slot *slot)
{
	return slot->worker.phase == SHARED_STARTING ||
		slot->worker.phase == SHARED_RUNNING;
}

/* Under the lock, so that the launcher is still there. */
static void
shared_wake_launcher(void)
{
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
}

/*
 * The worker's side
 */

static void
shared_worker_detach(int code, Datum arg)
{
	if (own == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	own->latch = NULL;
	own->pid = 0;
	own->in_flight = 0;
	own->published = 0;
	own->worker.phase = SHARED_ENDED;
	shared_wake_launcher();
	LWLockRelease(lock);
	own = NULL;
	ConditionVariableBroadcast(&shared->gone);
}

void
shared_worker_attach(void)
{
	Slot	   *slot;

	if (shared == NULL)
		return;

	on_shmem_exit(shared_worker_detach, (Datum) 0);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(MyDatabaseId);
	if (slot != NULL && slot->worker.phase == SHARED_STARTING && !slot->worker.stopped)
	{
		slot->worker.phase = SHARED_RUNNING;
		slot->pid = MyProcPid;
		slot->running_since = GetCurrentTimestamp();
		slot->latch = MyLatch;
		own = slot;
		shared_wake_launcher();
	}
	LWLockRelease(lock);

	/* success, so that the log says nothing */
	if (own == NULL)
		proc_exit(0);
}

void
shared_worker_absent(void)
{
	Slot	   *slot;

	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(MyDatabaseId);
	if (slot != NULL && (slot == own || slot->worker.phase == SHARED_STARTING))
		slot->worker.absent = true;
	LWLockRelease(lock);
}

void
shared_worker_report(int in_flight, const char *error)
{
	if (own == NULL)
		return;
	own->in_flight = in_flight;
	if (error != NULL)
	{
		int			length = pg_mbcliplen(error, strlen(error), SHARED_ERROR_SIZE - 1);

		LWLockAcquire(lock, LW_EXCLUSIVE);
		memcpy(own->last_error, error, length);
		own->last_error[length] = '\0';
		own->last_error_at = GetCurrentTimestamp();
		LWLockRelease(lock);
	}
}

bool
shared_worker_take_recheck(void)
{
	/* a plain read first: this is asked in every loop */
	return own != NULL && pg_atomic_read_u32(&own->recheck) != 0 &&
		pg_atomic_exchange_u32(&own->recheck, 0) != 0;
}

/*
 * Everybody else's side
 */

bool
shared_worker_status(Oid database, WorkerStatus *status)
{
	Slot	   *slot;
	bool		ran = false;

	memset(status, 0, sizeof(*status));
	if (shared == NULL)
		return false;
	LWLockAcquire(lock, LW_SHARED);
	slot = shared_find(database);
	if (slot != NULL && slot->running_since != 0)
	{
		status->pid = slot->pid;
		status->running_since = slot->running_since;
		status->in_flight = slot->in_flight;
		strlcpy(status->last_error, slot->last_error, SHARED_ERROR_SIZE);
		status->last_error_at = slot->last_error_at;
		ran = true;
	}
	LWLockRelease(lock);
	return ran;
}

void
shared_worker_set_published(uint32 handle)
{
	if (own != NULL)
		own->published = handle;
}

uint32
shared_published(Oid database)
{
	Slot	   *slot = shared_find(database);

	return slot != NULL ? slot->published : 0;
}

void
shared_worker_wake(Oid database)
{
	Slot	   *slot = shared_find(database);
	Latch	   *latch;

	if (slot == NULL)
		return;

	/*
	 * What the caller made visible comes before the look at the latch, as in
	 * the worker the latch comes before its first look at what is visible.
	 */
	pg_memory_barrier();
	latch = slot->latch;
	if (latch != NULL)
		SetLatch(latch);
}

void
shared_worker_set_recheck(Oid database)
{
	Slot	   *slot = shared_find(database);

	if (slot == NULL)
		return;
	pg_atomic_write_u32(&slot->recheck, 1);
	shared_worker_wake(database);
}

bool
shared_worker_is(int pid)
{
	Slot	   *slot;
	bool		same;

	LWLockAcquire(lock, LW_SHARED);
	slot = shared_find(MyDatabaseId);
	same = slot != NULL && slot->pid == pid;
	LWLockRelease(lock);
	return same;
}

/*
 * The launcher's side
 */

/*
 * A former launcher took its starting workers back when it went
 * (launcher_exit); those that run are found by their slots.
 */
void
shared_launcher_attach(void)
{
	int			i;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher = MyLatch;
	shared->read_databases = true;
	for (i = 0; i < shared->n_slots; i++)
	{
		Slot	   *slot = &shared->slots[i];

		if (slot->database != InvalidOid && slot->worker.phase == SHARED_STARTING)
		{
			slot->worker.phase = SHARED_ENDED;
			slot->worker.stopped = true;
		}
	}
	LWLockRelease(lock);
	ConditionVariableBroadcast(&shared->gone);
}

void
shared_launcher_detach(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher = NULL;
	LWLockRelease(lock);
}

void
shared_tell_databases(void)
{
	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->read_databases = true;
	shared_wake_launcher();
	LWLockRelease(lock);
}

void
shared_tell_extension(Oid database)
{
	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->n_notices >= 0 && shared->n_notices < SHARED_NOTICES)
		shared->notices[shared->n_notices++] = database;
	else
		shared->n_notices = -1;
	shared->read_databases = true;
	shared_wake_launcher();
	LWLockRelease(lock);
}

bool
shared_take_news(Oid *notices, int *n_notices)
{
	bool		read_databases;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	read_databases = shared->read_databases;
	*n_notices = shared->n_notices;
	if (shared->n_notices > 0)
		memcpy(notices, shared->notices, shared->n_notices * sizeof(Oid));
	shared->read_databases = false;
	shared->n_notices = 0;
	LWLockRelease(lock);
	return read_databases;
}

void
shared_slot_look(Oid database, SharedWorker *worker)
{
	Slot	   *slot;

	memset(worker, 0, sizeof(*worker));
	LWLockAcquire(lock, LW_SHARED);
	slot = shared_find(database);
	if (slot != NULL)
		*worker = slot->worker;
	LWLockRelease(lock);
}

SharedStart
shared_slot_start(Oid database)
{
	SharedStart result = SHARED_START_OK;
	Slot	   *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find_or_take(database);
	if (slot == NULL)
		result = SHARED_START_FULL;
	else if (slot->holders > 0)
		result = SHARED_START_HELD;
	else
	{
		Assert(slot->worker.phase == SHARED_IDLE);
		slot->worker.phase = SHARED_STARTING;
		slot->worker.stopped = false;
		slot->worker.absent = false;
	}
	LWLockRelease(lock);
	return result;
}

void
shared_slot_ended(Oid database)
{
	Slot	   *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(database);
	if (slot != NULL && slot->worker.phase == SHARED_STARTING)
		slot->worker.phase = SHARED_ENDED;
	LWLockRelease(lock);
	ConditionVariableBroadcast(&shared->gone);
}

void
shared_slot_acknowledge(Oid database)
{
	Slot	   *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(database);
	if (slot != NULL && slot->worker.phase == SHARED_ENDED)
		slot->worker.phase = SHARED_IDLE;
	LWLockRelease(lock);
}

/*
 * Under the lock, which also keeps the pid from being anybody else's: a worker
 * takes it off under the lock before it exits.
 */
static void
shared_stop(Slot *slot)
{
	if (!shared_occupied(slot))
		return;
	slot->worker.stopped = true;
	if (slot->pid != 0)
		kill(slot->pid, SIGTERM);
}

void
shared_slot_stop(Oid database)
{
	Slot	   *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(database);
	if (slot != NULL)
		shared_stop(slot);
	LWLockRelease(lock);
}

void
shared_slot_sweep(bool (*needed) (Oid database, SharedPhase phase))
{
	int			i;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (i = 0; i < shared->n_slots; i++)
	{
		Slot	   *slot = &shared->slots[i];

		if (slot->database != InvalidOid && !shared_occupied(slot) &&
			slot->holders == 0 && !needed(slot->database, slot->worker.phase))
			slot->database = InvalidOid;
	}
	LWLockRelease(lock);
}

/*
 * Holds
 */

bool
shared_hold(Oid database)
{
	Slot	   *slot;

	if (shared == NULL)
		return false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find_or_take(database);
	if (slot != NULL)
	{
		slot->holders++;
		shared_stop(slot);
		shared_wake_launcher();
	}
	LWLockRelease(lock);
	return slot != NULL;
}

/*
 * The list of databases is read before a worker is started, so that none
 * starts in a database that was dropped.
 */
void
shared_release(Oid database)
{
	Slot	   *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(database);
	if (slot != NULL && slot->holders > 0)
		slot->holders--;
	shared->read_databases = true;
	shared_wake_launcher();
	LWLockRelease(lock);
}

static bool
shared_gone(Oid database)
{
	Slot	   *slot;
	bool		gone;

	LWLockAcquire(lock, LW_SHARED);
	slot = shared_find(database);
	gone = slot == NULL || !shared_occupied(slot);
	LWLockRelease(lock);
	return gone;
}

bool
shared_wait_gone(Oid database, long timeout_ms)
{
	static uint32 wait_event = 0;
	instr_time	start;
	bool		gone;

	INSTR_TIME_SET_CURRENT(start);
	ConditionVariablePrepareToSleep(&shared->gone);
	while (!(gone = shared_gone(database)))
	{
		instr_time	elapsed;
		long		rest;

		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, start);
		rest = timeout_ms - (long) INSTR_TIME_GET_MILLISEC(elapsed);
		if (rest <= 0)
			break;
		ConditionVariableTimedSleep(&shared->gone, rest, compat_wait_event(&wait_event, "FluxhooksWorkerEnd"));
	}
	ConditionVariableCancelSleep();
	return gone;
}

/*
 * Places for the requests of test_webhook
 */

int
shared_sample_put(uint32 handle, int *worker_pid)
{
	int			place = SHARED_SAMPLE_NO_WORKER;
	Slot	   *slot;

	if (shared == NULL)
		return SHARED_SAMPLE_NO_WORKER;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(MyDatabaseId);
	if (slot != NULL && slot->worker.phase == SHARED_RUNNING)
	{
		for (place = 0; place < SHARED_SAMPLES; place++)
		{
			if (slot->samples[place] == 0)
				break;
		}
		if (place < SHARED_SAMPLES)
		{
			slot->samples[place] = handle;
			*worker_pid = slot->pid;
			SetLatch(slot->latch);
		}
		else
			place = SHARED_SAMPLE_FULL;
	}
	LWLockRelease(lock);
	return place;
}

void
shared_sample_remove(Oid database, int place, uint32 handle)
{
	Slot	   *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = shared_find(database);
	if (slot != NULL && slot->samples[place] == handle)
	{
		slot->samples[place] = 0;
		if (slot->latch != NULL)
			SetLatch(slot->latch);
	}
	LWLockRelease(lock);
}

uint32
shared_sample_get(int place)
{
	return own != NULL ? own->samples[place] : 0;
}
