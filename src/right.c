/*
 * right.c
 *	  What a role needs to have webhooks, and which of it is missing.
 *
 * A role has webhooks because the administrator granted it that: USAGE on
 * schema fluxhooks, and EXECUTE on a function that makes webhooks.  On a table
 * it must see every row, whichever there will be: own it, and not be subject
 * to row security there.  All of it can be lost again, by any of a dozen
 * commands; so nobody records it, and whoever needs it asks here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "right.h"

#define WATCHED_FUNCTIONS	8

static uint64 changes = 0;

/* what answers were given about: tables, and the cache keys of functions and the schema */
static HTAB *asked = NULL;
static uint32 function_hashes[WATCHED_FUNCTIONS];
static int	n_function_hashes = 0;
static uint32 schema_hash = 0;

static void
right_watch_function(Oid function)
{
	uint32		hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function));

	for (int i = 0; i < n_function_hashes; i++)
	{
		if (function_hashes[i] == hash)
			return;
	}
	if (n_function_hashes < WATCHED_FUNCTIONS)
		function_hashes[n_function_hashes++] = hash;
}

/* EXECUTE on any of the functions of this name in schema fluxhooks. */
static bool
right_executes(Oid role, const char *name)
{
	Oid			schema = catalog_require()->user_schema;
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	bool		granted = false;

	for (int i = 0; i < list->n_members && !granted; i++)
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (proc->pronamespace != schema)
			continue;
		right_watch_function(proc->oid);
		granted = compat_executes(proc->oid, role);
	}
	ReleaseSysCacheList(list);
	return granted;
}

char *
right_missing(Oid role)
{
	Oid			schema = catalog_require()->user_schema;

	schema_hash = GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(schema));
	if (!compat_uses_schema(schema, role))
		return psprintf("role \"%s\" has no USAGE on schema " FLUXHOOKS_SCHEMA,
						GetUserNameFromId(role, false));
	if (!right_executes(role, "create_webhook") && !right_executes(role, "put_webhook"))
		return psprintf("role \"%s\" has no EXECUTE on a function that creates webhooks",
						GetUserNameFromId(role, false));
	return NULL;
}

bool
right_owns(Oid role, Oid relid)
{
	(void) hash_search(asked, &relid, HASH_ENTER, NULL);
	return compat_class_ownercheck(relid, role);
}

char *
right_missing_on(Oid role, Oid relid)
{
	const char *problem;

	if (!right_owns(role, relid))
		problem = "role \"%s\" does not own table %s";
	else if (check_enable_rls(relid, role, true) == RLS_ENABLED)
		problem = "row security applies to role \"%s\" on table %s";
	else
		return NULL;
	return psprintf(problem, GetUserNameFromId(role, false),
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
											   get_rel_name(relid)));
}

uint64
right_changes(void)
{
	return changes;
}

static void
right_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || hash_search(asked, &relid, HASH_FIND, NULL) != NULL)
		changes++;
}

/* Roles change seldom; functions and schemas come and go that concern nobody here. */
static void
right_syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	bool		ours = hashvalue == 0 || cacheid == AUTHOID || cacheid == AUTHMEMROLEMEM ||
		(cacheid == NAMESPACEOID && hashvalue == schema_hash);

	for (int i = 0; i < n_function_hashes && !ours; i++)
		ours = cacheid == PROCOID && hashvalue == function_hashes[i];
	if (ours)
		changes++;
}

void
right_init(void)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Oid);
	asked = hash_create("fluxhooks tables of webhooks", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(right_relcache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, right_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, right_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, right_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, right_syscache_callback, (Datum) 0);
}
