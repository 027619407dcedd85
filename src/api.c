/*
 * api.c
 *	  What the SQL functions share, and those few that are about neither
 *	  webhooks (api_webhook.c) nor deliveries (api_delivery.c).
 *
 * A user needs no right on the tables of fluxhooks.  A function first does in
 * the caller's name what depends on the caller (looking up tables, ownership),
 * then goes on with the rights of the extension's owner, and keeps in mind
 * who asked: a webhook is there for its owner, for members of the owning role
 * and for superusers; for others it does not exist.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "api.h"
#include "catalog.h"
#include "reference.h"
#include "compat.h"
#include "copy.h"
#include "guc.h"
#include "reader.h"
#include "shared.h"
#include "trigger.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(api_event);
PG_FUNCTION_INFO_V1(api_partition_attached);
PG_FUNCTION_INFO_V1(api_partition_detached);
PG_FUNCTION_INFO_V1(api_installed);

#define LOCK_TIMEOUT_MS	5000

/* attribute numbers of fluxhooks_internal.webhook */
#define WEBHOOK_ATTR_ID			1
#define WEBHOOK_ATTR_OWNER		12

/*
 * Acting in the owner's name
 */

static void
api_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
api_enter(ApiScope *scope)
{
	const Catalog *catalog = catalog_require();

	scope->context = CurrentMemoryContext;
	GetUserIdAndSecContext(&scope->caller, &scope->security_context);
	SetUserIdAndSecContext(catalog->owner,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	api_set("search_path", "pg_catalog, pg_temp");
	if (LockTimeout == 0)
		api_set("lock_timeout", CppAsString2(LOCK_TIMEOUT_MS));

	/* in a replica's session our tables would drop what is written to them */
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		api_set("session_replication_role", "origin");

	/* rings have many tables of unknown size: plans look costly, and run in no time */
	api_set("jit", "off");
	SPI_connect();
}

void
api_leave(const ApiScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->caller, scope->security_context);
}

static uint64
api_run(const char *sql, const ApiParameter *parameters, int n_parameters, bool read_only)
{
	Oid		   *types = palloc(Max(n_parameters, 1) * sizeof(Oid));
	Datum	   *values = palloc(Max(n_parameters, 1) * sizeof(Datum));
	char	   *nulls = palloc(Max(n_parameters, 1));

	for (int i = 0; i < n_parameters; i++)
	{
		types[i] = parameters[i].type;
		values[i] = parameters[i].value;
		nulls[i] = parameters[i].isnull ? 'n' : ' ';
	}
	if (SPI_execute_with_args(sql, n_parameters, types, values, nulls, read_only, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
	return SPI_processed;
}

uint64
api_execute(const char *sql, const ApiParameter *parameters, int n_parameters)
{
	return api_run(sql, parameters, n_parameters, false);
}

uint64
api_query(const char *sql, const ApiParameter *parameters, int n_parameters)
{
	return api_run(sql, parameters, n_parameters, true);
}

Datum
api_datum(const ApiScope *scope, uint64 row, int column, bool *isnull)
{
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, column - 1);
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
	MemoryContext old;

	if (*isnull)
		return (Datum) 0;
	old = MemoryContextSwitchTo(scope->context);
	if (attribute->attlen == -1)
		datum = PointerGetDatum(PG_DETOAST_DATUM_COPY(datum));
	else
		datum = datumCopy(datum, attribute->attbyval, attribute->attlen);
	MemoryContextSwitchTo(old);
	return datum;
}

char *
api_text(const ApiScope *scope, uint64 row, int column)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return text ? MemoryContextStrdup(scope->context, text) : NULL;
}

int
api_int(const ApiScope *scope, uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt32(api_datum(scope, row, column, &isnull));
}

Datum
api_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name)));
	return PG_GETARG_DATUM(number);
}

