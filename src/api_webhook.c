/*
 * api_webhook.c
 *	  The SQL functions that make, change, delete and find webhooks.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "api.h"
#include "catalog.h"
#include "compat.h"
#include "guc.h"
#include "reference.h"
#include "secret.h"
#include "shared.h"
#include "trigger.h"

PG_FUNCTION_INFO_V1(api_create_webhook);
PG_FUNCTION_INFO_V1(api_create_webhook_config);
PG_FUNCTION_INFO_V1(api_put_webhook);
PG_FUNCTION_INFO_V1(api_update_webhook);
PG_FUNCTION_INFO_V1(api_delete_webhook);
PG_FUNCTION_INFO_V1(api_webhook_id);

/* attribute numbers of fluxhooks_internal.webhook */
#define WEBHOOK_ATTR_ID			1
#define WEBHOOK_ATTR_NAME		2
#define WEBHOOK_ATTR_OWNER		12
#define WEBHOOK_ATTR_DELETED	16

/* Advisory locks of SQL have 1 or 2 in this field, so none of them is ours. */
#define OWNER_LOCK_FIELD	0xF10C

/*
 * The webhook of this owner and name, not deleted.  Reads what is committed
 * now, not what the transaction's snapshot shows: a REPEATABLE READ caller must not
 * make a second webhook of a name either.
 */
static bool
api_find_name(Oid owner, const char *name, pg_uuid_t *id)
{
	Relation	rel = table_open(catalog_require()->webhook, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		if (!heap_attisnull(tuple, WEBHOOK_ATTR_DELETED, desc) ||
			reference_get_oid(heap_getattr(tuple, WEBHOOK_ATTR_OWNER, desc, &isnull)) != owner ||
			strcmp(TextDatumGetCString(heap_getattr(tuple, WEBHOOK_ATTR_NAME, desc, &isnull)), name) != 0)
			continue;
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the primary key */
		*id = *DatumGetUUIDP(heap_getattr(tuple, WEBHOOK_ATTR_ID, desc, &isnull));
		found = true;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Until the transaction ends, nobody else names a webhook of this owner or
 * makes one.  A unique index would make a restore stop where owners are
 * missing; and everybody sees locks, so that one on a name would tell it.
 */
static void
api_lock_owner(Oid owner)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, owner, 0, OWNER_LOCK_FIELD);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Take the name for a webhook (NULL: a new one), or raise 42710. */
static void
api_claim_name(Oid owner, const char *name, const pg_uuid_t *self)
{
	pg_uuid_t	holder;

	api_lock_owner(owner);
	if (api_find_name(owner, name, &holder) &&
		(self == NULL || memcmp(&holder, self, UUID_LEN) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("webhook \"%s\" already exists", name),
				 errhint("Use fluxhooks.put_webhook() to create or update.")));
}

/*
 * Limits
 */

/* With the owner locked. */
static void
api_check_role_limit(Oid owner)
{
	ApiParameter parameters[] = {API_OID(owner), API_INT(guc_max_webhooks_per_role)};

	if (api_execute("SELECT FROM fluxhooks_internal.webhook AS w WHERE w.deleted_at IS NULL"
					" AND fluxhooks_internal.reference_oid(w.owner) = $1 HAVING count(*) >= $2",
					parameters, lengthof(parameters)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("role \"%s\" has as many webhooks as a role may have",
						GetUserNameFromId(owner, false)),
				 errdetail("At most %d webhooks per role are allowed.", guc_max_webhooks_per_role),
				 errhint("The limit is fluxhooks.max_webhooks_per_role, which a superuser can change, also for one role.")));
}

/* With the tables locked, before the webhook's own events are there. */
static void
api_check_table_limit(const ApiScope *scope, const Oid *tables, int n)
{
	Datum	   *datums = palloc(n * sizeof(Datum));
	ApiParameter parameters[2] = {{OIDARRAYOID}, API_INT(guc_max_webhooks_per_table)};

	for (int i = 0; i < n; i++)
		datums[i] = ObjectIdGetDatum(tables[i]);
	parameters[0].value = PointerGetDatum(construct_array(datums, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	if (api_execute("SELECT s.relation FROM (SELECT min(s.relation::text) AS relation"
					" FROM fluxhooks_internal.subscription AS s"
					" WHERE fluxhooks_internal.reference_oid(s.relation) = ANY ($1)"
					" GROUP BY fluxhooks_internal.reference_oid(s.relation)"
					" HAVING count(DISTINCT s.webhook_id) >= $2) AS s ORDER BY s.relation LIMIT 1",
					parameters, lengthof(parameters)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table %s has as many webhooks as a table may have", api_text(scope, 0, 1)),
				 errdetail("At most %d webhooks per table are allowed.", guc_max_webhooks_per_table),
				 errhint("The limit is fluxhooks.max_webhooks_per_table, which a superuser can change.")));
}

/*
 * Events and triggers
 */

static int
api_compare_oids(const void *a, const void *b)
{
	Oid			left = *(const Oid *) a;
	Oid			right = *(const Oid *) b;

	return left < right ? -1 : left > right;
}

/* In the same order everywhere, so that sessions do not lock crosswise. */
static void
api_for_tables(Oid *tables, int n, void (*act) (Oid relid))
{
	qsort(tables, n, sizeof(Oid), api_compare_oids);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || tables[i] != tables[i - 1])
			act(tables[i]);
	}
}

static Datum
api_operations(const ConfigEvent *event)
{
	Datum		texts[CONFIG_OPERATIONS];

	for (int i = 0; i < event->n_operations; i++)
		texts[i] = CStringGetTextDatum(event->operations[i]);
	return PointerGetDatum(construct_array(texts, event->n_operations, TEXTOID, -1, false, TYPALIGN_INT));
}

static char *
api_join_operations(const ConfigEvent *event)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < event->n_operations; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? "," : "", event->operations[i]);
	return text.data;
}

