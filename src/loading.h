/*
 * loading.h
 *	  From pending into the lanes: what was parked, and retries that are due.
 */
#ifndef FLUXHOOKS_LOADING_H
#define FLUXHOOKS_LOADING_H

#include "datatype/timestamp.h"

/*
 * Stage what is parked and what is due of lanes that have room, each kind
 * within bounds of its own: neither waits until the other has been sent.
 */
extern void loading_run(void);

/* Some lane has room, or more to load, than when this was last called. */
extern void loading_look(void);

/* When the next lane with room has something to load, as far as lanes have been looked at. */
extern TimestampTz loading_due(void);

#endif
