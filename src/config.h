/*
 * config.h
 *	  A webhook's configuration, as users write it in jsonb, checked.
 */
#ifndef FLUXHOOKS_CONFIG_H
#define FLUXHOOKS_CONFIG_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#define CONFIG_OPERATIONS	3	/* INSERT, UPDATE, DELETE */

/* An element of events: a table that exists and that the caller may name. */
typedef struct ConfigEvent
{
	Oid			relid;
	int			n_operations;
	const char *operations[CONFIG_OPERATIONS];	/* each once, in the order given */
} ConfigEvent;

typedef struct WebhookConfig
{
	Oid			owner;			/* of the webhook; InvalidOid: the current user's to be */
	char	   *name;			/* NULL: not given yet */
	char	   *description;	/* NULL: none */
	char	   *url;			/* NULL: not given yet */
	char	   *secret;			/* NULL: unsigned */
	char	   *old_secret;		/* NULL: none; what secret replaced, and until when it signs too */
	TimestampTz old_secret_expires_at;
	bool		enabled;
	Jsonb	   *headers;		/* object of strings */
	int			max_retries;
	int			timeout_seconds;
	int			retry_backoff_seconds;
	Jsonb	   *options;		/* further keys that were set */
	int			n_events;
	ConfigEvent *events;		/* NULL: not given (an update leaves them alone) */
} WebhookConfig;

/* What a webhook has before any key is set. */
extern void config_set_defaults(WebhookConfig *config);

/*
 * Set one key, as CONTRACT.md describes it; JSON null, or value NULL, means
 * its default.  Tables are looked up with the search_path and the rights of the
 * current user.  Raises an error that names the place of what is wrong.
 */
extern void config_set(WebhookConfig *config, const char *key, const JsonbValue *value);

/* The same with a string as the value; NULL as above. */
extern void config_set_text(WebhookConfig *config, const char *key, const char *text);

/* Set every key of a jsonb object. */
extern void config_set_all(WebhookConfig *config, Jsonb *changes);

/* The same for the argument "options", which holds only keys without an argument of their own. */
extern void config_set_options(WebhookConfig *config, Jsonb *options);

/* A new webhook needs a name, a URL and events, one to be found a name: an error otherwise. */
extern void config_check_name(const WebhookConfig *config);
extern void config_check_complete(const WebhookConfig *config);

/* NOTICE or WARNING about what is allowed and may surprise: no secret, a refused address. */
extern void config_remark(const WebhookConfig *config);

/*
 * "INSERT", "UPDATE" or "DELETE" of that spelling, or an error that names the
 * place: operations[position] of what comes before.
 */
extern const char *config_operation(const char *text, const char *before, int position);

#endif
