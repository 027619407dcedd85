/*
 * retention.c
 *	  Disk is bounded: rings move on, old slots are emptied, what has been
 *	  pending for too long is cancelled.
 *
 * Emptying, in this order: lock the slot's tables without waiting; then take
 * a snapshot; then look.  With the lock there is no writer left whose rows
 * could still become visible, and only a snapshot taken after it sees what the last of
 * them committed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fault.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "cap.h"
#include "chunk.h"
#include "cursor.h"
#include "delivery.h"
#include "guc.h"
#include "lane.h"
#include "progress.h"
#include "retention.h"
#include "ring.h"
#include "sql.h"

#define RETENTION_PARTS		8	/* slots that hold one retention */
#define RETENTION_BATCH		1000	/* deliveries cancelled in one transaction */

static MemoryContext retention_context = NULL;
static TimestampTz next_run = 0;

/* A slot's share of the retention. */
static int64
retention_part_ms(void)
{
	return (int64) guc_retention * 1000 / RETENTION_PARTS;
}

/* When something is in the way: not at once, and not much later. */
static int64
retention_patience_ms(void)
{
	return Min(Max(retention_part_ms(), 100), 10 * 1000);
}

bool
retention_wanted(TimestampTz now, long *again)
{
	if (now >= next_run)
		return true;
	*again = (long) Min((next_run - now) / 1000 + 1, 3600 * 1000);
	return false;
}

void
retention_touch(TimestampTz now)
{
	int64		delay = retention_part_ms();

	if (cap_interval_ms() >= 0)
		delay = Min(delay, cap_interval_ms());
	next_run = Min(next_run, TimestampTzPlusMilliseconds(now, delay + 1));
}

static void
retention_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "fluxhooks retention");
	(void) catalog_lock();
	SPI_connect();
}

