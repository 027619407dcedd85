/*
 * queue.c
 *	  Writer's side of the event log.
 *
 * Events wait in memory, packed into chunks, and are inserted many at a time:
 * when there is much, and before the transaction commits or is prepared.
 * Each chunk carries the subtransaction it was captured in, for a row inserted
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
#include "commands/sequence.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "chunk.h"
#include "fault.h"
#include "id.h"
#include "queue.h"
#include "ring.h"
#include "wakeup.h"

#define QUEUE_FLUSH_CHUNKS	1000
#define QUEUE_FLUSH_BYTES	(1024 * 1024)

/* seq = number drawn by the flush, then the event's place in it */
#define QUEUE_SEQ_BITS		20
#define QUEUE_FLUSH_MAX		(1 << QUEUE_SEQ_BITS)

/* A tuple of this length fills a page, and is not toasted (toast_tuple_target). */
#define QUEUE_TUPLE_MAX		8160

/* Memory that the first event of a chunk gets, unless it is larger; with more, all. */
#define QUEUE_CHUNK_SMALL	512

typedef struct WaitingChunk
{
	SubTransactionId subid;
	Oid			extension;		/* that captured it */
	QueueEvent	first;			/* without its images */
	int			n_events;
	bytea	   *events;			/* its varlena header is set by the flush */
	Size		len;			/* so far, header included */
	Size		size;			/* allocated */
	Size		limit;			/* it grows no further */
} WaitingChunk;

/*
 * Ordered by capture, and therefore by nesting as well: what the present
 * subtransaction captured is at the end.
 */
static WaitingChunk *waiting = NULL;
static int	n_waiting = 0;
static int	size_waiting = 0;
static Size bytes_waiting = 0;
static MemoryContext queue_context = NULL;

static bool
queue_is_full(void)
{
	return n_waiting >= QUEUE_FLUSH_CHUNKS || bytes_waiting >= QUEUE_FLUSH_BYTES;
}

