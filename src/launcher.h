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
 * TABLESPACE, use as TEMPLATE): stop the worker there, wait a bounded time until it
 * is gone, and let none start until the present transaction has ended, however
 * it ends.
 */
extern void launcher_hold(Oid database);

/* Have the launcher look at this database now: it may have the extension. */
extern void launcher_notify(Oid database);

/* Entry point of the launcher's process. */
extern PGDLLEXPORT void launcher_main(Datum arg);

#endif
