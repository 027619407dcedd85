/*
 * reader.c
 *	  Reading one of our own tables by one of its indexes, under the active
 *	  snapshot and without a planner.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_index.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "reader.h"

Oid
index_find(Relation heap, IndexKind kind)
{
	List	   *indexes = RelationGetIndexList(heap);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisvalid && index->indisprimary == (kind == INDEX_PRIMARY_KEY))
			found = lfirst_oid(lc);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table fluxhooks_internal.%s lacks its index", RelationGetRelationName(heap)),
				 errdetail("It has been dropped by hand, or is invalid."),
				 errhint("Run REINDEX TABLE fluxhooks_internal.%s.", RelationGetRelationName(heap))));
	return found;
}

void
index_reader_open(IndexReader *reader, Oid heap, IndexKind kind, int n_keys)
{
	memset(reader, 0, sizeof(*reader));
	reader->heap = table_open(heap, AccessShareLock);
	if (RelationGetNumberOfBlocks(reader->heap) == 0)
		return;
	reader->index = index_open(index_find(reader->heap, kind), AccessShareLock);
	reader->tuple = table_slot_create(reader->heap, NULL);
	reader->scan = compat_index_beginscan(reader->heap, reader->index, GetActiveSnapshot(), n_keys);
}

void
index_reader_scan(IndexReader *reader, ScanKey keys)
{
	if (reader->scan != NULL)
		index_rescan(reader->scan, keys, reader->scan->numberOfKeys, NULL, 0);
}

bool
index_reader_next(IndexReader *reader, ScanDirection direction)
{
	return reader->scan != NULL && index_getnext_slot(reader->scan, direction, reader->tuple);
}

void
index_reader_close(IndexReader *reader)
{
	if (reader->scan != NULL)
	{
		index_endscan(reader->scan);
		ExecDropSingleTupleTableSlot(reader->tuple);
		index_close(reader->index, AccessShareLock);
	}
	if (reader->heap != NULL)
		table_close(reader->heap, AccessShareLock);
	memset(reader, 0, sizeof(*reader));
}
