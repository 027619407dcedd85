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
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "catalog/pg_class.h"
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#endif
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#if PG_VERSION_NUM >= 180000
#include "rewrite/rewriteHandler.h"
#endif
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/lsyscache.h"
#if PG_VERSION_NUM >= 140000
#include "utils/multirangetypes.h"
#endif
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#if PG_VERSION_NUM >= 140000
#include "utils/wait_event.h"
#else
#include "pgstat.h"
#endif
#if PG_VERSION_NUM >= 160000
#include "varatt.h"				/* was part of postgres.h */
#endif

/* 14 renamed money, and wants it said that a hash table's keys are strings. */
#if PG_VERSION_NUM < 140000
#define MONEYOID		CASHOID
#define HASH_STRINGS	0
#endif

/* What ends a DETACH PARTITION CONCURRENTLY that was broken off; new in 14. */
#if PG_VERSION_NUM >= 140000
#define COMPAT_DETACH_FINALIZE	AT_DetachPartitionFinalize
#else
#define COMPAT_DETACH_FINALIZE	AT_DetachPartition
#endif

/* Write a number in decimal with a NUL behind it; the length.  14 made it known. */
static inline int
compat_ltoa(int32 value, char *out)
{
#if PG_VERSION_NUM >= 140000
	return pg_ltoa(value, out);
#else
	pg_ltoa(value, out);
	return strlen(out);
#endif
}

static inline int
compat_lltoa(int64 value, char *out)
{
#if PG_VERSION_NUM >= 140000
	return pg_lltoa(value, out);
#else
	pg_lltoa(value, out);
	return strlen(out);
#endif
}

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

/* The oldest transaction that the commit log knows of, under XactTruncationLock.  17 renamed the struct. */
static inline TransactionId
compat_oldest_clog_xid(void)
{
#if PG_VERSION_NUM >= 170000
	return TransamVariables->oldestClogXid;
#else
	return ShmemVariableCache->oldestClogXid;
#endif
}

/* 16 replaced the functions for one class of object each. */
static inline bool
compat_class_ownercheck(Oid relid, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, role);
#else
	return pg_class_ownercheck(relid, role);
#endif
}

static inline bool
compat_uses_schema(Oid schema, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK;
#else
	return pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK;
#endif
}

