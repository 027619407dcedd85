/*
 * trigger.c
 *	  The trigger fluxhooks_capture on the tables that somebody listens to:
 *	  one per table, however many webhooks there are.
 *
 * PostgreSQL clones the trigger of a partitioned table to every partition,
 * and refuses where a partition has one of the same name.  So in a partition
 * tree only the topmost table that is listened to has a trigger of its own;
 * capture finds the listeners of every level by itself.
 *
 * ShareUpdateExclusiveLock makes two sessions that install or drop on the same table wait
 * for each other, and writers for neither of them; only who really has to make
 * or drop the trigger takes the lock that needs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "lock.h"
#include "reference.h"
#include "trigger.h"

#define SUBSCRIPTION_ATTR_RELATION	3

typedef enum TriggerState
{
	TRIGGER_NONE,
	TRIGGER_OWN,				/* made here, on this table */
	TRIGGER_CLONE,				/* of a partitioned ancestor's */
	TRIGGER_STRANGE				/* of the same name, and not ours */
} TriggerState;

static bool
trigger_is_ours(Form_pg_trigger trigger)
{
	return strcmp(NameStr(trigger->tgname), FLUXHOOKS_TRIGGER) == 0 &&
		getExtensionOfObject(ProcedureRelationId, trigger->tgfoid) == catalog_require()->extension;
}

static TriggerState
trigger_find(Oid relid)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	TriggerState state = TRIGGER_NONE;

	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(FLUXHOOKS_TRIGGER));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (!trigger_is_ours(trigger))
			state = TRIGGER_STRANGE;
		else
			state = OidIsValid(trigger->tgparentid) ? TRIGGER_CLONE : TRIGGER_OWN;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return state;
}

/* Tables of all subscriptions there are, as just committed or changed here. */
static List *
trigger_listened_tables(void)
{
	Relation	rel = table_open(catalog_require()->subscription, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *tables = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		reference = heap_getattr(tuple, SUBSCRIPTION_ATTR_RELATION,
											 RelationGetDescr(rel), &isnull);

		tables = list_append_unique_oid(tables, reference_get_oid(reference));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tables;
}

static char *
trigger_table_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", relid),
				 errdetail("It was dropped in the meantime.")));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

static void
trigger_execute(const char *command, Oid relid)
{
	char	   *sql = psprintf(command, trigger_table_name(relid));

	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", sql);
	pfree(sql);
}

static void
trigger_drop(Oid relid)
{
	trigger_execute("DROP TRIGGER " FLUXHOOKS_TRIGGER " ON %s", relid);
}

COMPAT_NORETURN static void
trigger_reject_strange(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("table %s has a trigger \"%s\" that is not of fluxhooks",
					trigger_table_name(relid), FLUXHOOKS_TRIGGER),
			 errhint("Rename or drop that trigger.")));
}

/* Partitions at all levels below a partitioned table; NIL of any other. */
static List *
trigger_partitions(Oid relid)
{
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return NIL;
	return list_delete_oid(find_all_inheritors(relid, NoLock, NULL), relid);
}

COMPAT_NORETURN static void
trigger_reject_late(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock table %s in time", name),
			 errdetail("Its capture trigger has to be made or dropped, and other transactions use the table."),
			 errhint("Try again when they have ended.")));
}

static void
trigger_lock(List *tables, LOCKMODE mode)
{
	Oid			late = lock_tables(tables, mode);

	if (OidIsValid(late))
		trigger_reject_late(trigger_table_name(late));
}

/* A trigger is made on the partitions as well, or dropped. */
static List *
trigger_tree(Oid relid)
{
	return lcons_oid(relid, trigger_partitions(relid));
}

/*
 * So that DROP EXTENSION takes it along.  ALTER TRIGGER ... DEPENDS ON EXTENSION
 * does the same, and locks the table against its readers for that.
 */
static void
trigger_depend_on_extension(Oid relid)
{
	ObjectAddress trigger;
	ObjectAddress extension;

	CommandCounterIncrement();
	ObjectAddressSet(trigger, TriggerRelationId, get_trigger_oid(relid, FLUXHOOKS_TRIGGER, false));
	ObjectAddressSet(extension, ExtensionRelationId, catalog_require()->extension);
	recordDependencyOn(&trigger, &extension, DEPENDENCY_AUTO_EXTENSION);
}

