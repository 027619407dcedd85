/*
 * backlog.c
 *	  How many deliveries of each webhook are pending.
 *
 * First comes what the worker has published, then a snapshot, then the look
 * into the tables.  Should the snapshot be the later one, an event that was read,
 * attempted or parked in between is found where it was and where it has
 * gone, but never nowhere.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "backlog.h"
#include "compat.h"
#include "id.h"
#include "publish.h"
#include "ring.h"
#include "settled.h"
#include "window.h"

/*
 * Of events that a former worker may have settled, so many are looked up, from
 * the first on: no more can be open behind a cursor (see parking.c).
 */
#define BACKLOG_CHECKED		20000

/* attribute numbers of fluxhooks_internal.pending */
#define PENDING_ATTR_DELIVERY_ID		1
#define PENDING_ATTR_WEBHOOK_ID			2
#define PENDING_ATTR_PENDING_SINCE		5
#define PENDING_ATTR_ATTEMPTS_BEFORE	12

typedef struct Count
{
	HTAB	   *backlogs;
	const Cursor *reached;
	const LogSnapshot *checked; /* NULL: nothing is */
	bool		check_all;
	SettledReader *settled;		/* NULL until one is */
	int			n_checked;
	int64		n_seen;			/* events or rows looked at */
	BlockNumber first_block;	/* of those, in the slot looked at */
	BlockNumber last_block;
	double		factor;			/* by which there are more events than were seen */

	/* the transaction whose events are being counted */
	FullTransactionId xid;
	bool		partly;			/* it is in the window that is being read */
	int64		last_seq;
	TimestampTz oldest;
	List	   *touched;		/* Backlog */
} Count;

static Backlog *
backlog_of(Count *count, const pg_uuid_t *webhook_id)
{
	bool		found;
	Backlog    *backlog = hash_search(count->backlogs, webhook_id, HASH_ENTER, &found);

	if (!found)
	{
		memset((char *) backlog + sizeof(pg_uuid_t), 0, sizeof(Backlog) - sizeof(pg_uuid_t));
		backlog->oldest_at = DT_NOEND;
		backlog->oldest_unread_at = DT_NOEND;
	}
	return backlog;
}

/* --------------------------------------------------------------- unread events */

static Datum
backlog_value(TupleTableSlot *tuple, int attribute)
{
	bool		isnull;

	return slot_getattr(tuple, attribute, &isnull);
}

/*
 * The transaction's events have all been seen.  In a window that is being
 * read, transactions go by their greatest seq; of the one that reading is in, the
 * events behind the position are left.
 */
static void
backlog_end_transaction(Count *count)
{
	const LogPosition *position = &count->reached->position;
	ListCell   *lc;

	foreach(lc, count->touched)
	{
		Backlog    *backlog = lfirst(lc);
		int64		n = backlog->all;

		if (count->partly && count->last_seq <= position->last_seq)
			n = count->last_seq == position->last_seq ? backlog->behind : 0;
		backlog->unread += n;
		backlog->pending += n;
		if (n > 0)
		{
			backlog->oldest_unread_at = Min(backlog->oldest_unread_at, count->oldest);
			backlog->oldest_at = Min(backlog->oldest_at, count->oldest);
		}
		backlog->all = 0;
		backlog->behind = 0;
	}
	list_free(count->touched);
	count->touched = NIL;
	count->last_seq = -1;
	count->oldest = DT_NOEND;
}

static void
backlog_begin_transaction(Count *count, FullTransactionId xid)
{
	const Cursor *reached = count->reached;

	backlog_end_transaction(count);
	count->xid = xid;
	count->partly = reached->next != NULL && log_snapshot_sees(reached->next, xid);
}

static bool
backlog_is_behind(const Count *count, int32 cid, int64 seq)
{
	const LogPosition *position = &count->reached->position;

	return cid > position->cid || (cid == position->cid && seq > position->seq);
}

static void
backlog_add(Count *count, const pg_uuid_t *webhook_id, int64 all, int64 behind)
{
	Backlog    *backlog = backlog_of(count, webhook_id);

	if (backlog->all == 0)
		count->touched = lappend(count->touched, backlog);
	backlog->all += all;
	backlog->behind += behind;
}

