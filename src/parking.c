/*
 * parking.c
 *	  Deliveries that wait in pending rather than in memory.
 *
 * A lane that is full, or may not send, or has deliveries parked already, parks
 * what comes: it gets a pending row and no memory.  When a lane begins to
 * park, everything it holds gets its pending row in the same transaction:
 * after a crash, what is in pending has to be complete up to some point in the
 * order, or later changes of a row would overtake earlier ones.
 */
#include "postgres.h"

#include "fault.h"

#include "parking.h"
#include "progress.h"
#include "stage.h"

#define MEMORY_HIGH			(24 * 1024 * 1024)	/* bodies queued in all */
#define OPEN_EVENTS_HIGH	16384	/* kept for the sake of one that is open */

static void
parking_save(Delivery *delivery)
{
	PendingRow	row = delivery->row;

	if (delivery->has_pending || delivery->saving)
		return;
	/* an attempt under way is not recorded, so for the table it was not made */
	row.attempts -= delivery->in_flight ? 1 : 0;
	stage_add_pending(&row);
	delivery->saving = true;
	stage.saved = lappend(stage.saved, delivery);
}

/* Give everything the lane holds in memory its pending row. */
static void
parking_save_lane(Lane *lane)
{
	dlist_iter	iter;
	ListCell   *lc;

	dlist_foreach(iter, &lane->flying)
		parking_save(dlist_container(Delivery, queue_node, iter.cur));
	dlist_foreach(iter, &lane->queue)
		parking_save(dlist_container(Delivery, queue_node, iter.cur));
	foreach(lc, stage.deliveries)
	{
		StagedDelivery *staged = lfirst(lc);

		if (staged->delivery->lane == lane)
			parking_save(staged->delivery);
	}
}

void
parking_begin(Lane *lane)
{
	if (lane->parking)
		return;
	FAULT_POINT("parking_begin");
	lane->parking = true;
	stage.parking = lappend(stage.parking, lane);
	parking_save_lane(lane);
}

Size
parking_lane_share(void)
{
	return MEMORY_HIGH / Max(lane_count(), 1);
}

bool
parking_memory_is_full(Size more)
{
	return lane_bytes_queued() + more > 2 * (Size) MEMORY_HIGH;
}

/* The smallest number among what has no pending row; what is queued is in order. */
static int64
parking_oldest_number(Lane *lane)
{
	int64		number = PG_INT64_MAX;
	dlist_iter	iter;

	dlist_foreach(iter, &lane->flying)
	{
		const Delivery *delivery = dlist_container(Delivery, queue_node, iter.cur);

		if (!delivery->has_pending)
			number = Min(number, delivery->row.number);
	}
	dlist_foreach(iter, &lane->queue)
	{
		const Delivery *delivery = dlist_container(Delivery, queue_node, iter.cur);

		if (!delivery->has_pending)
			return Min(number, delivery->row.number);
	}
	return number;
}

void
parking_bound_memory(int64 next_number)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	Size		share = parking_lane_share();
	bool		too_much = lane_bytes_queued() > MEMORY_HIGH;
	bool		too_many = progress_n_open() > OPEN_EVENTS_HIGH;

	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		lane->keep_bytes = SIZE_MAX;
		if (lane_holds_back(lane) && lane->n_queued > (lane->sending ? 1 : 0))
		{
			lane->keep_bytes = 0;
			parking_begin(lane);
		}
		else if (too_much && lane->bytes_queued > share)
		{
			lane->keep_bytes = share;
			parking_begin(lane);
		}
		else if (too_many && parking_oldest_number(lane) < next_number - OPEN_EVENTS_HIGH)
			parking_save_lane(lane);
	}
}

static void
parking_apply_saved(void)
{
	ListCell   *lc;

	foreach(lc, stage.saved)
	{
		Delivery   *delivery = lfirst(lc);

		delivery_set_pending(delivery);
		if (delivery->event != NULL)
			progress_settle(delivery->event);
		delivery->event = NULL;
	}
}

static void
parking_apply_lanes(void)
{
	ListCell   *lc;

	foreach(lc, stage.parking)
	{
		Lane	   *lane = lfirst(lc);
		Delivery   *delivery;

		lane->parking = false;
		lane->parked = true;
		lane->more_parked = true;
		/* not its only one, however large: it would be loaded again at once */
		while (lane->bytes_queued > lane->keep_bytes && (lane->keep_bytes == 0 || lane->n_queued > 1) &&
			   (delivery = lane_take_last(lane)) != NULL)
		{
			delivery_free(delivery);
			lane_rewind(lane);
		}
	}
}

void
parking_apply(void)
{
	parking_apply_saved();
	parking_apply_lanes();
}

/* What was saved was not; what had been loaded has to be loaded again. */
void
parking_abort(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	ListCell   *lc;

	foreach(lc, stage.saved)
		((Delivery *) lfirst(lc))->saving = false;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		lane->parking = false;
		lane->parked = true;
		lane_rewind(lane);
	}
}
