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

/* What the status view shows of a worker. */
typedef struct WorkerStatus
{
	int			pid;			/* 0: no worker runs */
	TimestampTz running_since;
	int			in_flight;		/* requests under way */
	char		last_error[SHARED_ERROR_SIZE];	/* "" = none; survives a respawn */
} WorkerStatus;

/* Request shared memory and hook its initialisation; from _PG_init only. */
extern void shared_init(void);

/* Was the library preloaded, so that a launcher exists? */
extern bool shared_exists(void);

/*
 * The worker of MyDatabaseId registers itself: pid, start time and latch.
 * Undone by itself when the process exits.
 */
extern void shared_worker_attach(void);

/* Set what status shows; error NULL leaves last_error as it is. */
extern void shared_worker_report(int in_flight, const char *error);

/* Status of the worker of this database; false where there never was one. */
extern bool shared_worker_status(Oid database, WorkerStatus *status);

/* Set the latch of this database's worker, if there is one. */
extern void shared_worker_wake(Oid database);

/*
 * Somebody other than the worker changed rows of pending (redeliver) or the
 * pause: the worker asks once per loop, and forgets remembered positions.
 */
extern void shared_worker_set_recheck(Oid database);
extern bool shared_worker_take_recheck(void);

#endif
