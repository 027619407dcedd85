/*
 * record.h
 *	  Attempts as they ended, and pending deliveries.
 *
 * Everything happens in the present transaction; what is said of pending
 * needs SPI to be connected.
 */
#ifndef FLUXHOOKS_RECORD_H
#define FLUXHOOKS_RECORD_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#include "http.h"
#include "payload.h"
#include "queue.h"
#include "window.h"

/* attribute numbers of fluxhooks_internal.attempt */
typedef enum AttemptAttribute
{
	ATTEMPT_ATTR_DELIVERY_ID = 1,
	ATTEMPT_ATTR_WEBHOOK_ID,
	ATTEMPT_ATTR_XID,
	ATTEMPT_ATTR_SEQ,
	ATTEMPT_ATTR_STARTED_AT,
	ATTEMPT_ATTR_RESPONSE_TIME_MS,
	ATTEMPT_ATTR_CID,
	ATTEMPT_ATTR_ATTEMPT,
	ATTEMPT_ATTR_STATUS_CODE,
	ATTEMPT_ATTR_OUTCOME,
	ATTEMPT_ATTR_ERROR_CODE,
	ATTEMPT_ATTR_ERROR,
	ATTEMPT_ATTR_URL,
	ATTEMPT_ATTR_REMOTE_ADDRESS,
	ATTEMPT_ATTR_RESPONSE_BODY,
	ATTEMPT_ATTR_OPERATION,
	ATTEMPT_ATTR_CAPTURED_AT,
	ATTEMPT_ATTR_TABLE_SCHEMA,
	ATTEMPT_ATTR_TABLE_NAME,
	ATTEMPT_ATTR_RECORD_KEY,
	ATTEMPT_ATTR_BODY
} AttemptAttribute;

/* of fluxhooks_internal.pending; the rest is known to SQL alone */
#define PENDING_ATTR_DELIVERY_ID	1

/* attempt.outcome */
#define OUTCOME_SUCCESS		's'
#define OUTCOME_RETRY		'r'
#define OUTCOME_FAILED		'f'
#define OUTCOME_CANCELLED	'c'

/* One row of the attempt ring.  Pointers NULL where absent. */
typedef struct AttemptRow
{
	pg_uuid_t	delivery_id;
	pg_uuid_t	webhook_id;
	EventPlace	place;
	int			attempt;		/* number of the attempt, 1-based; of a
								 * cancelled delivery: attempts made */
	char		outcome;
	TimestampTz started_at;
	const char *url;
	const HttpResult *result;	/* NULL for cancelled */
	const char *error;			/* why it was cancelled, where that is to be told */

	/* of the event, where its row may go before this one; else operation 0 */
	char		operation;
	TimestampTz captured_at;
	const char *table_schema;
	const char *table_name;
	const char *record_key;		/* JSON bytes */
	const char *body;
	size_t		body_len;
} AttemptRow;

/*
 * Append attempts.  Response bodies are made valid in the database's encoding
 * and cut to fluxhooks.max_response_size.
 */
extern void record_attempts(const AttemptRow *rows, int n_rows);

/* One row of pending, less the copies of the event that retention.c makes. */
typedef struct PendingRow
{
	pg_uuid_t	delivery_id;
	pg_uuid_t	webhook_id;
	int64		number;			/* order in which the worker read them */
	TimestampTz due_at;			/* DT_NOBEGIN before the first attempt */
	TimestampTz pending_since;
	EventPlace	place;
	int64		key_hash;
	int64		old_key_hash;
	int			attempts;		/* made so far */
	int			attempts_before;	/* of them, those that spent no retry: made
									 * before the last redeliver(), or probes */
} PendingRow;

/* Insert, or give the rows that exist their new due_at and numbers of attempts. */
extern void record_pending(const PendingRow *rows, int n_rows);

/* Forget pending rows of deliveries that have ended. */
extern void record_settled(const pg_uuid_t *delivery_ids, int n);

/* A pending delivery as it was read, with the copies where the event is gone. */
typedef struct PendingDelivery
{
	PendingRow	row;
	char		operation;		/* 0: the event is in the log */
	TimestampTz captured_at;
	char	   *table_schema;
	char	   *table_name;
	char	   *record_key;
	char	   *body;
	size_t		body_len;
} PendingDelivery;

/* Where reading of a webhook's pending deliveries goes on. */
typedef struct PendingPosition
{
	TimestampTz due_at;
	int64		number;
} PendingPosition;

/*
 * The next pending deliveries of a webhook behind a position, due until now,
 * at most limit: never attempted ones (due_at -infinity) first.  Without their
 * bodies, for which ask record_load_delivery.  Palloc'd in context.  Returns how many.
 */
extern int	record_load_pending(const pg_uuid_t *webhook_id, const PendingPosition *after,
								TimestampTz until, int limit, MemoryContext context,
								PendingDelivery **deliveries);

/*
 * What the last SPI query found, which had pending's columns in the order of
 * PendingDelivery.  Palloc'd in context.  Returns how many.
 */
extern int	record_take_pending(MemoryContext context, PendingDelivery **deliveries);

/* The pending row of one delivery; NULL where there is none. */
extern PendingDelivery *record_load_delivery(const pg_uuid_t *delivery_id, MemoryContext context);

/* Pending since before this time, at most limit; in any order. */
extern int	record_load_expired(TimestampTz before, int limit, MemoryContext context,
								PendingDelivery **deliveries);

/* The attempt row that says: this one will not be sent any more. */
extern void record_cancelled(AttemptRow *attempt, const PendingDelivery *pending, TimestampTz now);

/* When the webhook's next pending delivery behind a position is due; false: there is none. */
extern bool record_next_due(const pg_uuid_t *webhook_id, const PendingPosition *after,
							TimestampTz *due_at);

/* The greatest number in pending; 0 where it is empty. */
extern int64 record_max_number(void);

#endif
