/*
 * window.c
 *	  Worker's side of the event log.
 *
 * A window holds the transactions that ended between two snapshots, chosen by
 * value: sequence numbers give order but never completeness, since they are drawn
 * long before their transactions commit.  Rows are read under ordinary MVCC
 * visibility, so what savepoints rolled back drops out.
 *
 * One pass over the index finds each transaction and the greatest seq among
 * its visible events; sorted by that, transactions are streamed one after the
 * other through the same index.  Of a very large window only the earliest
 * transactions are kept in memory; when they are done, the pass is made again
 * for those after them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "compat.h"
#include "id.h"
#include "reader.h"
#include "ring.h"
#include "window.h"

#define WINDOW_TRANSACTIONS	(256 * 1024)	/* kept of one pass */

/* columns of the index event_N_idx */
#define INDEX_XID	1
#define INDEX_CID	2
#define INDEX_SEQ	3

typedef struct LogTransaction
{
	int64		last_seq;
	FullTransactionId xid;
	uint32		slots;			/* bit per ring slot that has events of it */
} LogTransaction;

struct Window
{
	MemoryContext context;
	LogSnapshot *last;
	LogSnapshot *next;
	LogPosition after;			/* everything up to here has been read */
	LogTransaction *transactions;
	int			n_transactions;
	int			size;
	int			at;				/* the transaction that is read next */
	bool		incomplete;		/* more transactions than were kept */
	int64		limit;			/* those from this last_seq on were dropped */
	XLogRecPtr	flush_to;		/* makes all that were kept durable */
};

/* One slot of the ring, open for reading. */
typedef struct SlotReader
{
	IndexReader rows;
	bool		found;			/* rows.tuple holds a chunk with events that are not taken yet */
	int32		cid;
	int64		seq;			/* of the next event */
	int64		last_seq;		/* of the chunk's last event */
	Chunk	   *chunk;			/* NULL until its first event is taken */
} SlotReader;

/* ------------------------------------------------------------------ readers */

static void
reader_open(SlotReader *reader, int slot, int n_keys)
{
	ring_open_reader(&reader->rows, RING_EVENT, slot, n_keys);
	reader->found = false;
	reader->chunk = NULL;
}

static Datum
chunk_value(TupleTableSlot *tuple, ChunkAttribute attribute)
{
	bool		isnull;

	return slot_getattr(tuple, attribute, &isnull);
}

/* The next visible chunk of the scan, into reader->tuple. */
static bool
reader_next(SlotReader *reader, ScanDirection direction)
{
	reader->found = index_reader_next(&reader->rows, direction);
	reader->chunk = NULL;
	if (reader->found)
	{
		reader->cid = DatumGetInt32(chunk_value(reader->rows.tuple, CHUNK_ATTR_CID));
		reader->seq = DatumGetInt64(chunk_value(reader->rows.tuple, CHUNK_ATTR_SEQ));
		reader->last_seq = reader->seq + DatumGetInt32(chunk_value(reader->rows.tuple, CHUNK_ATTR_N_EVENTS)) - 1;
	}
	return reader->found;
}

static FullTransactionId
reader_xid(SlotReader *reader)
{
	return DatumGetFullTransactionId(chunk_value(reader->rows.tuple, CHUNK_ATTR_XID));
}

/* Scan the transactions from first on, up to but without end. */
static void
reader_scan_range(SlotReader *reader, FullTransactionId first, FullTransactionId end)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], INDEX_XID, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(first));
	ScanKeyInit(&keys[1], INDEX_XID, BTLessStrategyNumber, F_XID8LT,
				FullTransactionIdGetDatum(end));
	index_reader_scan(&reader->rows, keys);
	reader_next(reader, ForwardScanDirection);
}

/*
 * Scan the events of a transaction: those of cid from seq on, of which the
 * first may stand in the middle of a chunk.
 */