/* A chunk whose events a former worker may have settled, event by event. */
static void
backlog_check_chunk(Count *count, TupleTableSlot *tuple)
{
	Chunk	   *chunk = chunk_read(tuple, CurrentMemoryContext);
	ChunkEvent	event;

	if (count->settled == NULL)
		count->settled = settled_open();
	while (chunk_next(chunk, &event))
	{
		pg_uuid_t	event_id;
		bool		behind = backlog_is_behind(count, chunk->cid, chunk->seq + chunk->number - 1);

		id_of_event(&event_id, &chunk->id, chunk->number - 1, event.captured_at);
		for (int i = 0; i < chunk->n_webhooks; i++)
		{
			pg_uuid_t	delivery_id;

			id_of_delivery(&delivery_id, &event_id, &chunk->webhooks[i]);
			count->n_checked++;
			if (!settled_has(count->settled, &chunk->webhooks[i], &delivery_id))
				backlog_add(count, &chunk->webhooks[i], 1, behind ? 1 : 0);
		}
		CHECK_FOR_INTERRUPTS();
	}
	chunk_free(chunk);
}

static void
backlog_count_chunk(Count *count, TupleTableSlot *tuple)
{
	int32		cid = DatumGetInt32(backlog_value(tuple, CHUNK_ATTR_CID));
	int64		seq = DatumGetInt64(backlog_value(tuple, CHUNK_ATTR_SEQ));
	int			n_events = DatumGetInt32(backlog_value(tuple, CHUNK_ATTR_N_EVENTS));
	Datum		array = backlog_value(tuple, CHUNK_ATTR_WEBHOOKS);
	ArrayType  *webhooks = DatumGetArrayTypeP(array);
	const pg_uuid_t *ids = (const pg_uuid_t *) ARR_DATA_PTR(webhooks);
	int			n = ArrayGetNItems(ARR_NDIM(webhooks), ARR_DIMS(webhooks));
	int64		behind = 0;

	count->n_seen += n_events;
	count->last_seq = Max(count->last_seq, seq + n_events - 1);
	count->oldest = Min(count->oldest, DatumGetTimestampTz(backlog_value(tuple, CHUNK_ATTR_CAPTURED_AT)));
	if (count->n_checked < BACKLOG_CHECKED &&
		(count->check_all || (count->checked && log_snapshot_sees(count->checked, count->xid))))
	{
		backlog_check_chunk(count, tuple);
		return;
	}
	if (backlog_is_behind(count, cid, seq))
		behind = n_events;
	else if (backlog_is_behind(count, cid, seq + n_events - 1))
		behind = seq + n_events - 1 - count->reached->position.seq;
	for (int i = 0; i < n; i++)
		backlog_add(count, &ids[i], n_events, behind);
	if ((Pointer) webhooks != DatumGetPointer(array))
		pfree(webhooks);
}

/* Count a slot's events of transactions from first on, up to but without end. */
static void
backlog_scan(Count *count, IndexReader *reader, FullTransactionId first, FullTransactionId end)
{
	TupleTableSlot *tuple = reader->tuple;
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE, FullTransactionIdGetDatum(first));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_XID8LT, FullTransactionIdGetDatum(end));
	index_reader_scan(reader, keys);
	count->first_block = InvalidBlockNumber;
	while (count->n_seen < BACKLOG_COUNTED && index_reader_next(reader, ForwardScanDirection))
	{
		FullTransactionId xid = DatumGetFullTransactionId(backlog_value(tuple, CHUNK_ATTR_XID));

		CHECK_FOR_INTERRUPTS();
		count->last_block = ItemPointerGetBlockNumber(&tuple->tts_tid);
		if (count->first_block == InvalidBlockNumber)
			count->first_block = count->last_block;
		if (log_snapshot_sees(count->reached->last, xid))
			continue;
		if (!FullTransactionIdEquals(xid, count->xid))
			backlog_begin_transaction(count, xid);
		backlog_count_chunk(count, tuple);
	}
	backlog_end_transaction(count);
	count->xid = InvalidFullTransactionId;
}

/*
 * What began after reached->last, and what was under way then: never everything
 * after its xmin, which one idle transaction can hold back for hours.
 */
static void
backlog_scan_slot(Count *count, IndexReader *reader)
{
	const LogSnapshot *last = count->reached->last;

	for (int i = 0; i < last->n_xip; i++)
		backlog_scan(count, reader, last->xip[i],
					 FullTransactionIdFromU64(U64FromFullTransactionId(last->xip[i]) + 1));
	backlog_scan(count, reader, last->xmax, FullTransactionIdFromU64(PG_INT64_MAX));
}

