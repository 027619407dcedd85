/*
 * reading.h
 *	  From the event log into the lanes.
 */
#ifndef FLUXHOOKS_READING_H
#define FLUXHOOKS_READING_H

#include "cursor.h"

extern void reading_init(MemoryContext context);

/* Take up at this cursor, where the last worker left off. */
extern void reading_start(const Cursor *cursor);

/* The latch was set: there may be new events. */
extern void reading_wake(void);

/*
 * Is there anything to read?  Reads shared memory only.  If not, in *when: the
 * answer may have changed then.
 */
extern bool reading_wanted(TimestampTz now, TimestampTz *when);

/* A batch begins: what the latch was set for so far, it will find. */
extern void reading_begin(void);

/* Stage the next page of the window, where lanes have room for one. */
extern void reading_run(void);

/* After commit: it has been read.  After an error: it is to be read again. */
extern void reading_apply(void);
extern void reading_abort(void);

/* What has been read, as batch_reached gives it, less the cursor's number. */
extern void reading_reached(Cursor *reached, const LogSnapshot **checked);

/* What the next event's number in order of reading will be. */
extern int64 reading_next_number(void);

#endif
