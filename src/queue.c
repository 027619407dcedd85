/*
 * queue.c
 *	  Writer's side of the event log.
 *
 * Events wait in memory, as formed tuples, and are inserted many at a time:
 * when there are many, and before the transaction commits or is prepared.
 * Each carries the subtransaction it was captured in, for a row inserted
 * under a subtransaction vanishes with it: a flush for size writes only what
 * the present subtransaction captured itself.  What belongs to subtransactions
 * around it stays in memory; so that this memory is bounded as well, a subtransaction
 * that ends while too much waits writes its own part first.
 *
 * A flush draws one number from event_sequence; its events share it as the
 * upper bits of seq.  What was drawn last is drawn before the
 * transaction ends, so of two transactions that changed the same row the
 * later one has the greater seq.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "queue.h"
#include "ring.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(queue_delivery_id_sql);
PG_FUNCTION_INFO_V1(queue_id_time_sql);

#define QUEUE_FLUSH_EVENTS	1000
#define QUEUE_FLUSH_BYTES	(1024 * 1024)

/* seq = number drawn by the flush, then the event's place in it */
#define QUEUE_SEQ_BITS		20
#define QUEUE_FLUSH_MAX		(1 << QUEUE_SEQ_BITS)

typedef struct WaitingEvent
{
	HeapTuple	tuple;
	SubTransactionId subid;
} WaitingEvent;

/*
 * Ordered by capture, and therefore by nesting as well: what the present
 * subtransaction captured is at the end.
 */
static WaitingEvent *waiting = NULL;
static int	n_waiting = 0;
static int	size_waiting = 0;
static Size bytes_waiting = 0;
static MemoryContext queue_context = NULL;

static bool
queue_is_full(void)
{
	return n_waiting >= QUEUE_FLUSH_EVENTS || bytes_waiting >= QUEUE_FLUSH_BYTES;
}

static void
queue_forget(int first)
{
	for (int i = first; i < n_waiting; i++)
	{
		bytes_waiting -= waiting[i].tuple->t_len;
		if (first > 0)
			heap_freetuple(waiting[i].tuple);
	}
	n_waiting = first;
	if (first == 0)
	{
		MemoryContextReset(queue_context);
		waiting = NULL;
		size_waiting = 0;
		bytes_waiting = 0;
	}
}

/* Write the events from first on, in the name of the present (sub)transaction. */
static void
queue_flush(int first)
{
	int			n = n_waiting - first;
	int64		drawn = 0;
	HeapTuple  *tuples;
	Relation	rel;
	bool		snapshot;

	if (n == 0)
		return;

	/* before commit there may be none; from 18 on, TOAST insists on one */
	snapshot = !ActiveSnapshotSet();
	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	tuples = palloc(n * sizeof(HeapTuple));
	rel = ring_open(RING_EVENT);
	for (int i = 0; i < n; i++)
	{
		HeapTupleHeader header = waiting[first + i].tuple->t_data;
		int64		seq;

		if (i % QUEUE_FLUSH_MAX == 0)
			drawn = nextval_internal(catalog_require()->event_sequence, false);
		seq = (drawn << QUEUE_SEQ_BITS) | (i % QUEUE_FLUSH_MAX);

		/* xid and seq come first, have no null before them and are 8 bytes each */
		memcpy((char *) header + header->t_hoff + sizeof(FullTransactionId), &seq, sizeof(seq));
		tuples[i] = waiting[first + i].tuple;
	}
	ring_append(RING_EVENT, rel, tuples, n);
	table_close(rel, NoLock);
	pfree(tuples);
	if (snapshot)
		PopActiveSnapshot();
	queue_forget(first);
	wakeup_events_at_commit();
}

/* Index of the first event that this subtransaction captured. */
static int
queue_first_of(SubTransactionId subid)
{
	int			first = n_waiting;

	while (first > 0 && waiting[first - 1].subid >= subid)
		first--;
	return first;
}