static void
retention_end(void)
{
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* ----------------------------------------------------------------- rotation */

#define RETENTION_NOT_EMPTY \
	" AND (pg_relation_size(format('fluxhooks_internal.event_%s', slot)) > 0 " \
	"   OR pg_relation_size(format('fluxhooks_internal.attempt_%s', slot)) > 0)"

/* Move on when the slot in use is old enough, and holds anything at all, or too large. */
static bool
retention_advance(void)
{
	Oid			types[] = {FLOAT8OID};
	Datum		values[] = {Float8GetDatum((double) guc_retention / RETENTION_PARTS)};
	bool		done = false;

	retention_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	sql_execute("SELECT FROM fluxhooks_internal.ring AS r "
					  "WHERE opened_at < clock_timestamp() - make_interval(secs => $1) AND closed_at IS NULL "
					  RETENTION_NOT_EMPTY,
					  SPI_OK_SELECT, 1, types, values);
	if (SPI_processed > 0 || cap_slot_is_full())
		done = ring_advance();
	PopActiveSnapshot();
	FAULT_POINT("retention_advance");
	retention_end();
	return done;
}

/* The slot that was left longest ago, if that is so many seconds ago; else -1. */
static int
retention_oldest_slot(double seconds)
{
	Oid			types[] = {FLOAT8OID};
	Datum		values[] = {Float8GetDatum(seconds)};
	bool		isnull;
	int			slot = -1;

	retention_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	sql_execute("SELECT slot FROM fluxhooks_internal.ring "
					  "WHERE closed_at < clock_timestamp() - make_interval(secs => $1) "
					  "ORDER BY closed_at LIMIT 1",
					  SPI_OK_SELECT, 1, types, values);
	if (SPI_processed > 0)
		slot = DatumGetInt32(sql_value(0, 1, &isnull));
	PopActiveSnapshot();
	retention_end();
	return slot;
}

/* Deliveries whose pending rows hold copies now, sorted; in retention_context. */
static pg_uuid_t *rescued = NULL;
static uint64 n_rescued = 0;

static int
retention_compare_id(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* Add those that the last statement returned. */
static void
retention_note_rescued(void)
{
	Size		size = sizeof(pg_uuid_t) * (n_rescued + SPI_processed + 1);

	rescued = rescued == NULL ? MemoryContextAllocHuge(retention_context, size)
		: repalloc_huge(rescued, size);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		rescued[n_rescued++] = *DatumGetUUIDP(sql_value(i, 1, &isnull));
	}
}

/*
 * Copy what is unsettled, payload and all: into the pending rows that point
 * to the slot, and into new ones for events that nobody has read or that the
 * worker holds in memory.  Of these, what had committed when the slot was left
 * has been pending since then at least; what a writer committed later, long
 * after it was captured, counts as pending from now on.  Their
 * numbers are smaller than any that reading gives, since they come before what is
 * still to be read, and greater than those of slots that were emptied before.
 * Where cap_drop has been, only what it kept of these is still to be copied.
 */
static void
retention_rescue(int slot, const CapKept *kept)
{
	Oid			types[] = {UUIDARRAYOID, UUIDARRAYOID};
	Datum		values[] = {kept != NULL ? kept->deliveries : 0, kept != NULL ? kept->webhooks : 0};
	char	   *sql = psprintf("UPDATE fluxhooks_internal.pending AS p "
							   "SET operation = e.operation, captured_at = e.captured_at, "
							   "    table_schema = e.table_schema, table_name = e.table_name, "
							   "    record_key = e.record_key, "
							   "    body = fluxhooks_internal.event_body(c::fluxhooks_internal.event_chunk, e.seq, p.webhook_id) "
							   "FROM ONLY fluxhooks_internal.event_%d AS c "
							   "CROSS JOIN LATERAL fluxhooks_internal.chunk_events(c::fluxhooks_internal.event_chunk) AS e "
							   "WHERE p.operation IS NULL AND c.xid = p.xid AND c.cid = p.cid "
							   "  AND c.seq > p.seq - %d AND c.seq <= p.seq AND p.seq < c.seq + c.n_events AND e.seq = p.seq "
							   "RETURNING p.delivery_id", slot, CHUNK_EVENTS_MAX);

	sql_execute(sql, SPI_OK_UPDATE_RETURNING, 0, NULL, NULL);
	retention_note_rescued();
	sql = psprintf("INSERT INTO fluxhooks_internal.pending "
				   "(delivery_id, webhook_id, number, due_at, pending_since, xid, seq, key_hash, old_key_hash, cid, "
				   " attempts, attempts_before, operation, captured_at, table_schema, table_name, record_key, body) "
				   "SELECT d.id, w.id, nextval('fluxhooks_internal.pending_sequence'), "
				   " '-infinity', CASE WHEN pg_visible_in_snapshot(e.xid, r.closed_snapshot) THEN r.closed_at ELSE clock_timestamp() END, "
				   " e.xid, e.seq, e.key_hash, e.old_key_hash, e.cid, 0, 0, "
				   " e.operation, e.captured_at, e.table_schema, e.table_name, e.record_key, "
				   " fluxhooks_internal.event_body(c::fluxhooks_internal.event_chunk, e.seq, w.id) "
				   "FROM (SELECT xid, max(seq + n_events) AS last_seq FROM ONLY fluxhooks_internal.event_%1$d "
				   "      WHERE xid >= (SELECT pg_snapshot_xmin(c.last_snapshot) FROM fluxhooks_internal.cursor AS c "
				   "                    ORDER BY c.number DESC LIMIT 1) "
				   "      GROUP BY xid) AS t "
				   "JOIN ONLY fluxhooks_internal.event_%1$d AS c ON c.xid = t.xid "
				   "CROSS JOIN LATERAL fluxhooks_internal.chunk_events(c::fluxhooks_internal.event_chunk) AS e "
				   "CROSS JOIN LATERAL unnest(e.webhooks) AS w (id) "
				   "CROSS JOIN LATERAL fluxhooks_internal.delivery_id(e.id, w.id) AS d (id) "
				   "JOIN fluxhooks_internal.ring AS r ON r.slot = %1$d "
				   "WHERE NOT fluxhooks_internal.delivery_is_settled(w.id, d.id) %2$s"
				   "ORDER BY t.last_seq, e.cid, e.seq "
				   "RETURNING delivery_id", slot, kept != NULL ? "AND " CAP_IS_KEPT("w.id", "d.id") : "");
	sql_execute(sql, SPI_OK_INSERT_RETURNING, kept != NULL ? lengthof(types) : 0, types, values);
	retention_note_rescued();
	qsort(rescued, n_rescued, sizeof(pg_uuid_t), retention_compare_id);
}

static void
retention_mark_delivery(Delivery *delivery)
{
	if (!bsearch(&delivery->row.delivery_id, rescued, n_rescued, sizeof(pg_uuid_t), retention_compare_id))
		return;
	delivery_set_pending(delivery);
	if (delivery->event != NULL)
		progress_settle(delivery->event);
	delivery->event = NULL;
	delivery->rescued = delivery->copy == NULL;
}

/* What the worker holds of them, and lanes that have to read pending again. */
static void
retention_mark_rescued(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	dlist_iter	iter;

	if (n_rescued == 0)
		return;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		dlist_foreach(iter, &lane->flying)
			retention_mark_delivery(dlist_container(Delivery, queue_node, iter.cur));
		dlist_foreach(iter, &lane->queue)
			retention_mark_delivery(dlist_container(Delivery, queue_node, iter.cur));
		lane->parked = true;
		lane_rewind(lane);
	}
	dlist_foreach(iter, &delivery_ended)
		retention_mark_delivery(dlist_container(Delivery, ended_node, iter.cur));
}

