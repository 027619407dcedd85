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

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "ring.h"
#include "window.h"

PG_FUNCTION_INFO_V1(log_event_body_sql);

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
};

/* One slot of the ring, open for reading. */
typedef struct SlotReader
{
	Relation	heap;
	Relation	index;
	IndexScanDesc scan;
	int			n_keys;
	TupleTableSlot *tuple;
	bool		found;			/* tuple holds an event that is not taken yet */
	int32		cid;
	int64		seq;
} SlotReader;

/* ---------------------------------------------------------------- snapshots */

static int
full_xid_compare(const void *a, const void *b)
{
	uint64		x = U64FromFullTransactionId(*(const FullTransactionId *) a);
	uint64		y = U64FromFullTransactionId(*(const FullTransactionId *) b);

	return x < y ? -1 : x > y;
}

/* A running or recent xid is never more than 2^31 away from the next one. */
static FullTransactionId
log_snapshot_widen(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

LogSnapshot *
log_snapshot_take(void)
{
	Snapshot	snapshot = GetActiveSnapshot();
	FullTransactionId next = ReadNextFullTransactionId();
	LogSnapshot *result = palloc(sizeof(LogSnapshot));

	result->xmin = log_snapshot_widen(snapshot->xmin, next);
	result->xmax = log_snapshot_widen(snapshot->xmax, next);
	result->n_xip = snapshot->xcnt;
	result->xip = palloc(sizeof(FullTransactionId) * Max(snapshot->xcnt, 1));
	for (int i = 0; i < result->n_xip; i++)
		result->xip[i] = log_snapshot_widen(snapshot->xip[i], next);
	qsort(result->xip, result->n_xip, sizeof(FullTransactionId), full_xid_compare);
	return result;
}

LogSnapshot *
log_snapshot_copy(const LogSnapshot *snapshot)
{
	LogSnapshot *result = palloc(sizeof(LogSnapshot));

	*result = *snapshot;
	result->xip = palloc(sizeof(FullTransactionId) * Max(snapshot->n_xip, 1));
	memcpy(result->xip, snapshot->xip, sizeof(FullTransactionId) * snapshot->n_xip);
	return result;
}

bool
log_snapshot_sees(const LogSnapshot *snapshot, FullTransactionId xid)
{
	if (FullTransactionIdPrecedes(xid, snapshot->xmin))
		return true;
	if (!FullTransactionIdPrecedes(xid, snapshot->xmax))
		return false;
	return bsearch(&xid, snapshot->xip, snapshot->n_xip, sizeof(FullTransactionId),
				   full_xid_compare) == NULL;
}

Datum
log_snapshot_to_datum(const LogSnapshot *snapshot)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":",
					 U64FromFullTransactionId(snapshot->xmin),
					 U64FromFullTransactionId(snapshot->xmax));
	for (int i = 0; i < snapshot->n_xip; i++)
		appendStringInfo(&text, "%s" UINT64_FORMAT, i > 0 ? "," : "",
						 U64FromFullTransactionId(snapshot->xip[i]));
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text.data));
}

LogSnapshot *
log_snapshot_from_datum(Datum datum)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(pg_snapshot_out, datum));
	LogSnapshot *result = palloc(sizeof(LogSnapshot));
	char	   *p = text;

	result->xmin = FullTransactionIdFromU64(strtoull(p, &p, 10));
	result->xmax = FullTransactionIdFromU64(strtoull(p + 1, &p, 10));
	result->n_xip = 0;
	result->xip = palloc(sizeof(FullTransactionId) * (strlen(text) / 2 + 1));
	p++;
	while (*p != '\0')
	{
		result->xip[result->n_xip++] = FullTransactionIdFromU64(strtoull(p, &p, 10));
		if (*p == ',')
			p++;
	}
	return result;
}

/* ------------------------------------------------------------------ readers */

static void
reader_open(SlotReader *reader, int slot, int n_keys)
{
	const Catalog *catalog = catalog_require();

	reader->heap = table_open(ring_table(catalog, RING_EVENT, slot), AccessShareLock);
	reader->index = index_open(ring_index(catalog, RING_EVENT, slot), AccessShareLock);
	reader->scan = compat_index_beginscan(reader->heap, reader->index, GetActiveSnapshot(), n_keys);
	reader->n_keys = n_keys;
	reader->tuple = table_slot_create(reader->heap, NULL);
	reader->found = false;
}

static void
reader_close(SlotReader *reader)
{
	ExecDropSingleTupleTableSlot(reader->tuple);
	index_endscan(reader->scan);
	index_close(reader->index, AccessShareLock);
	table_close(reader->heap, AccessShareLock);
	reader->heap = NULL;
}

static Datum
event_value(TupleTableSlot *tuple, EventAttribute attribute)
{
	bool		isnull;

	return slot_getattr(tuple, attribute, &isnull);
}

