/*
 * config.c
 *	  A webhook's configuration, as users write it in jsonb, checked.
 *
 * Every rule that CONTRACT.md states for a configuration is here and nowhere
 * else.  An error's DETAIL is the place in the configuration, with the value
 * where that can be no secret: URLs, secrets and header values never show.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "address.h"
#include "breaker.h"
#include "catalog.h"
#include "compat.h"
#include "config.h"
#include "guc.h"
#include "header.h"
#include "http_url.h"
#include "right.h"

#define NAME_MAX_BYTES			255
#define DESCRIPTION_MAX_BYTES	8192
#define URL_MAX_BYTES			2048
#define SECRET_MAX_BYTES		1024
#define HEADER_NAME_MAX_BYTES	256
#define HEADER_VALUE_MAX_BYTES	8192
#define BREAKER_FAILURES_MAX		1000
#define BREAKER_PROBE_SECONDS_MAX	3600
#define PAUSE_AFTER_SECONDS_MAX		(365 * 24 * 3600)
#define SHOWN_BYTES				100

static const char *const operation_names[CONFIG_OPERATIONS] = {"INSERT", "UPDATE", "DELETE"};

/*
 * Errors
 */

/* A value as DETAIL shows it: scalars as JSON, clipped. */
static char *
config_show(const JsonbValue *value)
{
	StringInfoData text;

	initStringInfo(&text);
	switch (value->type)
	{
		case jbvNull:
			appendStringInfoString(&text, "null");
			break;
		case jbvBool:
			appendStringInfoString(&text, value->val.boolean ? "true" : "false");
			break;
		case jbvNumeric:
			appendStringInfo(&text, "%.*s", SHOWN_BYTES, numeric_normalize(value->val.numeric));
			break;
		case jbvString:
			{
				int			len = pg_mbcliplen(value->val.string.val, value->val.string.len,
											   SHOWN_BYTES);

				escape_json(&text, pnstrdup(value->val.string.val, len));
				if (len < value->val.string.len)
					appendStringInfoString(&text, "...");
				break;
			}
		default:
			appendStringInfoString(&text, JsonContainerIsArray(value->val.binary.data) ?
								   "an array" : "an object");
	}
	return text.data;
}

/* value NULL: the place alone. */
static char *
config_detail(const char *place, const JsonbValue *value)
{
	return value ? psprintf("%s: %s", place, config_show(value)) : pstrdup(place);
}

COMPAT_NORETURN static void
config_reject(const char *place, const JsonbValue *value, const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg_internal("%s", message),
			 errdetail_internal("%s", config_detail(place, value)),
			 hint ? errhint("%s", hint) : 0));
}

/* setting: that a superuser can change; NULL where the limit is fixed. */
COMPAT_NORETURN static void
config_reject_limit(const char *place, const char *message, const char *setting)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg_internal("%s", message),
			 errdetail_internal("%s", place),
			 setting ? errhint("The limit is %s, which a superuser can change.", setting) : 0));
}

/*
 * Scalars
 */

/* A string of at most max_bytes; shown: its value may stand in an error. */
static char *
config_string(const char *place, const JsonbValue *value, int max_bytes, bool shown)
{
	if (value->type != jbvString)
		config_reject(place, shown ? value : NULL, psprintf("%s must be a string", place), NULL);
	if (value->val.string.len > max_bytes)
		config_reject_limit(place, psprintf("%s is longer than %d bytes", place, max_bytes), NULL);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static int
config_integer(const char *place, const JsonbValue *value, int min, int max)
{
	Datum		number;
	Datum		whole;

	if (value->type != jbvNumeric)
		config_reject(place, value, psprintf("%s must be an integer", place), NULL);
	number = NumericGetDatum(value->val.numeric);
	whole = DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, number, whole)))
		config_reject(place, value, psprintf("%s must be an integer", place), NULL);
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, number, DirectFunctionCall1(int4_numeric, Int32GetDatum(min)))) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, number, DirectFunctionCall1(int4_numeric, Int32GetDatum(max)))))
		config_reject(place, value, psprintf("%s must be from %d to %d", place, min, max), NULL);
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, number));
}

static void
config_set_name(WebhookConfig *config, const JsonbValue *value)
{
	if (value == NULL)
		config_reject("name", NULL, "name must not be null", NULL);
	config->name = config_string("name", value, NAME_MAX_BYTES, true);
	if (strspn(config->name, " ") == strlen(config->name))
		config_reject("name", value, "name must not be empty", NULL);
	if (header_has_control(config->name))
		config_reject("name", value, "name must not contain control characters", NULL);
}