static Oid *
api_event_tables(const WebhookConfig *config, int n_more)
{
	Oid		   *tables = palloc((config->n_events + n_more) * sizeof(Oid));

	for (int i = 0; i < config->n_events; i++)
		tables[i] = config->events[i].relid;
	return tables;
}

static void
api_insert_events(const ApiScope *scope, const pg_uuid_t *id, const WebhookConfig *config)
{
	Oid		   *tables = api_event_tables(config, 0);

	api_for_tables(tables, config->n_events, trigger_reserve);
	trigger_reserve_to_install(tables, config->n_events);
	api_for_tables(tables, config->n_events, trigger_install);
	api_check_table_limit(scope, tables, config->n_events);

	for (int i = 0; i < config->n_events; i++)
	{
		ApiParameter parameters[] = {
			API_UUID(id),
			API_INT(i),
			API_OID(config->events[i].relid),
			{TEXTARRAYOID, api_operations(&config->events[i]), false}
		};

		api_execute("INSERT INTO fluxhooks_internal.subscription (webhook_id, position, relation, operations)"
					" VALUES ($1, $2, fluxhooks_internal.table_reference($3), $4)",
					parameters, lengthof(parameters));
	}
}

/* Returns how many; *tables is palloc'd in the scope's context. */
static int
api_delete_events(const ApiScope *scope, const pg_uuid_t *id, Oid **tables)
{
	ApiParameter parameter = API_UUID(id);
	int			n = api_execute("DELETE FROM fluxhooks_internal.subscription WHERE webhook_id = $1"
								" RETURNING fluxhooks_internal.reference_oid(relation)",
								&parameter, 1);

	*tables = MemoryContextAlloc(scope->context, Max(n, 1) * sizeof(Oid));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		(*tables)[i] = DatumGetObjectId(api_datum(scope, i, 1, &isnull));
	}
	return n;
}

