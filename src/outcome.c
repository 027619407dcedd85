/*
 * outcome.c
 *	  What becomes of a delivery whose attempt has ended.
 *
 * Attempts that have ended stay in their list until they are recorded.
 */
#include "postgres.h"

#include <time.h>

#include "utils/timestamp.h"

#include "breaker.h"
#include "compat.h"
#include "lane.h"
#include "outcome.h"
#include "progress.h"
#include "retry.h"
#include "stage.h"

/* The event is no longer in the log: what is to be shown of it goes with the attempt. */
static void
outcome_copy_event(AttemptRow *attempt, const Delivery *delivery)
{
	const PendingDelivery *copy = delivery->copy;

	if (copy == NULL)
	{
		copy = record_load_delivery(&delivery->row.delivery_id, stage_context);
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
outcome_judge(Delivery *delivery)
{
	const HttpResult *result = &delivery->result;
	PendingRow *row = &delivery->row;
	int			made = row->attempts - row->attempts_before;
	int64		delay;

	if (retry_is_success(result->status_code))
		return OUTCOME_SUCCESS;
	if (!delivery->lane->deleted && breaker_spares(delivery, stage.now))
		return OUTCOME_RETRY;
	if (delivery->lane->deleted || made > delivery->lane->max_retries)
		return OUTCOME_FAILED;
	delay = retry_delay_ms(delivery->lane->retry_backoff_seconds, made, compat_random_double() * 2.0 - 1.0,
						   retry_after_ms(result->status_code, result->retry_after, time(NULL)));
	row->due_at = TimestampTzPlusMilliseconds(stage.now, delay);
	return OUTCOME_RETRY;
}

void
outcome_stage(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &delivery_ended)
	{
		Delivery   *delivery = dlist_container(Delivery, ended_node, iter.cur);
		char		outcome = outcome_judge(delivery);
		AttemptRow *attempt = stage_add_attempt(&delivery->row, outcome);

		attempt->started_at = delivery->started_at;
		attempt->url = delivery_url(delivery);
		attempt->result = &delivery->result;
		if (delivery->copy != NULL || delivery->rescued)
			outcome_copy_event(attempt, delivery);
		delivery->retrying = outcome == OUTCOME_RETRY;
		if (delivery->retrying)
			stage_add_pending(&delivery->row);
		else if (delivery->has_pending)
			stage_add_settled(&delivery->row.delivery_id);
		stage.recorded = lappend(stage.recorded, delivery);
	}
}

void
outcome_apply(void)
{
	ListCell   *lc;

	foreach(lc, stage.recorded)
	{
		Delivery   *delivery = lfirst(lc);
		Lane	   *lane = delivery->lane;

		delivery_count(delivery, stage.now);
		dlist_delete(&delivery->ended_node);
		delivery_n_ended--;
		lane->n_ended--;
		if (delivery->event != NULL)
			progress_settle(delivery->event);
		if (delivery->retrying && delivery->row.due_at < lane->next_due)
			lane->next_due = delivery->row.due_at;
		/* the clock has been set back */
		if (delivery->retrying && delivery->row.due_at <= lane->retry_position.due_at)
			lane_rewind_retries(lane);
		delivery_free(delivery);
	}
}
