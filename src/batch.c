/*
 * batch.c
 *	  One transaction of the worker: it records what has ended, reads what is
 *	  new, and loads what is due.
 *
 * Nothing that the transaction decides is believed before it has committed:
 * what was read is staged and joins the lanes afterwards, and attempts that
 * have ended stay in their list until they are recorded.  So an error at any point
 * means: once more, later.
 *
 * Parking.  A lane that is full, or may not send, or has deliveries parked
 * already, parks what comes: it gets a pending row and no memory.  When a lane
 * begins to park, everything it holds gets its pending row in the same
 * transaction: after a crash, what is in pending has to be complete up to
 * some point in the order, or later changes of a row would overtake earlier ones.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "catalog.h"
#include "compat.h"
#include "copy.h"
#include "cursor.h"
#include "guc.h"
#include "lane.h"
#include "progress.h"
#include "retry.h"
#include "sql.h"
#include "webhook.h"

#define PAGE_DELIVERIES		2048	/* read at once */
#define PAGE_BYTES			(4 * 1024 * 1024)
#define BACKLOG_LOW			1024	/* read on when lanes hold fewer */
#define BACKLOG_PATIENCE_MS	250		/* how long reading waits for lanes to make room */
#define BACKLOG_DRAIN_MS	2000	/* lanes that need longer to send what they hold park */
#define LOAD_DELIVERIES		1024
#define MEMORY_HIGH			(24 * 1024 * 1024)	/* bodies queued in all */
#define OPEN_EVENTS_HIGH	16384	/* kept for the sake of one that is open */
#define RECORD_DELIVERIES	1024	/* recorded at once */
#define RECORD_DELAY_MS		20		/* and no later than after this time */
#define CURSOR_DELAY_MS		1000
#define LOOK_DELAY_MS		1000

static MemoryContext worker_context = NULL;
static MemoryContext batch_context = NULL;	/* emptied after each batch */

/* what is known */
static bool started = false;	/* the cursor has been loaded */
static bool stale = true;		/* configuration and pause are to be read */
static bool rewind_lanes = false;	/* somebody else wrote to pending */
static bool paused = true;
static bool woken = true;		/* the latch was set since the last batch */
static TimestampTz looked_time = 0;	/* when news were looked for */
static TimestampTz paced_since = 0; /* when lanes' pace began to be counted */
static Oid	watched = InvalidOid;	/* the relation "webhook" */
static int64 cursor_number;		/* of the one written last */
static Cursor cursor_now;		/* the one to be written */
static bool cursor_moved = false;
static TimestampTz cursor_written_at = 0;
static int64 next_number;		/* order in which events are read */
static TimestampTz earliest_due = DT_NOBEGIN;	/* of lanes that have room */

/* the window that is being read */
static Window *window = NULL;
static OpenWindow *open_window = NULL;	/* NULL until its first page has committed */
static LogSnapshot *window_last = NULL;
static LogSnapshot *window_next = NULL;
static LogPosition read_position;	/* last event that has been taken on */
static LogSnapshot *seen_at_start = NULL;	/* what it sees may have been settled by a former worker */
static TransactionId looked_at = InvalidTransactionId;

typedef struct StagedEvent
{
	LogEvent   *event;
	int64		number;
	int			unsettled;
	OpenEvent  *open;
} StagedEvent;

typedef struct StagedDelivery
{
	Delivery   *delivery;
	StagedEvent *event;			/* NULL: loaded from pending */
} StagedDelivery;

/* what the present batch has staged; all in batch_context */
typedef struct Batch
{
	TimestampTz now;
	List	   *events;			/* StagedEvent */
	List	   *deliveries;		/* StagedDelivery: to be queued */
	List	   *saved;			/* Delivery in memory whose pending row was written */
	List	   *recorded;		/* Delivery that has ended */
	List	   *parking;		/* Lane that parks from now on */
	PendingRow *pending;
	int			n_pending;
	int			size_pending;
	AttemptRow *attempts;
	int			n_attempts;
	int			size_attempts;
	pg_uuid_t  *settled;
	int			n_settled;
	int			size_settled;
	bool		window_done;
	bool		configuration_read;
	bool		cursor_written;
	XLogRecPtr	flush_to;		/* before anything of the window is sent */
} Batch;

