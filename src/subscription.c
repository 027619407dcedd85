/*
 * subscription.c
 *	  Which webhooks listen to a table: a cache per backend.
 *
 * Two layers.  The list of all subscriptions is read in one go, with a catalog
 * snapshot: the transaction's own would, under REPEATABLE READ, fill the cache
 * with what has been changed since.  From it and the relation, an entry per
 * table is made, with everything capture needs.  Any change of the
 * configuration invalidates the relation "webhook" and with it both layers; a change of a
 * table invalidates its entry.
 *
 * Output functions are user code and may invalidate the entry in use: an
 * entry that is replaced lives on until its transaction ends.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "reference.h"
#include "right.h"
#include "subscription.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(subscription_configuration_changed);

/* attribute numbers of the configuration tables */
#define WEBHOOK_ATTR_ID			1
#define WEBHOOK_ATTR_ENABLED	6
#define WEBHOOK_ATTR_OWNER		12
#define WEBHOOK_ATTR_DELETED	16
#define SUBSCRIPTION_ATTR_WEBHOOK		1
#define SUBSCRIPTION_ATTR_RELATION		3
#define SUBSCRIPTION_ATTR_OPERATIONS	4

/* One row of fluxhooks_internal.subscription whose webhook is enabled. */
typedef struct Listener
{
	Oid			relid;
	bool		listens[3];		/* by SubscriptionOperation */
	pg_uuid_t	webhook;
	Oid			owner;			/* of the webhook */
} Listener;

/* A webhook that is enabled. */
typedef struct EnabledWebhook
{
	pg_uuid_t	id;				/* first: what they are sorted by */
	Oid			owner;
} EnabledWebhook;

static HTAB *entries = NULL;
static MemoryContext listeners_context = NULL;
static Listener *listeners;
static int	n_listeners;
static bool listeners_valid = false;
static Oid	watched = InvalidOid;	/* the relation "webhook", as last seen */
static uint64 invalidations = 0;
static MemoryContext retired = NULL;	/* parent of replaced entries */

static void
subscription_invalidate_entries(void)
{
	HASH_SEQ_STATUS status;
	Subscription *entry;

	invalidations++;
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

static void
subscription_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Subscription *entry;

	if (relid == InvalidOid || relid == watched)
	{
		listeners_valid = false;
		subscription_invalidate_entries();
		return;
	}
	invalidations++;
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->relid == relid)
			entry->valid = false;
		for (int i = 0; i < entry->n_groups; i++)
		{
			if (entry->groups[i].relid == relid)
				entry->valid = false;
		}
	}
}

/*
 * Schemas are renamed, types, casts and roles change.  Which of them an entry is
 * made of is not kept; but as every new table brings a type, what is read
 * of the configuration, which holds none of them, stays.
 */
static void
subscription_syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	subscription_invalidate_entries();
}

static void
subscription_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			MemoryContextReset(retired);
			break;
		default:
			break;
	}
}

