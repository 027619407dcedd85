/*
 * parking.h
 *	  Deliveries that wait in pending rather than in memory.
 */
#ifndef FLUXHOOKS_PARKING_H
#define FLUXHOOKS_PARKING_H

#include "lane.h"

/* The lane parks from this batch on; staged. */
extern void parking_begin(Lane *lane);

/* What each lane may hold for all of them to fit. */
extern Size parking_lane_share(void);

/* Is so much queued, with these bytes more, that nothing is to be loaded even for an empty lane? */
extern bool parking_memory_is_full(Size more);

/*
 * Keep memory bounded: lanes that may not send give up what they hold; when
 * there is too much in all, those with more than their share park; and what
 * has been open for very many events, of which next_number is the next, gets its
 * pending row, so that those behind it can be forgotten.
 */
extern void parking_bound_memory(int64 next_number);

/* After commit, when what was staged has been queued.  After an error. */
extern void parking_apply(void);
extern void parking_abort(void);

#endif
