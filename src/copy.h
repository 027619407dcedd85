/*
 * copy.h
 *	  Is this database a copy of one that sends?
 */
#ifndef FLUXHOOKS_COPY_H
#define FLUXHOOKS_COPY_H

/* Look whether the server comes up from a backup; from _PG_init while preloaded. */
extern void copy_init(void);

/*
 * Worker, once, in a transaction with SPI connected: remember this database,
 * or, where it turns out to be a copy, pause it (fluxhooks_internal.pause).
 */
extern void copy_check(void);

/*
 * resume() in a copy: what was inherited counts as cancelled, and the database
 * as an original from here on.  In a transaction with SPI connected and
 * search_path pg_catalog; does nothing where the database is no copy.
 */
extern void copy_accept(void);

#endif