static void
config_set_description(WebhookConfig *config, const JsonbValue *value)
{
	config->description = value == NULL ? NULL :
		config_string("description", value, DESCRIPTION_MAX_BYTES, true);
}

static void
config_set_url(WebhookConfig *config, const JsonbValue *value)
{
	HttpUrl		url;

	if (value == NULL)
		config_reject("url", NULL, "url must not be null", NULL);
	config->url = config_string("url", value, URL_MAX_BYTES, false);
	switch (http_url_parse(config->url, &url))
	{
		case HTTP_URL_OK:
			break;
		case HTTP_URL_MALFORMED:
			config_reject("url", NULL, "url is malformed",
						  "Write it as https://host/path, with special characters percent-encoded.");
		case HTTP_URL_SCHEME:
			config_reject("url", NULL, "url must begin with https:// or http://", NULL);
		case HTTP_URL_NO_HOST:
			config_reject("url", NULL, "url has no host", NULL);
		case HTTP_URL_USERINFO:
			config_reject("url", NULL, "url must not contain a user name or password",
						  "Send credentials in a header: {\"headers\": {\"Authorization\": ...}}.");
	}
	if (!url.https && !guc_allow_http)
		config_reject("url", NULL, "plain http is not allowed on this server",
					  "Use https, or ask the administrator to set fluxhooks.allow_http.");
}

static void
config_set_secret(WebhookConfig *config, const JsonbValue *value)
{
	config->secret = value == NULL ? NULL :
		config_string("secret", value, SECRET_MAX_BYTES, false);
	if (config->secret != NULL && config->secret[0] == '\0')
		config_reject("secret", NULL, "secret must not be empty",
					  "Leave it out, or set it to null, for unsigned requests.");
}

static void
config_set_enabled(WebhookConfig *config, const JsonbValue *value)
{
	if (value != NULL && value->type != jbvBool)
		config_reject("enabled", value, "enabled must be true or false", NULL);
	config->enabled = value == NULL ? true : value->val.boolean;
}

static void
config_set_max_retries(WebhookConfig *config, const JsonbValue *value)
{
	config->max_retries = value == NULL ? 3 : config_integer("max_retries", value, 0, 100);
}

static void
config_set_timeout_seconds(WebhookConfig *config, const JsonbValue *value)
{
	config->timeout_seconds = value == NULL ? 30 : config_integer("timeout_seconds", value, 1, 300);
}

static void
config_set_retry_backoff_seconds(WebhookConfig *config, const JsonbValue *value)
{
	config->retry_backoff_seconds = value == NULL ? 5 :
		config_integer("retry_backoff_seconds", value, 1, 86400);
}

/*
 * Options: what has no column of its own.  Only keys that were set are stored.
 */

/* Set a key of options, or with json NULL take it out. */
static void
config_set_option(WebhookConfig *config, const char *key, const char *json)
{
	Datum		options = DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(config->options),
											  CStringGetTextDatum(key));

	if (json != NULL)
		options = DirectFunctionCall2(jsonb_concat, options,
									  DirectFunctionCall1(jsonb_in,
														  CStringGetDatum(psprintf("{\"%s\": %s}", key, json))));
	config->options = DatumGetJsonbP(options);
}

static void
config_set_pause_after_seconds(WebhookConfig *config, const JsonbValue *value)
{
	config_set_option(config, "pause_after_seconds", value == NULL ? NULL :
					  psprintf("%d", config_integer("pause_after_seconds", value, 0, PAUSE_AFTER_SECONDS_MAX)));
}

