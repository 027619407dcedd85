/*
 * pace.h
 *	  Reading keeps to the pace of sending, so that a burst need not be parked.
 */
#ifndef FLUXHOOKS_PACE_H
#define FLUXHOOKS_PACE_H

#include "datatype/timestamp.h"

/* From now on, see how many deliveries each lane starts. */
extern void pace_begin(void);

/* May reading go on?  If not, in *when: no later than then. */
extern bool pace_allows(TimestampTz now, TimestampTz *when);

/*
 * Have room for what is to be read; false where reading is to wait.  Lanes
 * that have kept it waiting for long enough park.
 */
extern bool pace_make_room(void);

#endif
