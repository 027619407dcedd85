/*
 * batch.h
 *	  One transaction of the worker: it records what has ended, reads what is
 *	  new, and loads what is due.
 */
#ifndef FLUXHOOKS_BATCH_H
#define FLUXHOOKS_BATCH_H

#include "datatype/timestamp.h"

#include "cursor.h"

/* What a batch found. */
typedef enum BatchResult
{
	BATCH_DONE,
	BATCH_NO_EXTENSION,			/* it has been dropped */
	BATCH_OTHER_VERSION			/* the script is another version's */
} BatchResult;

/* Once, in the worker: memory, and what tells of changed configuration. */
extern void batch_init(MemoryContext context);

/*
 * Is there anything to do in a transaction?  Reads shared memory only.  In
 * *again: milliseconds until the answer may change by time alone; -1: never.
 */
extern bool batch_wanted(TimestampTz now, long *again);

/*
 * Do it, all in one transaction.  Raises errors; then nothing has been taken
 * on, and the next call does it again.
 */
extern BatchResult batch_run(void);

/* After an error: let go of what was staged. */
extern void batch_abort(void);

/* May deliveries be started at all (fluxhooks.delivery, pause())? */
extern bool batch_sending(void);

/* None will be: from now on a batch only records. */
extern void batch_stop(void);

/*
 * What has been read: everything that reached->last sees, and of the window up
 * to next (NULL: there is none) the events up to position.  What checked sees may
 * have been settled by a former worker.  False before anything has been.
 */
extern bool batch_reached(Cursor *reached, const LogSnapshot **checked);

/* Somebody else changed pending, pause or the configuration. */
extern void batch_set_stale(void);

#endif