static void
reader_scan_command(SlotReader *reader, FullTransactionId xid, int32 cid, int64 seq)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], INDEX_XID, BTEqualStrategyNumber, F_XID8EQ, FullTransactionIdGetDatum(xid));
	ScanKeyInit(&keys[1], INDEX_CID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(cid));
	ScanKeyInit(&keys[2], INDEX_SEQ, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(seq - CHUNK_EVENTS_MAX));
	index_reader_scan(&reader->rows, keys);
	while (reader_next(reader, ForwardScanDirection) && reader->last_seq < seq)
		;
	if (reader->found && reader->seq < seq)
		reader->seq = seq;
}

/*
 * Find the chunk that an event at this place would stand in: the last one that
 * begins at or before it.  Going back from there finds it at once, where
 * going on from the farthest place a chunk can begin at passes up to
 * CHUNK_EVENTS_MAX chunks of large events.
 */
static void
reader_scan_back(SlotReader *reader, const EventPlace *place)
{
	ScanKeyData keys[4];

	ScanKeyInit(&keys[0], INDEX_XID, BTEqualStrategyNumber, F_XID8EQ, FullTransactionIdGetDatum(place->xid));
	ScanKeyInit(&keys[1], INDEX_CID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(place->cid));
	ScanKeyInit(&keys[2], INDEX_SEQ, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(place->seq - CHUNK_EVENTS_MAX));
	ScanKeyInit(&keys[3], INDEX_SEQ, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(place->seq));
	index_reader_scan(&reader->rows, keys);
	reader_next(reader, BackwardScanDirection);
}

/* Scan the events of a transaction: those of commands behind cid. */
static void
reader_scan_commands_after(SlotReader *reader, FullTransactionId xid, int32 cid)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], INDEX_XID, BTEqualStrategyNumber, F_XID8EQ, FullTransactionIdGetDatum(xid));
	ScanKeyInit(&keys[1], INDEX_CID, BTGreaterStrategyNumber, F_INT4GT, Int32GetDatum(cid));
	ScanKeyInit(&keys[2], INDEX_SEQ, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(PG_INT64_MIN));
	index_reader_scan(&reader->rows, keys);
	reader_next(reader, ForwardScanDirection);
}

LogEvent *
log_event_make(const Chunk *chunk, const ChunkEvent *stored, int64 last_seq, MemoryContext context)
{
	LogEvent   *event = MemoryContextAlloc(context, sizeof(LogEvent));

	event->place.xid = chunk->xid;
	event->place.cid = chunk->cid;
	event->place.seq = chunk->seq + chunk->number - 1;
	event->position.last_seq = last_seq;
	event->position.cid = event->place.cid;
	event->position.seq = event->place.seq;
	event->size = sizeof(LogEvent) + (Size) stored->record_len + stored->old_record_len +
		stored->record_key_len + stored->truncated_len;
	id_of_event(&event->id, &chunk->id, chunk->number - 1, stored->captured_at);
	event->operation = chunk->operation;
	event->table_schema = chunk->table_schema;
	event->table_name = chunk->table_name;
	event->n_webhooks = chunk->n_webhooks;
	event->webhooks = chunk->webhooks;
	event->stored = *stored;
	return event;
}

/* The next event, where there has to be one. */
static void
chunk_take_next(Chunk *chunk, ChunkEvent *stored)
{
	if (!chunk_next(chunk, stored))
		elog(ERROR, "a chunk of the event log ends before its last event");
}

/* The event at reader->seq, in context; then on to the next. */
static LogEvent *
reader_take(SlotReader *reader, int64 last_seq, MemoryContext context)
{
	ChunkEvent	stored;
	LogEvent   *event;

	if (reader->chunk == NULL)
		reader->chunk = chunk_read(reader->rows.tuple, context);
	do
		chunk_take_next(reader->chunk, &stored);
	while (reader->chunk->seq + reader->chunk->number - 1 < reader->seq);
	event = log_event_make(reader->chunk, &stored, last_seq, context);
	if (reader->seq++ == reader->last_seq)
		reader_next(reader, ForwardScanDirection);
	return event;
}

/* ------------------------------------------------------- finding transactions */

static int
transaction_compare_seq(const void *a, const void *b)
{
	int64		x = ((const LogTransaction *) a)->last_seq;
	int64		y = ((const LogTransaction *) b)->last_seq;

	return x < y ? -1 : x > y;
}

