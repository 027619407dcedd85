/*
 * ring.c
 *	  The rings of tables that event log, attempts and cursor live in.
 *
 * All three kinds share their slots: rows of fluxhooks_internal.ring say which
 * slot is written to.  A writer caches the answer until the relation "webhook"
 * is invalidated, and asks again once it holds its lock, since only then it
 * has seen every invalidation that was sent before.  Whoever got the lock in
 * time may go on writing to a slot that is being left; that is why emptying a
 * slot takes a lock that excludes writers and reads with a snapshot taken after it,
 * and why windows look into every slot.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "ring.h"
#include "sql.h"

#define RING_BATCH	256			/* tuples handed to heap_multi_insert at once */

/* attribute numbers of fluxhooks_internal.ring */
#define RING_ATTR_SLOT		1
#define RING_ATTR_OPENED	2
#define RING_ATTR_CLOSED	3

static int	current_slot = -1;
static Oid	watched = InvalidOid;	/* the relation "webhook", as last seen */
static Oid	descriptor_of[RING_KINDS];
static TupleDesc descriptors[RING_KINDS];
static TupleTableSlot **batch_slots[RING_KINDS];	/* RING_BATCH each, made once */

static void
ring_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		current_slot = -1;
}

Oid
ring_table(const Catalog *catalog, RingKind kind, int slot)
{
	switch (kind)
	{
		case RING_EVENT:
			return catalog->event[slot];
		case RING_ATTEMPT:
			return catalog->attempt[slot];
		case RING_CURSOR:
			return catalog->cursor[slot];
	}
	return InvalidOid;
}

Oid
ring_index(const Catalog *catalog, RingKind kind, int slot)
{
	switch (kind)
	{
		case RING_EVENT:
			return catalog->event_index[slot];
		case RING_ATTEMPT:
			return catalog->attempt_index[slot];
		case RING_CURSOR:
			return catalog->cursor_index[slot];
	}
	return InvalidOid;
}

/*
 * Read with a catalog snapshot: a REPEATABLE READ transaction must not be led
 * to a slot that was left since it began.
 */