static void
queue_forget(int first)
{
	for (int i = first; i < n_waiting; i++)
	{
		bytes_waiting -= waiting[i].len;
		if (first > 0)
			pfree(waiting[i].events);
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

/* All columns but seq and id are known; events NULL: as if it were empty. */
static void
queue_chunk_values(const QueueEvent *first, int n_events, bytea *events, const pg_uuid_t *id,
				   int64 seq, Datum *values)
{
#define PUT(attribute, datum)	(values[(attribute) - 1] = (datum))
	PUT(CHUNK_ATTR_XID, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	PUT(CHUNK_ATTR_SEQ, Int64GetDatum(seq));
	PUT(CHUNK_ATTR_CAPTURED_AT, TimestampTzGetDatum(first->captured_at));
	PUT(CHUNK_ATTR_CID, Int32GetDatum((int32) first->cid));
	PUT(CHUNK_ATTR_N_EVENTS, Int32GetDatum(n_events));
	PUT(CHUNK_ATTR_OPERATION, CharGetDatum(first->operation));
	PUT(CHUNK_ATTR_ID, UUIDPGetDatum(id));
	PUT(CHUNK_ATTR_TABLE_SCHEMA, first->table_schema);
	PUT(CHUNK_ATTR_TABLE_NAME, first->table_name);
	PUT(CHUNK_ATTR_WEBHOOKS, first->webhooks);
	PUT(CHUNK_ATTR_EVENTS, PointerGetDatum(events));
#undef PUT
}

static HeapTuple
queue_form_tuple(WaitingChunk *chunk, int64 seq)
{
	Datum		values[CHUNK_ATTRIBUTES];
	bool		nulls[CHUNK_ATTRIBUTES] = {false};
	pg_uuid_t	id;

	StaticAssertStmt(CHUNK_ATTRIBUTES == RING_EVENT_ATTRIBUTES, "ring.h knows the columns of a chunk");
	id_make(&id, chunk->first.captured_at);
	SET_VARSIZE(chunk->events, chunk->len);
	queue_chunk_values(&chunk->first, chunk->n_events, chunk->events, &id, seq, values);
	return heap_form_tuple(ring_descriptor(RING_EVENT), values, nulls);
}

/*
 * Drop those whose extension this transaction has dropped in the meantime,
 * even where it has made a new one.
 */
static void
queue_drop_orphans(int first)
{
	const Catalog *catalog = n_waiting > first ? catalog_get() : NULL;
	int			kept = first;

	for (int i = first; i < n_waiting; i++)
	{
		if (catalog != NULL && waiting[i].extension == catalog->extension)
			waiting[kept++] = waiting[i];
		else
		{
			bytes_waiting -= waiting[i].len;
			pfree(waiting[i].events);
		}
	}
	n_waiting = kept;
}

/*
 * A transaction may be made read-only behind its own writes; what is still to be
 * done for those is no new one.  An abort puts the variable right by itself.
 */
static int64
queue_draw_number(void)
{
	bool		read_only = XactReadOnly;
	int64		drawn;

	XactReadOnly = false;
	drawn = nextval_internal(catalog_require()->event_sequence, false);
	XactReadOnly = read_only;
	return drawn;
}

/* Write the chunks from first on, in the name of the present (sub)transaction. */
static void
queue_flush(int first)
{
	int			n;
	int64		drawn = 0;
	int			n_numbered = QUEUE_FLUSH_MAX;
	MemoryContext context;
	MemoryContext old;
	HeapTuple  *tuples;
	Relation	rel;
	bool		snapshot;

	queue_drop_orphans(first);
	n = n_waiting - first;
	if (n == 0)
		return;

	/* before commit there may be none; from 18 on, TOAST insists on one */
	snapshot = !ActiveSnapshotSet();
	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	context = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks flush", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	tuples = palloc(n * sizeof(HeapTuple));
	rel = ring_open(RING_EVENT);
	for (int i = 0; i < n; i++)
	{
		WaitingChunk *chunk = &waiting[first + i];

		if (n_numbered + chunk->n_events > QUEUE_FLUSH_MAX)
		{
			drawn = queue_draw_number();
			n_numbered = 0;
		}
		tuples[i] = queue_form_tuple(chunk, (drawn << QUEUE_SEQ_BITS) | n_numbered);
		n_numbered += chunk->n_events;
	}
	FAULT_POINT("queue_flush");
	ring_append(RING_EVENT, rel, tuples, n);
	FAULT_POINT("queue_flushed");
	table_close(rel, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (snapshot)
		PopActiveSnapshot();
	queue_forget(first);
	wakeup_events_at_commit();
}

/* Index of the first chunk that this subtransaction captured. */
static int
queue_first_of(SubTransactionId subid)
{
	int			first = n_waiting;

	while (first > 0 && waiting[first - 1].subid >= subid)
		first--;
	return first;
}

/*
 * The chunk that an event goes to, if it still takes events: the last one of its
 * subscription's group, of the same command, operation and subtransaction.
 * Only those of other groups of the subscription may stand behind it, which
 * hold the same row changes under other names: so no change of a row comes
 * before an earlier one.
 */
static WaitingChunk *
queue_find_chunk(const QueueEvent *event, SubTransactionId subid)
{
	for (int i = n_waiting - 1; i >= 0; i--)
	{
		const QueueEvent *first = &waiting[i].first;

		if (waiting[i].subid != subid || first->source != event->source ||
			first->cid != event->cid || first->operation != event->operation)
			return NULL;
		if (first->group == event->group)
			return &waiting[i];
	}
	return NULL;
}

static bool
queue_chunk_takes(const WaitingChunk *chunk, const QueueEvent *event, Size len)
{
	return chunk->len + len <= chunk->limit &&
		chunk->n_events < CHUNK_EVENTS_MAX &&
		event->captured_at >= chunk->first.captured_at &&
		event->captured_at - chunk->first.captured_at <= CHUNK_TIME_MAX;
}

/* What the events of a chunk may take for its tuple to fit a page. */
static Size
queue_chunk_limit(const QueueEvent *first)
{
	Datum		values[CHUNK_ATTRIBUTES];
	bool		nulls[CHUNK_ATTRIBUTES] = {false};
	pg_uuid_t	id;
	varattrib_4b empty;
	Size		others;

	SET_VARSIZE(&empty, VARHDRSZ);
	queue_chunk_values(first, 0, (bytea *) &empty, &id, 0, values);
	others = MAXALIGN(SizeofHeapTupleHeader) +
		heap_compute_data_size(ring_descriptor(RING_EVENT), values, nulls) + MAXIMUM_ALIGNOF;
	return others < QUEUE_TUPLE_MAX ? QUEUE_TUPLE_MAX - others : 0;
}

static WaitingChunk *
queue_new_chunk(const QueueEvent *event, SubTransactionId subid, Size len)
{
	WaitingChunk *chunk;

	if (n_waiting == size_waiting)
	{
		size_waiting = Max(8, size_waiting * 2);
		if (waiting == NULL)
			waiting = palloc(size_waiting * sizeof(WaitingChunk));
		else
			waiting = repalloc_huge(waiting, size_waiting * sizeof(WaitingChunk));
	}
	chunk = &waiting[n_waiting];
	chunk->subid = subid;
	chunk->extension = catalog_require()->extension;
	chunk->first = *event;
	chunk->n_events = 0;
	chunk->limit = queue_chunk_limit(event);
	chunk->len = VARHDRSZ;
	chunk->size = Max(VARHDRSZ + len, QUEUE_CHUNK_SMALL);
	chunk->events = MemoryContextAllocHuge(queue_context, chunk->size);
	bytes_waiting += VARHDRSZ;
	n_waiting++;
	return chunk;
}

void
queue_append(const QueueEvent *event)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	Size		len = chunk_event_size(&event->images);
	WaitingChunk *chunk;
	MemoryContext old;

	/*
	 * Flush before rather than after: the last event of a full batch must not be
	 * written while its row's trigger is still running.
	 */
	if (queue_is_full())
		queue_flush(queue_first_of(subid));

	old = MemoryContextSwitchTo(queue_context);
	chunk = queue_find_chunk(event, subid);
	if (chunk == NULL || !queue_chunk_takes(chunk, event, len))
		chunk = queue_new_chunk(event, subid, len);
	if (chunk->len + len > chunk->size)
	{
		chunk->size = chunk->limit;
		chunk->events = repalloc(chunk->events, chunk->size);
	}
	chunk_append((char *) chunk->events + chunk->len,
				 (uint32) (event->captured_at - chunk->first.captured_at), &event->images);
	chunk->len += len;
	chunk->n_events++;
	bytes_waiting += len;
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

void
queue_init(void)
{
	queue_context = AllocSetContextCreate(TopMemoryContext, "fluxhooks waiting events",
										  ALLOCSET_DEFAULT_SIZES);
	RegisterXactCallback(queue_xact_callback, NULL);
	RegisterSubXactCallback(queue_subxact_callback, NULL);
}
