/*
 * ring.h
 *	  The rings of tables that event log, attempts and cursor live in: append
 *	  many rows at once to the slot in use, move on, empty a slot whole.
 */
#ifndef FLUXHOOKS_RING_H
#define FLUXHOOKS_RING_H

#include "access/htup.h"
#include "catalog.h"
#include "reader.h"
#include "utils/relcache.h"

typedef enum RingKind
{
	RING_EVENT,
	RING_ATTEMPT,
	RING_CURSOR
} RingKind;


/*
 * Columns of each kind that this library writes.  Scripts of later versions may
 * append others, which it leaves null, and do nothing else to them.
 */
#define RING_EVENT_ATTRIBUTES	11
#define RING_ATTEMPT_ATTRIBUTES 21
#define RING_CURSOR_ATTRIBUTES	6

extern Oid	ring_table(RingKind kind, int slot);

/* The slot that is written to now. */
extern int	ring_current_slot(void);

/*
 * Open the table in use of this kind, locked against emptying until the
 * transaction ends (RowExclusiveLock).  Close it with NoLock.
 */
extern Relation ring_open(RingKind kind);

/* Open a slot's table for reading; a free slot reads as an empty table, unopened. */
extern void ring_open_reader(IndexReader *reader, RingKind kind, int slot, int n_keys);

/*
 * The row type of a kind: the columns above, less those that a script of a
 * former version has not made.  Kept for the backend's life.
 */
extern TupleDesc ring_descriptor(RingKind kind);

/*
 * Append tuples of the ring's row type, with TOAST and the one index, without
 * logical decoding; no permission is asked.
 */
extern void ring_append(RingKind kind, Relation rel, HeapTuple *tuples, int n_tuples);

/*
 * Lock all tables of a slot against everybody, without waiting.  False when
 * somebody (a writer, a prepared transaction, pg_dump) is in the way; then
 * nothing stays locked beyond the transaction's end.
 */
extern bool ring_try_lock_slot(int slot);

/* Give the locked tables of a slot new, empty files, and mark the slot free. */
extern void ring_empty_slot(int slot);

/* Go on in the next slot, where that is free; false where it is not. */
extern bool ring_advance(void);

/* Have every backend read fluxhooks_internal.ring anew after commit. */
extern void ring_invalidate(void);

extern void ring_init(void);

#endif
