/*
 * lane.c
 *	  One webhook's order, concurrency and room: which delivery is sent next.
 *
 * Order: first attempts of deliveries that share a row-key hash form a chain;
 * only the head of every chain it is in makes a delivery ready.  Retries have
 * no place in chains; they and first attempts take turns, so that neither waits for
 * all of the others.
 *
 * Fairness: hosts take turns, and so do the lanes of a host.  A lane's window
 * of requests grows by one with each answer while it is used up or more waits, and
 * shrinks when no answer comes, so that an endpoint that hangs holds few of the slots that it
 * shares; and no lane of several may take all of a host's.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "guc.h"
#include "lane.h"

#define LANE_WINDOW_START	2

typedef struct KeyChain KeyChain;

typedef struct KeyChainKey
{
	Lane	   *lane;
	int64		hash;
} KeyChainKey;

struct KeyChain
{
	KeyChainKey key;
	dlist_head	links;
};

static HTAB *lanes = NULL;
static HTAB *hosts = NULL;
static HTAB *chains = NULL;
static dlist_head runnable_hosts = DLIST_STATIC_INIT(runnable_hosts);
static int	total_in_flight = 0;
static Size total_bytes = 0;
static int	backlog = 0;		/* queued in lanes that are not full */

bool		lane_room_made = false;

