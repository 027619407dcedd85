/*
 * progress.h
 *	  Which events of which windows are settled, and the cursor that follows.
 */
#ifndef FLUXHOOKS_PROGRESS_H
#define FLUXHOOKS_PROGRESS_H

#include "cursor.h"
#include "delivery.h"

typedef struct OpenWindow OpenWindow;

/* Start from the cursor that was loaded. */
extern void progress_init(MemoryContext context, const Cursor *cursor);

/* The snapshot up to which windows have been opened. */
extern const LogSnapshot *progress_newest(void);

/* Open the next window, up to this snapshot, settled up to a position (NULL: nothing is). */
extern OpenWindow *progress_open_window(const LogSnapshot *next, const LogPosition *position);

/* There is no event between the newest window and this snapshot. */
extern void progress_skip(const LogSnapshot *next);

/* An event of the window; settled at once where unsettled is 0. */
extern OpenEvent *progress_add_event(OpenWindow *window, const LogPosition *position, int unsettled);

/* All events of the window have been added. */
extern void progress_window_read(OpenWindow *window);

/* One delivery of the event is settled. */
extern void progress_settle(OpenEvent *event);

/* Events that are open, or wait for an earlier one that is. */
extern int	progress_n_open(void);

/*
 * Forget what is settled from the front; true when that has moved the cursor,
 * which cursor then holds (pointing into memory of progress.c).
 */
extern bool progress_cursor(Cursor *cursor);

#endif