static bool
api_same_events(const ApiScope *scope, const pg_uuid_t *id, const WebhookConfig *config)
{
	ApiParameter parameter = API_UUID(id);
	uint64		n = api_execute("SELECT fluxhooks_internal.reference_oid(relation), array_to_string(operations, ',')"
								" FROM fluxhooks_internal.subscription WHERE webhook_id = $1 ORDER BY position",
								&parameter, 1);

	if (n != config->n_events)
		return false;
	for (int i = 0; i < config->n_events; i++)
	{
		bool		isnull;

		if (DatumGetObjectId(api_datum(scope, i, 1, &isnull)) != config->events[i].relid ||
			strcmp(api_text(scope, i, 2), api_join_operations(&config->events[i])) != 0)
			return false;
	}
	return true;
}

/* True when anything had to be changed. */
static bool
api_replace_events(const ApiScope *scope, const pg_uuid_t *id, const WebhookConfig *config)
{
	Oid		   *old;
	Oid		   *tables;
	int			n;

	if (config->events == NULL || api_same_events(scope, id, config))
		return false;
	n = api_delete_events(scope, id, &old);
	tables = api_event_tables(config, n);
	memcpy(tables + config->n_events, old, n * sizeof(Oid));
	api_for_tables(tables, config->n_events + n, trigger_reserve);
	api_insert_events(scope, id, config);
	trigger_reserve_to_remove(old, n);
	api_for_tables(old, n, trigger_remove);
	return true;
}

/*
 * Create and change
 */

#define WEBHOOK_PARAMETERS	8

/* All but what secret_write stores. */
static void
api_bind_config(const WebhookConfig *config, ApiParameter parameters[WEBHOOK_PARAMETERS])
{
	parameters[0] = API_TEXT(config->name);
	parameters[1] = API_TEXT(config->description);
	parameters[2] = API_TEXT(config->url);
	parameters[3] = API_BOOL(config->enabled);
	parameters[4] = API_INT(config->max_retries);
	parameters[5] = API_INT(config->timeout_seconds);
	parameters[6] = API_INT(config->retry_backoff_seconds);
	parameters[7] = API_JSONB(config->options);
}

/* Inside a scope, with the name claimed. */
static pg_uuid_t
api_insert_webhook(const ApiScope *scope, const WebhookConfig *config)
{
	ApiParameter parameters[WEBHOOK_PARAMETERS + 1];
	bool		isnull;
	pg_uuid_t	id;

	api_bind_config(config, parameters);
	parameters[WEBHOOK_PARAMETERS] = API_OID(scope->caller);
	api_execute("INSERT INTO fluxhooks_internal.webhook (id, name, description, url, enabled,"
				" headers, max_retries, timeout_seconds, retry_backoff_seconds, options, owner,"
				" created_at, updated_at)"
				" VALUES (gen_random_uuid(), $1, $2, $3, $4, '{}', $5, $6, $7, $8,"
				" fluxhooks_internal.role_reference($9), now(), now()) RETURNING id",
				parameters, lengthof(parameters));
	id = *DatumGetUUIDP(api_datum(scope, 0, 1, &isnull));
	secret_write(&id, config);
	api_insert_events(scope, &id, config);
	return id;
}

static void
api_remark(const WebhookConfig *config)
{
	config_remark(config);
	if (!shared_exists())
		ereport(WARNING,
				(errmsg("deliveries wait until the library is preloaded"),
				 errdetail("Row changes are captured, and nothing is lost."),
				 errhint("Set shared_preload_libraries = 'fluxhooks' and restart the server.")));
}

static Datum
api_create(const WebhookConfig *config)
{
	ApiScope	scope;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	config_check_complete(config);
	api_enter(&scope);
	api_claim_name(scope.caller, config->name, NULL);
	api_check_role_limit(scope.caller);
	*id = api_insert_webhook(&scope, config);
	api_leave(&scope);
	api_remark(config);
	return UUIDPGetDatum(id);
}

