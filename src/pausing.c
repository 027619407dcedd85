/*
 * pausing.c
 *	  Webhooks whose breaker asks for it are paused.
 *
 * Apart from the batch, since a NOTIFY takes an instance-wide lock at commit.
 * A webhook that somebody is changing just now is left for later rather than
 * waited for: meanwhile its lane sends nothing either.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog.h"
#include "fault.h"
#include "lane.h"
#include "pausing.h"
#include "sql.h"

#define PAUSING_CHANNEL		"fluxhooks"
#define PAUSING_DELAY_MS	1000

static MemoryContext pausing_context = NULL;
static TimestampTz tried_at = 0;

bool
pausing_wanted(TimestampTz now, long *again)
{
	TimestampTz next = TimestampTzPlusMilliseconds(tried_at, PAUSING_DELAY_MS);

	*again = -1;
	if (!breaker_asks_pause())
		return false;
	if (now >= next)
		return true;
	*again = (long) ((next - now) / 1000 + 1);
	return false;
}

static char *
pausing_reason(const Lane *lane)
{
	if (lane->breaker.pause == BREAKER_PAUSE_GONE)
		return "the endpoint answered 410 Gone";
	return psprintf("no request has succeeded since %s, for longer than pause_after_seconds = %d",
					timestamptz_to_str(lane->breaker.failing_since), lane->breaker.pause_after_seconds);
}

/* False where somebody else holds the webhook's row. */
static bool
pausing_write(const Lane *lane)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {UUIDOID, TEXTOID};
	Datum		values[] = {UUIDPGetDatum(&lane->webhook_id), CStringGetTextDatum(pausing_reason(lane))};
	bool		isnull;

	sql_execute_kept(&plan,
					 "WITH found AS (SELECT id FROM fluxhooks_internal.webhook WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED), "
					 "paused AS (UPDATE fluxhooks_internal.webhook AS w SET paused_reason = $2 FROM found "
					 " WHERE w.id = found.id AND w.enabled AND w.deleted_at IS NULL AND w.paused_reason IS NULL RETURNING w.id), "
					 "told AS (SELECT pg_notify('" PAUSING_CHANNEL "', json_build_object("
					 " 'event', 'paused', 'webhook_id', id, 'reason', $2)::text) FROM paused) "
					 "SELECT EXISTS (SELECT FROM found) "
					 " OR NOT EXISTS (SELECT FROM fluxhooks_internal.webhook WHERE id = $1), "
					 " (SELECT count(*) FROM told)",
					 SPI_OK_SELECT, lengthof(types), types, values);
	return DatumGetBool(sql_value(0, 1, &isnull));
}

/* The lanes to pause, in pausing_context. */
static int
pausing_collect(Lane ***asked)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	int			n = 0;

	*asked = palloc(sizeof(Lane *) * lane_count());
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (breaker_asks(&lane->breaker))
			(*asked)[n++] = lane;
	}
	return n;
}

static bool
pausing_pause(const Lane *lane)
{
	bool		done;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "fluxhooks pausing");
	(void) catalog_lock();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	done = pausing_write(lane);
	FAULT_POINT("pausing_written");
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	FAULT_POINT("pausing_committed");
	return done;
}

void
pausing_run(void)
{
	Lane	  **asked;
	int			n;

	tried_at = GetCurrentTimestamp();
	MemoryContextReset(pausing_context);
	MemoryContextSwitchTo(pausing_context);
	n = pausing_collect(&asked);
	for (int i = 0; i < n; i++)
	{
		/* one that sends nothing any more was paused, disabled or deleted by others */
		if (!asked[i]->sending || pausing_pause(asked[i]))
			asked[i]->breaker.pause = BREAKER_PAUSE_WRITTEN;
	}
}

void
pausing_init(MemoryContext context)
{
	pausing_context = AllocSetContextCreate(context, "fluxhooks pausing", ALLOCSET_SMALL_SIZES);
}