static Batch batch;
static bool applying = false;	/* it has committed; no way back */

/* Make room for one more element of an array in batch_context. */
#define BATCH_GROW(array, n, size) \
	do { \
		if ((n) == (size)) \
		{ \
			(size) = Max(64, (size) * 2); \
			(array) = (array) == NULL ? palloc((size) * sizeof(*(array))) \
				: repalloc_huge((array), (size) * sizeof(*(array))); \
		} \
	} while (0)

static void
batch_add_pending(const PendingRow *row)
{
	BATCH_GROW(batch.pending, batch.n_pending, batch.size_pending);
	batch.pending[batch.n_pending++] = *row;
}

static AttemptRow *
batch_add_attempt(const PendingRow *row, char outcome)
{
	AttemptRow *attempt;

	BATCH_GROW(batch.attempts, batch.n_attempts, batch.size_attempts);
	attempt = &batch.attempts[batch.n_attempts++];
	memset(attempt, 0, sizeof(AttemptRow));
	attempt->delivery_id = row->delivery_id;
	attempt->webhook_id = row->webhook_id;
	attempt->place = row->place;
	attempt->attempt = row->attempts;
	attempt->outcome = outcome;
	attempt->started_at = batch.now;
	return attempt;
}

static void
batch_add_settled(const pg_uuid_t *delivery_id)
{
	BATCH_GROW(batch.settled, batch.n_settled, batch.size_settled);
	batch.settled[batch.n_settled++] = *delivery_id;
}

/* ------------------------------------------------------------------ parking */

static void
batch_save(Delivery *delivery)
{
	PendingRow	row = delivery->row;

	if (delivery->has_pending || delivery->saving)
		return;
	/* an attempt under way is not recorded, so for the table it was not made */
	row.attempts -= delivery->in_flight ? 1 : 0;
	batch_add_pending(&row);
	delivery->saving = true;
	batch.saved = lappend(batch.saved, delivery);
}

/* Give everything the lane holds in memory its pending row. */
static void
batch_save_lane(Lane *lane)
{
	dlist_iter	iter;
	ListCell   *lc;

	dlist_foreach(iter, &lane->flying)
		batch_save(dlist_container(Delivery, queue_node, iter.cur));
	dlist_foreach(iter, &lane->queue)
		batch_save(dlist_container(Delivery, queue_node, iter.cur));
	foreach(lc, batch.deliveries)
	{
		StagedDelivery *staged = lfirst(lc);

		if (staged->delivery->lane == lane)
			batch_save(staged->delivery);
	}
}

static void
batch_begin_parking(Lane *lane)
{
	if (lane->parking)
		return;
	lane->parking = true;
	batch.parking = lappend(batch.parking, lane);
	batch_save_lane(lane);
}

/* What each lane may hold for all of them to fit. */
static Size
batch_lane_share(void)
{
	return MEMORY_HIGH / Max(lane_count(), 1);
}

/* The smallest number among what the lane holds. */
static int64
batch_oldest_number(Lane *lane)
{
	int64		number = PG_INT64_MAX;

	if (!dlist_is_empty(&lane->flying))
		number = dlist_head_element(Delivery, queue_node, &lane->flying)->row.number;
	if (!dlist_is_empty(&lane->queue))
		number = Min(number, dlist_head_element(Delivery, queue_node, &lane->queue)->row.number);
	return number;
}

/*
 * Keep memory bounded: lanes that may not send give up what they hold; when
 * there is too much in all, those with more than their share park; and what
 * has been open for very many events gets its pending row, so that those
 * behind it can be forgotten.
 */
