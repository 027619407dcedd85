/*
 * compat.h
 *	  Every #if PG_VERSION_NUM of fluxhooks: PostgreSQL 13 to 18.
 *
 * Include after postgres.h; a file that needs one of the wrappers includes
 * the server header that the wrapped function lives in by itself.
 */
#ifndef FLUXHOOKS_COMPAT_H
#define FLUXHOOKS_COMPAT_H

#include "access/genam.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "storage/lwlock.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/* 15 renamed EmitWarningsOnPlaceholders and made the prefix reserved. */
static inline void
compat_reserve_guc_prefix(const char *prefix)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved(prefix);
#else
	EmitWarningsOnPlaceholders(prefix);
#endif
}

/* 14 added indexUnchanged. */
static inline void
compat_index_insert(Relation index, Datum *values, bool *nulls, ItemPointer tid,
					Relation heap, struct IndexInfo *info)
{
#if PG_VERSION_NUM >= 140000
	(void) index_insert(index, values, nulls, tid, heap, UNIQUE_CHECK_NO, false, info);
#else
	(void) index_insert(index, values, nulls, tid, heap, UNIQUE_CHECK_NO, info);
#endif
}

/* 18 added instrumentation. */
static inline IndexScanDesc
compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int n_keys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, n_keys, 0);
#else
	return index_beginscan(heap, index, snapshot, n_keys, 0);
#endif
}

/* 16 renamed relfilenodes. */
static inline void
compat_set_new_relfile(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	RelationSetNewRelfilenumber(rel, rel->rd_rel->relpersistence);
#else
	RelationSetNewRelfilenode(rel, rel->rd_rel->relpersistence);
#endif
}

/* 14 turned the options into a struct, 17 added the statement. */
static inline void
compat_reindex_relation(Oid relid)
{
#if PG_VERSION_NUM >= 170000
	ReindexParams params = {0};

	(void) reindex_relation(NULL, relid, REINDEX_REL_PROCESS_TOAST, &params);
#elif PG_VERSION_NUM >= 140000
	ReindexParams params = {0};

	(void) reindex_relation(relid, REINDEX_REL_PROCESS_TOAST, &params);
#else
	(void) reindex_relation(relid, REINDEX_REL_PROCESS_TOAST, 0);
#endif
}

/*
 * The newest transaction that has ended, without its epoch.  14 made it a full
 * xid, 17 renamed the struct.
 */
static inline TransactionId
compat_latest_completed_xid(void)
{
	TransactionId xid;

	LWLockAcquire(ProcArrayLock, LW_SHARED);
#if PG_VERSION_NUM >= 170000
	xid = XidFromFullTransactionId(TransamVariables->latestCompletedXid);
#elif PG_VERSION_NUM >= 140000
	xid = XidFromFullTransactionId(ShmemVariableCache->latestCompletedXid);
#else
	xid = ShmemVariableCache->latestCompletedXid;
#endif
	LWLockRelease(ProcArrayLock);
	return xid;
}

#endif