/* The webhooks that are enabled, as an array sorted by id in the current context. */
static int
subscription_uuid_compare(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

static int
subscription_read_enabled(Oid table, EnabledWebhook **enabled)
{
	Relation	rel = table_open(table, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	int			n = 0;
	int			size = 64;

	*enabled = palloc(size * sizeof(EnabledWebhook));
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		EnabledWebhook *webhook;

		if (!heap_attisnull(tuple, WEBHOOK_ATTR_DELETED, desc) ||
			!DatumGetBool(heap_getattr(tuple, WEBHOOK_ATTR_ENABLED, desc, &isnull)))
			continue;
		if (n == size)
			*enabled = repalloc(*enabled, (size *= 2) * sizeof(EnabledWebhook));
		webhook = &(*enabled)[n++];
		webhook->id = *DatumGetUUIDP(heap_getattr(tuple, WEBHOOK_ATTR_ID, desc, &isnull));
		webhook->owner = reference_get_oid(heap_getattr(tuple, WEBHOOK_ATTR_OWNER, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(*enabled, n, sizeof(EnabledWebhook), subscription_uuid_compare);
	return n;
}

static void
subscription_read_operations(Datum operations, Listener *listener)
{
	Datum	   *elements;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(operations), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &n);
	memset(listener->listens, 0, sizeof(listener->listens));
	for (int i = 0; i < n; i++)
	{
		switch (*VARDATA_ANY(DatumGetTextPP(elements[i])))
		{
			case OPERATION_INSERT:
				listener->listens[SUBSCRIPTION_INSERT] = true;
				break;
			case OPERATION_UPDATE:
				listener->listens[SUBSCRIPTION_UPDATE] = true;
				break;
			case OPERATION_DELETE:
				listener->listens[SUBSCRIPTION_DELETE] = true;
				break;
		}
	}
}

static void
subscription_append_listener(const Listener *listener, int *size)
{
	if (n_listeners == *size)
	{
		*size = Max(64, *size * 2);
		if (listeners == NULL)
			listeners = MemoryContextAlloc(listeners_context, *size * sizeof(Listener));
		else
			listeners = repalloc(listeners, *size * sizeof(Listener));
	}
	listeners[n_listeners++] = *listener;
}

static void
subscription_read_listeners(const Catalog *catalog)
{
	EnabledWebhook *enabled;
	int			n_enabled = subscription_read_enabled(catalog->webhook, &enabled);
	Relation	rel = table_open(catalog->subscription, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	TupleDesc	desc = RelationGetDescr(rel);
	HeapTuple	tuple;
	int			size = 0;

	MemoryContextReset(listeners_context);
	listeners = NULL;
	n_listeners = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Listener	listener;
		EnabledWebhook *webhook;
		bool		isnull;

		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): part of the primary key */
		listener.webhook = *DatumGetUUIDP(heap_getattr(tuple, SUBSCRIPTION_ATTR_WEBHOOK, desc, &isnull));
		webhook = bsearch(&listener.webhook, enabled, n_enabled, sizeof(EnabledWebhook), subscription_uuid_compare);
		if (webhook == NULL)
			continue;
		listener.owner = webhook->owner;
		listener.relid = reference_get_oid(heap_getattr(tuple, SUBSCRIPTION_ATTR_RELATION, desc, &isnull));
		subscription_read_operations(heap_getattr(tuple, SUBSCRIPTION_ATTR_OPERATIONS, desc, &isnull), &listener);
		subscription_append_listener(&listener, &size);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Rows of a table that a webhook's owner does not own any more are not its to
 * see, now or later: nothing is captured for it.  An owner that is missing, after a
 * restore, may be found again.
 */
static bool
subscription_is_strangers(Oid owner, Oid relid)
{
	return !right_owns(owner, relid) && SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner));
}

/* uuid[] of who listens to this operation on this table, each once; 0: nobody. */
static Datum
subscription_webhooks(Oid relid, SubscriptionOperation operation)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(n_listeners, 1));
	int			n = 0;

	for (int i = 0; i < n_listeners; i++)
	{
		bool		known = false;

		if (listeners[i].relid != relid || !listeners[i].listens[operation] ||
			subscription_is_strangers(listeners[i].owner, relid))
			continue;
		for (int k = 0; k < n; k++)
			known |= memcmp(DatumGetUUIDP(ids[k]), &listeners[i].webhook, UUID_LEN) == 0;
		if (!known)
			ids[n++] = UUIDPGetDatum(&listeners[i].webhook);
	}
	if (n == 0)
		return (Datum) 0;
	return PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

static bool
subscription_has_listener(Oid relid)
{
	for (int i = 0; i < n_listeners; i++)
	{
		if (listeners[i].relid == relid)
			return true;
	}
	return false;
}

static void
subscription_add_group(Subscription *entry, Relation source, Oid relid)
{
	SubscriptionGroup *group = &entry->groups[entry->n_groups];
	Relation	reported = source;

	if (relid != RelationGetRelid(source))
		reported = table_open(relid, AccessShareLock);
	group->relid = relid;
	group->table_schema = get_namespace_name(RelationGetNamespace(reported));
	group->table_name = pstrdup(RelationGetRelationName(reported));
	group->schema_text = CStringGetTextDatum(group->table_schema);
	group->name_text = CStringGetTextDatum(group->table_name);
	for (int i = 0; i < lengthof(group->webhooks); i++)
		group->webhooks[i] = subscription_webhooks(relid, (SubscriptionOperation) i);
	group->plan = payload_plan_make(source, reported, entry->context);
	entry->n_groups++;
	if (reported != source)
		table_close(reported, AccessShareLock);
}

static void
subscription_build(Subscription *entry, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(entry->context);
	List	   *candidates = NIL;
	ListCell   *lc;

	if (rel->rd_rel->relispartition)
		candidates = get_partition_ancestors(RelationGetRelid(rel));
	candidates = lcons_oid(RelationGetRelid(rel), candidates);

	entry->groups = palloc(list_length(candidates) * sizeof(SubscriptionGroup));
	foreach(lc, candidates)
	{
		if (subscription_has_listener(lfirst_oid(lc)))
			subscription_add_group(entry, rel, lfirst_oid(lc));
	}
	MemoryContextSwitchTo(old);
}

static void
subscription_fill(Subscription *entry, Relation rel)
{
	static uint64 last_number = 0;
	const Catalog *catalog = catalog_require();
	uint64		before;

	watched = catalog->webhook;
	if (!listeners_valid)
	{
		before = invalidations;
		subscription_read_listeners(catalog);
		listeners_valid = (before == invalidations);
	}

	if (entry->context != NULL)
	{
		MemoryContextSetParent(entry->context, retired);
		entry->context = NULL;
	}
	entry->n_groups = 0;
	entry->number = ++last_number;
	entry->context = AllocSetContextCreate(CacheMemoryContext, "fluxhooks subscription",
										   ALLOCSET_SMALL_SIZES);
	before = invalidations;
	subscription_build(entry, rel);
	entry->valid = (before == invalidations);
}

const Subscription *
subscription_lookup(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	bool		found;
	Subscription *entry = hash_search(entries, &relid, HASH_ENTER, &found);

	if (!found)
	{
		entry->valid = false;
		entry->context = NULL;
		entry->n_groups = 0;
	}
	if (!entry->valid)
		subscription_fill(entry, rel);
	return entry;
}

/*
 * configuration_changed() RETURNS trigger, on webhook and subscription.
 */
Datum
subscription_configuration_changed(PG_FUNCTION_ARGS)
{
	const Catalog *catalog = catalog_require();

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("fluxhooks_internal.configuration_changed() is a trigger function")));
	CacheInvalidateRelcacheByRelid(catalog->webhook);
	wakeup_recheck_at_commit();
	PG_RETURN_POINTER(NULL);
}

void
subscription_init(void)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Subscription);
	entries = hash_create("fluxhooks subscriptions", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	listeners_context = AllocSetContextCreate(TopMemoryContext, "fluxhooks listeners",
											  ALLOCSET_SMALL_SIZES);
	retired = AllocSetContextCreate(TopMemoryContext, "fluxhooks retired subscriptions",
									ALLOCSET_SMALL_SIZES);
	CacheRegisterRelcacheCallback(subscription_relcache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, subscription_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, subscription_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(CASTSOURCETARGET, subscription_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, subscription_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, subscription_syscache_callback, (Datum) 0);
	RegisterXactCallback(subscription_xact_callback, NULL);
}
