/*
 * lock.h
 *	  Locks of tables, without keeping their writers waiting for long.
 */
#ifndef FLUXHOOKS_LOCK_H
#define FLUXHOOKS_LOCK_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

/*
 * Lock tables until the transaction ends, all of them or none.  InvalidOid, or after
 * lock_timeout (0: never) a table whose lock was not had in time.
 */
extern Oid	lock_tables(List *relids, LOCKMODE mode);

#endif
