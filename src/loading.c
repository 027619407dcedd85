/*
 * loading.c
 *	  From pending into the lanes: what was parked, and retries that are due.
 */
#include "postgres.h"

#include "fault.h"

#include "lane.h"
#include "loading.h"
#include "parking.h"
#include "stage.h"
#include "window.h"

#define LOAD_DELIVERIES		1024	/* of each kind a lane holds after it was loaded */

static TimestampTz earliest_due = DT_NOBEGIN;	/* of lanes that have room */
static Size loaded = 0;			/* bytes of what this batch has loaded */

static void
loading_cancel(const PendingDelivery *pending)
{
	record_cancelled(stage_add_attempt(&pending->row, OUTCOME_CANCELLED), pending, stage.now);
	stage_add_settled(&pending->row.delivery_id);
}

/* Returns the bytes of memory that this took. */
static Size
loading_stage_delivery(Lane *lane, const PendingDelivery *pending, LogFetch *fetch)
{
	LogEvent   *event = NULL;
	Delivery   *delivery;

	if (delivery_is_loaded(&pending->row.delivery_id))
		return 0;
	if (pending->operation != 0)
	{
		pending = record_load_delivery(&pending->row.delivery_id, stage_context);
		if (pending == NULL)
			return 0;
	}
	else if (!lane->deleted)
		event = log_fetch(fetch, &pending->row.place);
	if (lane->deleted || (pending->operation == 0 && event == NULL))
	{
		loading_cancel(pending);
		return pending->body_len;
	}
	delivery = delivery_from_pending(pending, event);
	delivery->lane = lane;
	delivery_set_pending(delivery);
	stage_add_delivery(delivery, NULL);
	return delivery->size;
}

/* How many bytes of one kind a lane may hold for pending ones to be loaded. */
static Size
loading_room(void)
{
	return Min(parking_lane_share() / 2, STAGE_BYTES);
}

/*
 * Load the next of one kind, n and bytes of which are queued, as many as fit;
 * true when there were no more until then.
 */
static bool
loading_take(Lane *lane, PendingPosition *position, TimestampTz until, int n, Size bytes)
{
	bool		probing = lane->sending && lane->breaker.open;
	int			limit = probing ? 1 : LOAD_DELIVERIES - n;
	int			done;
	PendingDelivery *pending;
	int			n_found = record_load_pending(&lane->webhook_id, position, until, limit, stage_context, &pending);
	LogFetch   *fetch = log_fetch_begin(stage_context);

	for (done = 0; done < n_found && (done == 0 || bytes < loading_room()); done++)
	{
		Size		size = loading_stage_delivery(lane, &pending[done], fetch);

		bytes += size;
		loaded += size;
	}
	log_fetch_end(fetch);
	FAULT_POINT("loading_taken");
	if (done > 0)
	{
		position->due_at = pending[done - 1].row.due_at;
		position->number = pending[done - 1].row.number;
	}
	return done == n_found && n_found < limit;
}

static void
loading_take_parked(Lane *lane)
{
	if (!loading_take(lane, &lane->parked_position, DT_NOBEGIN, lane_first_queued(lane), lane_first_bytes(lane)))
		return;
	lane->more_parked = false;
	if (!lane->parking)
		lane->parked = false;
}

static void
loading_take_retries(Lane *lane)
{
	if (!loading_take(lane, &lane->retry_position, lane->deleted ? DT_NOEND : stage.now,
					  lane->n_retries, lane->bytes_retries))
		lane->next_due = DT_NOBEGIN;
	else if (!record_next_due(&lane->webhook_id, &lane->retry_position, &lane->next_due))
		lane->next_due = DT_NOEND;
}

static bool
loading_is_allowed(const Lane *lane)
{
	if (lane->sending && lane->breaker.open)
		return lane->breaker.probe_due && lane->n_queued == 0;
	return lane->sending || lane->deleted;
}

static bool
loading_is_low(int n, Size bytes)
{
	if (parking_memory_is_full(loaded))
		return false;
	return n == 0 || (n < LANE_LOW_DELIVERIES && bytes < loading_room() / 2);
}

static bool
loading_wants_parked(const Lane *lane)
{
	return lane->more_parked && loading_is_low(lane_first_queued(lane), lane_first_bytes(lane));
}

/* A probe is a retry only where there is nothing else. */
static bool
loading_wants_retries(const Lane *lane)
{
	if (lane->breaker.open && lane->more_parked)
		return false;
	return loading_is_low(lane->n_retries, lane->bytes_retries);
}

void
loading_run(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	loaded = 0;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (!loading_is_allowed(lane))
			continue;
		if (loading_wants_parked(lane))
			loading_take_parked(lane);
		if (lane->next_due <= stage.now && loading_wants_retries(lane))
			loading_take_retries(lane);
	}
}

void
loading_look(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	loaded = 0;					/* it is in the lanes by now */
	earliest_due = DT_NOEND;
	lane_room_made = false;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (!loading_is_allowed(lane))
			continue;
		if (loading_wants_parked(lane))
			earliest_due = DT_NOBEGIN;
		else if (loading_wants_retries(lane))
			earliest_due = Min(earliest_due, lane->next_due);
	}
}

TimestampTz
loading_due(void)
{
	if (lane_room_made)
		loading_look();
	return earliest_due;
}
