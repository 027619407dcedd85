/*
 * publish.c
 *	  What the worker lets others see of its memory.
 *
 * The worker flattens it into a buffer and copies that into its segment, between
 * two increments of a counter: a reader whose copy saw the counter odd, or
 * change, takes another.  A segment that has become too small is replaced.
 *
 * What moves from memory into a table, or back, does so with a commit of the
 * worker's.  From before that until it has published again, what is published
 * and a new snapshot may be of two moments, which a flag says.  Who needs them to be
 * of one asks the worker to publish without delay, and looks again.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "delivery.h"
#include "fault.h"
#include "id.h"
#include "lane.h"
#include "publish.h"
#include "shared.h"

#define PUBLISH_DELAY_MS	100
#define PUBLISH_LOOKS		250		/* for one moment, a millisecond apart */

typedef struct Segment
{
	pg_atomic_uint32 changes;	/* odd while it is written to */
	pg_atomic_uint32 moving;	/* not what a new snapshot may see */
	pg_atomic_uint32 asked;		/* somebody waits for it to be that */
	uint32		size;			/* of what is in it */
	char		bytes[FLEXIBLE_ARRAY_MEMBER];
} Segment;

static dsm_segment *own = NULL; /* in the worker */
static Size own_size = 0;		/* room for bytes */
static bool touched = false;
static TimestampTz published_at = 0;

/* ------------------------------------------------------------------- worker */

void
publish_touch(void)
{
	touched = true;
}

void
publish_begin_move(void)
{
	if (own == NULL)
		return;
	pg_atomic_write_u32(&((Segment *) dsm_segment_address(own))->moving, 1);
	pg_memory_barrier();
}

static bool
publish_is_asked(void)
{
	return own != NULL && pg_atomic_read_u32(&((Segment *) dsm_segment_address(own))->asked) != 0;
}

bool
publish_wanted(TimestampTz now, long *again)
{
	TimestampTz next = TimestampTzPlusMilliseconds(published_at, PUBLISH_DELAY_MS);

	*again = -1;
	if (!touched)
		return false;
	/* the clock may have been set back */
	if (now >= next || now < published_at || publish_is_asked())
		return true;
	*again = (long) ((next - now) / 1000 + 1);
	return false;
}

static void
publish_put(StringInfo out, const void *bytes, Size size)
{
	appendBinaryStringInfo(out, bytes, (int) size);
}

/* NULL: none. */
static void
publish_put_snapshot(StringInfo out, const LogSnapshot *snapshot)
{
	LogSnapshot none = {.n_xip = -1};

	publish_put(out, snapshot ? snapshot : &none, sizeof(LogSnapshot));
	if (snapshot)
		publish_put(out, snapshot->xip, snapshot->n_xip * sizeof(FullTransactionId));
}

static void
publish_note_oldest(PublishedWebhook *webhook, const Delivery *delivery)
{
	TimestampTz at = id_time(&delivery->row.delivery_id);

	if (!delivery->has_pending && at < webhook->oldest_held_at)
		webhook->oldest_held_at = at;
}

/* Queued ones are in the order of their arrival: the first will do. */
static void
publish_find_oldest(PublishedWebhook *webhook, const Lane *lane)
{
	dlist_iter	iter;

	webhook->oldest_held_at = DT_NOEND;
	dlist_foreach(iter, unconstify(dlist_head *, &lane->flying))
		publish_note_oldest(webhook, dlist_container(Delivery, queue_node, iter.cur));
	dlist_foreach(iter, unconstify(dlist_head *, &lane->queue))
	{
		const Delivery *delivery = dlist_container(Delivery, queue_node, iter.cur);

		publish_note_oldest(webhook, delivery);
		if (!delivery->has_pending)
			break;
	}
}

static void
publish_put_lane(StringInfo out, const Lane *lane)
{
	PublishedWebhook webhook;
	const Breaker *breaker = &lane->breaker;

	memset(&webhook, 0, sizeof(webhook));
	webhook.webhook_id = lane->webhook_id;
	webhook.held = lane->n_queued + lane->in_flight + lane->n_ended - lane->n_saved;
	publish_find_oldest(&webhook, lane);
	webhook.in_a_row = breaker->in_a_row;
	webhook.failing_since = breaker->failing_since;
	webhook.breaker = breaker->failures > 0;
	webhook.breaker_open = breaker->open;
	webhook.breaker_open_since = breaker->open_since;
	webhook.stats = lane->stats;
	publish_put(out, &webhook, sizeof(webhook));
}

static void
publish_flatten(StringInfo out, const Cursor *reached, const LogSnapshot *checked)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	int			n = lane_count();

	publish_put(out, reached, sizeof(Cursor));
	publish_put_snapshot(out, reached->last);
	publish_put_snapshot(out, reached->next);
	publish_put_snapshot(out, checked);
	publish_put(out, &n, sizeof(n));
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
		publish_put_lane(out, lane);
}

