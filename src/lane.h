/*
 * lane.h
 *	  One webhook's order, concurrency and room: which delivery is sent next.
 *
 * Only the worker's memory: no database, no network.
 */
#ifndef FLUXHOOKS_LANE_H
#define FLUXHOOKS_LANE_H

#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "breaker.h"
#include "delivery.h"
#include "request.h"
#include "stats.h"

/* Requests to one scheme, host and port. */
struct LaneHost
{
	char		key[sizeof(((HttpUrl *) 0)->key)];	/* hash key */
	int			n_lanes;
	int			in_flight;
	bool		runnable;
	dlist_node	runnable_node;
	dlist_head	lanes;			/* those with something to send */
};

struct Lane
{
	pg_uuid_t	webhook_id;		/* hash key */

	/* configuration, by webhook.c */
	bool		sending;		/* enabled, neither paused nor deleted */
	bool		paused;
	bool		deleted;
	int			max_retries;
	int			retry_backoff_seconds;
	RequestTemplate *template;
	uint64		seen;			/* stamp of the last reading of the configuration */

	Breaker		breaker;
	Stats		stats;

	/* what waits in pending, by parking.c and loading.c */
	bool		parked;			/* never attempted ones are not in memory:
								 * whatever comes has to park behind them */
	bool		parking;		/* will be parked once this transaction has committed */
	Size		keep_bytes;		/* of what is queued, once it parks */
	bool		more_parked;	/* there may be some behind parked_position */
	PendingPosition parked_position;	/* where reading of never attempted ones
										 * goes on */
	TimestampTz next_due;		/* of the retries behind retry_position;
								 * DT_NOEND: there are none */
	PendingPosition retry_position; /* where reading of retries goes on */

	/* scheduling */
	LaneHost   *host;
	int			window;			/* requests it may have under way */
	int			in_flight;
	int			n_started;		/* since pace.c last asked */
	int			n_ended;		/* attempts made but not recorded yet */
	int			n_queued;		/* not started */
	int			n_retries;		/* of these, retries */
	int			n_saved;		/* of all in memory, those with a pending row */
	Size		bytes_queued;
	Size		bytes_retries;
	dlist_head	queue;			/* not started, in order of arrival */
	dlist_head	flying;			/* started, in order of their start */
	dlist_head	ready;			/* of the queue, what nothing blocks, */
	dlist_head	ready_retries;	/* and the retries among it */
	bool		retry_is_next;	/* where both have some */
	bool		runnable;		/* in host->lanes */
	dlist_node	host_node;
};

/* A lane that holds so much parks what comes: it is behind, others are not. */
#define LANE_FULL_DELIVERIES	4096
#define LANE_FULL_BYTES			(8 * 1024 * 1024)

extern void lane_init(MemoryContext context);

/* The lane of a webhook; NULL where there is none. */
extern Lane *lane_find(const pg_uuid_t *webhook_id);
extern Lane *lane_make(const pg_uuid_t *webhook_id);

/* It has another endpoint: what the former one has not answered holds up nothing. */
extern void lane_start_anew(Lane *lane);

/* Have pending deliveries, or retries alone, of this lane read from the first one on. */
extern void lane_rewind(Lane *lane);
extern void lane_rewind_retries(Lane *lane);

/* Take an empty lane away. */
extern void lane_remove(Lane *lane);

/* All lanes, one after the other; NULL at the end, which must be reached. */
extern void lane_each_begin(HASH_SEQ_STATUS *status);
extern Lane *lane_each(HASH_SEQ_STATUS *status);

/* Set where it sends; key as http_url_parse gives it. */
extern void lane_set_host(Lane *lane, const char *key);

/* Something that decides whether the lane may send has changed. */
extern void lane_update(Lane *lane);

/* What it holds besides retries; retries fill no lane. */
extern int	lane_first_queued(const Lane *lane);
extern Size lane_first_bytes(const Lane *lane);
extern bool lane_is_full(const Lane *lane);

/*
 * It parks what comes: since it may not send, or since its breaker is open and
 * lets one through at a time.
 */
extern bool lane_holds_back(const Lane *lane);

/* Queue a delivery; first attempts wait for earlier ones of the same row. */
extern void lane_enqueue(Lane *lane, Delivery *delivery);

/*
 * The delivery to start now, counted as in flight from here on; NULL when
 * nothing may be started.
 */
extern Delivery *lane_next(void);

/* A request has ended: answered says whether any complete answer came. */
extern void lane_ended(Delivery *delivery, bool answered);

/* Take out the last one queued, or NULL. */
extern Delivery *lane_take_last(Lane *lane);

/* Deliveries, less retries, queued in lanes that are not full; requests under way. */
extern int	lane_backlog(void);
extern int	lane_in_flight(void);
extern Size lane_bytes_queued(void);
extern int	lane_count(void);

/* Some lane came to hold so few, or so few retries, that pending ones may be loaded. */
#define LANE_LOW_DELIVERIES	512
extern bool lane_room_made;

#endif
