/*
 * retention.h
 *	  Disk is bounded: rings move on, old slots are emptied, what has been
 *	  pending for too long is cancelled.
 */
#ifndef FLUXHOOKS_RETENTION_H
#define FLUXHOOKS_RETENTION_H

#include "datatype/timestamp.h"

extern void retention_init(MemoryContext context);

/* Is it time to look?  In *again the milliseconds until then. */
extern bool retention_wanted(TimestampTz now, long *again);

/* Something was written that will fall due. */
extern void retention_touch(TimestampTz now);

/* Do what is due, in transactions of its own.  Raises errors. */
extern void retention_run(void);

/* After a failed run: not before a while has passed. */
extern void retention_abort(void);

#endif
