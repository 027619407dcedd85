/*
 * api_replay.c
 *	  replay(): finished deliveries of a webhook again, many at once.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "api.h"
#include "id.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(api_replay);

/*
 * replay(webhook_id uuid, since timestamptz, until timestamptz, only_failed boolean)
 *		RETURNS bigint
 */
Datum
api_replay(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = DatumGetUUIDP(api_argument(fcinfo, 0, "webhook_id"));
	TimestampTz since = DatumGetTimestampTz(api_argument(fcinfo, 1, "since"));
	TimestampTz until = DatumGetTimestampTz(api_argument(fcinfo, 2, "until"));
	bool		only_failed = DatumGetBool(api_argument(fcinfo, 3, "only_failed"));
	pg_uuid_t	lowest;
	pg_uuid_t	highest;
	ApiParameter parameters[] = {
		API_UUID(id), API_UUID(&lowest), API_UUID(&highest),
		{TIMESTAMPTZOID, TimestampTzGetDatum(since), false},
		{TIMESTAMPTZOID, TimestampTzGetDatum(until), false},
		API_BOOL(only_failed)
	};
	ApiScope	scope;
	ApiWebhook	webhook;
	int64		n;
	bool		isnull;

	id_lowest(&lowest, since);
	id_lowest(&highest, TIMESTAMP_NOT_FINITE(until) ? until : until + USECS_PER_SEC);
	api_enter(&scope);
	api_load_webhook(&scope, id, false, false, &webhook);
	api_execute("SELECT fluxhooks_internal.replay($1, $2, $3, $4, $5, $6)",
				parameters, lengthof(parameters));
	n = DatumGetInt64(api_datum(&scope, 0, 1, &isnull));
	api_leave(&scope);
	if (n > 0)
		wakeup_recheck_at_commit();
	PG_RETURN_INT64(n);
}
