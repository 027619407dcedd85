/*
 * reading.c
 *	  From the event log into the lanes: window after window, page by page.
 */
#include "postgres.h"

#include "fault.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "id.h"
#include "lane.h"
#include "pace.h"
#include "parking.h"
#include "progress.h"
#include "reading.h"
#include "settled.h"
#include "stage.h"
#include "waiting.h"
#include "webhook.h"

#define PAGE_DELIVERIES		2048	/* read at once */
#define LOOK_DELAY_MS		1000

static MemoryContext reading_context = NULL;
static int64 next_number;		/* order in which events are read */

/* news */
static bool woken = true;		/* the latch was set since the last batch */
static TimestampTz looked_time = 0; /* when they were looked for */
static TransactionId looked_at = InvalidTransactionId;
static TransactionId latest_completed = InvalidTransactionId;	/* before the batch's snapshot was taken */

/* the window that is being read */
static Window *window = NULL;
static OpenWindow *open_window = NULL;	/* NULL until its first page has committed */
static LogSnapshot *window_last = NULL;
static LogSnapshot *window_next = NULL;
static LogPosition read_position;	/* last event that has been taken on */
static LogSnapshot *seen_at_start = NULL;	/* what it sees may have been settled by a former worker */

/* -------------------------------------------------------------------- a page */

static void
reading_take_event(LogEvent *event, void *arg)
{
	StagedEvent *staged = palloc0(sizeof(StagedEvent));

	staged->event = event;
	staged->number = next_number++;
	stage.events = lappend(stage.events, staged);
}

/*
 * The lane of a webhook.  A snapshot may see a webhook before its
 * invalidation has arrived, so an unknown one is looked up once more.
 */
static Lane *
reading_find_lane(const pg_uuid_t *webhook_id)
{
	Lane	   *lane = lane_find(webhook_id);

	if (lane == NULL && !stage.configuration_read)
	{
		webhook_load();
		stage.configuration_read = true;
		lane = lane_find(webhook_id);
	}
	return lane;
}

static void
reading_stage_delivery(StagedEvent *staged, const pg_uuid_t *webhook_id)
{
	Delivery   *delivery = delivery_from_event(staged->event, webhook_id, staged->number,
											   waiting_since(staged->event->place.xid));
	Lane	   *lane = reading_find_lane(webhook_id);

	if (lane == NULL || lane->deleted)
	{
		stage_add_attempt(&delivery->row, OUTCOME_CANCELLED);
		delivery_free(delivery);
		return;
	}
	delivery->lane = lane;
	if (lane->parked || lane_holds_back(lane) || lane_is_full(lane))
		parking_begin(lane);
	if (lane->parking)
	{
		stage_add_pending(&delivery->row);
		delivery_free(delivery);
		return;
	}
	stage_add_delivery(delivery, staged);
}

/*
 * Did a former worker settle this delivery?  The cursor it left behind may be
 * older than what it recorded last.
 */
static bool
reading_was_settled(SettledReader **reader, const LogEvent *event, const pg_uuid_t *webhook_id)
{
	pg_uuid_t	delivery_id;

	if (!log_snapshot_sees(seen_at_start, event->place.xid))
		return false;
	if (*reader == NULL)
		*reader = settled_open();
	id_of_delivery(&delivery_id, &event->id, webhook_id);
	return settled_has(*reader, webhook_id, &delivery_id);
}

static void
reading_stage_page(void)
{
	SettledReader *reader = NULL;
	ListCell   *lc;

	foreach(lc, stage.events)
	{
		StagedEvent *staged = lfirst(lc);
		const LogEvent *event = staged->event;

		for (int i = 0; i < event->n_webhooks; i++)
		{
			if (!reading_was_settled(&reader, event, &event->webhooks[i]))
				reading_stage_delivery(staged, &event->webhooks[i]);
		}
	}
	if (reader != NULL)
		settled_close(reader);
}

/* ---------------------------------------------------------------- the window */