/* The next visible event of the scan, into reader->tuple. */
static bool
reader_next(SlotReader *reader)
{
	reader->found = index_getnext_slot(reader->scan, ForwardScanDirection, reader->tuple);
	if (reader->found)
	{
		reader->cid = DatumGetInt32(event_value(reader->tuple, EVENT_ATTR_CID));
		reader->seq = DatumGetInt64(event_value(reader->tuple, EVENT_ATTR_SEQ));
	}
	return reader->found;
}

static FullTransactionId
reader_xid(SlotReader *reader)
{
	return DatumGetFullTransactionId(event_value(reader->tuple, EVENT_ATTR_XID));
}

/* Scan the transactions from first on, up to but without end. */
static void
reader_scan_range(SlotReader *reader, FullTransactionId first, FullTransactionId end)
{
	ScanKeyData keys[2];

	Assert(reader->n_keys == 2);
	ScanKeyInit(&keys[0], INDEX_XID, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(first));
	ScanKeyInit(&keys[1], INDEX_XID, BTLessStrategyNumber, F_XID8LT,
				FullTransactionIdGetDatum(end));
	index_rescan(reader->scan, keys, 2, NULL, 0);
	reader_next(reader);
}

/* Scan the events of a transaction: those of cid behind seq. */
static void
reader_scan_command(SlotReader *reader, FullTransactionId xid, int32 cid, int64 seq)
{
	ScanKeyData keys[3];

	Assert(reader->n_keys == 3);
	ScanKeyInit(&keys[0], INDEX_XID, BTEqualStrategyNumber, F_XID8EQ, FullTransactionIdGetDatum(xid));
	ScanKeyInit(&keys[1], INDEX_CID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(cid));
	ScanKeyInit(&keys[2], INDEX_SEQ, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(seq));
	index_rescan(reader->scan, keys, 3, NULL, 0);
	reader_next(reader);
}

/* Scan the events of a transaction: those of commands behind cid. */
static void
reader_scan_commands_after(SlotReader *reader, FullTransactionId xid, int32 cid)
{
	ScanKeyData keys[3];

	Assert(reader->n_keys == 3);
	ScanKeyInit(&keys[0], INDEX_XID, BTEqualStrategyNumber, F_XID8EQ, FullTransactionIdGetDatum(xid));
	ScanKeyInit(&keys[1], INDEX_CID, BTGreaterStrategyNumber, F_INT4GT, Int32GetDatum(cid));
	ScanKeyInit(&keys[2], INDEX_SEQ, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(PG_INT64_MIN));
	index_rescan(reader->scan, keys, 3, NULL, 0);
	reader_next(reader);
}

/* A row of the log as one chunk in context. */
static LogEvent *
log_event_make(TupleTableSlot *tuple, int64 last_seq, MemoryContext context)
{
	static const EventAttribute attributes[] = {
		EVENT_ATTR_TABLE_SCHEMA, EVENT_ATTR_TABLE_NAME, EVENT_ATTR_RECORD_KEY,
		EVENT_ATTR_RECORD, EVENT_ATTR_OLD_RECORD, EVENT_ATTR_TRUNCATED
	};
	struct varlena *values[lengthof(attributes)];
	int			lengths[lengthof(attributes)];
	char	   *copies[lengthof(attributes)];
	ArrayType  *webhooks = DatumGetArrayTypeP(event_value(tuple, EVENT_ATTR_WEBHOOKS));
	int			n_webhooks = ArrayGetNItems(ARR_NDIM(webhooks), ARR_DIMS(webhooks));
	Size		size = MAXALIGN(sizeof(LogEvent)) + n_webhooks * sizeof(pg_uuid_t);
	LogEvent   *event;
	char	   *p;

	for (int i = 0; i < lengthof(attributes); i++)
	{
		bool		isnull;
		Datum		datum = slot_getattr(tuple, attributes[i], &isnull);

		values[i] = isnull ? NULL : PG_DETOAST_DATUM_PACKED(datum);
		lengths[i] = values[i] ? VARSIZE_ANY_EXHDR(values[i]) : -1;
		size += lengths[i] + 1;
	}
	event = MemoryContextAllocHuge(context, size);
	event->size = size;
	p = (char *) event + MAXALIGN(sizeof(LogEvent));
	event->n_webhooks = n_webhooks;
	event->webhooks = (pg_uuid_t *) p;
	memcpy(p, ARR_DATA_PTR(webhooks), n_webhooks * sizeof(pg_uuid_t));
	p += n_webhooks * sizeof(pg_uuid_t);
	for (int i = 0; i < lengthof(attributes); i++)
	{
		copies[i] = NULL;
		if (lengths[i] < 0)
			continue;
		copies[i] = p;
		memcpy(p, VARDATA_ANY(values[i]), lengths[i]);
		p[lengths[i]] = '\0';
		p += lengths[i] + 1;
	}
	event->table_schema = copies[0];
	event->table_name = copies[1];
	event->record_key = copies[2];
	event->record_key_len = lengths[2];
	event->record = copies[3];
	event->record_len = lengths[3];
	event->old_record = copies[4];
	event->old_record_len = lengths[4];
	event->truncated = copies[5];
	event->truncated_len = lengths[5];

	event->place.xid = DatumGetFullTransactionId(event_value(tuple, EVENT_ATTR_XID));
	event->place.cid = DatumGetInt32(event_value(tuple, EVENT_ATTR_CID));
	event->place.seq = DatumGetInt64(event_value(tuple, EVENT_ATTR_SEQ));
	event->position.last_seq = last_seq;
	event->position.cid = event->place.cid;
	event->position.seq = event->place.seq;
	event->id = *DatumGetUUIDP(event_value(tuple, EVENT_ATTR_ID));
	event->operation = DatumGetChar(event_value(tuple, EVENT_ATTR_OPERATION));
	event->captured_at = DatumGetTimestampTz(event_value(tuple, EVENT_ATTR_CAPTURED_AT));
	event->key_hash = DatumGetInt64(event_value(tuple, EVENT_ATTR_KEY_HASH));
	event->old_key_hash = DatumGetInt64(event_value(tuple, EVENT_ATTR_OLD_KEY_HASH));
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
				transaction.last_seq = Max(transaction.last_seq, readers[slot].seq);
				reader_next(&readers[slot]);
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
		reader_close(&readers[slot]);
	window_prune(window);
}