/* Keep the earliest ones only. */
static void
window_prune(Window *window)
{
	qsort(window->transactions, window->n_transactions, sizeof(LogTransaction), transaction_compare_seq);
	if (window->n_transactions > WINDOW_TRANSACTIONS)
	{
		window->incomplete = true;
		window->n_transactions = WINDOW_TRANSACTIONS;
		window->limit = window->transactions[WINDOW_TRANSACTIONS - 1].last_seq;
	}
}

static void
window_add_transaction(Window *window, const LogTransaction *transaction)
{
	if (transaction->last_seq < window->after.last_seq)
		return;
	if (window->incomplete && transaction->last_seq > window->limit)
		return;
	if (window->n_transactions == window->size)
	{
		if (window->size >= 2 * WINDOW_TRANSACTIONS)
			window_prune(window);
		else
		{
			window->size *= 2;
			window->transactions = repalloc_huge(window->transactions,
												 window->size * sizeof(LogTransaction));
		}
	}
	window->transactions[window->n_transactions++] = *transaction;
}

/*
 * Merge the slots' scans, each in order of xid, into transactions of the
 * window.
 */
static void
window_collect(Window *window, SlotReader *readers)
{
	for (;;)
	{
		LogTransaction transaction = {0};
		bool		any = false;

		for (int slot = 0; slot < RING_SLOTS; slot++)
		{
			if (readers[slot].found &&
				(!any || FullTransactionIdPrecedes(reader_xid(&readers[slot]), transaction.xid)))
			{
				transaction.xid = reader_xid(&readers[slot]);
				any = true;
			}
		}
		if (!any)
			return;
		for (int slot = 0; slot < RING_SLOTS; slot++)
		{
			while (readers[slot].found &&
				   FullTransactionIdEquals(reader_xid(&readers[slot]), transaction.xid))
			{
				transaction.slots |= UINT32_C(1) << slot;
				transaction.last_seq = Max(transaction.last_seq, readers[slot].last_seq);
				reader_next(&readers[slot], ForwardScanDirection);
			}
		}
		CHECK_FOR_INTERRUPTS();
		if (log_snapshot_sees(window->next, transaction.xid) &&
			!log_snapshot_sees(window->last, transaction.xid))
			window_add_transaction(window, &transaction);
	}
}

static void
window_collect_range(Window *window, SlotReader *readers,
					 FullTransactionId first, FullTransactionId end)
{
	if (!FullTransactionIdPrecedes(first, end))
		return;
	for (int slot = 0; slot < RING_SLOTS; slot++)
		reader_scan_range(&readers[slot], first, end);
	window_collect(window, readers);
}

/*
 * How far WAL has to be flushed for the window's transactions to be durable.  One
 * that waited for its commit record is; of one that did not, the commit log
 * knows where that record ends, or that of a neighbour behind it.
 */
static XLogRecPtr
window_find_flush(const Window *window)
{
	XLogRecPtr	flush_to = InvalidXLogRecPtr;
	TransactionId oldest;

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	oldest = compat_oldest_clog_xid();
	for (int i = 0; i < window->n_transactions; i++)
	{
		TransactionId xid = XidFromFullTransactionId(window->transactions[i].xid);

		/* what the commit log has forgotten was made durable long ago */
		if (TransactionIdFollowsOrEquals(xid, oldest))
			flush_to = Max(flush_to, TransactionIdGetCommitLSN(xid));
	}
	LWLockRelease(XactTruncationLock);
	return flush_to;
}

/*
 * What began after last, and those that were under way then and have ended
 * since: never everything after last's xmin, which one idle transaction can
 * hold back for hours.
 */
static void
window_find_transactions(Window *window)
{
	SlotReader	readers[RING_SLOTS];

	window->n_transactions = 0;
	window->at = 0;
	window->incomplete = false;
	for (int slot = 0; slot < RING_SLOTS; slot++)
		reader_open(&readers[slot], slot, 2);
	for (int i = 0; i < window->last->n_xip; i++)
	{
		FullTransactionId xid = window->last->xip[i];
		FullTransactionId end = FullTransactionIdFromU64(U64FromFullTransactionId(xid) + 1);

		if (log_snapshot_sees(window->next, xid))
			window_collect_range(window, readers, xid, end);
	}
	window_collect_range(window, readers, window->last->xmax, window->next->xmax);
	for (int slot = 0; slot < RING_SLOTS; slot++)
		index_reader_close(&readers[slot].rows);
	window_prune(window);
	window->flush_to = window_find_flush(window);
}