/*
 * A restored webhook may have lost its owner or tables for want of their
 * names.  Any change of it looks for them again.
 */
static bool
api_find_lost_owner(const ApiScope *scope, const ApiWebhook *webhook)
{
	ApiParameter parameter = API_UUID(&webhook->id);
	bool		isnull;

	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(webhook->owner)) ||
		api_execute("UPDATE fluxhooks_internal.webhook"
					" SET owner = owner::text::fluxhooks_internal.role_reference"
					" WHERE id = $1 AND fluxhooks_internal.reference_oid(owner::text::fluxhooks_internal.role_reference) <> 0"
					" RETURNING fluxhooks_internal.reference_oid(owner)", &parameter, 1) == 0)
		return false;
	api_claim_name(DatumGetObjectId(api_datum(scope, 0, 1, &isnull)), webhook->config.name, &webhook->id);
	return true;
}

static bool
api_find_lost_tables(const ApiScope *scope, const pg_uuid_t *id)
{
	ApiParameter parameter = API_UUID(id);
	Oid		   *tables;
	int			n = 0;
	uint64		candidates;

	candidates = api_execute("SELECT s.position, fluxhooks_internal.reference_oid(s.relation::text::fluxhooks_internal.table_reference)"
							 " FROM fluxhooks_internal.subscription AS s"
							 " WHERE s.webhook_id = $1 AND fluxhooks_internal.reference_oid(s.relation) = 0"
							 " AND fluxhooks_internal.reference_oid(s.relation::text::fluxhooks_internal.table_reference) <> 0",
							 &parameter, 1);
	tables = palloc(Max(candidates, 1) * sizeof(Oid));
	for (uint64 i = 0; i < candidates; i++)
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(api_datum(scope, i, 2, &isnull));

		if (compat_class_ownercheck(relid, scope->caller))
			tables[n++] = relid;
	}
	if (n == 0)
		return false;
	api_for_tables(tables, n, trigger_reserve);
	trigger_reserve_to_install(tables, n);
	api_for_tables(tables, n, trigger_install);
	for (int i = 0; i < n; i++)
	{
		ApiParameter parameters[] = {API_UUID(id), API_OID(tables[i])};

		api_execute("UPDATE fluxhooks_internal.subscription"
					" SET relation = fluxhooks_internal.table_reference($2)"
					" WHERE webhook_id = $1 AND fluxhooks_internal.reference_oid(relation) = 0"
					" AND fluxhooks_internal.reference_oid(relation::text::fluxhooks_internal.table_reference) = $2",
					parameters, lengthof(parameters));
	}
	return true;
}

/* Change a webhook that was loaded with a lock, inside the same transaction. */
static void
api_change(const ApiWebhook *webhook, Jsonb *changes, bool lift_pause)
{
	ApiWebhook	changed = *webhook;
	ApiScope	scope;
	ApiParameter parameters[WEBHOOK_PARAMETERS + 3];
	bool		touched;

	config_set_all(&changed.config, changes);
	/* a secret that was given, rather than rotated to, is the only one */
	if (changed.config.secret == NULL || webhook->config.secret == NULL ||
		strcmp(changed.config.secret, webhook->config.secret) != 0)
		changed.config.old_secret = NULL;
	api_enter(&scope);
	if (strcmp(changed.config.name, webhook->config.name) != 0)
		api_claim_name(webhook->owner, changed.config.name, &webhook->id);
	touched = api_replace_events(&scope, &webhook->id, &changed.config);
	touched |= api_find_lost_tables(&scope, &webhook->id);
	touched |= api_find_lost_owner(&scope, &changed);
	if (secret_differs(&changed.config, &webhook->config))
	{
		secret_write(&webhook->id, &changed.config);
		touched = true;
	}

	api_bind_config(&changed.config, parameters);
	parameters[WEBHOOK_PARAMETERS] = API_UUID(&webhook->id);
	parameters[WEBHOOK_PARAMETERS + 1] = API_BOOL(touched);
	parameters[WEBHOOK_PARAMETERS + 2] = API_BOOL(lift_pause);
	api_execute("UPDATE fluxhooks_internal.webhook"
				" SET name = $1, description = $2, url = $3, enabled = $4,"
				" max_retries = $5, timeout_seconds = $6, retry_backoff_seconds = $7, options = $8,"
				" updated_at = now(), paused_reason = CASE WHEN $11 THEN NULL ELSE paused_reason END"
				" WHERE id = $9 AND ($10 OR ($11 AND paused_reason IS NOT NULL) OR (name, description, url, enabled,"
				" max_retries, timeout_seconds, retry_backoff_seconds, options)"
				" IS DISTINCT FROM ($1, $2, $3, $4, $5, $6, $7, $8))",
				parameters, lengthof(parameters));
	api_leave(&scope);

	if (strcmp(changed.config.url, webhook->config.url) != 0 ||
		(changed.config.secret == NULL && webhook->config.secret != NULL))
		config_remark(&changed.config);
}

