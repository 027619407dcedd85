/*
 * catalog.c
 *	  OIDs of the extension's own objects, found once per backend and dropped
 *	  when they change.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog.h"

static Catalog catalog;
static Oid	ring_tables[RING_KINDS][RING_SLOTS];	/* 0: not asked for yet */
static bool catalog_valid = false;
static uint64 catalog_invalidations = 0;

/*
 * webhook is told of every change of the configuration and of the rings (see
 * subscription.c, retention.c), and goes with the extension.
 */
static void
catalog_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == catalog.webhook)
	{
		catalog_valid = false;
		catalog_invalidations++;
	}
}

static Oid
catalog_extension_owner(Oid extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

static Oid
catalog_find_ring(int kind, int slot)
{
	static const char *const kinds[RING_KINDS] = {"event", "attempt", "cursor"};
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "%s_%d", kinds[kind], slot);
	return get_relname_relid(name, catalog_require()->schema);
}

Oid
catalog_ring_table(int kind, int slot)
{
	(void) catalog_require();
	if (!OidIsValid(ring_tables[kind][slot]))
		ring_tables[kind][slot] = catalog_find_ring(kind, slot);
	return ring_tables[kind][slot];
}

static bool
catalog_find(void)
{
	catalog.extension = get_extension_oid("fluxhooks", true);
	if (!OidIsValid(catalog.extension))
		return false;
	catalog.schema = get_namespace_oid(FLUXHOOKS_INTERNAL_SCHEMA, true);
	if (!OidIsValid(catalog.schema) ||
		getExtensionOfObject(NamespaceRelationId, catalog.schema) != catalog.extension)
		return false;
	catalog.user_schema = get_namespace_oid(FLUXHOOKS_SCHEMA, true);
	catalog.owner = catalog_extension_owner(catalog.extension);
	catalog.webhook = get_relname_relid("webhook", catalog.schema);
	catalog.subscription = get_relname_relid("subscription", catalog.schema);
	catalog.ring = get_relname_relid("ring", catalog.schema);
	catalog.pending = get_relname_relid("pending", catalog.schema);
	catalog.instance = get_relname_relid("instance", catalog.schema);
	catalog.pause = get_relname_relid("pause", catalog.schema);
	catalog.event_sequence = get_relname_relid("event_sequence", catalog.schema);
	memset(ring_tables, 0, sizeof(ring_tables));
	return OidIsValid(catalog.owner) && OidIsValid(catalog.user_schema) && OidIsValid(catalog.webhook) &&
		OidIsValid(catalog.event_sequence) && OidIsValid(get_relname_relid("cursor_9_idx", catalog.schema));
}

const Catalog *
catalog_get(void)
{
	while (!catalog_valid)
	{
		uint64		before = catalog_invalidations;

		if (!catalog_find())
			return NULL;
		catalog_valid = (before == catalog_invalidations);
	}
	return &catalog;
}

const Catalog *
catalog_lock(void)
{
	const Catalog *found;
	Oid			locked = InvalidOid;

	/* it may be dropped, even made anew, while the lock is waited for */
	while ((found = catalog_get()) != NULL && found->webhook != locked)
	{
		locked = found->webhook;
		LockRelationOid(locked, AccessShareLock);
	}
	return found;
}

void
catalog_lock_to_drop(void)
{
	LockRelationOid(catalog_require()->webhook, AccessExclusiveLock);
}

const Catalog *
catalog_require(void)
{
	const Catalog *found = catalog_get();

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"fluxhooks\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION fluxhooks.")));
	return found;
}

void
catalog_init(void)
{
	CacheRegisterRelcacheCallback(catalog_relcache_callback, (Datum) 0);
}
