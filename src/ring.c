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
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "fault.h"
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
static uint32 slots_in_use = 0; /* bit per slot, known when current_slot is */
static Oid	watched = InvalidOid;	/* the relation "webhook", as last seen */
static const int known_attributes[RING_KINDS] = {
	RING_EVENT_ATTRIBUTES, RING_ATTEMPT_ATTRIBUTES, RING_CURSOR_ATTRIBUTES
};
static Oid	descriptor_of[RING_KINDS];
static bool descriptor_valid[RING_KINDS];
static TupleDesc descriptors[RING_KINDS];
static TupleTableSlot **batch_slots[RING_KINDS];	/* RING_BATCH each, made once */

static void
ring_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		current_slot = -1;
	for (int kind = 0; kind < RING_KINDS; kind++)
	{
		if (relid == InvalidOid || relid == descriptor_of[kind])
			descriptor_valid[kind] = false;
	}
}

Oid
ring_table(RingKind kind, int slot)
{
	return catalog_ring_table(kind, slot);
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
	slots_in_use = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		int			number = DatumGetInt32(heap_getattr(tuple, RING_ATTR_SLOT, RelationGetDescr(rel), &isnull));

		if (heap_attisnull(tuple, RING_ATTR_OPENED, RelationGetDescr(rel)))
			continue;
		slots_in_use |= UINT32_C(1) << number;
		if (heap_attisnull(tuple, RING_ATTR_CLOSED, RelationGetDescr(rel)))
			slot = number;
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

void
ring_open_reader(IndexReader *reader, RingKind kind, int slot, int n_keys)
{
	memset(reader, 0, sizeof(*reader));
	AcceptInvalidationMessages();
	(void) ring_current_slot();
	if (slots_in_use & (UINT32_C(1) << slot))
		index_reader_open(reader, ring_table(kind, slot), INDEX_OTHER, n_keys);
}

Relation
ring_open(RingKind kind)
{
	for (;;)
	{
		int			slot = ring_current_slot();
		Relation	rel = table_open(ring_table(kind, slot), RowExclusiveLock);

		if (slot == ring_current_slot())
			return rel;
		table_close(rel, RowExclusiveLock);
	}
}

/*
 * Have the columns that both this library and the script that made the table
 * know of: the script may be older, or newer, until the server is restarted or
 * the extension updated.
 */
static void
ring_make_descriptor(RingKind kind, Oid table)
{
	Relation	rel = table_open(table, AccessShareLock);
	int			n = Min(RelationGetNumberOfAttributes(rel), known_attributes[kind]);

	if (descriptor_of[kind] != table || descriptors[kind]->natts != n)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	desc = CreateTemplateTupleDesc(n);

		for (int i = 1; i <= n; i++)
			TupleDescCopyEntry(desc, i, RelationGetDescr(rel), i);
		/* those of a former script, if any, are small and may be in use */
		batch_slots[kind] = NULL;
		descriptors[kind] = desc;
		descriptor_of[kind] = table;
		MemoryContextSwitchTo(old);
	}
	table_close(rel, AccessShareLock);
}

TupleDesc
ring_descriptor(RingKind kind)
{
	Oid			table = ring_table(kind, 0);

	if (descriptor_of[kind] != table || !descriptor_valid[kind])
	{
		/* before looking: whoever alters it now is heard */
		descriptor_valid[kind] = true;
		ring_make_descriptor(kind, table);
	}
	return descriptors[kind];
}

/* One index, unless REINDEX CONCURRENTLY is making the next: from some time on it has to be filled, too. */
static List *
ring_open_indexes(Relation rel)
{
	List	   *oids = RelationGetIndexList(rel);
	List	   *indexes = NIL;
	ListCell   *lc;

	foreach(lc, oids)
		indexes = lappend(indexes, index_open(lfirst_oid(lc), RowExclusiveLock));
	list_free(oids);
	return indexes;
}

static void
ring_insert_index_entries(Relation rel, Relation index, HeapTuple *tuples,
						  TupleTableSlot **slots, int n_tuples)
{
	struct IndexInfo *info;
	int			n_keys = IndexRelationGetNumberOfKeyAttributes(index);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (!index->rd_index->indisready)
		return;
	info = BuildIndexInfo(index);
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

/*
 * Where rows are written for logical decoding, too, one by one: a multi-insert
 * knows no way to leave that out.
 */
static void
ring_insert_heap(Relation rel, HeapTuple *tuples, TupleTableSlot **slots, int n_tuples)
{
	CommandId	cid = GetCurrentCommandId(true);

	if (!RelationIsLogicallyLogged(rel))
	{
		heap_multi_insert(rel, slots, n_tuples, cid, 0, NULL);
		return;
	}
	for (int i = 0; i < n_tuples; i++)
	{
		heap_insert(rel, tuples[i], cid, HEAP_INSERT_NO_LOGICAL, NULL);
		slots[i]->tts_tid = tuples[i]->t_self;
	}
}

void
ring_append(RingKind kind, Relation rel, HeapTuple *tuples, int n_tuples)
{
	List	   *indexes = ring_open_indexes(rel);
	TupleTableSlot **slots = ring_slots(kind);
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks ring batch",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(batch);
	ListCell   *lc;

	for (int done = 0; done < n_tuples; done += RING_BATCH)
	{
		int			n = Min(n_tuples - done, RING_BATCH);

		for (int i = 0; i < n; i++)
			ExecStoreHeapTuple(tuples[done + i], slots[i], false);
		ring_insert_heap(rel, tuples + done, slots, n);
		FAULT_POINT("ring_appended_heap");
		foreach(lc, indexes)
			ring_insert_index_entries(rel, (Relation) lfirst(lc), tuples + done, slots, n);
		FAULT_POINT("ring_appended_index");
		for (int i = 0; i < n; i++)
			ExecClearTuple(slots[i]);
		MemoryContextReset(batch);
		CHECK_FOR_INTERRUPTS();
	}
	foreach(lc, indexes)
		index_close((Relation) lfirst(lc), NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
}

bool
ring_try_lock_slot(int slot)
{
	for (int kind = 0; kind < RING_KINDS; kind++)
	{
		if (!ConditionalLockRelationOid(ring_table(kind, slot), AccessExclusiveLock))
			return false;
		FAULT_POINT("ring_table_locked");
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
	FAULT_POINT("ring_new_file");
	compat_reindex_relation(relid);
	FAULT_POINT("ring_table_emptied");
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
		ring_empty_table(ring_table(kind, slot));
	ring_execute("UPDATE fluxhooks_internal.ring SET opened_at = NULL, closed_at = NULL, closed_snapshot = NULL WHERE slot = $1", slot);
	ring_invalidate();
	FAULT_POINT("ring_slot_freed");
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
	FAULT_POINT("ring_slot_opened");
	ring_execute("UPDATE fluxhooks_internal.ring SET closed_at = pg_catalog.clock_timestamp(), "
				 "closed_snapshot = pg_catalog.pg_current_snapshot() WHERE slot = $1", slot);
	ring_invalidate();
	FAULT_POINT("ring_slot_closed");
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