static void
batch_bound_memory(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	Size		share = batch_lane_share();
	bool		too_much = lane_bytes_queued() > MEMORY_HIGH;
	bool		too_many = progress_n_open() > OPEN_EVENTS_HIGH;

	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		lane->keep_bytes = SIZE_MAX;
		if (!lane->sending && lane->n_queued > 0)
		{
			lane->keep_bytes = 0;
			batch_begin_parking(lane);
		}
		else if (too_much && lane->bytes_queued > share)
		{
			lane->keep_bytes = share;
			batch_begin_parking(lane);
		}
		else if (too_many && batch_oldest_number(lane) < next_number - OPEN_EVENTS_HIGH)
			batch_save_lane(lane);
	}
}

/* ---------------------------------------------------------------- recording */

/* The event is no longer in the log: what is to be shown of it goes with the attempt. */
static void
batch_copy_event(AttemptRow *attempt, const Delivery *delivery)
{
	const PendingDelivery *copy = delivery->copy;

	if (copy == NULL)
	{
		copy = record_load_delivery(&delivery->row.delivery_id, batch_context);
		if (copy == NULL || copy->operation == 0)
			return;
		attempt->body = copy->body;
		attempt->body_len = copy->body_len;
	}
	attempt->operation = copy->operation;
	attempt->captured_at = copy->captured_at;
	attempt->table_schema = copy->table_schema;
	attempt->table_name = copy->table_name;
	attempt->record_key = copy->record_key;
	if (delivery->copy != NULL && delivery->request != NULL)
	{
		attempt->body = request_http(delivery->request)->body;
		attempt->body_len = request_http(delivery->request)->body_len;
	}
}

/* What becomes of a delivery whose attempt has ended. */
static char
batch_judge(Delivery *delivery)
{
	const HttpResult *result = &delivery->result;
	PendingRow *row = &delivery->row;
	int			made = row->attempts - row->attempts_before;
	int64		delay;

	if (retry_is_success(result->status_code))
		return OUTCOME_SUCCESS;
	if (delivery->lane->deleted || made > delivery->lane->max_retries)
		return OUTCOME_FAILED;
	delay = retry_delay_ms(delivery->lane->retry_backoff_seconds, made, compat_random_double() * 2.0 - 1.0,
						   retry_after_ms(result->status_code, result->retry_after, time(NULL)));
	row->due_at = TimestampTzPlusMilliseconds(batch.now, delay);
	return OUTCOME_RETRY;
}

static void
batch_record(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &delivery_ended)
	{
		Delivery   *delivery = dlist_container(Delivery, ended_node, iter.cur);
		char		outcome = batch_judge(delivery);
		AttemptRow *attempt = batch_add_attempt(&delivery->row, outcome);

		attempt->started_at = delivery->started_at;
		attempt->url = delivery_url(delivery);
		attempt->result = &delivery->result;
		if (delivery->copy != NULL || delivery->rescued)
			batch_copy_event(attempt, delivery);
		delivery->retrying = outcome == OUTCOME_RETRY;
		if (delivery->retrying)
			batch_add_pending(&delivery->row);
		else if (delivery->has_pending)
			batch_add_settled(&delivery->row.delivery_id);
		batch.recorded = lappend(batch.recorded, delivery);
	}
}

/* ------------------------------------------------------------------ reading */

static void
batch_take_event(LogEvent *event, void *arg)
{
	StagedEvent *staged = palloc0(sizeof(StagedEvent));

	staged->event = event;
	staged->number = next_number++;
	batch.events = lappend(batch.events, staged);
}

/*
 * The lane of a webhook.  A snapshot may see a webhook before its
 * invalidation has arrived, so an unknown one is looked up once more.
 */
