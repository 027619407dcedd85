/*
 * delivery.h
 *	  A delivery in the worker's memory: from the event or pending row it was
 *	  made of, through one attempt, until that has been recorded.
 */
#ifndef FLUXHOOKS_DELIVERY_H
#define FLUXHOOKS_DELIVERY_H

#include "lib/ilist.h"

#include "http.h"
#include "record.h"
#include "request.h"
#include "window.h"

typedef struct Delivery Delivery;
typedef struct Lane Lane;
typedef struct LaneHost LaneHost;

/*
 * An event of a window: kept, without its images, until it is settled, which
 * is when each of its deliveries has an attempt or a pending row.
 */
typedef struct OpenEvent
{
	dlist_node	node;			/* in its window, in order */
	LogPosition position;
	int			unsettled;		/* deliveries that are not settled */
} OpenEvent;

/* Membership of a delivery in the chain of those that share a row key. */
typedef struct KeyLink
{
	dlist_node	node;
	Delivery   *delivery;
	struct KeyChain *chain;		/* NULL: in none */
} KeyLink;

struct Delivery
{
	PendingRow	row;			/* ids, place, attempts so far */
	bool		has_pending;	/* a row of pending stands for it */
	bool		saving;			/* will have one once this transaction has committed */
	OpenEvent  *event;			/* unsettled one it belongs to, or NULL */
	PendingDelivery *copy;		/* where its event is no longer in the log, or NULL */
	bool		rescued;		/* its event may have left the log since; pending has the copy */
	char		operation;
	char	   *body;			/* malloc'd; NULL once the request has it */
	size_t		body_len;

	/* the attempt */
	Request    *request;
	TimestampTz started_at;
	HttpResult	result;			/* body malloc'd */
	bool		retrying;		/* failed, with a retry to come */
	bool		probe;			/* started while its lane's breaker was open */
	bool		spared;			/* its attempt spends no retry */
	dlist_node	ended_node;

	/* lane.c's */
	Lane	   *lane;
	LaneHost   *host;			/* while in flight */
	bool		ready;			/* in lane->ready or lane->ready_retries */
	bool		in_flight;
	dlist_node	queue_node;		/* in lane->queue or lane->flying */
	dlist_node	ready_node;
	KeyLink		keys[2];
	int			n_blockers;		/* chains in which an earlier one comes first */
	Size		size;			/* bytes of memory that it stands for */
};

extern void delivery_init(MemoryContext context);

/*
 * A delivery of an event to one of its webhooks; the body is built here, since
 * that needs a transaction.  number is the event's in order of reading; it has been
 * pending since its commit, which may have come long after it was captured.
 */
extern Delivery *delivery_from_event(const LogEvent *event, const pg_uuid_t *webhook_id,
									 int64 number, TimestampTz pending_since);

/* A pending delivery; event is NULL where pending holds the copy (which is kept). */
extern Delivery *delivery_from_pending(const PendingDelivery *pending, const LogEvent *event);

extern void delivery_free(Delivery *delivery);

/* Is it sent again, rather than in the order of reading? */
extern bool delivery_is_retry(const Delivery *delivery);

/* Is a delivery with a pending row in memory? */
extern bool delivery_is_loaded(const pg_uuid_t *delivery_id);

/* A pending row stands for it from now on. */
extern void delivery_set_pending(Delivery *delivery);

/*
 * Start an attempt.  When that is not possible it ends at once as a failed
 * one.  Raises no error.
 */
extern void delivery_start(Delivery *delivery, TimestampTz now);

/* HttpDone: take the result; the delivery joins those that have ended. */
extern void delivery_done(const HttpResult *result);

/* Those whose attempt has ended and is not recorded yet. */
extern dlist_head delivery_ended;
extern int	delivery_n_ended;
extern TimestampTz delivery_ended_since;	/* when the first of them ended */

/* Its attempt has been recorded: count it among its webhook's. */
extern void delivery_count(const Delivery *delivery, TimestampTz now);
extern uint64 delivery_n_counted;

/* Where its attempt went. */
extern const char *delivery_url(const Delivery *delivery);

/* Bytes of bodies in flight. */
extern Size delivery_bytes_in_flight;

#endif
