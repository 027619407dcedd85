/*
 * record.h
 *	  Attempts as they ended, and pending deliveries.
 */
#ifndef FLUXHOOKS_RECORD_H
#define FLUXHOOKS_RECORD_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#include "http.h"
#include "payload.h"
#include "queue.h"

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
 * Append attempts in the present transaction.  Response bodies are made valid
 * in the database's encoding and cut to fluxhooks.max_response_size.
 */
extern void record_attempts(const AttemptRow *rows, int n_rows);

#endif