static HeapTuple
queue_form_tuple(const QueueEvent *event)
{
	Datum		values[EVENT_ATTRIBUTES];
	bool		nulls[EVENT_ATTRIBUTES];
	pg_uuid_t	id;

	memset(nulls, 0, sizeof(nulls));
	queue_make_id(&id, event->captured_at);
#define PUT(attribute, datum)	(values[(attribute) - 1] = (datum))
#define PUT_IMAGE(attribute, image) \
	do { \
		nulls[(attribute) - 1] = ((image) == NULL); \
		values[(attribute) - 1] = PointerGetDatum(image); \
	} while (0)
	PUT(EVENT_ATTR_XID, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	PUT(EVENT_ATTR_SEQ, Int64GetDatum(0));
	PUT(EVENT_ATTR_CAPTURED_AT, TimestampTzGetDatum(event->captured_at));
	PUT(EVENT_ATTR_KEY_HASH, Int64GetDatum(event->images.key_hash));
	PUT(EVENT_ATTR_OLD_KEY_HASH, Int64GetDatum(event->images.old_key_hash));
	PUT(EVENT_ATTR_CID, Int32GetDatum((int32) event->cid));
	PUT(EVENT_ATTR_OPERATION, CharGetDatum(event->operation));
	PUT(EVENT_ATTR_ID, UUIDPGetDatum(&id));
	PUT(EVENT_ATTR_TABLE_SCHEMA, event->table_schema);
	PUT(EVENT_ATTR_TABLE_NAME, event->table_name);
	PUT(EVENT_ATTR_WEBHOOKS, event->webhooks);
	PUT_IMAGE(EVENT_ATTR_RECORD_KEY, event->images.record_key);
	PUT_IMAGE(EVENT_ATTR_RECORD, event->images.record);
	PUT_IMAGE(EVENT_ATTR_OLD_RECORD, event->images.old_record);
	PUT_IMAGE(EVENT_ATTR_TRUNCATED, event->images.truncated);
#undef PUT
#undef PUT_IMAGE
	return heap_form_tuple(ring_descriptor(RING_EVENT), values, nulls);
}

void
queue_append(const QueueEvent *event)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext old;

	/*
	 * Flush before rather than after: the last event of a full batch must not be
	 * written while its row's trigger is still running.
	 */
	if (queue_is_full())
		queue_flush(queue_first_of(subid));

	old = MemoryContextSwitchTo(queue_context);
	if (n_waiting == size_waiting)
	{
		size_waiting = Max(8, size_waiting * 2);
		if (waiting == NULL)
			waiting = palloc(size_waiting * sizeof(WaitingEvent));
		else
			waiting = repalloc_huge(waiting, size_waiting * sizeof(WaitingEvent));
	}
	waiting[n_waiting].tuple = queue_form_tuple(event);
	waiting[n_waiting].subid = subid;
	bytes_waiting += waiting[n_waiting].tuple->t_len;
	n_waiting++;
	MemoryContextSwitchTo(old);
}

static void
queue_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			queue_flush(0);
			break;
		case XACT_EVENT_ABORT:
			queue_forget(0);
			break;
		default:
			break;
	}
}

static void
queue_subxact_callback(SubXactEvent event, SubTransactionId subid,
					   SubTransactionId parent, void *arg)
{
	if (n_waiting == 0)
		return;
	switch (event)
	{
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			if (queue_is_full())
				queue_flush(queue_first_of(subid));
			break;
		case SUBXACT_EVENT_COMMIT_SUB:
			for (int i = queue_first_of(subid); i < n_waiting; i++)
				waiting[i].subid = parent;
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			queue_forget(queue_first_of(subid));
			break;
		default:
			break;
	}
}

/* Eight random bytes; OpenSSL is asked for a page of them at a time. */
static uint64
queue_random(void)
{
	static uint64 pool[64];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = lengthof(pool);
	}
	return pool[--left];
}

#define UUID_VARIANT_BITS	UINT64CONST(0x8000000000000000)
#define UUID_RANDOM_BITS	UINT64CONST(0x3FFFFFFFFFFFFFFF)

static void
queue_store_uint64(unsigned char *out, uint64 value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (unsigned char) (value >> (56 - 8 * i));
}

void
queue_make_id(pg_uuid_t *id, TimestampTz at)
{
	int64		us = at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	uint64		ms = us / 1000;
	uint64		fraction = (us % 1000) * 4096 / 1000;

	queue_store_uint64(id->data, (ms << 16) | UINT64CONST(0x7000) | fraction);
	queue_store_uint64(id->data + 8, UUID_VARIANT_BITS | (queue_random() & UUID_RANDOM_BITS));
}

void
queue_delivery_id(pg_uuid_t *id, const pg_uuid_t *event_id, const pg_uuid_t *webhook_id)
{
	unsigned char mix[8];

	queue_store_uint64(mix, hash_bytes_extended(webhook_id->data, UUID_LEN, 0) & UUID_RANDOM_BITS);
	*id = *event_id;
	for (int i = 0; i < 8; i++)
		id->data[8 + i] ^= mix[i];
}

Datum
queue_delivery_id_sql(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	queue_delivery_id(id, PG_GETARG_UUID_P(0), PG_GETARG_UUID_P(1));
	PG_RETURN_UUID_P(id);
}

/* What queue_make_id was given, to the microsecond: it keeps 1/4096 ms. */
Datum
queue_id_time_sql(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *id = PG_GETARG_UUID_P(0);
	uint64		high = 0;
	int64		ms;
	int64		fraction;

	for (int i = 0; i < 8; i++)
		high = (high << 8) | id->data[i];
	ms = high >> 16;
	fraction = high & 0xFFF;
	PG_RETURN_TIMESTAMPTZ(ms * 1000 + (fraction * 1000 + 4095) / 4096 -
						  (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
}

void
queue_init(void)
{
	queue_context = AllocSetContextCreate(TopMemoryContext, "fluxhooks waiting events",
										  ALLOCSET_DEFAULT_SIZES);
	RegisterXactCallback(queue_xact_callback, NULL);
	RegisterSubXactCallback(queue_subxact_callback, NULL);
}