static Lane *
batch_find_lane(const pg_uuid_t *webhook_id)
{
	Lane	   *lane = lane_find(webhook_id);

	if (lane == NULL && !batch.configuration_read)
	{
		webhook_load();
		batch.configuration_read = true;
		lane = lane_find(webhook_id);
	}
	return lane;
}

static void
batch_stage_delivery(StagedEvent *staged, const pg_uuid_t *webhook_id)
{
	Delivery   *delivery = delivery_from_event(staged->event, webhook_id, staged->number, batch.now);
	Lane	   *lane = batch_find_lane(webhook_id);
	StagedDelivery *entry;

	if (lane == NULL || lane->deleted)
	{
		batch_add_attempt(&delivery->row, OUTCOME_CANCELLED);
		delivery_free(delivery);
		return;
	}
	delivery->lane = lane;
	if (lane->parked || !lane->sending || lane_is_full(lane))
		batch_begin_parking(lane);
	if (lane->parking)
	{
		batch_add_pending(&delivery->row);
		delivery_free(delivery);
		return;
	}
	entry = palloc(sizeof(StagedDelivery));
	entry->delivery = delivery;
	entry->event = staged;
	staged->unsettled++;
	batch.deliveries = lappend(batch.deliveries, entry);
}

/*
 * Did a former worker settle this delivery?  The cursor it left behind may be
 * older than what it recorded last.
 */
static bool
batch_was_settled(const LogEvent *event, const pg_uuid_t *webhook_id)
{
	pg_uuid_t	delivery_id;

	if (!log_snapshot_sees(seen_at_start, event->place.xid))
		return false;
	queue_delivery_id(&delivery_id, &event->id, webhook_id);
	return record_is_settled(webhook_id, &delivery_id);
}

static void
batch_stage_page(void)
{
	ListCell   *lc;

	foreach(lc, batch.events)
	{
		StagedEvent *staged = lfirst(lc);
		const LogEvent *event = staged->event;

		for (int i = 0; i < event->n_webhooks; i++)
		{
			if (!batch_was_settled(event, &event->webhooks[i]))
				batch_stage_delivery(staged, &event->webhooks[i]);
		}
	}
}

/*
 * What a window holds must be on disk before any of it is sent: a writer with
 * synchronous_commit = off is visible before it is durable.  The insert
 * position may stand behind a page header that no record follows yet, which
 * XLogFlush would wait for in vain.
 */
static XLogRecPtr
batch_insert_position(void)
{
	XLogRecPtr	position = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(position, wal_segment_size) == SizeOfXLogLongPHD)
		position -= SizeOfXLogLongPHD;
	else if (position % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		position -= SizeOfXLogShortPHD;
	return position;
}

static LogSnapshot *
batch_keep_snapshot(const LogSnapshot *snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(worker_context);
	LogSnapshot *copy = log_snapshot_copy(snapshot);

	MemoryContextSwitchTo(old);
	return copy;
}

static void
batch_set_window(const LogSnapshot *last, const LogSnapshot *next, const LogPosition *after)
{
	if (window_last != NULL)
	{
		pfree(window_last->xip);
		pfree(window_last);
		pfree(window_next->xip);
		pfree(window_next);
	}
	window_last = batch_keep_snapshot(last);
	window_next = batch_keep_snapshot(next);
	if (after != NULL)
		read_position = *after;
	else
		read_position.last_seq = -1;
}

/* Have a window to read from; false where there is nothing new. */
static bool
batch_have_window(TransactionId latest)
{
	if (window != NULL)
		return true;
	if (open_window == NULL)
	{
		LogSnapshot *next = log_snapshot_take();

		looked_at = latest;
		batch_set_window(progress_newest(), next, NULL);
	}
	batch.flush_to = batch_insert_position();
	window = window_open(window_last, window_next, &read_position, worker_context);
	if (open_window == NULL && window_is_empty(window))
	{
		window_close(window);
		window = NULL;
		progress_skip(window_next);
		return false;
	}
	return true;
}

