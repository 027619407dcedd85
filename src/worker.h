/*
 * worker.h
 *	  Main loop of the worker of one database.
 */
#ifndef FLUXHOOKS_WORKER_H
#define FLUXHOOKS_WORKER_H

/* arg: OID of the database. */
extern PGDLLEXPORT void worker_main(Datum arg);

/*
 * Who sends from a database holds its lock: an advisory lock (database, 0, 0,
 * class) that SQL cannot take.
 */
#define WORKER_LOCK_CLASS	7

#endif