/* An object of failures and probe_seconds, each with a default; or whether there is a breaker at all. */
static void
config_set_circuit_breaker(WebhookConfig *config, const JsonbValue *value)
{
	int			failures = BREAKER_FAILURES;
	int			probe_seconds = BREAKER_PROBE_SECONDS;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	const char *key = "";

	if (value == NULL || value->type == jbvBool)
	{
		config_set_option(config, "circuit_breaker",
						  value == NULL || value->val.boolean ? NULL : "false");
		return;
	}
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		config_reject("circuit_breaker", value, "circuit_breaker must be an object, true or false",
					  "Write {\"failures\": 10, \"probe_seconds\": 30}, or false for none.");
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = pnstrdup(item.val.string.val, item.val.string.len);
			if (strcmp(key, "failures") != 0 && strcmp(key, "probe_seconds") != 0)
				config_reject(psprintf("circuit_breaker.%s", config_show(&item)), NULL,
							  psprintf("unknown key %s in circuit_breaker", config_show(&item)),
							  "Its keys are failures and probe_seconds.");
		}
		else if (token == WJB_VALUE && item.type != jbvNull)
		{
			if (strcmp(key, "failures") == 0)
				failures = config_integer("circuit_breaker.failures", &item, 1, BREAKER_FAILURES_MAX);
			else
				probe_seconds = config_integer("circuit_breaker.probe_seconds", &item, 1, BREAKER_PROBE_SECONDS_MAX);
		}
	}
	config_set_option(config, "circuit_breaker",
					  psprintf("{\"failures\": %d, \"probe_seconds\": %d}", failures, probe_seconds));
}

/*
 * Headers
 */

static void
config_check_header(const char *name, const JsonbValue *value)
{
	JsonbValue	shown;
	char	   *place;

	shown.type = jbvString;
	shown.val.string.val = unconstify(char *, name);
	shown.val.string.len = strlen(name);
	place = psprintf("headers[%s]", config_show(&shown));

	if (strlen(name) > HEADER_NAME_MAX_BYTES)
		config_reject_limit(place, psprintf("header name is longer than %d bytes", HEADER_NAME_MAX_BYTES), NULL);
	if (!header_name_valid(name))
		config_reject(place, NULL, "header name contains characters that HTTP does not allow",
					  "Letters, digits and hyphens are safe.");
	if (header_name_reserved(name))
		config_reject(place, NULL, psprintf("header \"%s\" is reserved", name),
					  "fluxhooks and HTTP set this header themselves.");
	if (value->type != jbvString)
		config_reject(place, NULL, "header value must be a string", NULL);
	if (value->val.string.len > HEADER_VALUE_MAX_BYTES)
		config_reject(place, NULL, psprintf("header value is longer than %d bytes", HEADER_VALUE_MAX_BYTES), NULL);
	if (header_has_control(pnstrdup(value->val.string.val, value->val.string.len)))
		config_reject(place, NULL, "header value must not contain control characters", NULL);
}

static void
config_set_headers(WebhookConfig *config, const JsonbValue *value)
{
	char	  **names;
	int			n = 0;
	int64		size = 0;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (value == NULL)
	{
		config->headers = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
		return;
	}
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		config_reject("headers", NULL, "headers must be an object of strings", NULL);
	if (JsonContainerSize(value->val.binary.data) > guc_max_headers)
		config_reject_limit("headers", psprintf("more than %d headers", guc_max_headers),
							"fluxhooks.max_headers");
	names = palloc((JsonContainerSize(value->val.binary.data) + 1) * sizeof(char *));

	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			names[n++] = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE)
		{
			config_check_header(names[n - 1], &item);
			size += strlen(names[n - 1]) + item.val.string.len;
			for (int i = 0; i < n - 1; i++)
			{
				if (pg_strcasecmp(names[i], names[n - 1]) == 0)
					config_reject("headers", NULL, psprintf("header \"%s\" is given twice", names[n - 1]),
								  "Names of headers differ in more than case.");
			}
		}
	}
	if (size > guc_max_headers_size)
		config_reject_limit("headers", psprintf("headers are longer than %d bytes together", guc_max_headers_size),
							"fluxhooks.max_headers_size");
	config->headers = JsonbValueToJsonb(unconstify(JsonbValue *, value));
}

/*
 * Events
 */

/* A name as SQL reads it, in one or two parts; NIL where it is none. */
static List *
config_split_name(const char *name)
{
	List	   *parts;

	if (!SplitIdentifierString(pstrdup(name), '.', &parts) || list_length(parts) > 2)
		return NIL;
	return parts;
}

static Oid
config_lookup(const char *schema, const char *name)
{
	Oid			namespace;

	if (schema == NULL)
		return RelnameGetRelid(name);
	namespace = LookupExplicitNamespace(schema, true);
	return OidIsValid(namespace) ? get_relname_relid(name, namespace) : InvalidOid;
}