/* Slots from the oldest on, so that what is not looked at any more is what is left. */
static void
backlog_count_unread(Count *count)
{
	int			current = ring_current_slot();
	double		seen = 1;
	double		left = 0;

	for (int i = 1; i <= RING_SLOTS; i++)
	{
		IndexReader reader;
		BlockNumber blocks;

		ring_open_reader(&reader, RING_EVENT, (current + i) % RING_SLOTS, 2);
		blocks = reader.scan == NULL ? 0 : RelationGetNumberOfBlocks(reader.heap);
		if (count->n_seen >= BACKLOG_COUNTED)
			left += blocks;
		else if (blocks > 0)
		{
			backlog_scan_slot(count, &reader);
			if (count->first_block != InvalidBlockNumber)
				seen += (double) count->last_block - count->first_block;
			if (count->n_seen >= BACKLOG_COUNTED)
				left += (double) blocks - count->last_block;
		}
		index_reader_close(&reader);
	}
	if (count->settled != NULL)
		settled_close(count->settled);
	count->factor = 1 + Max(left, 0) / Max(seen, 1);
}

/* -------------------------------------------------------------------- pending */

static void
backlog_count_row(Count *count, HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	pg_uuid_t  *delivery_id = DatumGetUUIDP(heap_getattr(row, PENDING_ATTR_DELIVERY_ID, desc, &isnull));
	pg_uuid_t  *webhook_id = DatumGetUUIDP(heap_getattr(row, PENDING_ATTR_WEBHOOK_ID, desc, &isnull));
	int			before = DatumGetInt32(heap_getattr(row, PENDING_ATTR_ATTEMPTS_BEFORE, desc, &isnull));
	Backlog    *backlog = backlog_of(count, webhook_id);
	TimestampTz at;

	/* one that is sent again has been waiting since then */
	if (before == 0)
		at = id_time(delivery_id);
	else
		at = DatumGetTimestampTz(heap_getattr(row, PENDING_ATTR_PENDING_SINCE, desc, &isnull));
	backlog->all++;
	backlog->oldest_at = Min(backlog->oldest_at, at);
}

static void
backlog_count_pending(Count *count)
{
	Relation	rel = table_open(catalog_require()->pending, AccessShareLock);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	double		factor = 1;
	HASH_SEQ_STATUS status;
	Backlog    *backlog;
	HeapTuple	row;

	count->n_seen = 0;
	while ((row = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		if (count->n_seen % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		backlog_count_row(count, row, RelationGetDescr(rel));
		if (++count->n_seen >= BACKLOG_COUNTED)
		{
			factor = (double) RelationGetNumberOfBlocks(rel) / (ItemPointerGetBlockNumber(&row->t_self) + 1);
			break;
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	hash_seq_init(&status, count->backlogs);
	while ((backlog = hash_seq_search(&status)) != NULL)
	{
		backlog->pending += (int64) (backlog->all * factor);
		backlog->all = 0;
	}
}

/* ------------------------------------------------------------------- together */

/* What the worker holds and has written nowhere yet. */
static void
backlog_add_held(Count *count, const Published *published)
{
	for (int i = 0; i < published->n_webhooks; i++)
	{
		const PublishedWebhook *webhook = &published->webhooks[i];
		Backlog    *backlog;

		if (webhook->held <= 0)
			continue;
		backlog = backlog_of(count, &webhook->webhook_id);
		backlog->pending += webhook->held;
		backlog->oldest_at = Min(backlog->oldest_at, webhook->oldest_held_at);
	}
}

static void
backlog_apply_factor(Count *count)
{
	HASH_SEQ_STATUS status;
	Backlog    *backlog;

	hash_seq_init(&status, count->backlogs);
	while ((backlog = hash_seq_search(&status)) != NULL)
	{
		backlog->unread = (int64) (backlog->unread * count->factor);
		backlog->pending = backlog->unread;
	}
}

static HTAB *
backlog_make_table(void)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.hcxt = CurrentMemoryContext;
	ctl.keysize = sizeof(pg_uuid_t);
	ctl.entrysize = sizeof(Backlog);
	return hash_create("fluxhooks backlog", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

int
backlog_count(Backlog **backlogs)
{
	const Published *published = publish_read_with_snapshot();
	Count		count = {0};
	HASH_SEQ_STATUS status;
	Backlog    *backlog;
	int			n = 0;

	count.backlogs = backlog_make_table();
	count.last_seq = -1;
	count.oldest = DT_NOEND;
	count.reached = published ? &published->reached : cursor_load();
	count.checked = published ? published->checked : NULL;
	count.check_all = published == NULL;
	backlog_count_unread(&count);
	backlog_apply_factor(&count);
	if (published)
		backlog_add_held(&count, published);
	backlog_count_pending(&count);
	PopActiveSnapshot();

	*backlogs = palloc(Max(hash_get_num_entries(count.backlogs), 1) * sizeof(Backlog));
	hash_seq_init(&status, count.backlogs);
	while ((backlog = hash_seq_search(&status)) != NULL)
		(*backlogs)[n++] = *backlog;
	hash_destroy(count.backlogs);
	return n;
}
