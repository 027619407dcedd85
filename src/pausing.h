/*
 * pausing.h
 *	  Webhooks whose breaker asks for it are paused: in the configuration, so
 *	  that it outlives the worker, with a reason and a NOTIFY.
 */
#ifndef FLUXHOOKS_PAUSING_H
#define FLUXHOOKS_PAUSING_H

#include "datatype/timestamp.h"

extern void pausing_init(MemoryContext context);

/* Is there a webhook to pause?  *again: as with batch_wanted. */
extern bool pausing_wanted(TimestampTz now, long *again);

/* Do it, in a transaction of its own.  Raises errors; to be called again then. */
extern void pausing_run(void);

#endif
