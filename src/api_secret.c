/*
 * api_secret.c
 *	  The SQL functions that make secrets and change them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api.h"
#include "secret.h"
#include "signature.h"

PG_FUNCTION_INFO_V1(api_generate_secret);
PG_FUNCTION_INFO_V1(api_rotate_secret);

#define OVERLAP_MAX_DAYS	366

static char *
api_make_secret(void)
{
	unsigned char bytes[SIGNATURE_SECRET_BYTES];
	char	   *secret = palloc(SIGNATURE_SECRET_SIZE);

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
	signature_secret_format(bytes, secret);
	explicit_bzero(bytes, sizeof(bytes));
	return secret;
}

/* generate_secret() RETURNS text */
Datum
api_generate_secret(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(api_make_secret()));
}

static TimestampTz
api_overlap_end(Datum overlap)
{
	Interval	none = {0};
	Interval	longest = {.day = OVERLAP_MAX_DAYS};

	if (DatumGetBool(DirectFunctionCall2(interval_lt, overlap, IntervalPGetDatum(&none))) ||
		DatumGetBool(DirectFunctionCall2(interval_gt, overlap, IntervalPGetDatum(&longest))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("overlap must be from 0 to %d days", OVERLAP_MAX_DAYS),
				 errdetail_internal("overlap: %s",
									DatumGetCString(DirectFunctionCall1(interval_out, overlap)))));
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(GetCurrentTimestamp()), overlap));
}

/* The former secret signs until then; what was former before is given up. */
static void
api_replace_secret(WebhookConfig *config, const char *secret, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();

	if (config->secret != NULL && strcmp(config->secret, secret) != 0)
	{
		if (config->old_secret != NULL && config->old_secret_expires_at > now)
			ereport(NOTICE,
					(errmsg("an overlap of webhook \"%s\" ends early", config->name),
					 errdetail("Only the secret that has just been replaced signs beside the new one.")));
		config->old_secret = config->secret;
	}
	config->secret = pstrdup(secret);
	config->old_secret_expires_at = until;
	if (until <= now)
		config->old_secret = NULL;
}

/*
 * rotate_secret(webhook_id uuid, secret text, overlap interval) RETURNS text
 *
 * With the secret that the webhook has already, only the end of its
 * predecessor is set.
 */
Datum
api_rotate_secret(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "webhook_id"));
	char	   *secret = PG_ARGISNULL(1) ? api_make_secret() : TextDatumGetCString(PG_GETARG_DATUM(1));
	TimestampTz until = api_overlap_end(api_argument(fcinfo, 2, "overlap"));
	ApiParameter parameter = API_UUID(id);
	ApiScope	scope;
	ApiWebhook	webhook;
	WebhookConfig checked;

	config_set_defaults(&checked);
	config_set_text(&checked, "secret", secret);
	api_enter(&scope);
	api_load_webhook(&scope, id, true, false, &webhook);
	api_replace_secret(&webhook.config, checked.secret, until);
	secret_write(id, &webhook.config);
	api_execute("UPDATE fluxhooks_internal.webhook SET updated_at = now() WHERE id = $1", &parameter, 1);
	api_leave(&scope);
	PG_RETURN_TEXT_P(cstring_to_text(secret));
}
