/*
 * ring.h
 *	  The rings of tables that event log, attempts and cursor live in: append
 *	  many rows at once to the slot in use, move on, empty a slot whole.
 */
#ifndef FLUXHOOKS_RING_H
#define FLUXHOOKS_RING_H

#include "access/htup.h"
#include "catalog.h"
#include "utils/relcache.h"

typedef enum RingKind
{
	RING_EVENT,
	RING_ATTEMPT,
	RING_CURSOR
} RingKind;

/*
 * Open the table in use of this kind, locked against emptying until the
 * transaction ends (RowExclusiveLock).  Assigns an xid, so that whoever writes to a
 * slot that is being left has an xid that the leaver can wait for.
 */
extern Relation ring_open(RingKind kind);

/*
 * Append tuples of the ring's row type, with TOAST and the one index, without
 * logical decoding; no permission is asked.  Tuples get their t_self set.
 */
extern void ring_append(Relation rel, HeapTuple *tuples, int n_tuples);

/* Tuple descriptor of a kind, valid while some relation of it is open. */
extern Oid	ring_table(const Catalog *catalog, RingKind kind, int slot);
extern Oid	ring_index(const Catalog *catalog, RingKind kind, int slot);

extern void ring_init(void);

#endif