/*
 * Reading keeps to the pace of sending, so that a burst need not be parked.
 * What parks anyhow is in nobody's way.
 */
static bool
batch_has_room(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	int			backlog = 0;

	if (lane_backlog() < BACKLOG_LOW)
		return true;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (!lane->parked && !lane->parking && !lane_is_full(lane))
			backlog += lane->n_queued;
	}
	return backlog < BACKLOG_LOW;
}

static bool
batch_lost_patience(TimestampTz now)
{
	return now >= TimestampTzPlusMilliseconds(paced_since, BACKLOG_PATIENCE_MS);
}

/* From now on, see how many deliveries each lane starts. */
static void
batch_pace_lanes(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	paced_since = batch.now;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
		lane->n_started = 0;
}

/* At its present pace, how long does a lane need to start what it holds? */
static bool
batch_drains_slowly(const Lane *lane)
{
	double		elapsed_ms = (batch.now - paced_since) / 1000.0;

	return lane->n_started == 0 ||
		lane->n_queued * elapsed_ms / lane->n_started > BACKLOG_DRAIN_MS;
}

/*
 * Reading has waited long enough: lanes of slow or hanging endpoints park, so
 * that the others get what is theirs.  A lane alone keeps nobody waiting, and
 * what it has not read is best kept in the log.
 */
static void
batch_park_backlog(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	int			share = BACKLOG_LOW / Max(lane_count(), 1);

	if (lane_count() <= 1)
		return;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (!lane->parked && lane->n_queued > 0 && lane->n_queued >= share && batch_drains_slowly(lane))
			batch_begin_parking(lane);
	}
}

static bool
batch_make_room(void)
{
	if (batch_has_room())
		return true;
	if (!batch_lost_patience(batch.now))
		return false;
	batch_park_backlog();
	batch_pace_lanes();
	return batch_has_room();
}

static void
batch_read(TransactionId latest)
{
	if (!batch_make_room())
	{
		woken = true;			/* whatever the latch was set for is still to be read */
		return;
	}
	if (!batch_have_window(latest))
		return;
	batch_pace_lanes();
	batch.window_done = window_read(window, PAGE_DELIVERIES, PAGE_BYTES, batch_context,
									batch_take_event, NULL);
	batch_stage_page();
}

/* ------------------------------------------------------------------ loading */

static void
batch_cancel(const PendingDelivery *pending)
{
	record_cancelled(batch_add_attempt(&pending->row, OUTCOME_CANCELLED), pending, batch.now);
	batch_add_settled(&pending->row.delivery_id);
}

/* Returns the bytes of memory that this took. */
static Size
batch_load_delivery(Lane *lane, const PendingDelivery *pending)
{
	LogEvent   *event = NULL;
	StagedDelivery *entry;

	if (delivery_is_loaded(&pending->row.delivery_id))
		return 0;
	if (pending->operation != 0)
	{
		pending = record_load_delivery(&pending->row.delivery_id, batch_context);
		if (pending == NULL)
			return 0;
	}
	else if (!lane->deleted)
		event = window_fetch(&pending->row.place, batch_context);
	if (lane->deleted || (pending->operation == 0 && event == NULL))
	{
		batch_cancel(pending);
		return pending->body_len;
	}
	entry = palloc(sizeof(StagedDelivery));
	entry->delivery = delivery_from_pending(pending, event);
	entry->delivery->lane = lane;
	entry->event = NULL;
	delivery_set_pending(entry->delivery);
	batch.deliveries = lappend(batch.deliveries, entry);
	return entry->delivery->size;
}