static void
reading_set_window(const LogSnapshot *last, const LogSnapshot *next, const LogPosition *after)
{
	log_snapshot_free(window_last);
	log_snapshot_free(window_next);
	window_last = log_snapshot_copy(last, reading_context);
	window_next = log_snapshot_copy(next, reading_context);
	if (after != NULL)
		read_position = *after;
	else
		read_position.last_seq = -1;
}

/* Have a window to read from; false where there is nothing new. */
static bool
reading_have_window(void)
{
	if (window != NULL)
		return true;
	if (open_window == NULL)
	{
		LogSnapshot *next = log_snapshot_take();

		looked_at = latest_completed;
		reading_set_window(progress_newest(), next, NULL);
	}
	window = window_open(window_last, window_next, &read_position, reading_context);
	FAULT_POINT("reading_window_opened");
	if (open_window == NULL && window_is_empty(window))
	{
		window_close(window);
		window = NULL;
		progress_skip(window_next);
		return false;
	}
	waiting_begin(stage.now);
	return true;
}

void
reading_run(void)
{
	if (!pace_make_room())
	{
		woken = true;			/* whatever the latch was set for is still to be read */
		return;
	}
	if (!reading_have_window())
		return;
	pace_begin();
	/* a writer with synchronous_commit = off is visible before it is durable */
	stage.flush_to = window_flush_to(window);
	stage.window_done = window_read(window, PAGE_DELIVERIES, STAGE_BYTES, stage_context,
									reading_take_event, NULL);
	reading_stage_page();
	FAULT_POINT("reading_page_read");
}

void
reading_apply(void)
{
	ListCell   *lc;

	if (window == NULL)
		return;
	if (open_window == NULL)
		open_window = progress_open_window(window_next, NULL);
	foreach(lc, stage.events)
	{
		StagedEvent *staged = lfirst(lc);

		staged->open = progress_add_event(open_window, &staged->event->position, staged->unsettled);
		read_position = staged->event->position;
	}
	if (stage.window_done)
	{
		progress_window_read(open_window);
		waiting_end();
		window_close(window);
		window = NULL;
		open_window = NULL;
	}
}

/*
 * Have transactions ended that the last window did not see?  Writers of
 * events set the latch; the look once a second is for what could not.
 */
static bool
reading_has_news(TimestampTz now)
{
	if (!woken && now < TimestampTzPlusMilliseconds(looked_time, LOOK_DELAY_MS))
		return false;
	looked_time = now;
	if (compat_latest_completed_xid() != looked_at || progress_newest()->n_xip > 0)
		return true;
	woken = false;
	return false;
}

bool
reading_wanted(TimestampTz now, TimestampTz *when)
{
	if (!pace_allows(now, when))
		return false;
	if (open_window != NULL || reading_has_news(now))
		return true;
	*when = TimestampTzPlusMilliseconds(looked_time, LOOK_DELAY_MS);
	return false;
}

/* ------------------------------------------------------------- start and end */

void
reading_init(MemoryContext context)
{
	reading_context = context;
	waiting_init(context);
}

void
reading_start(const Cursor *cursor)
{
	next_number = Max(GetCurrentTimestamp(), record_max_number() + 1);
	seen_at_start = log_snapshot_copy(log_snapshot_take(), reading_context);
	if (cursor->next != NULL)
	{
		reading_set_window(cursor->last, cursor->next, &cursor->position);
		open_window = progress_open_window(cursor->next, &cursor->position);
	}
}

void
reading_wake(void)
{
	woken = true;
}

void
reading_begin(void)
{
	woken = false;
	latest_completed = compat_latest_completed_xid();
}

void
reading_abort(void)
{
	if (window != NULL)
		window_close(window);
	window = NULL;
	looked_at = InvalidTransactionId;
	woken = true;
}

void
reading_reached(Cursor *reached, const LogSnapshot **checked)
{
	reached->last = open_window ? window_last : unconstify(LogSnapshot *, progress_newest());
	reached->next = open_window ? window_next : NULL;
	reached->position = read_position;
	*checked = seen_at_start;
}

int64
reading_next_number(void)
{
	return next_number;
}