COMPAT_NORETURN static void
config_no_table(const char *place, const JsonbValue *value)
{
	char	   *name = pnstrdup(value->val.string.val, value->val.string.len);
	bool		folded = strchr(name, '"') == NULL && strcmp(name, asc_tolower(name, strlen(name))) != 0;

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table %s does not exist", config_show(value)),
			 errdetail_internal("%s", config_detail(place, value)),
			 folded ? errhint("Names are folded to lower case unless they are quoted, as in \"\\\"Users\\\"\".") : 0));
}

/*
 * With a schema, both are the plain names, as the view webhooks and event()
 * show them; only where there is no such table are they read as SQL.
 */
static Oid
config_find_table(const char *before, const JsonbValue *table, const JsonbValue *schema)
{
	char	   *place = psprintf("%stable", before);
	char	   *name = config_string(place, table, 4 * NAMEDATALEN, true);
	char	   *schema_name = NULL;
	List	   *parts;
	Oid			relid;

	if (schema != NULL)
	{
		schema_name = config_string(psprintf("%sschema", before), schema, 4 * NAMEDATALEN, true);
		relid = config_lookup(schema_name, name);
		if (OidIsValid(relid))
			return relid;
		parts = config_split_name(schema_name);
		if (list_length(parts) == 1)
			schema_name = linitial(parts);
	}
	parts = config_split_name(name);
	if (parts == NIL || strcmp(name, "*") == 0)
		config_reject(place, table, "invalid table name", "Quote the name as in SQL: \"\\\"odd name\\\"\".");
	if (schema_name != NULL && list_length(parts) == 2)
		config_reject(place, table, "table must not be qualified where schema is given", NULL);
	if (list_length(parts) == 2)
		schema_name = linitial(parts);
	relid = config_lookup(schema_name, llast(parts));
	if (!OidIsValid(relid))
		config_no_table(place, table);
	return relid;
}

/* Why a relation can be no webhook's table, whoever asks; NULL if it can. */
static const char *
config_unfit(Form_pg_class class)
{
	if (class->relkind != RELKIND_RELATION && class->relkind != RELKIND_PARTITIONED_TABLE)
		return "\"%s\" is not a table";
	if (class->relpersistence == RELPERSISTENCE_TEMP)
		return "\"%s\" is a temporary table";
	if (IsCatalogNamespace(class->relnamespace) || IsToastNamespace(class->relnamespace) ||
		class->relnamespace == get_namespace_oid("information_schema", true))
		return "\"%s\" is a system catalog";
	if (class->relnamespace == catalog_require()->schema)
		return "\"%s\" belongs to fluxhooks";
	return NULL;
}

/* Both need it: who asks, and whose webhook it is; the latter may be missing. */
static void
config_check_right(const char *place, const JsonbValue *table, Oid relid, Oid owner)
{
	char	   *missing = NULL;

	if (!compat_class_ownercheck(relid, GetUserId()))
		missing = psprintf("must be owner of table %s", get_rel_name(relid));
	else if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		missing = right_missing_on(owner, relid);
	if (missing == NULL)
		missing = right_missing_on(GetUserId(), relid);
	if (missing != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg_internal("%s", missing),
				 errdetail_internal("%s", config_detail(place, table)),
				 errhint("A webhook hears of every row: its owner must own the table, and not be subject to row security on it.")));
}

static void
config_check_table(const char *place, const JsonbValue *table, Oid relid, Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class class;
	const char *unfit;

	if (!HeapTupleIsValid(tuple))
		config_no_table(place, table);
	class = (Form_pg_class) GETSTRUCT(tuple);
	unfit = config_unfit(class);
	if (unfit != NULL)
		config_reject(place, table, psprintf(unfit, NameStr(class->relname)),
					  "Webhooks listen to ordinary and partitioned tables.");
	config_check_right(place, table, relid, owner);
	ReleaseSysCache(tuple);
}

const char *
config_operation(const char *text, const char *before, int position)
{
	JsonbValue	shown;

	for (int i = 0; i < CONFIG_OPERATIONS; i++)
	{
		if (strcmp(text, operation_names[i]) == 0)
			return operation_names[i];
	}
	shown.type = jbvString;
	shown.val.string.val = unconstify(char *, text);
	shown.val.string.len = strlen(text);
	config_reject(psprintf("%soperations[%d]", before, position), &shown, "unknown operation",
				  "Operations are INSERT, UPDATE and DELETE.");
}