/* Have a segment for so many bytes; false where there is no room for one. */
static bool
publish_have_segment(Size size)
{
	dsm_segment *seg;
	Segment    *segment;

	if (own != NULL && own_size >= size)
		return true;
	seg = dsm_create(offsetof(Segment, bytes) + size * 2, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (seg == NULL)
		return false;
	dsm_pin_mapping(seg);
	segment = dsm_segment_address(seg);
	pg_atomic_init_u32(&segment->changes, 0);
	pg_atomic_init_u32(&segment->moving, 0);
	pg_atomic_init_u32(&segment->asked, 0);
	segment->size = 0;
	if (own != NULL)
		dsm_detach(own);
	own = seg;
	own_size = size * 2;
	FAULT_POINT("publish_segment_made");
	return true;
}

void
publish_run(void)
{
	StringInfoData out;
	Cursor		reached;
	const LogSnapshot *checked;
	Segment    *segment;

	touched = false;
	published_at = GetCurrentTimestamp();
	if (!shared_exists() || !batch_reached(&reached, &checked))
		return;
	initStringInfo(&out);
	publish_flatten(&out, &reached, checked);
	FAULT_POINT("publish_flattened");
	if (publish_have_segment(out.len))
	{
		segment = dsm_segment_address(own);
		pg_atomic_write_u32(&segment->asked, 0);
		pg_atomic_fetch_add_u32(&segment->changes, 1);
		pg_write_barrier();
		segment->size = out.len;
		FAULT_POINT_KILL("publish_changing");
		memcpy(segment->bytes, out.data, out.len);
		pg_atomic_write_u32(&segment->moving, 0);
		pg_write_barrier();
		pg_atomic_fetch_add_u32(&segment->changes, 1);
		shared_worker_set_published(dsm_segment_handle(own));
	}
	else
		shared_worker_set_published(DSM_HANDLE_INVALID);
	pfree(out.data);
}

/* ------------------------------------------------------------------- reader */

/* A copy, number *changes, that is all of one moment; NULL where nothing was put in yet. */
static char *
publish_copy(const Segment *segment, uint32 *changes)
{
	for (;;)
	{
		uint32		before = pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &segment->changes));
		uint32		size;
		char	   *copy;

		CHECK_FOR_INTERRUPTS();
		pg_read_barrier();
		size = segment->size;
		if (before % 2 != 0)
			continue;
		if (size == 0)
			return NULL;
		copy = palloc(size);
		memcpy(copy, segment->bytes, size);
		pg_read_barrier();
		*changes = before;
		if (pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &segment->changes)) == before)
			return copy;
		pfree(copy);
	}
}

static const char *
publish_take(const char *p, void *into, Size size)
{
	memcpy(into, p, size);
	return p + size;
}

static const char *
publish_take_snapshot(const char *p, LogSnapshot **snapshot)
{
	LogSnapshot *taken = palloc(sizeof(LogSnapshot));

	*snapshot = NULL;
	p = publish_take(p, taken, sizeof(LogSnapshot));
	if (taken->n_xip < 0)
		return p;
	taken->xip = palloc(Max(taken->n_xip, 1) * sizeof(FullTransactionId));
	*snapshot = taken;
	return publish_take(p, taken->xip, taken->n_xip * sizeof(FullTransactionId));
}

static dsm_segment *
publish_attach(uint32 handle)
{
	return handle != DSM_HANDLE_INVALID ? dsm_attach(handle) : NULL;
}

Published *
publish_read(void)
{
	uint32		handle = shared_published(MyDatabaseId);
	dsm_segment *seg = publish_attach(handle);
	Published  *published;
	uint32		changes;
	const char *p;

	if (seg == NULL)
		return NULL;
	p = publish_copy(dsm_segment_address(seg), &changes);
	dsm_detach(seg);
	if (p == NULL)
		return NULL;
	published = palloc(sizeof(Published));
	published->segment = handle;
	published->changes = changes;
	p = publish_take(p, &published->reached, sizeof(Cursor));
	p = publish_take_snapshot(p, &published->reached.last);
	p = publish_take_snapshot(p, &published->reached.next);
	p = publish_take_snapshot(p, &published->checked);
	p = publish_take(p, &published->n_webhooks, sizeof(published->n_webhooks));
	published->webhooks = palloc(Max(published->n_webhooks, 1) * sizeof(PublishedWebhook));
	publish_take(p, published->webhooks, published->n_webhooks * sizeof(PublishedWebhook));
	return published;
}

/* Is it still what the tables agree with?  If not, ask for what is. */
static bool
publish_holds(const Published *published)
{
	dsm_segment *seg = publish_attach(published->segment);
	Segment    *segment;
	bool		holds;

	if (seg == NULL || shared_published(MyDatabaseId) != published->segment)
		holds = false;
	else
	{
		segment = dsm_segment_address(seg);
		pg_memory_barrier();
		holds = pg_atomic_read_u32(&segment->moving) == 0 &&
			pg_atomic_read_u32(&segment->changes) == published->changes;
		if (!holds)
			pg_atomic_write_u32(&segment->asked, 1);
	}
	if (seg != NULL)
		dsm_detach(seg);
	return holds;
}

Published *
publish_read_with_snapshot(void)
{
	for (int look = 1;; look++)
	{
		Published  *published = publish_read();

		PushActiveSnapshot(GetLatestSnapshot());
		if (published == NULL || publish_holds(published) || look == PUBLISH_LOOKS)
			return published;
		PopActiveSnapshot();
		shared_worker_wake(MyDatabaseId);
		pg_usleep(1000);
		CHECK_FOR_INTERRUPTS();
	}
}
