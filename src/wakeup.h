/*
 * wakeup.h
 *	  Tells the worker, or the launcher, once the present transaction has
 *	  committed.  Cheap to call for every event; a rollback forgets it (a
 *	  subtransaction's rollback need not: a wake-up too many does no harm).
 */
#ifndef FLUXHOOKS_WAKEUP_H
#define FLUXHOOKS_WAKEUP_H

/* New events: the worker of this database reads its window. */
extern void wakeup_events_at_commit(void);

/* Pending deliveries, pause or configuration changed: it also forgets positions. */
extern void wakeup_recheck_at_commit(void);

/* The extension was created here: the launcher starts a worker. */
extern void wakeup_launcher_at_commit(void);

/* A database was created, dropped or altered: the launcher reads the list anew. */
extern void wakeup_databases_at_commit(void);

extern void wakeup_init(void);

#endif
