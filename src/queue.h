/*
 * queue.h
 *	  Writer's side of the event log.
 */
#ifndef FLUXHOOKS_QUEUE_H
#define FLUXHOOKS_QUEUE_H

#include "access/transam.h"

#include "payload.h"

/* Where an event stands in the log, and its order within its transaction (cid, seq). */
typedef struct EventPlace
{
	FullTransactionId xid;
	int32		cid;
	int64		seq;
} EventPlace;

/*
 * A row change, as captured.  The Datums belong to the subscription and live
 * until the transaction ends.
 */
typedef struct QueueEvent
{
	uint64		source;			/* the subscription's number */
	int			group;			/* of the subscription */
	char		operation;
	CommandId	cid;
	TimestampTz captured_at;
	Datum		table_schema;	/* text */
	Datum		table_name;		/* text */
	Datum		webhooks;		/* uuid[] */
	PayloadImages images;
} QueueEvent;

/*
 * Have the event written to the log before the present transaction ends; it
 * goes with its subtransaction where that is rolled back.
 */
extern void queue_append(const QueueEvent *event);

extern void queue_init(void);

#endif
