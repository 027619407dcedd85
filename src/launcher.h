/*
 * launcher.h
 *	  One background worker per database that has the extension.
 */
#ifndef FLUXHOOKS_LAUNCHER_H
#define FLUXHOOKS_LAUNCHER_H

/* Register the launcher; from _PG_init while libraries are preloaded. */
extern void launcher_init(void);

/*
 * Before a command that needs a database without sessions (DROP, RENAME, SET
 * TABLESPACE, use as TEMPLATE): stop the worker there, wait until it is gone
 * and start none until released.  A holder that dies is released by the launcher.
 */
extern void launcher_hold(Oid database);
extern void launcher_release(Oid database);

/* Have the launcher look at this database soon: it may have the extension now. */
extern void launcher_notify(Oid database);

/* Entry points of the processes. */
extern PGDLLEXPORT void launcher_main(Datum arg);

#endif