/* Load what is due of a lane that has room, as much as fits. */
static void
batch_load_lane(Lane *lane)
{
	int			limit = LOAD_DELIVERIES - lane->n_queued;
	Size		room = Min(batch_lane_share(), PAGE_BYTES);
	Size		taken = lane->bytes_queued;
	int			done;
	PendingDelivery *pending;
	int			n = record_load_pending(&lane->webhook_id, &lane->position,
										lane->deleted ? DT_NOEND : batch.now, limit,
										batch_context, &pending);

	for (done = 0; done < n && (done == 0 || taken < room); done++)
		taken += batch_load_delivery(lane, &pending[done]);
	if (done > 0)
	{
		lane->position.due_at = pending[done - 1].row.due_at;
		lane->position.number = pending[done - 1].row.number;
	}
	if (done < n || n == limit)
	{
		lane->next_due = DT_NOBEGIN;
		return;
	}
	if (!lane->parking)
		lane->parked = false;
	if (!record_next_due(&lane->webhook_id, &lane->position, &lane->next_due))
		lane->next_due = DT_NOEND;
}

static bool
batch_lane_loads(const Lane *lane)
{
	if (!lane->sending && !lane->deleted)
		return false;
	return lane->n_queued == 0 ||
		(lane->n_queued < LANE_LOW_DELIVERIES && lane->bytes_queued < Min(batch_lane_share(), PAGE_BYTES) / 2);
}

static void
batch_load(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (batch_lane_loads(lane) && lane->next_due <= batch.now)
			batch_load_lane(lane);
	}
}

/* When the next lane with room has something to load. */
static void
batch_find_earliest_due(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	earliest_due = DT_NOEND;
	lane_room_made = false;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (batch_lane_loads(lane) && lane->next_due < earliest_due)
			earliest_due = lane->next_due;
	}
}

/* -------------------------------------------------------------------- state */

static void
batch_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		stale = true;
}

void
batch_set_stale(void)
{
	stale = true;
	rewind_lanes = true;
}

bool
batch_sending(void)
{
	return started && guc_delivery && !paused;
}

static bool
batch_read_paused(void)
{
	bool		isnull;

	sql_execute("SELECT EXISTS (SELECT FROM fluxhooks_internal.pause)", SPI_OK_SELECT, 0, NULL, NULL);
	return DatumGetBool(sql_value(0, 1, &isnull));
}

static void
batch_refresh(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	if (!stale)
		return;
	stale = false;
	webhook_load();
	batch.configuration_read = true;
	copy_check();
	paused = batch_read_paused();
	if (!rewind_lanes)
		return;
	rewind_lanes = false;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
		lane_rewind(lane);
}

/* Take up where the last worker left off. */
static void
batch_start(void)
{
	Cursor	   *loaded;

	if (started)
		return;
	loaded = cursor_load();
	cursor_number = loaded->number;
	progress_init(worker_context, loaded);
	next_number = Max(GetCurrentTimestamp(), record_max_number() + 1);
	seen_at_start = batch_keep_snapshot(log_snapshot_take());
	if (loaded->next != NULL)
	{
		batch_set_window(loaded->last, loaded->next, &loaded->position);
		open_window = progress_open_window(loaded->next, &loaded->position);
	}
	started = true;
}

static bool
batch_cursor_due(TimestampTz now)
{
	return now >= TimestampTzPlusMilliseconds(cursor_written_at, CURSOR_DELAY_MS);
}

/* What is settled by now; this batch's own share follows with the next one. */
static void
batch_write_cursor(void)
{
	cursor_moved |= progress_cursor(&cursor_now);
	if (!cursor_moved || !batch_cursor_due(batch.now))
		return;
	cursor_now.number = cursor_number;
	cursor_append(&cursor_now);
	batch.cursor_written = true;
}

/* ------------------------------------------------------------ after commit */

static void
batch_apply_recorded(void)
{
	ListCell   *lc;

	foreach(lc, batch.recorded)
	{
		Delivery   *delivery = lfirst(lc);
		Lane	   *lane = delivery->lane;

		dlist_delete(&delivery->ended_node);
		delivery_n_ended--;
		lane->n_ended--;
		if (delivery->event != NULL)
			progress_settle(delivery->event);
		if (delivery->retrying && delivery->row.due_at < lane->next_due)
			lane->next_due = delivery->row.due_at;
		/* the clock has been set back */
		if (delivery->retrying && delivery->row.due_at <= lane->position.due_at)
			lane_rewind(lane);
		delivery_free(delivery);
	}
}