/* The value of a jsonb argument as config_set takes it. */
static const JsonbValue *
api_json_value(Jsonb *jsonb)
{
	JsonbValue *value = palloc(sizeof(JsonbValue));

	if (JB_ROOT_IS_SCALAR(jsonb))
		(void) JsonbExtractScalar(&jsonb->root, value);
	else
	{
		value->type = jbvBinary;
		value->val.binary.data = &jsonb->root;
		value->val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	}
	return value;
}

static void
api_set_text(WebhookConfig *config, const char *key, FunctionCallInfo fcinfo, int number)
{
	config_set_text(config, key, PG_ARGISNULL(number) ? NULL : TextDatumGetCString(PG_GETARG_DATUM(number)));
}

static void
api_set_integer(WebhookConfig *config, const char *key, FunctionCallInfo fcinfo, int number)
{
	JsonbValue	value;

	if (PG_ARGISNULL(number))
	{
		config_set(config, key, NULL);
		return;
	}
	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(DirectFunctionCall1(int4_numeric, PG_GETARG_DATUM(number)));
	config_set(config, key, &value);
}

static void
api_set_json(WebhookConfig *config, const char *key, FunctionCallInfo fcinfo, int number)
{
	config_set(config, key, PG_ARGISNULL(number) ? NULL : api_json_value(PG_GETARG_JSONB_P(number)));
}

/*
 * create_webhook(name text, url text, events jsonb, description text, secret text,
 *		enabled boolean, headers jsonb, max_retries integer, timeout_seconds integer,
 *		retry_backoff_seconds integer, options jsonb) RETURNS uuid
 */
Datum
api_create_webhook(PG_FUNCTION_ARGS)
{
	WebhookConfig config;

	config_set_defaults(&config);
	api_set_text(&config, "name", fcinfo, 0);
	api_set_text(&config, "url", fcinfo, 1);
	api_set_json(&config, "events", fcinfo, 2);
	api_set_text(&config, "description", fcinfo, 3);
	api_set_text(&config, "secret", fcinfo, 4);
	config.enabled = PG_ARGISNULL(5) ? true : PG_GETARG_BOOL(5);
	api_set_json(&config, "headers", fcinfo, 6);
	api_set_integer(&config, "max_retries", fcinfo, 7);
	api_set_integer(&config, "timeout_seconds", fcinfo, 8);
	api_set_integer(&config, "retry_backoff_seconds", fcinfo, 9);
	if (!PG_ARGISNULL(10))
		config_set_options(&config, PG_GETARG_JSONB_P(10));
	PG_RETURN_DATUM(api_create(&config));
}

/* create_webhook(config jsonb) RETURNS uuid */
Datum
api_create_webhook_config(PG_FUNCTION_ARGS)
{
	Jsonb	   *given = DatumGetJsonbP(api_argument(fcinfo, 0, "config"));
	WebhookConfig config;

	config_set_defaults(&config);
	config_set_all(&config, given);
	PG_RETURN_DATUM(api_create(&config));
}

