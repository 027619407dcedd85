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
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog.h"

static Catalog catalog;
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

static void
catalog_find_ring(const char *kind, Oid *tables, Oid *indexes)
{
	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		char		name[NAMEDATALEN];

		snprintf(name, sizeof(name), "%s_%d", kind, slot);
		tables[slot] = get_relname_relid(name, catalog.schema);
		snprintf(name, sizeof(name), "%s_%d_idx", kind, slot);
		indexes[slot] = get_relname_relid(name, catalog.schema);
	}
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
	catalog.owner = catalog_extension_owner(catalog.extension);
	catalog.webhook = get_relname_relid("webhook", catalog.schema);
	catalog.subscription = get_relname_relid("subscription", catalog.schema);
	catalog.ring = get_relname_relid("ring", catalog.schema);
	catalog.pending = get_relname_relid("pending", catalog.schema);
	catalog.pending_pkey = get_relname_relid("pending_pkey", catalog.schema);
	catalog.instance = get_relname_relid("instance", catalog.schema);
	catalog.pause = get_relname_relid("pause", catalog.schema);
	catalog.event_sequence = get_relname_relid("event_sequence", catalog.schema);
	catalog_find_ring("event", catalog.event, catalog.event_index);
	catalog_find_ring("attempt", catalog.attempt, catalog.attempt_index);
	catalog_find_ring("cursor", catalog.cursor, catalog.cursor_index);
	return OidIsValid(catalog.owner) && OidIsValid(catalog.webhook) &&
		OidIsValid(catalog.event_sequence) && OidIsValid(catalog.cursor_index[RING_SLOTS - 1]);
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
