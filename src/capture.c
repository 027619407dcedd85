/*
 * capture.c
 *	  The row trigger: asks who listens, has the row written as JSON, and
 *	  hands the event to the queue.
 *
 * It runs in every writer's session with the writer's rights.  Arguments are
 * ignored, and a trigger that somebody attached under another name does
 * nothing, so that only what create_webhook recorded counts.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "commands/trigger.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "capture.h"
#include "catalog.h"
#include "guc.h"
#include "payload.h"
#include "queue.h"
#include "subscription.h"

PG_FUNCTION_INFO_V1(capture_trigger);

typedef struct RowChange
{
	SubscriptionOperation listen;
	char		operation;
	HeapTuple	newtuple;
	HeapTuple	oldtuple;
	CommandId	cid;
} RowChange;

/*
 * The command that made the change: order within a transaction.  The order in
 * which triggers fire is another one as soon as a trigger writes by itself.
 * Tuples of foreign partitions, or of another access method than heap, do not say:
 * theirs counts as made when its trigger fires.
 */
static void
capture_describe(const TriggerData *trigdata, RowChange *change)
{
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		change->listen = SUBSCRIPTION_INSERT;
		change->operation = OPERATION_INSERT;
		change->newtuple = trigdata->tg_trigtuple;
		change->oldtuple = NULL;
		change->cid = HeapTupleHeaderGetCmin(change->newtuple->t_data);
	}
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		change->listen = SUBSCRIPTION_UPDATE;
		change->operation = OPERATION_UPDATE;
		change->newtuple = trigdata->tg_newtuple;
		change->oldtuple = trigdata->tg_trigtuple;
		change->cid = HeapTupleHeaderGetCmin(change->newtuple->t_data);
	}
	else
	{
		change->listen = SUBSCRIPTION_DELETE;
		change->operation = OPERATION_DELETE;
		change->newtuple = NULL;
		change->oldtuple = trigdata->tg_trigtuple;
		change->cid = HeapTupleHeaderGetCmax(change->oldtuple->t_data);
	}
	if (trigdata->tg_relation->rd_rel->relam != HEAP_TABLE_AM_OID)
		change->cid = GetCurrentCommandId(false);
}

static void
capture_for_group(const Subscription *subscription, int i, const RowChange *change)
{
	const SubscriptionGroup *group = &subscription->groups[i];
	QueueEvent	event;

	event.source = subscription->number;
	event.group = i;
	event.operation = change->operation;
	event.cid = change->cid;
	event.captured_at = GetCurrentTimestamp();
	event.table_schema = group->schema_text;
	event.table_name = group->name_text;
	event.webhooks = group->webhooks[change->listen];
	payload_images(group->plan, group->table_schema, group->table_name,
				   change->newtuple, change->oldtuple, &event.images);
	queue_append(&event);
}

/*
 * capture() RETURNS trigger: AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW.
 */
Datum
capture_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const Subscription *subscription;
	RowChange	change;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("fluxhooks_internal.capture() must be fired AFTER, FOR EACH ROW"),
				 errhint("Use fluxhooks.create_webhook(), which makes the trigger.")));

	if (!guc_capture || strcmp(trigdata->tg_trigger->tgname, FLUXHOOKS_TRIGGER) != 0)
		PG_RETURN_POINTER(NULL);

	subscription = subscription_lookup(trigdata->tg_relation);
	if (subscription->n_groups == 0)
		PG_RETURN_POINTER(NULL);

	capture_describe(trigdata, &change);
	for (int i = 0; i < subscription->n_groups; i++)
	{
		if (subscription->groups[i].webhooks[change.listen] != (Datum) 0)
			capture_for_group(subscription, i, &change);
	}
	PG_RETURN_POINTER(NULL);
}
