/*
 * cap.c
 *	  The event log's size against fluxhooks.max_log_size, and what is given up
 *	  for it.
 *
 * Writers never ask how large the log is: it is the worker that measures it
 * now and then, while events come.  Space comes back only with a whole slot,
 * so what is given up is the oldest one: what is finished in it is no longer
 * shown, and what is not sent, of webhooks that lag, is cancelled and counted.
 * Only a part of it is still shown as cancelled, in the slot in use.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "cap.h"
#include "chunk.h"
#include "fault.h"
#include "guc.h"
#include "record.h"
#include "ring.h"
#include "sql.h"

#define CAP_INTERVAL_MS		5000	/* between two looks */
#define CAP_CLOSE_MS		1000	/* when the last one found more than half */
#define CAP_PARTS			8	/* slots that the log may fill */
#define CAP_PAGE			1000	/* deliveries cancelled at once */
#define CAP_SHOWN_PARTS		8	/* of these parts of a slot, one is for records of what another held */
#define CAP_SHOWN_BYTES		384 /* a record with its indexes, besides its key and names */

static bool exceeded = false;	/* has been reported */
static int64 last_size = 0;

static int64
cap_bytes(void)
{
	return (int64) guc_max_log_size * 1024 * 1024;
}

long
cap_interval_ms(void)
{
	if (guc_max_log_size == 0)
		return -1;
	return last_size > cap_bytes() / 2 ? CAP_CLOSE_MS : CAP_INTERVAL_MS;
}

static int64
cap_measure(const char *sql)
{
	bool		isnull;

	sql_execute(sql, SPI_OK_SELECT, 0, NULL, NULL);
	return DatumGetInt64(sql_value(0, 1, &isnull));
}

static char *
cap_pretty(int64 bytes)
{
	return text_to_cstring(DatumGetTextPP(DirectFunctionCall1(pg_size_pretty, Int64GetDatum(bytes))));
}

/* It comes down by an eighth at a time: that is not the end of it yet. */
static void
cap_report(int64 size)
{
	if (!exceeded && size > cap_bytes())
	{
		exceeded = true;
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("event log of fluxhooks has grown to %s, over fluxhooks.max_log_size", cap_pretty(size)),
				 guc_max_log_action == CAP_DROP
				 ? errdetail("Its oldest part is given up, with what webhooks that lag have not sent of it.")
				 : errdetail("It goes on growing."),
				 errhint("See which webhook lags in fluxhooks.deliveries, shorten fluxhooks.retention, or raise the setting.")));
	}
	else if (exceeded && size < cap_bytes() / 2)
	{
		exceeded = false;
		ereport(LOG,
				(errmsg("event log of fluxhooks has come down to %s", cap_pretty(size))));
	}
}

int64
cap_excess(void)
{
	if (guc_max_log_size == 0)
		return 0;
	last_size = cap_measure("SELECT fluxhooks_internal.log_size()");
	FAULT_POINT("cap_measured");
	cap_report(last_size);
	return guc_max_log_action == CAP_DROP ? Max(last_size - cap_bytes(), 0) : 0;
}

int64
cap_slot_bytes(int slot)
{
	return cap_measure(psprintf("SELECT pg_total_relation_size('fluxhooks_internal.event_%1$d'::regclass) + "
								"pg_total_relation_size('fluxhooks_internal.attempt_%1$d'::regclass)", slot));
}

bool
cap_slot_is_full(void)
{
	if (guc_max_log_size == 0 || guc_max_log_action != CAP_DROP)
		return false;
	return cap_slot_bytes(ring_current_slot()) > cap_bytes() / CAP_PARTS;
}

/*
 * Of the slot: what is pending and has its event there, and what nobody has
 * read, in the form of a pending row.  Both see one snapshot, so that what the
 * first part deletes is settled still for the second.
 */