static void
batch_apply_events(void)
{
	ListCell   *lc;

	if (window == NULL)
		return;
	if (open_window == NULL)
		open_window = progress_open_window(window_next, NULL);
	foreach(lc, batch.events)
	{
		StagedEvent *staged = lfirst(lc);

		staged->open = progress_add_event(open_window, &staged->event->position, staged->unsettled);
		read_position = staged->event->position;
	}
	if (batch.window_done)
	{
		progress_window_read(open_window);
		window_close(window);
		window = NULL;
		open_window = NULL;
	}
}

static void
batch_apply_saved(void)
{
	ListCell   *lc;

	foreach(lc, batch.saved)
	{
		Delivery   *delivery = lfirst(lc);

		delivery_set_pending(delivery);
		if (delivery->event != NULL)
			progress_settle(delivery->event);
		delivery->event = NULL;
	}
}

static void
batch_apply_parking(void)
{
	ListCell   *lc;

	foreach(lc, batch.parking)
	{
		Lane	   *lane = lfirst(lc);
		Delivery   *delivery;

		lane->parking = false;
		lane->parked = true;
		/* what is parked stands before any retry that has been loaded */
		if (lane->position.due_at != DT_NOBEGIN)
			lane_rewind(lane);
		lane->next_due = DT_NOBEGIN;
		while (lane->bytes_queued > lane->keep_bytes && (delivery = lane_take_last(lane)) != NULL)
		{
			delivery_free(delivery);
			lane_rewind(lane);
		}
	}
}

static void
batch_apply(void)
{
	ListCell   *lc;

	batch_apply_recorded();
	batch_apply_events();
	foreach(lc, batch.deliveries)
	{
		StagedDelivery *staged = lfirst(lc);

		if (staged->event != NULL)
			staged->delivery->event = staged->event->open;
		lane_enqueue(staged->delivery->lane, staged->delivery);
	}
	batch_apply_saved();
	batch_apply_parking();
	if (batch.cursor_written)
	{
		cursor_number = cursor_now.number;
		cursor_written_at = batch.now;
		cursor_moved = false;
	}
	batch_find_earliest_due();
	memset(&batch, 0, sizeof(batch));
}

/* ------------------------------------------------------------------ running */

/* Is the script that made this database's tables the one this library is for? */
static bool
batch_version_matches(void)
{
	char	   *version;
	bool		matches;

	sql_execute("SELECT extversion FROM pg_extension WHERE extname = 'fluxhooks'",
				SPI_OK_SELECT, 0, NULL, NULL);
	if (SPI_processed == 0)
		return false;
	version = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	matches = strcmp(version, FLUXHOOKS_VERSION) == 0;
	pfree(version);
	return matches;
}

static void
batch_steps(TransactionId latest)
{
	batch_start();
	batch_refresh();
	batch_record();
	batch_bound_memory();
	if (batch_sending())
	{
		batch_load();
		batch_read(latest);
	}
	record_attempts(batch.attempts, batch.n_attempts);
	record_pending(batch.pending, batch.n_pending);
	record_settled(batch.settled, batch.n_settled);
	batch_write_cursor();
}

BatchResult
batch_run(void)
{
	BatchResult result = BATCH_DONE;
	const Catalog *catalog;
	TransactionId latest;

	memset(&batch, 0, sizeof(batch));
	woken = false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "fluxhooks batch");
	batch.now = GetCurrentTimestamp();
	catalog = catalog_get();
	if (catalog == NULL)
		result = BATCH_NO_EXTENSION;
	else
	{
		watched = catalog->webhook;
		SPI_connect();
		MemoryContextSwitchTo(batch_context);
		latest = compat_latest_completed_xid();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (!stale || batch_version_matches())
			batch_steps(latest);
		else
			result = BATCH_OTHER_VERSION;
		PopActiveSnapshot();
		SPI_finish();
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(worker_context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);

	applying = true;
	if (batch.flush_to != InvalidXLogRecPtr)
		XLogFlush(batch.flush_to);
	if (result == BATCH_DONE)
		batch_apply();
	applying = false;
	MemoryContextReset(batch_context);
	return result;
}