/* Ids of all deliveries in the worker's memory, which are about to be sent. */
static pg_uuid_t *
retention_in_memory(int *n_ids)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	dlist_iter	iter;
	int			size = delivery_n_ended;
	int			n = 0;
	pg_uuid_t  *ids;

	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
		size += lane->n_queued + lane->in_flight;
	ids = palloc(sizeof(pg_uuid_t) * Max(size, 1));
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		dlist_foreach(iter, &lane->flying)
			ids[n++] = dlist_container(Delivery, queue_node, iter.cur)->row.delivery_id;
		dlist_foreach(iter, &lane->queue)
			ids[n++] = dlist_container(Delivery, queue_node, iter.cur)->row.delivery_id;
	}
	dlist_foreach(iter, &delivery_ended)
		ids[n++] = dlist_container(Delivery, ended_node, iter.cur)->row.delivery_id;
	Assert(n == size);
	*n_ids = n;
	return ids;
}

/* Webhooks that wait for nothing but for others, or for the worker. */
static pg_uuid_t *spared = NULL;
static int	n_spared = 0;

static void
retention_find_spared(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	n_spared = 0;
	spared = MemoryContextAlloc(retention_context, sizeof(pg_uuid_t) * Max(lane_count(), 1));
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (batch_sending() && lane->sending && !lane->parked && lane->n_queued < LANE_LOW_DELIVERIES)
			spared[n_spared++] = lane->webhook_id;
	}
}

static CapKept *
retention_drop(int slot)
{
	int			n_ids;
	pg_uuid_t  *ids = retention_in_memory(&n_ids);
	CapKept    *kept = cap_keep(ids, n_ids, spared, n_spared);

	cap_drop(slot, kept);
	return kept;
}

/* dropping: what lags goes with it, unless it is in memory. */
static bool
retention_empty(int slot, bool dropping)
{
	Cursor	   *cursor;
	bool		locked;

	rescued = NULL;
	n_rescued = 0;
	retention_begin();
	FAULT_POINT("retention_lock");
	locked = ring_try_lock_slot(slot);
	if (locked)
	{
		FAULT_POINT("retention_locked");
		PushActiveSnapshot(GetLatestSnapshot());
		cursor = cursor_load();
		retention_rescue(slot, dropping ? retention_drop(slot) : NULL);
		FAULT_POINT("retention_rescued");
		/* the only copy of the cursor may be about to go */
		cursor->number--;
		cursor_append(cursor);
		FAULT_POINT("retention_cursor_copied");
		ring_empty_slot(slot);
		PopActiveSnapshot();
		FAULT_POINT("retention_emptied");
	}
	retention_end();
	if (locked)
		retention_mark_rescued();
	return locked;
}

/* --------------------------------------------------------------- expiration */

/*
 * Cancel what has been pending for longer than the retention, unless it is in
 * memory; true when there may be more.
 */
static bool
retention_cancel_expired(void)
{
	TimestampTz now = GetCurrentTimestamp();
	PendingDelivery *pending;
	AttemptRow *attempts;
	pg_uuid_t  *ids;
	int			n_found;
	int			n = 0;

	retention_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	n_found = record_load_expired(TimestampTzPlusMilliseconds(now, -(int64) guc_retention * 1000),
								  RETENTION_BATCH, retention_context, &pending);
	attempts = palloc(sizeof(AttemptRow) * Max(n_found, 1));
	ids = palloc(sizeof(pg_uuid_t) * Max(n_found, 1));
	for (int i = 0; i < n_found; i++)
	{
		if (delivery_is_loaded(&pending[i].row.delivery_id))
			continue;
		record_cancelled(&attempts[n], &pending[i], now);
		ids[n++] = pending[i].row.delivery_id;
	}
	record_attempts(attempts, n);
	record_settled(ids, n);
	FAULT_POINT("retention_cancelled");
	PopActiveSnapshot();
	retention_end();
	MemoryContextReset(retention_context);
	return n_found == RETENTION_BATCH && n > 0;
}