#define CAP_DROP_SQL \
	"WITH parked AS ( " \
	"  DELETE FROM fluxhooks_internal.pending AS p " \
	"  USING ONLY fluxhooks_internal.event_%1$d AS c " \
	"  CROSS JOIN LATERAL fluxhooks_internal.chunk_events(c::fluxhooks_internal.event_chunk) AS e " \
	"  WHERE p.operation IS NULL AND c.xid = p.xid AND c.cid = p.cid " \
	"    AND c.seq > p.seq - %2$d AND c.seq <= p.seq AND p.seq < c.seq + c.n_events AND e.seq = p.seq " \
	"    AND NOT " CAP_IS_KEPT("p.webhook_id", "p.delivery_id") \
	"  RETURNING p.delivery_id, p.webhook_id, p.number, p.due_at, p.pending_since, p.xid, p.seq, " \
	"    p.key_hash, p.old_key_hash, p.cid, p.attempts, p.attempts_before, " \
	"    e.operation, e.captured_at, e.table_schema, e.table_name, e.record_key, NULL::bytea) " \
	"TABLE parked UNION ALL " \
	"SELECT d.id, w.id, 0, '-infinity', clock_timestamp(), e.xid, e.seq, e.key_hash, e.old_key_hash, e.cid, 0, 0, " \
	"  e.operation, e.captured_at, e.table_schema, e.table_name, e.record_key, NULL " \
	"FROM ONLY fluxhooks_internal.event_%1$d AS c " \
	"CROSS JOIN LATERAL fluxhooks_internal.chunk_events(c::fluxhooks_internal.event_chunk) AS e " \
	"CROSS JOIN LATERAL unnest(e.webhooks) AS w (id) " \
	"CROSS JOIN LATERAL fluxhooks_internal.delivery_id(e.id, w.id) AS d (id) " \
	"WHERE c.xid >= (SELECT pg_snapshot_xmin(c.last_snapshot) FROM fluxhooks_internal.cursor AS c " \
	"                ORDER BY c.number DESC LIMIT 1) " \
	"  AND NOT fluxhooks_internal.delivery_is_settled(w.id, d.id) " \
	"  AND NOT " CAP_IS_KEPT("w.id", "d.id")

#define CAP_ERROR	"dropped: the event log had grown over fluxhooks.max_log_size"

static Datum
cap_array(const pg_uuid_t *ids, int n_ids)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n_ids, 1));

	for (int i = 0; i < n_ids; i++)
		values[i] = UUIDPGetDatum(&ids[i]);
	return PointerGetDatum(construct_array(values, n_ids, UUIDOID, UUID_LEN, false, 'c'));
}

/* What it takes to show that a delivery was cancelled. */
static int64
cap_record_bytes(const AttemptRow *attempt)
{
	return CAP_SHOWN_BYTES + strlen(attempt->table_schema) + strlen(attempt->table_name) +
		(attempt->record_key != NULL ? strlen(attempt->record_key) : 0);
}

/*
 * One page of what the statement has found: counted by webhook, and shown as
 * cancelled while there is room for that.
 */
static void
cap_cancel(const PendingDelivery *found, int n_found, int64 *room)
{
	Oid			types[] = {UUIDARRAYOID};
	AttemptRow *attempts = palloc(sizeof(AttemptRow) * n_found);
	pg_uuid_t  *webhooks = palloc(sizeof(pg_uuid_t) * n_found);
	int			n_shown = 0;
	Datum		value;

	for (int i = 0; i < n_found; i++)
	{
		webhooks[i] = found[i].row.webhook_id;
		if (*room <= 0)
			continue;
		record_cancelled(&attempts[n_shown], &found[i], GetCurrentTimestamp());
		attempts[n_shown].error = CAP_ERROR;
		*room -= cap_record_bytes(&attempts[n_shown++]);
	}
	record_attempts(attempts, n_shown);
	FAULT_POINT("cap_cancelled");
	value = cap_array(webhooks, n_found);
	sql_execute("INSERT INTO fluxhooks_internal.dropped AS d (webhook_id, deliveries, last_at) "
				"SELECT w, count(*), clock_timestamp() FROM unnest($1) AS w GROUP BY w "
				"ON CONFLICT (webhook_id) DO UPDATE "
				"SET deliveries = d.deliveries + excluded.deliveries, last_at = excluded.last_at",
				SPI_OK_INSERT, lengthof(types), types, &value);
}

CapKept *
cap_keep(const pg_uuid_t *deliveries, int n_deliveries, const pg_uuid_t *webhooks, int n_webhooks)
{
	CapKept    *kept = palloc(sizeof(CapKept));

	kept->deliveries = cap_array(deliveries, n_deliveries);
	kept->webhooks = cap_array(webhooks, n_webhooks);
	return kept;
}

void
cap_drop(int slot, const CapKept *kept)
{
	Oid			types[] = {UUIDARRAYOID, UUIDARRAYOID};
	Datum		values[] = {kept->deliveries, kept->webhooks};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks dropped", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	Portal		portal = SPI_cursor_open_with_args(NULL, psprintf(CAP_DROP_SQL, slot, CHUNK_EVENTS_MAX),
												   lengthof(types), types, values, NULL, false, 0);
	PendingDelivery *found;
	int			n_found;
	/* else they would soon be all that the log holds, and drive out what is newer than they are */
	int64		room = cap_bytes() / CAP_PARTS / CAP_SHOWN_PARTS;

	do
	{
		SPI_cursor_fetch(portal, true, CAP_PAGE);
		n_found = record_take_pending(context, &found);
		MemoryContextSwitchTo(context);
		if (n_found > 0)
			cap_cancel(found, n_found, &room);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		FAULT_POINT("cap_dropped");
		CHECK_FOR_INTERRUPTS();
	} while (n_found > 0);
	SPI_cursor_close(portal);
	MemoryContextDelete(context);
}