Window *
window_open(const LogSnapshot *last, const LogSnapshot *next,
			const LogPosition *after, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks window", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Window	   *window = palloc0(sizeof(Window));

	window->context = context;
	window->last = log_snapshot_copy(last, context);
	window->next = log_snapshot_copy(next, context);
	if (after != NULL)
		window->after = *after;
	else
		window->after.last_seq = -1;
	window->size = 64;
	window->transactions = palloc(window->size * sizeof(LogTransaction));
	MemoryContextSwitchTo(old);
	window_find_transactions(window);
	/* only now, so that an error leaves nothing behind */
	MemoryContextSetParent(context, parent);
	return window;
}

bool
window_is_empty(const Window *window)
{
	return window->n_transactions == 0;
}

XLogRecPtr
window_flush_to(const Window *window)
{
	return window->flush_to;
}

void
window_close(Window *window)
{
	MemoryContextDelete(window->context);
}

/* ------------------------------------------------------------ reading events */

typedef struct PageLimits
{
	int			deliveries_left;
	int64		bytes_left;
	MemoryContext context;		/* events are allocated here */
	void		(*take) (LogEvent *event, void *arg);
	void	   *arg;
} PageLimits;

/* The reader with the earliest event, by (cid, seq). */
static SlotReader *
window_earliest(SlotReader *readers, uint32 slots)
{
	SlotReader *best = NULL;

	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		SlotReader *reader = &readers[slot];

		if (!(slots & (UINT32_C(1) << slot)) || !reader->found)
			continue;
		if (best == NULL || reader->cid < best->cid ||
			(reader->cid == best->cid && reader->seq < best->seq))
			best = reader;
	}
	return best;
}

/* Hand out what the scans find; false when the page is full before their end. */
static bool
window_stream(Window *window, SlotReader *readers, const LogTransaction *transaction, PageLimits *page)
{
	SlotReader *reader;

	while ((reader = window_earliest(readers, transaction->slots)) != NULL)
	{
		LogEvent   *event;

		if (page->deliveries_left <= 0 || page->bytes_left <= 0)
			return false;
		event = reader_take(reader, transaction->last_seq, page->context);
		page->deliveries_left -= event->n_webhooks;
		/* each delivery has a body of its own */
		page->bytes_left -= (int64) event->size * event->n_webhooks;
		window->after = event->position;
		page->take(event, page->arg);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

static bool
window_read_transaction(Window *window, SlotReader *readers, const LogTransaction *transaction, PageLimits *page)
{
	int32		cid = -1;

	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		if ((transaction->slots & (UINT32_C(1) << slot)) && readers[slot].rows.heap == NULL)
			reader_open(&readers[slot], slot, 3);
	}

	/* begun before: first the rest of the command that was being read */
	if (window->after.last_seq == transaction->last_seq)
	{
		cid = window->after.cid;
		for (int slot = 0; slot < RING_SLOTS; slot++)
		{
			if (transaction->slots & (UINT32_C(1) << slot))
				reader_scan_command(&readers[slot], transaction->xid, cid, window->after.seq + 1);
		}
		if (!window_stream(window, readers, transaction, page))
			return false;
	}
	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		if (transaction->slots & (UINT32_C(1) << slot))
			reader_scan_commands_after(&readers[slot], transaction->xid, cid);
	}
	return window_stream(window, readers, transaction, page);
}