/* A deleted webhook goes once no delivery of it is left to be shown. */
static void
retention_forget_webhooks(void)
{
	Oid			types[] = {FLOAT8OID};
	Datum		values[] = {Float8GetDatum((double) guc_retention * 2)};

	retention_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	sql_execute("DELETE FROM fluxhooks_internal.webhook AS w "
					  "WHERE deleted_at < clock_timestamp() - make_interval(secs => $1) "
					  "AND NOT EXISTS (SELECT FROM fluxhooks_internal.pending AS p WHERE p.webhook_id = w.id)",
					  SPI_OK_DELETE, 1, types, values);
	sql_execute("DELETE FROM fluxhooks_internal.dropped AS d "
				"WHERE NOT EXISTS (SELECT FROM fluxhooks_internal.webhook AS w WHERE w.id = d.webhook_id)",
				SPI_OK_DELETE, 0, NULL, NULL);
	PopActiveSnapshot();
	retention_end();
}

/* A rotated secret signs nothing once it has expired; nor need it be kept. */
static void
retention_forget_secrets(void)
{
	retention_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	sql_execute("UPDATE fluxhooks_internal.webhook SET old_secret = NULL, old_secret_expires_at = NULL "
				"WHERE old_secret_expires_at <= clock_timestamp()",
				SPI_OK_UPDATE, 0, NULL, NULL);
	PopActiveSnapshot();
	retention_end();
}

static int64
retention_measure(int slot)
{
	int64		result;

	retention_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	result = slot < 0 ? cap_excess() : cap_slot_bytes(slot);
	PopActiveSnapshot();
	retention_end();
	return result;
}

/*
 * Give up as many of the oldest slots as make up for what is too much.  By what
 * they hold, not by what is left: what is cancelled is written down in the slot
 * in use, and must not drive out what is newer than it.
 */
static void
retention_keep_cap(void)
{
	int64		excess = retention_measure(-1);
	int			slot;

	retention_find_spared();
	while (excess > 0 && (slot = retention_oldest_slot(0)) >= 0)
	{
		excess -= retention_measure(slot);
		if (!retention_empty(slot, true))
			break;
		CHECK_FOR_INTERRUPTS();
	}
}

/* When the next thing falls due, of what there is now; DT_NOEND: never. */
static TimestampTz
retention_find_next(void)
{
	Oid			types[] = {FLOAT8OID};
	Datum		values[] = {Float8GetDatum((double) guc_retention)};
	TimestampTz next;
	bool		isnull;

	retention_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	sql_execute("SELECT LEAST("
					  "(SELECT min(opened_at) + make_interval(secs => $1 / 8) FROM fluxhooks_internal.ring "
					  " WHERE closed_at IS NULL " RETENTION_NOT_EMPTY "), "
					  "(SELECT min(closed_at) + make_interval(secs => $1) FROM fluxhooks_internal.ring), "
					  "(SELECT min(pending_since) + make_interval(secs => $1) FROM fluxhooks_internal.pending), "
					  "(SELECT min(deleted_at) + make_interval(secs => $1 * 2) FROM fluxhooks_internal.webhook), "
					  "(SELECT min(old_secret_expires_at) FROM fluxhooks_internal.webhook))",
					  SPI_OK_SELECT, 1, types, values);
	next = DatumGetTimestampTz(sql_value(0, 1, &isnull));
	if (isnull)
		next = DT_NOEND;
	PopActiveSnapshot();
	retention_end();
	return next;
}

void
retention_run(void)
{
	TimestampTz soon = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), retention_patience_ms());
	int			slot;

	next_run = soon;
	MemoryContextSwitchTo(retention_context);
	retention_advance();
	while ((slot = retention_oldest_slot(guc_retention)) >= 0)
	{
		if (!retention_empty(slot, false))
			break;
		CHECK_FOR_INTERRUPTS();
	}
	retention_keep_cap();
	while (retention_cancel_expired())
		CHECK_FOR_INTERRUPTS();
	retention_forget_webhooks();
	retention_forget_secrets();
	next_run = Max(soon, retention_find_next());
	MemoryContextReset(retention_context);
}

void
retention_abort(void)
{
	next_run = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Max(retention_patience_ms(), 1000));
	MemoryContextReset(retention_context);
}

void
retention_init(MemoryContext context)
{
	retention_context = AllocSetContextCreate(context, "fluxhooks retention", ALLOCSET_DEFAULT_SIZES);
}