Window *
window_open(const LogSnapshot *last, const LogSnapshot *next,
			const LogPosition *after, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks window", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Window	   *window = palloc0(sizeof(Window));

	window->context = context;
	window->last = log_snapshot_copy(last);
	window->next = log_snapshot_copy(next);
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
		event = log_event_make(reader->tuple, transaction->last_seq, page->context);
		page->deliveries_left -= event->n_webhooks;
		/* each delivery has a body of its own */
		page->bytes_left -= (int64) event->size * event->n_webhooks;
		window->after = event->position;
		page->take(event, page->arg);
		reader_next(reader);
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
		if ((transaction->slots & (UINT32_C(1) << slot)) && readers[slot].heap == NULL)
			reader_open(&readers[slot], slot, 3);
	}

	/* begun before: first the rest of the command that was being read */
	if (window->after.last_seq == transaction->last_seq)
	{
		cid = window->after.cid;
		for (int slot = 0; slot < RING_SLOTS; slot++)
		{
			if (transaction->slots & (UINT32_C(1) << slot))
				reader_scan_command(&readers[slot], transaction->xid, cid, window->after.seq);
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
		if (readers[slot].heap != NULL)
			reader_close(&readers[slot]);
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

LogEvent *
window_fetch(const EventPlace *place, MemoryContext context)
{
	LogEvent   *event = NULL;
	int			current = ring_current_slot();

	/* the newest slot first */
	for (int i = 0; i < RING_SLOTS && event == NULL; i++)
	{
		SlotReader	reader;

		reader_open(&reader, (current - i + RING_SLOTS) % RING_SLOTS, 3);
		reader_scan_command(&reader, place->xid, place->cid, place->seq - 1);
		if (reader.found && reader.seq == place->seq)
			event = log_event_make(reader.tuple, place->seq, context);
		reader_close(&reader);
	}
	return event;
}

void
log_event_body(StringInfo body, const LogEvent *event, const pg_uuid_t *webhook_id)
{
	PayloadEvent payload;

	payload.operation = event->operation;
	payload.table_schema = event->table_schema;
	payload.table_name = event->table_name;
	payload.record = event->record;
	payload.record_len = event->record_len;
	payload.old_record = event->old_record;
	payload.old_record_len = event->old_record_len;
	payload.truncated = event->truncated;
	payload.truncated_len = event->truncated_len;
	payload.captured_at = event->captured_at;
	payload_body(body, &payload, webhook_id);
}

Datum
log_event_body_sql(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	HeapTupleData tuple;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(ring_descriptor(RING_EVENT), &TTSOpsHeapTuple);
	StringInfoData body;
	bytea	   *result;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	ExecStoreHeapTuple(&tuple, slot, false);
	initStringInfo(&body);
	log_event_body(&body, log_event_make(slot, 0, CurrentMemoryContext), PG_GETARG_UUID_P(1));
	ExecDropSingleTupleTableSlot(slot);
	result = palloc(VARHDRSZ + body.len);
	SET_VARSIZE(result, VARHDRSZ + body.len);
	memcpy(VARDATA(result), body.data, body.len);
	PG_RETURN_BYTEA_P(result);
}
