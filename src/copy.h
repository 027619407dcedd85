/*
 * copy.h
 *	  Is this database a copy of one that sends?
 */
#ifndef FLUXHOOKS_COPY_H
#define FLUXHOOKS_COPY_H

/*
 * From _PG_init.  While preloaded: look whether the server comes up from a
 * backup, and write it down.
 */
extern void copy_init(void);

/*
 * At the end of CREATE EXTENSION, with SPI connected: remember this database,
 * so that a copy made before a worker has run is known as one.
 */
extern void copy_remember(void);

/*
 * Worker, when it starts and when the configuration, the settings or
 * fluxhooks_internal.instance has changed, and resume(): in a transaction with
 * SPI connected.  Remember this database; where it turns out to be a copy,
 * pause it (fluxhooks_internal.pause), say so in the log, and return true.
 */
extern bool copy_check(void);

#endif
