/*
 * stage.c
 *	  What a batch has decided and not committed yet.
 *
 * Nothing that a transaction decides is believed before it has committed:
 * what was read joins the lanes afterwards.  So an error at any point
 * means: once more, later.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "lane.h"
#include "stage.h"

Stage		stage;
MemoryContext stage_context = NULL;

void
stage_init(MemoryContext context)
{
	stage_context = AllocSetContextCreate(context, "fluxhooks batch", ALLOCSET_DEFAULT_SIZES);
}

void
stage_clear(void)
{
	memset(&stage, 0, sizeof(stage));
	MemoryContextReset(stage_context);
}

/* Make room for one more element of an array in stage_context. */
#define STAGE_GROW(array, n, size) \
	do { \
		if ((n) == (size)) \
		{ \
			(size) = Max(64, (size) * 2); \
			(array) = (array) == NULL ? palloc((size) * sizeof(*(array))) \
				: repalloc_huge((array), (size) * sizeof(*(array))); \
		} \
	} while (0)

void
stage_add_pending(const PendingRow *row)
{
	STAGE_GROW(stage.pending, stage.n_pending, stage.size_pending);
	stage.pending[stage.n_pending++] = *row;
}

AttemptRow *
stage_add_attempt(const PendingRow *row, char outcome)
{
	AttemptRow *attempt;

	STAGE_GROW(stage.attempts, stage.n_attempts, stage.size_attempts);
	attempt = &stage.attempts[stage.n_attempts++];
	memset(attempt, 0, sizeof(AttemptRow));
	attempt->delivery_id = row->delivery_id;
	attempt->webhook_id = row->webhook_id;
	attempt->place = row->place;
	attempt->attempt = row->attempts;
	attempt->outcome = outcome;
	attempt->started_at = stage.now;
	return attempt;
}

void
stage_add_settled(const pg_uuid_t *delivery_id)
{
	STAGE_GROW(stage.settled, stage.n_settled, stage.size_settled);
	stage.settled[stage.n_settled++] = *delivery_id;
}

void
stage_add_delivery(Delivery *delivery, StagedEvent *event)
{
	StagedDelivery *staged = palloc(sizeof(StagedDelivery));

	staged->delivery = delivery;
	staged->event = event;
	if (event != NULL)
		event->unsettled++;
	stage.deliveries = lappend(stage.deliveries, staged);
}

void
stage_write(void)
{
	record_attempts(stage.attempts, stage.n_attempts);
	record_pending(stage.pending, stage.n_pending);
	record_settled(stage.settled, stage.n_settled);
}

void
stage_queue(void)
{
	ListCell   *lc;

	foreach(lc, stage.deliveries)
	{
		StagedDelivery *staged = lfirst(lc);

		if (staged->event != NULL)
			staged->delivery->event = staged->event->open;
		lane_enqueue(staged->delivery->lane, staged->delivery);
	}
}

void
stage_drop(void)
{
	ListCell   *lc;

	foreach(lc, stage.deliveries)
		delivery_free(((StagedDelivery *) lfirst(lc))->delivery);
	stage_clear();
}