void
lane_init(MemoryContext context)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.hcxt = context;
	ctl.keysize = sizeof(pg_uuid_t);
	ctl.entrysize = sizeof(Lane);
	lanes = hash_create("fluxhooks lanes", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.keysize = sizeof(((LaneHost *) 0)->key);
	ctl.entrysize = sizeof(LaneHost);
	hosts = hash_create("fluxhooks hosts", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	ctl.keysize = sizeof(KeyChainKey);
	ctl.entrysize = sizeof(KeyChain);
	chains = hash_create("fluxhooks row keys", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

Lane *
lane_find(const pg_uuid_t *webhook_id)
{
	return hash_search(lanes, webhook_id, HASH_FIND, NULL);
}

/* In pending, never attempted ones stand before all retries. */
void
lane_rewind_retries(Lane *lane)
{
	lane->retry_position.due_at = DT_NOBEGIN;
	lane->retry_position.number = PG_INT64_MAX;
	lane->next_due = DT_NOBEGIN;
}

void
lane_rewind(Lane *lane)
{
	lane->parked_position.due_at = DT_NOBEGIN;
	lane->parked_position.number = -1;
	lane->more_parked = true;
	lane_rewind_retries(lane);
}

Lane *
lane_make(const pg_uuid_t *webhook_id)
{
	Lane	   *lane = hash_search(lanes, webhook_id, HASH_ENTER, NULL);

	memset((char *) lane + sizeof(pg_uuid_t), 0, sizeof(Lane) - sizeof(pg_uuid_t));
	lane->window = LANE_WINDOW_START;
	lane->parked = true;		/* until pending has been looked at */
	lane->keep_bytes = SIZE_MAX;
	lane->stats.since = GetCurrentTimestamp();
	lane_rewind(lane);
	dlist_init(&lane->queue);
	dlist_init(&lane->flying);
	dlist_init(&lane->ready);
	dlist_init(&lane->ready_retries);
	return lane;
}

Lane *
lane_each(HASH_SEQ_STATUS *status)
{
	return hash_seq_search(status);
}

void
lane_each_begin(HASH_SEQ_STATUS *status)
{
	hash_seq_init(status, lanes);
}

static void
lane_host_update(LaneHost *host)
{
	bool		runnable = host->in_flight < guc_max_in_flight_per_host && !dlist_is_empty(&host->lanes);

	if (runnable && !host->runnable)
		dlist_push_tail(&runnable_hosts, &host->runnable_node);
	else if (!runnable && host->runnable)
		dlist_delete(&host->runnable_node);
	host->runnable = runnable;
}

/* Requests a lane may have under way: some of a host's slots are others'. */
static int
lane_limit(const Lane *lane)
{
	int			share = guc_max_in_flight_per_host;

	if (lane->host->n_lanes > 1)
		share = Max(1, share - Max(1, share / 4));
	return Min(Min(lane->window, share), breaker_limit(&lane->breaker));
}

static bool
lane_has_ready(const Lane *lane)
{
	return !dlist_is_empty(unconstify(dlist_head *, &lane->ready)) ||
		!dlist_is_empty(unconstify(dlist_head *, &lane->ready_retries));
}

void
lane_update(Lane *lane)
{
	bool		runnable;

	if (lane->host == NULL)
		return;
	runnable = lane->sending && lane_has_ready(lane) && lane->in_flight < lane_limit(lane);
	if (runnable && !lane->runnable)
		dlist_push_tail(&lane->host->lanes, &lane->host_node);
	else if (!runnable && lane->runnable)
		dlist_delete(&lane->host_node);
	lane->runnable = runnable;
	lane_host_update(lane->host);
}

static void
lane_forget_host(LaneHost *host)
{
	if (host->n_lanes == 0 && host->in_flight == 0)
		hash_search(hosts, host->key, HASH_REMOVE, NULL);
}

static void
lane_leave_host(Lane *lane)
{
	LaneHost   *host = lane->host;

	if (host == NULL)
		return;
	if (lane->runnable)
		dlist_delete(&lane->host_node);
	lane->runnable = false;
	lane->host = NULL;
	host->n_lanes--;
	lane_host_update(host);
	lane_forget_host(host);
}

void
lane_set_host(Lane *lane, const char *key)
{
	LaneHost   *host;
	bool		found;

	if (lane->host != NULL && strcmp(lane->host->key, key) == 0)
		return;
	lane_leave_host(lane);
	host = hash_search(hosts, key, HASH_ENTER, &found);
	if (!found)
	{
		host->n_lanes = 0;
		host->in_flight = 0;
		host->runnable = false;
		dlist_init(&host->lanes);
	}
	host->n_lanes++;
	lane->host = host;
	lane->window = LANE_WINDOW_START;
	lane_update(lane);
}

void
lane_start_anew(Lane *lane)
{
	lane->window = lane->in_flight + LANE_WINDOW_START;
	lane_update(lane);
}

void
lane_remove(Lane *lane)
{
	Assert(lane->n_queued == 0 && lane->in_flight == 0);
	lane_leave_host(lane);
	request_template_free(lane->template);
	hash_search(lanes, &lane->webhook_id, HASH_REMOVE, NULL);
}

int
lane_first_queued(const Lane *lane)
{
	return lane->n_queued - lane->n_retries;
}

Size
lane_first_bytes(const Lane *lane)
{
	return lane->bytes_queued - lane->bytes_retries;
}

bool
lane_is_full(const Lane *lane)
{
	return lane_first_queued(lane) >= LANE_FULL_DELIVERIES || lane_first_bytes(lane) >= LANE_FULL_BYTES;
}

bool
lane_holds_back(const Lane *lane)
{
	return !lane->sending || lane->breaker.open;
}

/* ------------------------------------------------------------------- chains */

static void
lane_join_chain(Delivery *delivery, KeyLink *link, int64 hash)
{
	KeyChainKey key;
	KeyChain   *chain;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.lane = delivery->lane;
	key.hash = hash;
	chain = hash_search(chains, &key, HASH_ENTER, &found);
	if (!found)
		dlist_init(&chain->links);
	if (!dlist_is_empty(&chain->links))
		delivery->n_blockers++;
	link->delivery = delivery;
	link->chain = chain;
	dlist_push_tail(&chain->links, &link->node);
}

static void
lane_make_ready(Delivery *delivery)
{
	Lane	   *lane = delivery->lane;

	delivery->ready = true;
	dlist_push_tail(delivery_is_retry(delivery) ? &lane->ready_retries : &lane->ready, &delivery->ready_node);
}

/* Whoever stands behind it becomes head of the chain. */
static void
lane_leave_chain(KeyLink *link)
{
	KeyChain   *chain = link->chain;
	bool		was_head;

	if (chain == NULL)
		return;
	was_head = dlist_head_node(&chain->links) == &link->node;
	dlist_delete(&link->node);
	link->chain = NULL;
	if (dlist_is_empty(&chain->links))
		hash_search(chains, &chain->key, HASH_REMOVE, NULL);
	else if (was_head)
	{
		Delivery   *head = dlist_head_element(KeyLink, node, &chain->links)->delivery;

		if (--head->n_blockers == 0 && !head->in_flight)
			lane_make_ready(head);
	}
}

static void
lane_leave_chains(Delivery *delivery)
{
	lane_leave_chain(&delivery->keys[0]);
	lane_leave_chain(&delivery->keys[1]);
}

/* ----------------------------------------------------------------- schedule */

static void
lane_account(Lane *lane, const Delivery *delivery, int sign)
{
	ssize_t		size = sign * (ssize_t) delivery->size;

	if (!lane_is_full(lane))
		backlog -= lane_first_queued(lane);
	lane->n_queued += sign;
	lane->bytes_queued += size;
	total_bytes += size;
	if (delivery_is_retry(delivery))
	{
		lane->n_retries += sign;
		lane->bytes_retries += size;
	}
	if (!lane_is_full(lane))
		backlog += lane_first_queued(lane);
	if (lane_first_queued(lane) == LANE_LOW_DELIVERIES - 1 || lane->n_retries == LANE_LOW_DELIVERIES - 1)
		lane_room_made = true;
}

void
lane_enqueue(Lane *lane, Delivery *delivery)
{
	delivery->lane = lane;
	delivery->n_blockers = 0;
	delivery->ready = false;
	delivery->in_flight = false;
	delivery->keys[0].chain = NULL;
	delivery->keys[1].chain = NULL;
	if (delivery->row.attempts == 0)
	{
		lane_join_chain(delivery, &delivery->keys[0], delivery->row.key_hash);
		if (delivery->row.old_key_hash != delivery->row.key_hash)
			lane_join_chain(delivery, &delivery->keys[1], delivery->row.old_key_hash);
	}
	dlist_push_tail(&lane->queue, &delivery->queue_node);
	lane_account(lane, delivery, 1);
	if (delivery->n_blockers == 0)
		lane_make_ready(delivery);
	lane_update(lane);
}

static void
lane_dequeue(Delivery *delivery)
{
	Lane	   *lane = delivery->lane;

	dlist_delete(&delivery->queue_node);
	lane_account(lane, delivery, -1);
	if (delivery->ready)
		dlist_delete(&delivery->ready_node);
	delivery->ready = false;
}

/* The next one of a lane that has one ready. */
static Delivery *
lane_choose(Lane *lane)
{
	bool		retry = !dlist_is_empty(&lane->ready_retries) &&
		(lane->retry_is_next || dlist_is_empty(&lane->ready));

	lane->retry_is_next = !retry;
	return dlist_head_element(Delivery, ready_node, retry ? &lane->ready_retries : &lane->ready);
}

Delivery *
lane_next(void)
{
	LaneHost   *host;
	Lane	   *lane;
	Delivery   *delivery;

	if (total_in_flight >= guc_max_in_flight || dlist_is_empty(&runnable_hosts))
		return NULL;
	host = dlist_container(LaneHost, runnable_node, dlist_pop_head_node(&runnable_hosts));
	host->runnable = false;
	lane = dlist_container(Lane, host_node, dlist_pop_head_node(&host->lanes));
	lane->runnable = false;
	delivery = lane_choose(lane);
	lane_dequeue(delivery);
	dlist_push_tail(&lane->flying, &delivery->queue_node);
	delivery->in_flight = true;
	delivery->host = host;
	lane->n_started++;
	lane->in_flight++;
	host->in_flight++;
	total_in_flight++;
	lane_update(lane);
	return delivery;
}

void
lane_ended(Delivery *delivery, bool answered)
{
	Lane	   *lane = delivery->lane;
	LaneHost   *host = delivery->host;

	if (!answered)
		lane->window = Max(1, lane->window / 2);
	else if (lane->in_flight >= lane->window || lane_has_ready(lane))
		lane->window = Min(lane->window + 1, guc_max_in_flight_per_host);
	dlist_delete(&delivery->queue_node);
	delivery->in_flight = false;
	lane->in_flight--;
	total_in_flight--;
	host->in_flight--;
	lane_leave_chains(delivery);
	lane_update(lane);
	lane_host_update(host);
	lane_forget_host(host);
}

Delivery *
lane_take_last(Lane *lane)
{
	Delivery   *delivery;

	if (dlist_is_empty(&lane->queue))
		return NULL;
	delivery = dlist_tail_element(Delivery, queue_node, &lane->queue);
	lane_dequeue(delivery);
	lane_leave_chains(delivery);
	lane_update(lane);
	return delivery;
}

int
lane_backlog(void)
{
	return backlog;
}

int
lane_in_flight(void)
{
	return total_in_flight;
}

Size
lane_bytes_queued(void)
{
	return total_bytes;
}

int
lane_count(void)
{
	return hash_get_num_entries(lanes);
}
