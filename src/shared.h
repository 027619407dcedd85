/*
 * shared.h
 *	  What the processes of fluxhooks share: one slot per database with a
 *	  worker.  Exists only where shared_preload_libraries names fluxhooks;
 *	  every function is harmless without.
 */
#ifndef FLUXHOOKS_SHARED_H
#define FLUXHOOKS_SHARED_H

#include "datatype/timestamp.h"

#define SHARED_ERROR_SIZE	256
#define SHARED_SAMPLES		8	/* requests of test_webhook at once, per database */

/* What the status view shows of a worker. */
typedef struct WorkerStatus
{
	int			pid;			/* 0: no worker runs */
	TimestampTz running_since;
	int			in_flight;		/* requests under way */
	char		last_error[SHARED_ERROR_SIZE];	/* "" = none; survives a respawn */
	TimestampTz last_error_at;
} WorkerStatus;

/* Request shared memory and hook its initialisation; from _PG_init only. */
extern void shared_init(void);

/* Was the library preloaded, so that a launcher exists? */
extern bool shared_exists(void);

/*
 * The worker of MyDatabaseId registers itself: pid, start time and latch.
 * Undone by itself when the process exits.  Ends the process here and now where
 * nobody wants it any more (a command that needs the database without sessions
 * came first, or another worker did).
 */
extern void shared_worker_attach(void);

/*
 * The worker tells, before it exits, that this database does not have the
 * extension: none is started until the launcher is told that it has.  Before
 * or after shared_worker_attach.
 */
extern void shared_worker_absent(void);

/* Set what status shows; error NULL leaves last_error as it is, "" empties it. */
extern void shared_worker_report(int in_flight, const char *error);

/* Status of the worker of this database; false where there never was one. */
extern bool shared_worker_status(Oid database, WorkerStatus *status);

/* Where publish.c has put what it publishes (0: nowhere), and where it is. */
extern void shared_worker_set_published(uint32 handle);
extern uint32 shared_published(Oid database);

/* Set the latch of this database's worker, if there is one.  Takes no lock. */
extern void shared_worker_wake(Oid database);

/*
 * Somebody other than the worker changed rows of pending (redeliver) or the
 * pause: the worker asks once per loop, and forgets remembered positions.
 */
extern void shared_worker_set_recheck(Oid database);
extern bool shared_worker_take_recheck(void);

/*
 * For the launcher and who talks to it.
 */
typedef enum SharedPhase
{
	SHARED_IDLE,				/* no worker */
	SHARED_STARTING,			/* registered, not attached yet */
	SHARED_RUNNING,				/* attached */
	SHARED_ENDED				/* gone; the launcher has not taken note yet */
} SharedPhase;

typedef struct SharedWorker
{
	SharedPhase phase;
	bool		stopped;		/* was asked to go: its end is no failure */
	bool		absent;			/* found no extension */
} SharedWorker;

typedef enum SharedStart
{
	SHARED_START_OK,			/* now SHARED_STARTING */
	SHARED_START_HELD,			/* not before the hold is released */
	SHARED_START_FULL			/* no slot is free */
} SharedStart;

/* The launcher's own registration; notes the workers of a former launcher. */
extern void shared_launcher_attach(void);
extern void shared_launcher_detach(void);

/* Have the launcher read the list of databases, ... */
extern void shared_tell_databases(void);

/* ... and take it that this one has the extension now. */
extern void shared_tell_extension(Oid database);

/*
 * What was told since the last call: true where the list is to be read.  Up to
 * SHARED_NOTICES databases with news of the extension; n_notices is -1 where
 * there were more than that, so that each may have it.
 */
#define SHARED_NOTICES	64
extern bool shared_take_news(Oid *notices, int *n_notices);

extern void shared_slot_look(Oid database, SharedWorker *worker);
extern SharedStart shared_slot_start(Oid database);

/* A worker that was starting ended before it attached, or never came to be. */
extern void shared_slot_ended(Oid database);

/* SHARED_ENDED has been taken note of. */
extern void shared_slot_acknowledge(Oid database);

/* Ask the worker to end. */
extern void shared_slot_stop(Oid database);

/* Free the slots without worker and holder (IDLE or ENDED) that needed() lets go. */
extern void shared_slot_sweep(bool (*needed) (Oid database, SharedPhase phase));

/*
 * Stop the worker of a database and let none start; counted, since two
 * sessions may copy one template.  False where there is no room to note it.
 */
extern bool shared_hold(Oid database);
extern void shared_release(Oid database);

/* Wait, interruptibly, until the database's worker has gone; false on timeout. */
extern bool shared_wait_gone(Oid database, long timeout_ms);

/*
 * For test_webhook: place a handle of dynamic shared memory where the worker
 * of MyDatabaseId finds it.  Which place, or one of the negative codes; pid of the worker
 * it was given to.
 */
#define SHARED_SAMPLE_NO_WORKER	(-1)
#define SHARED_SAMPLE_FULL		(-2)
extern int	shared_sample_put(uint32 handle, int *worker_pid);
extern void shared_sample_remove(Oid database, int place, uint32 handle);

/* The worker's view: the handle in a place, 0 = none. */
extern uint32 shared_sample_get(int place);

/* Is the worker of MyDatabaseId still the one with this pid? */
extern bool shared_worker_is(int pid);

#endif