void
batch_abort(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	ListCell   *lc;

	/* some are in lanes already, and pending rows may have been committed */
	if (applying)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("fluxhooks worker cannot take on what it has committed")));

	/* staged ones are among those that were saved */
	foreach(lc, batch.saved)
		((Delivery *) lfirst(lc))->saving = false;
	foreach(lc, batch.deliveries)
		delivery_free(((StagedDelivery *) lfirst(lc))->delivery);
	memset(&batch, 0, sizeof(batch));
	MemoryContextReset(batch_context);
	if (window != NULL)
		window_close(window);
	window = NULL;
	looked_at = InvalidTransactionId;
	stale = true;
	woken = true;

	/* what had been loaded has to be loaded again */
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		lane->parking = false;
		lane->parked = true;
		lane_rewind(lane);
	}
	batch_find_earliest_due();
}

/* ------------------------------------------------------------ what is to do */

static void
batch_by(TimestampTz now, TimestampTz when, long *again)
{
	long		ms;

	if (when == DT_NOEND)
		return;
	ms = when <= now ? 0 : (long) Min((when - now) / 1000 + 1, 3600 * 1000);
	if (*again < 0 || ms < *again)
		*again = ms;
}

/*
 * Have transactions ended that the last window did not see?  Writers of
 * events set the latch; the look once a second is for what could not.
 */
static bool
batch_has_news(TimestampTz now)
{
	if (!woken && now < TimestampTzPlusMilliseconds(looked_time, LOOK_DELAY_MS))
		return false;
	looked_time = now;
	if (compat_latest_completed_xid() != looked_at || progress_newest()->n_xip > 0)
		return true;
	woken = false;
	return false;
}

static bool
batch_wants_reading(TimestampTz now, long *again)
{
	if (!batch_has_room() && !batch_lost_patience(now))
	{
		batch_by(now, TimestampTzPlusMilliseconds(paced_since, BACKLOG_PATIENCE_MS), again);
		return false;
	}
	if (open_window != NULL)
		return true;
	if (batch_has_news(now))
		return true;
	batch_by(now, TimestampTzPlusMilliseconds(looked_time, LOOK_DELAY_MS), again);
	return false;
}

bool
batch_wanted(TimestampTz now, long *again)
{
	*again = -1;
	if (stale || !started)
		return true;
	if (delivery_n_ended > 0)
	{
		if (delivery_n_ended >= RECORD_DELIVERIES || lane_in_flight() == 0)
			return true;
		batch_by(now, TimestampTzPlusMilliseconds(delivery_ended_since, RECORD_DELAY_MS), again);
	}
	if (batch_sending())
	{
		if (lane_room_made)
			batch_find_earliest_due();
		batch_by(now, earliest_due, again);
		if (*again != 0 && batch_wants_reading(now, again))
			return true;
	}
	cursor_moved |= progress_cursor(&cursor_now);
	if (cursor_moved)
		batch_by(now, TimestampTzPlusMilliseconds(cursor_written_at, CURSOR_DELAY_MS), again);
	return *again == 0;
}

void
batch_wake(void)
{
	woken = true;
}

void
batch_init(MemoryContext context)
{
	worker_context = context;
	batch_context = AllocSetContextCreate(context, "fluxhooks batch", ALLOCSET_DEFAULT_SIZES);
	CacheRegisterRelcacheCallback(batch_relcache_callback, (Datum) 0);
}
