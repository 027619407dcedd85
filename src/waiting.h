/*
 * waiting.h
 *	  Since when an event that is read counts as pending.
 *
 * That is, since its transaction ended, as closely as is known: never before, and
 * no later than the next time the log moved on, or the event was read.
 */
#ifndef FLUXHOOKS_WAITING_H
#define FLUXHOOKS_WAITING_H

#include "access/transam.h"
#include "datatype/timestamp.h"

extern void waiting_init(MemoryContext context);

/* A window has been opened; needs SPI to be connected. */
extern void waiting_begin(TimestampTz now);

/* It has been read to its end, and that is committed. */
extern void waiting_end(void);

/* Since when an event of this transaction, in that window, has been pending. */
extern TimestampTz waiting_since(FullTransactionId xid);

#endif