static inline bool
compat_executes(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/*
 * Convert one character of UTF-8; false where the encoding lacks it.  14 added
 * conversions that report where they stopped; before, they raise an error, and
 * as they touch nothing, catching it takes no subtransaction.
 */
static inline bool
compat_character_to_server(Oid conversion, int server, const unsigned char *in, int len, unsigned char *out)
{
#if PG_VERSION_NUM >= 140000
	return pg_do_encoding_conversion_buf(conversion, PG_UTF8, server, unconstify(unsigned char *, in), len,
										 out, MAX_CONVERSION_GROWTH * 4 + 1, true) == len;
#else
	MemoryContext cxt = CurrentMemoryContext;
	volatile bool converted = true;

	PG_TRY();
	{
		OidFunctionCall5(conversion, Int32GetDatum(PG_UTF8), Int32GetDatum(server),
						 CStringGetDatum((const char *) in), CStringGetDatum((char *) out), Int32GetDatum(len));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		converted = false;
	}
	PG_END_TRY();
	return converted;
#endif
}

/*
 * Valid UTF-8 in the database's encoding, palloc'd; a character that this
 * lacks becomes "?".
 */
static inline char *
compat_utf8_to_server(const char *utf8, size_t len)
{
	int			server = GetDatabaseEncoding();
	Oid			conversion;
	StringInfoData out;
	const unsigned char *p = (const unsigned char *) utf8;
	const unsigned char *end = p + len;

	if (server == PG_UTF8 || server == PG_SQL_ASCII)
		return pnstrdup(utf8, len);
	conversion = FindDefaultConversionProc(PG_UTF8, server);
	initStringInfo(&out);
	while (p < end)
	{
		int			n = pg_utf_mblen(p);
		unsigned char one[MAX_CONVERSION_GROWTH * 4 + 1];

		if (n == 1 && *p != '\0')
			appendStringInfoChar(&out, *p);
		else if (OidIsValid(conversion) && compat_character_to_server(conversion, server, p, n, one))
			appendStringInfoString(&out, (char *) one);
		else
			appendStringInfoChar(&out, '?');
		p += n;
	}
	return out.data;
}

/*
 * Convert text to UTF-8 with a conversion procedure; false where some of it has
 * no place there.  14 made the procedures report that; before, they raise an
 * error, and as they touch nothing, catching it takes no subtransaction.
 */
static inline bool
compat_convert_to_utf8(FmgrInfo *conversion, int encoding, const char *text, int len, char *out)
{
#if PG_VERSION_NUM >= 140000
	return DatumGetInt32(FunctionCall6(conversion, Int32GetDatum(encoding), Int32GetDatum(PG_UTF8),
									   CStringGetDatum(text), CStringGetDatum(out),
									   Int32GetDatum(len), BoolGetDatum(true))) == len;
#else
	MemoryContext cxt = CurrentMemoryContext;
	volatile bool converted = true;

	PG_TRY();
	{
		FunctionCall5(conversion, Int32GetDatum(encoding), Int32GetDatum(PG_UTF8),
					  CStringGetDatum(text), CStringGetDatum(out), Int32GetDatum(len));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		converted = false;
	}
	PG_END_TRY();
	return converted;
#endif
}

/* 14 brought multiranges; the ranges inside one, none before. */
static inline int
compat_multirange_ranges(TypeCacheEntry *range_type, Datum value, RangeType ***ranges)
{
#if PG_VERSION_NUM >= 140000
	int32		n;

	multirange_deserialize(range_type, DatumGetMultirangeTypeP(value), &n, ranges);
	return n;
#else
	*ranges = NULL;
	return 0;
#endif
}

/* The range type of a multirange type; 0 for any other. */
static inline Oid
compat_multirange_range(Oid type)
{
#if PG_VERSION_NUM >= 140000
	return get_multirange_range(type);
#else
	return InvalidOid;
#endif
}

/* 17 made intervals infinite. */
static inline int
compat_interval_infinite(const Interval *interval)
{
#if PG_VERSION_NUM >= 170000
	return INTERVAL_IS_NOEND(interval) ? 1 : INTERVAL_IS_NOBEGIN(interval) ? -1 : 0;
#else
	return 0;
#endif
}

/* 18 brought generated columns without a stored value. */
static inline bool
compat_is_virtual(Form_pg_attribute attribute)
{
#if PG_VERSION_NUM >= 180000
	return attribute->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL;
#else
	return false;
#endif
}

/* What one is computed from, over the table's columns; NULL before 18. */
static inline Node *
compat_generation_expression(Relation rel, AttrNumber attnum)
{
#if PG_VERSION_NUM >= 180000
	return build_generation_expression(rel, attnum);
#else
	return NULL;
#endif
}

/*
 * 15 wants shared memory requested from a hook; returns the hook to call
 * first.  Before, it was requested there and then.
 */
static inline void (*compat_on_shmem_request(void (*request) (void))) (void)
{
#if PG_VERSION_NUM >= 150000
	void		(*previous) (void) = shmem_request_hook;

	shmem_request_hook = request;
	return previous;
#else
	request();
	return NULL;
#endif
}

/* 14 added readOnlyTree to the ProcessUtility hook. */
#if PG_VERSION_NUM >= 140000
#define COMPAT_UTILITY_PARAMETERS \
	PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, \
	ProcessUtilityContext context, ParamListInfo params, \
	QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc
#define COMPAT_UTILITY_ARGUMENTS \
	pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc
#else
#define COMPAT_UTILITY_PARAMETERS \
	PlannedStmt *pstmt, const char *queryString, \
	ProcessUtilityContext context, ParamListInfo params, \
	QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc
#define COMPAT_UTILITY_ARGUMENTS \
	pstmt, queryString, context, params, queryEnv, dest, qc
#endif

/* 16 made one function of the ownership checks. */
static inline bool
compat_owns_database(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, role);
#else
	return pg_database_ownercheck(database, role);
#endif
}

/*
 * datconnlimit of a database whose DROP was interrupted: DATCONNLIMIT_INVALID_DB,
 * which minor releases of 13 to 15 came to have.
 */
#define COMPAT_CONNLIMIT_INVALID_DATABASE	(-2)

/* 15 brought a generator with a state of its own. */
static inline double
compat_random_double(void)
{
#if PG_VERSION_NUM >= 150000
	return pg_prng_double(&pg_global_prng_state);
#else
	return (double) random() / ((double) MAX_RANDOM_VALUE + 1);
#endif
}

/* 17 replaced the memory context by a resource owner. */
static inline WaitEventSet *
compat_create_wait_event_set(int n_events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, n_events);
#else
	return CreateWaitEventSet(TopMemoryContext, n_events);
#endif
}

/* 17 gave extensions wait events with names of their own; cache is 0 at first. */
static inline uint32
compat_wait_event(uint32 *cache, const char *name)
{
#if PG_VERSION_NUM >= 170000
	if (*cache == 0)
		*cache = WaitEventExtensionNew(name);
	return *cache;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* 18 replaced pg_attribute_noreturn(); written before "static" it fits both. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_NORETURN	pg_noreturn
#else
#define COMPAT_NORETURN	pg_attribute_noreturn()
#endif

#endif