static void
config_add_operation(ConfigEvent *event, const char *operation)
{
	for (int i = 0; i < event->n_operations; i++)
	{
		if (event->operations[i] == operation)
			return;
	}
	event->operations[event->n_operations++] = operation;
}

static void
config_set_operations(ConfigEvent *event, const char *before, const JsonbValue *value)
{
	char	   *place = psprintf("%soperations", before);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	int			position = 0;

	if (value == NULL)
	{
		for (int i = 0; i < CONFIG_OPERATIONS; i++)
			config_add_operation(event, operation_names[i]);
		return;
	}
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		config_reject(place, value, "operations must be an array of strings", NULL);
	if (JsonContainerSize(value->val.binary.data) == 0)
		config_reject(place, NULL, "operations must not be empty", "Leave it out for all three.");
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (item.type != jbvString)
			config_reject(psprintf("%s[%d]", place, position), &item, "an operation must be a string", NULL);
		config_add_operation(event,
							 config_operation(pnstrdup(item.val.string.val, item.val.string.len),
											  before, position));
		position++;
	}
}

/* Value of an object's key; NULL where it is missing or null. */
static JsonbValue *
config_get(JsonbContainer *object, const char *key)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), NULL);

	return value != NULL && value->type != jbvNull ? value : NULL;
}

static void
config_set_event(ConfigEvent *event, const JsonbValue *value, int position, Oid owner)
{
	char	   *before = psprintf("events[%d].", position);
	char	   *place = psprintf("%stable", before);
	JsonbContainer *object;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue *table;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		config_reject(psprintf("events[%d]", position), value, "an event must be an object",
					  "Events look like {\"table\": \"users\", \"operations\": [\"INSERT\"]}.");
	object = value->val.binary.data;
	iterator = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		char	   *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(item.val.string.val, item.val.string.len);
		if (strcmp(key, "table") != 0 && strcmp(key, "schema") != 0 && strcmp(key, "operations") != 0)
			config_reject(psprintf("events[%d].%s", position, config_show(&item)), NULL,
						  psprintf("unknown key %s in an event", config_show(&item)),
						  "Keys of an event are table, schema and operations.");
	}

	table = config_get(object, "table");
	if (table == NULL)
		config_reject(place, NULL, "an event must name a table", NULL);
	config_set_operations(event, before, config_get(object, "operations"));
	event->relid = config_find_table(before, table, config_get(object, "schema"));
	config_check_table(place, table, event->relid, owner);
}

static void
config_set_events(WebhookConfig *config, const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	int			n;

	if (value == NULL)
		config_reject("events", NULL, "events must not be null", NULL);
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		config_reject("events", value, "events must be an array",
					  "Write [{\"table\": \"users\"}], or use fluxhooks.event('users').");
	n = JsonContainerSize(value->val.binary.data);
	if (n == 0)
		config_reject("events", NULL, "events must not be empty", NULL);
	if (n > guc_max_events_per_webhook)
		config_reject_limit("events", psprintf("more than %d events", guc_max_events_per_webhook),
							"fluxhooks.max_events_per_webhook");

	config->events = palloc0(n * sizeof(ConfigEvent));
	config->n_events = 0;
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
		{
			config_set_event(&config->events[config->n_events], &item, config->n_events, config->owner);
			config->n_events++;
		}
	}
}

/*
 * The whole
 */

static const struct
{
	const char *key;
	void		(*set) (WebhookConfig *config, const JsonbValue *value);
	bool		option;			/* has no argument of its own */
}			config_keys[] =
{
	{"name", config_set_name},
	{"description", config_set_description},
	{"url", config_set_url},
	{"secret", config_set_secret},
	{"enabled", config_set_enabled},
	{"events", config_set_events},
	{"headers", config_set_headers},
	{"max_retries", config_set_max_retries},
	{"timeout_seconds", config_set_timeout_seconds},
	{"retry_backoff_seconds", config_set_retry_backoff_seconds},
	{"circuit_breaker", config_set_circuit_breaker, true},
	{"pause_after_seconds", config_set_pause_after_seconds, true},
};

void
config_set_defaults(WebhookConfig *config)
{
	memset(config, 0, sizeof(*config));
	config->options = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	for (int i = 0; i < lengthof(config_keys); i++)
	{
		if (strcmp(config_keys[i].key, "name") != 0 && strcmp(config_keys[i].key, "url") != 0 &&
			strcmp(config_keys[i].key, "events") != 0)
			config_keys[i].set(config, NULL);
	}
}