bool
window_read(Window *window, int max_deliveries, Size max_bytes, MemoryContext context,
			void (*take) (LogEvent *event, void *arg), void *arg)
{
	SlotReader	readers[RING_SLOTS];
	PageLimits	page = {max_deliveries, (int64) max_bytes, context, take, arg};
	bool		full = false;

	memset(readers, 0, sizeof(readers));
	while (window->at < window->n_transactions && !full)
	{
		if (window_read_transaction(window, readers, &window->transactions[window->at], &page))
			window->at++;
		else
			full = true;
	}
	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		if (readers[slot].rows.heap != NULL)
			index_reader_close(&readers[slot].rows);
	}
	if (full || window->at < window->n_transactions)
		return false;
	if (!window->incomplete)
		return true;

	/* those after the last one that was kept */
	window->after.last_seq = window->limit + 1;
	window->after.cid = -1;
	window->after.seq = -1;
	window_find_transactions(window);
	return window->n_transactions == 0;
}

/* ------------------------------------------------------- events by their places */

struct LogFetch
{
	MemoryContext context;
	SlotReader	readers[RING_SLOTS];
	bool		opened[RING_SLOTS];
	int			slot;			/* where the last one was, tried first */
	Chunk	   *chunk;			/* that it stood in, read up to it */
};

LogFetch *
log_fetch_begin(MemoryContext context)
{
	LogFetch   *fetch = MemoryContextAllocZero(context, sizeof(LogFetch));

	fetch->context = context;
	fetch->slot = ring_current_slot();
	return fetch;
}

void
log_fetch_end(LogFetch *fetch)
{
	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		if (fetch->opened[slot])
			index_reader_close(&fetch->readers[slot].rows);
	}
	pfree(fetch);
}

/* The chunk of this slot that holds the event; NULL: none does. */
static Chunk *
fetch_chunk(LogFetch *fetch, int slot, const EventPlace *place)
{
	SlotReader *reader = &fetch->readers[slot];

	if (!fetch->opened[slot])
	{
		reader_open(reader, slot, 4);
		fetch->opened[slot] = true;
	}
	reader_scan_back(reader, place);
	if (!reader->found || reader->last_seq < place->seq)
		return NULL;
	fetch->slot = slot;
	return chunk_read(reader->rows.tuple, fetch->context);
}

/* Does the chunk that was read last hold the event, at or behind where reading stands? */
static bool
fetch_is_ahead(const Chunk *chunk, const EventPlace *place)
{
	return chunk != NULL && FullTransactionIdEquals(chunk->xid, place->xid) && chunk->cid == place->cid &&
		place->seq >= chunk->seq + chunk->number && place->seq < chunk->seq + chunk->n_events;
}

LogEvent *
log_fetch(LogFetch *fetch, const EventPlace *place)
{
	ChunkEvent	stored;

	if (!fetch_is_ahead(fetch->chunk, place))
	{
		int			current = ring_current_slot();

		/* where the last one was, then the newest slot first */
		fetch->chunk = fetch_chunk(fetch, fetch->slot, place);
		for (int i = 0; i < RING_SLOTS && fetch->chunk == NULL; i++)
		{
			int			slot = (current - i + RING_SLOTS) % RING_SLOTS;

			if (slot != fetch->slot)
				fetch->chunk = fetch_chunk(fetch, slot, place);
		}
		if (fetch->chunk == NULL)
			return NULL;
	}
	do
		chunk_take_next(fetch->chunk, &stored);
	while (fetch->chunk->seq + fetch->chunk->number - 1 < place->seq);
	return log_event_make(fetch->chunk, &stored, place->seq, fetch->context);
}

LogEvent *
window_fetch(const EventPlace *place, MemoryContext context)
{
	LogFetch   *fetch = log_fetch_begin(context);
	LogEvent   *event = log_fetch(fetch, place);

	log_fetch_end(fetch);
	return event;
}

void
log_event_body(StringInfo body, const LogEvent *event, const pg_uuid_t *webhook_id)
{
	const ChunkEvent *stored = &event->stored;
	PayloadEvent payload;

	payload.operation = event->operation;
	payload.table_schema = event->table_schema;
	payload.table_name = event->table_name;
	payload.record = stored->record;
	payload.record_len = stored->record_len;
	payload.old_record = stored->old_record;
	payload.old_record_len = stored->old_record_len;
	payload.truncated = stored->truncated;
	payload.truncated_len = stored->truncated_len;
	payload.captured_at = stored->captured_at;
	payload_body(body, &payload, webhook_id);
}
