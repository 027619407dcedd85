/*
 * utility.c
 *	  ProcessUtility hook.
 *
 * DROP, RENAME and SET TABLESPACE of a database, and its use as a template,
 * fail while anybody is connected to it, our worker too: it is stopped first,
 * and held off until the transaction has ended.  Only for a role that the
 * command's own first check would let through: nobody else may stop a worker.
 *
 * DROP EXTENSION first waits for transactions that write to tables with webhooks, then
 * for the worker's, before it takes any other lock.
 *
 * What may change which database has a worker, and COMMIT PREPARED, is told on.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "launcher.h"
#include "shared.h"
#include "trigger.h"
#include "utility.h"
#include "wakeup.h"

/* What others need to know of a command that has been run. */
typedef enum UtilityNews
{
	UTILITY_NONE,
	UTILITY_DATABASES,
	UTILITY_EXTENSION_CHANGED,
	UTILITY_COMMIT_PREPARED
} UtilityNews;

static ProcessUtility_hook_type previous_utility = NULL;

static bool
utility_owns(Oid database)
{
	return compat_owns_database(database, GetUserId());
}

static bool
utility_may_create(void)
{
	HeapTuple	tuple;
	bool		may = superuser();

	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		may = may || ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

static bool
utility_is_template(Oid database)
{
	HeapTuple	tuple;
	bool		is_template = false;

	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	if (HeapTupleIsValid(tuple))
	{
		is_template = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return is_template;
}

/* The value of an option, NULL where it is left out or DEFAULT. */
static char *
utility_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

static Oid
utility_template(const CreatedbStmt *stmt)
{
	char	   *name = utility_option(stmt->options, "template");

	return get_database_oid(name != NULL ? name : "template1", true);
}

/* Which database does the command need for itself, if it may have it? */
static Oid
utility_wants_alone(Node *command)
{
	Oid			database = InvalidOid;
	bool		allowed = false;

	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			database = get_database_oid(((DropdbStmt *) command)->dbname, true);
			allowed = OidIsValid(database) && utility_owns(database);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) command)->renameType != OBJECT_DATABASE)
				break;
			database = get_database_oid(((RenameStmt *) command)->subname, true);
			allowed = OidIsValid(database) && utility_owns(database) && utility_may_create();
			break;
		case T_AlterDatabaseStmt:
			if (utility_option(((AlterDatabaseStmt *) command)->options, "tablespace") == NULL)
				break;
			database = get_database_oid(((AlterDatabaseStmt *) command)->dbname, true);
			allowed = OidIsValid(database) && utility_owns(database);
			break;
		case T_CreatedbStmt:
			database = utility_template((CreatedbStmt *) command);
			allowed = OidIsValid(database) && utility_may_create() &&
				(utility_is_template(database) || utility_owns(database));
			break;
		default:
			break;
	}
	return allowed ? database : InvalidOid;
}

/*
 * Events of the prepared transaction are visible now, whatever becomes of this
 * one.  It may have created the extension, too.
 */
static void
utility_commit_prepared(void)
{
	WorkerStatus status;

	shared_worker_set_recheck(MyDatabaseId);
	if (shared_worker_status(MyDatabaseId, &status) && status.pid != 0)
		return;
	if (OidIsValid(get_extension_oid("fluxhooks", true)))
		launcher_notify(MyDatabaseId);
}

static bool
utility_drops_extension(Node *command)
{
	ListCell   *cell;

	if (!IsA(command, DropStmt) || ((DropStmt *) command)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) command)->objects)
	{
		if (strcmp(strVal(lfirst(cell)), "fluxhooks") == 0)
			return true;
	}
	return false;
}

/* Only for who may: nobody else may keep writers and the worker waiting. */
static void
utility_lock_to_drop(void)
{
	const Catalog *found = catalog_get();

	if (found == NULL || !has_privs_of_role(GetUserId(), found->owner))
		return;
	trigger_lock_to_drop();
	catalog_lock_to_drop();
}

static UtilityNews
utility_news(Node *command)
{
	switch (nodeTag(command))
	{
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
			return UTILITY_DATABASES;
		case T_AlterExtensionStmt:
		case T_DropOwnedStmt:
			return UTILITY_EXTENSION_CHANGED;
		case T_DropStmt:
			if (((DropStmt *) command)->removeType == OBJECT_EXTENSION)
				return UTILITY_EXTENSION_CHANGED;
			break;
		case T_TransactionStmt:
			if (((TransactionStmt *) command)->kind == TRANS_STMT_COMMIT_PREPARED)
				return UTILITY_COMMIT_PREPARED;
			break;
		default:
			break;
	}
	return UTILITY_NONE;
}

static void
utility_tell(UtilityNews news)
{
	switch (news)
	{
		case UTILITY_NONE:
			break;
		case UTILITY_DATABASES:
			wakeup_databases_at_commit();
			break;
		case UTILITY_EXTENSION_CHANGED:
			wakeup_recheck_at_commit();
			break;
		case UTILITY_COMMIT_PREPARED:
			utility_commit_prepared();
			break;
	}
}

static void
utility_process(COMPAT_UTILITY_PARAMETERS)
{
	/* looked at before: the statement need not outlive its execution */
	UtilityNews news = utility_news(pstmt->utilityStmt);
	Oid			database = utility_wants_alone(pstmt->utilityStmt);

	if (OidIsValid(database))
		launcher_hold(database);
	if (utility_drops_extension(pstmt->utilityStmt))
		utility_lock_to_drop();

	if (previous_utility)
		previous_utility(COMPAT_UTILITY_ARGUMENTS);
	else
		standard_ProcessUtility(COMPAT_UTILITY_ARGUMENTS);

	utility_tell(news);
}

void
utility_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_process;
}
