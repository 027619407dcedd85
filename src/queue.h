/*
 * queue.h
 *	  Writer's side of the event log.
 */
#ifndef FLUXHOOKS_QUEUE_H
#define FLUXHOOKS_QUEUE_H

#include "access/transam.h"
#include "fmgr.h"

#include "payload.h"

/* attribute numbers of fluxhooks_internal.event */
typedef enum EventAttribute
{
	EVENT_ATTR_XID = 1,
	EVENT_ATTR_SEQ,
	EVENT_ATTR_CAPTURED_AT,
	EVENT_ATTR_KEY_HASH,
	EVENT_ATTR_OLD_KEY_HASH,
	EVENT_ATTR_CID,
	EVENT_ATTR_OPERATION,
	EVENT_ATTR_ID,
	EVENT_ATTR_TABLE_SCHEMA,
	EVENT_ATTR_TABLE_NAME,
	EVENT_ATTR_WEBHOOKS,
	EVENT_ATTR_RECORD_KEY,
	EVENT_ATTR_RECORD,
	EVENT_ATTR_OLD_RECORD,
	EVENT_ATTR_TRUNCATED
} EventAttribute;

#define EVENT_ATTRIBUTES	EVENT_ATTR_TRUNCATED

/* Where an event stands in the log, and its order within its transaction (cid, seq). */
typedef struct EventPlace
{
	FullTransactionId xid;
	int32		cid;
	int64		seq;
} EventPlace;

/* A row change, as captured. */
typedef struct QueueEvent
{
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

/* A new UUIDv7 (RFC 9562, 5.7): milliseconds, 12 bits below them, 62 random bits. */
extern void queue_make_id(pg_uuid_t *id, TimestampTz at);

/* The id of an event's delivery to a webhook. */
extern void queue_delivery_id(pg_uuid_t *id, const pg_uuid_t *event_id, const pg_uuid_t *webhook_id);

/* SQL: fluxhooks_internal.captured_at(delivery_id uuid) RETURNS timestamptz: the time in an id */
extern PGDLLEXPORT Datum queue_id_time_sql(PG_FUNCTION_ARGS);

/* SQL: fluxhooks_internal.delivery_id(event_id uuid, webhook_id uuid) RETURNS uuid */
extern PGDLLEXPORT Datum queue_delivery_id_sql(PG_FUNCTION_ARGS);

extern void queue_init(void);

#endif