/* put_webhook(config jsonb) RETURNS uuid */
Datum
api_put_webhook(PG_FUNCTION_ARGS)
{
	Jsonb	   *given = DatumGetJsonbP(api_argument(fcinfo, 0, "config"));
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	WebhookConfig config;
	ApiScope	scope;
	ApiWebhook	webhook;
	bool		found;

	config_set_defaults(&config);
	config_set_all(&config, given);
	config_check_name(&config);
	api_enter(&scope);
	api_lock_owner(scope.caller);
	found = api_find_name(scope.caller, config.name, id);
	if (found && !api_find_webhook(&scope, id, true, false, &webhook))
	{
		/* one deleted while its row was waited for leaves the name free */
		found = api_find_name(scope.caller, config.name, id);
		if (found)
			api_load_webhook(&scope, id, true, false, &webhook);
	}
	api_leave(&scope);
	if (!found)
		PG_RETURN_DATUM(api_create(&config));
	api_change(&webhook, given, false);
	PG_RETURN_UUID_P(id);
}

static JsonbValue *
api_get_key(Jsonb *object, const char *key)
{
	return JB_ROOT_IS_OBJECT(object) ?
		getKeyJsonValueFromContainer(&object->root, key, strlen(key), NULL) : NULL;
}

/* {"enabled": true} is what resumes a webhook that was paused, beside what it says. */
static bool
api_says_enabled(Jsonb *changes)
{
	JsonbValue *value = api_get_key(changes, "enabled");

	return value != NULL && value->type == jbvBool && value->val.boolean;
}

/* update_webhook(webhook_id uuid, changes jsonb) RETURNS void */
Datum
api_update_webhook(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "webhook_id"));
	Jsonb	   *changes = DatumGetJsonbP(api_argument(fcinfo, 1, "changes"));
	ApiScope	scope;
	ApiWebhook	webhook;

	api_enter(&scope);
	if (api_get_key(changes, "name") != NULL)
	{
		/* names are locked before rows, as put_webhook does */
		api_load_webhook(&scope, id, false, false, &webhook);
		api_lock_owner(webhook.owner);
	}
	api_load_webhook(&scope, id, true, false, &webhook);
	api_leave(&scope);
	api_change(&webhook, changes, api_says_enabled(changes));
	PG_RETURN_VOID();
}

/*
 * delete_webhook(webhook_id uuid) RETURNS void
 *
 * The row stays, without its secrets, for as long as there are deliveries to
 * look at; the worker cancels what is pending, and removes it in the end.
 */
Datum
api_delete_webhook(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "webhook_id"));
	ApiParameter parameter = API_UUID(id);
	ApiScope	scope;
	ApiWebhook	webhook;
	Oid		   *tables;
	int			n;

	api_enter(&scope);
	api_load_webhook(&scope, id, true, false, &webhook);
	n = api_delete_events(&scope, id, &tables);
	api_for_tables(tables, n, trigger_reserve);
	trigger_reserve_to_remove(tables, n);
	api_for_tables(tables, n, trigger_remove);
	api_execute("DELETE FROM fluxhooks_internal.webhook_stat WHERE webhook_id = $1", &parameter, 1);
	api_execute("UPDATE fluxhooks_internal.webhook"
				" SET deleted_at = now(), updated_at = now(), secret = NULL,"
				" old_secret = NULL, old_secret_expires_at = NULL, headers = '{}' WHERE id = $1",
				&parameter, 1);
	api_leave(&scope);
	PG_RETURN_VOID();
}

/* webhook_id(name text) RETURNS uuid */
Datum
api_webhook_id(PG_FUNCTION_ARGS)
{
	char	   *name = TextDatumGetCString(api_argument(fcinfo, 0, "name"));
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	if (!api_find_name(GetUserId(), name, id))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("webhook \"%s\" does not exist", name)));
	PG_RETURN_UUID_P(id);
}