/* Triggers of tables would be in the way of the clones that they are about to get. */
static void
trigger_clear(List *tables)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		switch (trigger_find(lfirst_oid(lc)))
		{
			case TRIGGER_OWN:
				trigger_drop(lfirst_oid(lc));
				break;
			case TRIGGER_STRANGE:
				trigger_reject_strange(lfirst_oid(lc));
			default:
				break;
		}
	}
}

static void
trigger_install_unnamed(Oid relid)
{
	LockRelationOid(relid, ShareUpdateExclusiveLock);
	switch (trigger_find(relid))
	{
		case TRIGGER_OWN:
		case TRIGGER_CLONE:
			return;
		case TRIGGER_STRANGE:
			trigger_reject_strange(relid);
		case TRIGGER_NONE:
			break;
	}
	trigger_lock(trigger_tree(relid), ShareRowExclusiveLock);
	trigger_clear(trigger_partitions(relid));
	trigger_execute("CREATE TRIGGER " FLUXHOOKS_TRIGGER " AFTER INSERT OR UPDATE OR DELETE ON %s "
					"FOR EACH ROW EXECUTE FUNCTION " FLUXHOOKS_INTERNAL_SCHEMA ".capture()", relid);
	trigger_depend_on_extension(relid);
}

/* Those that are listened to; from the top down, since a clone needs no own. */
static void
trigger_install_listened(List *tables, List *listened)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		if (list_member_oid(listened, lfirst_oid(lc)))
			trigger_install_unnamed(lfirst_oid(lc));
	}
}

static bool
trigger_is_idle(Oid relid, List *listened)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) &&
		!list_member_oid(listened, relid) && trigger_find(relid) == TRIGGER_OWN;
}

static void
trigger_remove_unnamed(Oid relid)
{
	List	   *partitions;
	List	   *listened;

	LockRelationOid(relid, ShareUpdateExclusiveLock);
	listened = trigger_listened_tables();
	if (!trigger_is_idle(relid, listened))
		return;
	trigger_lock(trigger_tree(relid), AccessExclusiveLock);
	partitions = trigger_partitions(relid);
	trigger_drop(relid);
	trigger_install_listened(partitions, listened);
}

/* Do it, and say which table's lock was not had in time. */
static void
trigger_in_time(void (*act) (Oid relid), Oid relid)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = trigger_table_name(relid);

	PG_TRY();
	{
		act(relid);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		trigger_reject_late(name);
	}
	PG_END_TRY();
}

static void
trigger_reserve_unnamed(Oid relid)
{
	LockRelationOid(relid, ShareUpdateExclusiveLock);
}

void
trigger_reserve(Oid relid)
{
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		trigger_in_time(trigger_reserve_unnamed, relid);
}

void
trigger_reserve_to_install(const Oid *relids, int n)
{
	List	   *tables = NIL;

	for (int i = 0; i < n; i++)
	{
		if (trigger_find(relids[i]) == TRIGGER_NONE)
			tables = list_concat_unique_oid(tables, trigger_tree(relids[i]));
	}
	trigger_lock(tables, ShareRowExclusiveLock);
}

void
trigger_reserve_to_remove(const Oid *relids, int n)
{
	List	   *listened = trigger_listened_tables();
	List	   *tables = NIL;

	for (int i = 0; i < n; i++)
	{
		if (trigger_is_idle(relids[i], listened))
			tables = list_concat_unique_oid(tables, trigger_tree(relids[i]));
	}
	trigger_lock(tables, AccessExclusiveLock);
}

void
trigger_install(Oid relid)
{
	trigger_in_time(trigger_install_unnamed, relid);
}

void
trigger_remove(Oid relid)
{
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		trigger_in_time(trigger_remove_unnamed, relid);
}

void
trigger_lock_to_drop(void)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *tables = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (trigger_is_ours(trigger))
			tables = lappend_oid(tables, trigger->tgrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	trigger_lock(tables, AccessExclusiveLock);
}

void
trigger_before_attach(Oid parent, Oid partition)
{
	TriggerState state;

	LockRelationOid(parent, ShareUpdateExclusiveLock);
	state = trigger_find(parent);
	if (state == TRIGGER_OWN || state == TRIGGER_CLONE)
		trigger_clear(lcons_oid(partition, trigger_partitions(partition)));
}

void
trigger_after_detach(Oid partition)
{
	trigger_install_listened(lcons_oid(partition, trigger_partitions(partition)),
							 trigger_listened_tables());
}
