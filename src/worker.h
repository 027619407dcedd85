/*
 * worker.h
 *	  Main loop of the worker of one database.
 */
#ifndef FLUXHOOKS_WORKER_H
#define FLUXHOOKS_WORKER_H

/* arg: OID of the database. */
extern PGDLLEXPORT void worker_main(Datum arg);

/*
 * Exit codes the launcher understands: no extension in this database (do not
 * come back until told), and anything else (come back with back-off).
 */
#define WORKER_EXIT_NO_EXTENSION	3

/*
 * Who sends from a database holds its lock: an advisory lock (database, 0, 0,
 * class) that SQL cannot take.
 */
#define WORKER_LOCK_CLASS	7

#endif
