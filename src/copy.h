/*
 * copy.h
 *	  Is this database a copy of one that sends?
 */
#ifndef FLUXHOOKS_COPY_H
#define FLUXHOOKS_COPY_H

/* Look whether the server comes up from a backup; from _PG_init while preloaded. */
extern void copy_init(void);

/*
 * Worker, when it starts and when fluxhooks_internal.instance has changed, in
 * a transaction with SPI connected: remember this database, or, where it turns
 * out to be a copy, pause it (fluxhooks_internal.pause).
 */
extern void copy_check(void);

#endif