COMPAT_NORETURN static void
config_unknown_key(const char *key)
{
	StringInfoData shown;

	initStringInfo(&shown);
	escape_json(&shown, pnstrdup(key, pg_mbcliplen(key, strlen(key), SHOWN_BYTES)));
	config_reject(shown.data, NULL, psprintf("unknown configuration key %s", shown.data), NULL);
}

void
config_set(WebhookConfig *config, const char *key, const JsonbValue *value)
{
	if (value != NULL && value->type == jbvNull)
		value = NULL;
	for (int i = 0; i < lengthof(config_keys); i++)
	{
		if (strcmp(config_keys[i].key, key) == 0)
		{
			config_keys[i].set(config, value);
			return;
		}
	}
	config_unknown_key(key);
}

void
config_set_text(WebhookConfig *config, const char *key, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = text ? strlen(text) : 0;
	config_set(config, key, text ? &value : NULL);
}

void
config_set_all(WebhookConfig *config, Jsonb *changes)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	const char *key = "";

	if (!JB_ROOT_IS_OBJECT(changes))
		config_reject("configuration", NULL, "the configuration must be a JSON object", NULL);
	iterator = JsonbIteratorInit(&changes->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE)
			config_set(config, key, &item);
	}
}

static bool
config_is_option(const char *key)
{
	for (int i = 0; i < lengthof(config_keys); i++)
	{
		if (config_keys[i].option && strcmp(config_keys[i].key, key) == 0)
			return true;
	}
	return false;
}

void
config_set_options(WebhookConfig *config, Jsonb *options)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	const char *key = "";

	if (!JB_ROOT_IS_OBJECT(options))
		config_reject("options", NULL, "options must be a JSON object", NULL);
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = pnstrdup(item.val.string.val, item.val.string.len);
			if (!config_is_option(key))
				config_unknown_key(key);
		}
		else if (token == WJB_VALUE)
			config_set(config, key, &item);
	}
}

void
config_check_name(const WebhookConfig *config)
{
	if (config->name == NULL)
		config_reject("name", NULL, "a webhook needs a name", NULL);
}

void
config_check_complete(const WebhookConfig *config)
{
	config_check_name(config);
	if (config->url == NULL)
		config_reject("url", NULL, "a webhook needs a url", NULL);
	if (config->events == NULL)
		config_reject("events", NULL, "a webhook needs events", NULL);
}

/* Is an address let through by a value of fluxhooks.allowed_networks?  Not by one that is malformed. */
static bool
config_address_allowed(const struct sockaddr *address, const char *networks, const char **why)
{
	char		problem[256];
	AddressList *allowed = address_list_parse(networks, problem, sizeof(problem));
	bool		ok;

	if (allowed == NULL)
		return false;
	ok = address_allowed(address, false, allowed, why);
	address_list_free(allowed);
	return ok;
}

/* What to add to the setting to let an address through: the whole block where that does. */
static void
config_remark_address(const char *host, const struct sockaddr *address)
{
	static const char *const blocks[] = {"127.0.0.0/8", "::1/128"};
	const char *why = NULL;
	const char *ignored;
	const char *network = pnstrdup(host, strlen(host) - (host[strlen(host) - 1] == '.'));

	if (config_address_allowed(address, guc_allowed_networks, &why) || why == NULL)
		return;
	for (int i = 0; i < lengthof(blocks); i++)
		if (config_address_allowed(address, blocks[i], &ignored))
			network = blocks[i];
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("deliveries to \"%s\" will be refused: the address is %s", host, why),
			 errhint("Have the administrator add it to fluxhooks.allowed_networks, for example fluxhooks.allowed_networks = '%s'.",
					 network)));
}

void
config_remark(const WebhookConfig *config)
{
	HttpUrl		url;
	struct sockaddr_storage address;

	if (config->secret == NULL)
		ereport(NOTICE,
				(errmsg("webhook \"%s\" is unsigned", config->name),
				 errdetail("Requests carry no signature, so that the endpoint cannot tell who sent them."),
				 errhint("Set a secret.")));
	if (http_url_parse(config->url, &url) == HTTP_URL_OK &&
		address_from_host(url.host, &address))
		config_remark_address(url.host, (struct sockaddr *) &address);
}