static int
ring_read_current_slot(void)
{
	const Catalog *catalog = catalog_require();
	Relation	rel = table_open(catalog->ring, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	int			slot = -1;

	watched = catalog->webhook;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (!heap_attisnull(tuple, RING_ATTR_OPENED, RelationGetDescr(rel)) &&
			heap_attisnull(tuple, RING_ATTR_CLOSED, RelationGetDescr(rel)))
		{
			bool		isnull;

			slot = DatumGetInt32(heap_getattr(tuple, RING_ATTR_SLOT, RelationGetDescr(rel), &isnull));
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (slot < 0 || slot >= RING_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("no slot of the event log is open"),
				 errdetail("Table fluxhooks_internal.ring has been changed by hand.")));
	return slot;
}

int
ring_current_slot(void)
{
	if (current_slot < 0)
	{
		int			slot = ring_read_current_slot();

		current_slot = slot;
	}
	return current_slot;
}

Relation
ring_open(RingKind kind)
{
	for (;;)
	{
		int			slot = ring_current_slot();
		Relation	rel = table_open(ring_table(catalog_require(), kind, slot), RowExclusiveLock);

		if (slot == ring_current_slot())
			return rel;
		table_close(rel, RowExclusiveLock);
	}
}

TupleDesc
ring_descriptor(RingKind kind)
{
	Oid			table = ring_table(catalog_require(), kind, 0);

	if (descriptor_of[kind] != table)
	{
		Relation	rel = table_open(table, AccessShareLock);
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		/* those of a former extension, if any, are small and may be in use */
		batch_slots[kind] = NULL;
		descriptors[kind] = CreateTupleDescCopy(RelationGetDescr(rel));
		descriptor_of[kind] = table;
		MemoryContextSwitchTo(old);
		table_close(rel, AccessShareLock);
	}
	return descriptors[kind];
}

static void
ring_insert_index_entries(Relation rel, Relation index, HeapTuple *tuples,
						  TupleTableSlot **slots, int n_tuples)
{
	struct IndexInfo *info = BuildIndexInfo(index);
	int			n_keys = IndexRelationGetNumberOfKeyAttributes(index);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	for (int i = 0; i < n_tuples; i++)
	{
		for (int k = 0; k < n_keys; k++)
			values[k] = heap_getattr(tuples[i], index->rd_index->indkey.values[k],
									 RelationGetDescr(rel), &nulls[k]);
		compat_index_insert(index, values, nulls, &slots[i]->tts_tid, rel, info);
	}
}

/*
 * Slots are kept, and their descriptor is not the relation's: making and
 * pinning one for every tuple costs as much as a tenth of the insert.
 */
static TupleTableSlot **
ring_slots(RingKind kind)
{
	TupleDesc	desc = ring_descriptor(kind);

	if (batch_slots[kind] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TupleTableSlot **slots = palloc(RING_BATCH * sizeof(TupleTableSlot *));

		for (int i = 0; i < RING_BATCH; i++)
			slots[i] = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
		batch_slots[kind] = slots;
		MemoryContextSwitchTo(old);
	}
	return batch_slots[kind];
}

void
ring_append(RingKind kind, Relation rel, HeapTuple *tuples, int n_tuples)
{
	List	   *indexes = RelationGetIndexList(rel);
	TupleTableSlot **slots = ring_slots(kind);
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks ring batch",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(batch);
	Relation	index;

	Assert(list_length(indexes) == 1);
	index = index_open(linitial_oid(indexes), RowExclusiveLock);
	for (int done = 0; done < n_tuples; done += RING_BATCH)
	{
		int			n = Min(n_tuples - done, RING_BATCH);

		for (int i = 0; i < n; i++)
			ExecStoreHeapTuple(tuples[done + i], slots[i], false);
		heap_multi_insert(rel, slots, n, GetCurrentCommandId(true),
						  HEAP_INSERT_NO_LOGICAL, NULL);
		ring_insert_index_entries(rel, index, tuples + done, slots, n);
		for (int i = 0; i < n; i++)
			ExecClearTuple(slots[i]);
		MemoryContextReset(batch);
		CHECK_FOR_INTERRUPTS();
	}
	index_close(index, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
}

bool
ring_try_lock_slot(int slot)
{
	const Catalog *catalog = catalog_require();

	for (int kind = 0; kind < RING_KINDS; kind++)
	{
		if (!ConditionalLockRelationOid(ring_table(catalog, kind, slot), AccessExclusiveLock))
			return false;
	}
	return true;
}

/*
 * What TRUNCATE does, less its WAL record for logical decoding.
 */
static void
ring_empty_table(Oid relid)
{
	Relation	rel = table_open(relid, AccessExclusiveLock);
	Oid			toast = rel->rd_rel->reltoastrelid;

	CheckTableForSerializableConflictIn(rel);
	compat_set_new_relfile(rel);
	if (OidIsValid(toast))
	{
		Relation	toast_rel = table_open(toast, AccessExclusiveLock);

		compat_set_new_relfile(toast_rel);
		table_close(toast_rel, NoLock);
	}
	compat_reindex_relation(relid);
	pgstat_count_truncate(rel);
	table_close(rel, NoLock);
}

static void
ring_execute(const char *sql, int slot)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(slot)};

	sql_execute(sql, SPI_OK_UPDATE, 1, types, values);
}

void
ring_empty_slot(int slot)
{
	for (int kind = 0; kind < RING_KINDS; kind++)
		ring_empty_table(ring_table(catalog_require(), kind, slot));
	ring_execute("UPDATE fluxhooks_internal.ring SET opened_at = NULL, closed_at = NULL WHERE slot = $1", slot);
	ring_invalidate();
}

bool
ring_advance(void)
{
	int			slot = ring_read_current_slot();
	int			next = (slot + 1) % RING_SLOTS;

	ring_execute("UPDATE fluxhooks_internal.ring SET opened_at = pg_catalog.clock_timestamp() "
				 "WHERE slot = $1 AND opened_at IS NULL", next);
	if (SPI_processed == 0)
		return false;
	ring_execute("UPDATE fluxhooks_internal.ring SET closed_at = pg_catalog.clock_timestamp() WHERE slot = $1", slot);
	ring_invalidate();
	return true;
}

void
ring_invalidate(void)
{
	CacheInvalidateRelcacheByRelid(catalog_require()->webhook);
}

void
ring_init(void)
{
	CacheRegisterRelcacheCallback(ring_relcache_callback, (Datum) 0);
}