Tuplestorestate *
api_begin_rows(FunctionCallInfo fcinfo, TupleDesc *desc)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	*desc = CreateTupleDescCopy(*desc);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap(true, false, work_mem);
	rsinfo->setDesc = *desc;
	MemoryContextSwitchTo(old);
	return rsinfo->setResult;
}

char *
api_show_uuid(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

/* Owners of the webhook with this id (NULL: of all): does the current user have the rights of each? */
static bool
api_has_rights_of_owners(const pg_uuid_t *id)
{
	const Catalog *catalog = catalog_require();
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;
	bool		all = true;

	if (superuser())
		return true;
	rel = table_open(catalog->webhook, AccessShareLock);
	ScanKeyInit(&key, WEBHOOK_ATTR_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	scan = systable_beginscan(rel, index_find(rel, INDEX_PRIMARY_KEY), id != NULL, NULL, id != NULL ? 1 : 0, &key);
	while (all && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		owner = heap_getattr(tuple, WEBHOOK_ATTR_OWNER, RelationGetDescr(rel), &isnull);

		found = true;
		all = has_privs_of_role(GetUserId(), reference_get_oid(owner));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return all && (found || id == NULL);
}

bool
api_sees_webhook(const pg_uuid_t *id)
{
	return api_has_rights_of_owners(id);
}

bool
api_sees_all_webhooks(void)
{
	return api_has_rights_of_owners(NULL);
}

COMPAT_NORETURN static void
api_no_webhook(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("webhook \"%s\" does not exist", api_show_uuid(id))));
}

bool
api_find_webhook(const ApiScope *scope, const pg_uuid_t *id, bool lock, bool deleted_too,
				 ApiWebhook *webhook)
{
	WebhookConfig *config = &webhook->config;
	ApiParameter parameters[] = {API_UUID(id), API_OID(scope->caller)};
	bool		isnull;

	/* a stranger's is not even locked, nor does it take time */
	if (api_execute(psprintf("SELECT w.name, w.description, w.url, w.secret, w.enabled, w.headers,"
							 " w.max_retries, w.timeout_seconds, w.retry_backoff_seconds, w.options,"
							 " fluxhooks_internal.reference_oid(w.owner), w.deleted_at IS NOT NULL,"
							 " w.old_secret, w.old_secret_expires_at"
							 " FROM fluxhooks_internal.webhook AS w WHERE w.id = $1"
							 " AND pg_has_role($2, fluxhooks_internal.reference_oid(w.owner), 'USAGE')%s",
							 lock ? " FOR UPDATE" : ""), parameters, lengthof(parameters)) == 0)
		return false;
	memset(webhook, 0, sizeof(*webhook));
	webhook->id = *id;
	webhook->owner = DatumGetObjectId(api_datum(scope, 0, 11, &isnull));
	webhook->deleted = DatumGetBool(api_datum(scope, 0, 12, &isnull));
	if ((webhook->deleted && !deleted_too) || !has_privs_of_role(scope->caller, webhook->owner))
		return false;
	config->owner = webhook->owner;
	config->name = api_text(scope, 0, 1);
	config->description = api_text(scope, 0, 2);
	config->url = api_text(scope, 0, 3);
	config->secret = api_text(scope, 0, 4);
	config->enabled = DatumGetBool(api_datum(scope, 0, 5, &isnull));
	config->headers = DatumGetJsonbP(api_datum(scope, 0, 6, &isnull));
	config->max_retries = api_int(scope, 0, 7);
	config->timeout_seconds = api_int(scope, 0, 8);
	config->retry_backoff_seconds = api_int(scope, 0, 9);
	config->options = DatumGetJsonbP(api_datum(scope, 0, 10, &isnull));
	config->old_secret = api_text(scope, 0, 13);
	config->old_secret_expires_at = DatumGetTimestampTz(api_datum(scope, 0, 14, &isnull));
	return true;
}

void
api_load_webhook(const ApiScope *scope, const pg_uuid_t *id, bool lock, bool deleted_too,
				 ApiWebhook *webhook)
{
	if (!api_find_webhook(scope, id, lock, deleted_too, webhook))
		api_no_webhook(id);
}

/*
 * event(target regclass, VARIADIC operations text[]) RETURNS jsonb
 */
static void
api_push_string(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = pstrdup(text);
	value.val.string.len = strlen(text);
	(void) pushJsonbValue(state, token, &value);
}

static void
api_push_operations(JsonbParseState **state, ArrayType *operations)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(operations, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		const char *operation = nulls[i] ? "null" : TextDatumGetCString(elements[i]);

		api_push_string(state, WJB_ELEM, config_operation(operation, "", i));
	}
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

Datum
api_event(PG_FUNCTION_ARGS)
{
	Oid			relid = DatumGetObjectId(api_argument(fcinfo, 0, "target"));
	ArrayType  *operations = DatumGetArrayTypeP(api_argument(fcinfo, 1, "operations"));
	char	   *name = get_rel_name(relid);
	JsonbParseState *state = NULL;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", relid)));
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	api_push_string(&state, WJB_KEY, "table");
	api_push_string(&state, WJB_VALUE, name);
	api_push_string(&state, WJB_KEY, "schema");
	api_push_string(&state, WJB_VALUE, get_namespace_name(get_rel_namespace(relid)));
	api_push_string(&state, WJB_KEY, "operations");
	api_push_operations(&state, operations);
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

/*
 * Event triggers on ALTER TABLE: PostgreSQL would refuse to attach a partition
 * that has a trigger of its own, and leave a detached one without any.
 */

/* The tables of ATTACH or DETACH PARTITION, where the command is one and both exist. */
static bool
api_partition_command(FunctionCallInfo fcinfo, AlterTableType type, Oid *parent, Oid *partition)
{
	AlterTableStmt *statement;
	AlterTableCmd *command;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not fired by an event trigger")));
	statement = (AlterTableStmt *) ((EventTriggerData *) fcinfo->context)->parsetree;
	if (!IsA(statement, AlterTableStmt) || list_length(statement->cmds) != 1)
		return false;
	command = linitial_node(AlterTableCmd, statement->cmds);
	if (command->subtype != type)
		return false;
	*parent = RangeVarGetRelid(statement->relation, NoLock, true);
	*partition = RangeVarGetRelid(castNode(PartitionCmd, command->def)->name, NoLock, true);
	return OidIsValid(*parent) && OidIsValid(*partition);
}

/* partition_attached() RETURNS event_trigger, on ddl_command_start */
Datum
api_partition_attached(PG_FUNCTION_ARGS)
{
	ApiScope	scope;
	Oid			parent;
	Oid			partition;

	/* who may not attach it is told so by PostgreSQL */
	if (api_partition_command(fcinfo, AT_AttachPartition, &parent, &partition) &&
		compat_class_ownercheck(parent, GetUserId()) &&
		compat_class_ownercheck(partition, GetUserId()))
	{
		api_enter(&scope);
		trigger_before_attach(parent, partition);
		api_leave(&scope);
	}
	PG_RETURN_NULL();
}

/* partition_detached() RETURNS event_trigger, on ddl_command_end */
Datum
api_partition_detached(PG_FUNCTION_ARGS)
{
	ApiScope	scope;
	Oid			parent;
	Oid			partition;

	if (api_partition_command(fcinfo, AT_DetachPartition, &parent, &partition) ||
		api_partition_command(fcinfo, COMPAT_DETACH_FINALIZE, &parent, &partition))
	{
		api_enter(&scope);
		trigger_after_detach(partition);
		api_leave(&scope);
	}
	PG_RETURN_NULL();
}

/* installed(): the last statement of the extension script. */
Datum
api_installed(PG_FUNCTION_ARGS)
{
	ApiScope	scope;

	api_enter(&scope);
	copy_remember();
	api_leave(&scope);
	wakeup_launcher_at_commit();
	PG_RETURN_VOID();
}
