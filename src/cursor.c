/*
 * cursor.c
 *	  How far the worker has read, kept in the cursor ring.
 *
 * Rows are appended and never updated, since a row updated many times a second would
 * leave a chain of dead versions for as long as somebody holds xmin back.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "utils/rel.h"

#include "cursor.h"
#include "reader.h"
#include "ring.h"

/* attribute numbers of fluxhooks_internal.cursor */
typedef enum CursorAttribute
{
	CURSOR_ATTR_NUMBER = 1,
	CURSOR_ATTR_LAST,
	CURSOR_ATTR_NEXT,
	CURSOR_ATTR_LAST_SEQ,
	CURSOR_ATTR_CID,
	CURSOR_ATTR_SEQ
} CursorAttribute;

#define CURSOR_ATTRIBUTES	CURSOR_ATTR_SEQ

static Cursor *
cursor_from_slot(TupleTableSlot *tuple, int64 number)
{
	Cursor	   *cursor = palloc0(sizeof(Cursor));
	bool		isnull;

	cursor->number = number;
	cursor->last = log_snapshot_from_datum(slot_getattr(tuple, CURSOR_ATTR_LAST, &isnull));
	slot_getattr(tuple, CURSOR_ATTR_NEXT, &isnull);
	if (isnull)
		return cursor;
	cursor->next = log_snapshot_from_datum(slot_getattr(tuple, CURSOR_ATTR_NEXT, &isnull));
	cursor->position.last_seq = DatumGetInt64(slot_getattr(tuple, CURSOR_ATTR_LAST_SEQ, &isnull));
	cursor->position.cid = DatumGetInt32(slot_getattr(tuple, CURSOR_ATTR_CID, &isnull));
	cursor->position.seq = DatumGetInt64(slot_getattr(tuple, CURSOR_ATTR_SEQ, &isnull));
	return cursor;
}

/* The newest row of one slot, where it is newer than best. */
static Cursor *
cursor_newest_of(int slot, Cursor *best)
{
	IndexReader reader;

	ring_open_reader(&reader, RING_CURSOR, slot, 0);
	index_reader_scan(&reader, NULL);
	if (index_reader_next(&reader, BackwardScanDirection))
	{
		bool		isnull;
		int64		number = DatumGetInt64(slot_getattr(reader.tuple, CURSOR_ATTR_NUMBER, &isnull));

		if (best == NULL || number > best->number)
			best = cursor_from_slot(reader.tuple, number);
	}
	index_reader_close(&reader);
	return best;
}

Cursor *
cursor_load(void)
{
	Cursor	   *best = NULL;

	for (int slot = 0; slot < RING_SLOTS; slot++)
		best = cursor_newest_of(slot, best);
	if (best == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the event log has no cursor"),
				 errdetail("The tables fluxhooks_internal.cursor_N have been changed by hand.")));
	return best;
}

void
cursor_append(Cursor *cursor)
{
	Relation	rel = ring_open(RING_CURSOR);
	Datum		values[CURSOR_ATTRIBUTES];
	bool		nulls[CURSOR_ATTRIBUTES];
	HeapTuple	tuple;

	StaticAssertStmt(CURSOR_ATTRIBUTES == RING_CURSOR_ATTRIBUTES, "ring.h knows the columns of a cursor");
	memset(nulls, 0, sizeof(nulls));
	values[CURSOR_ATTR_NUMBER - 1] = Int64GetDatum(cursor->number + 1);
	values[CURSOR_ATTR_LAST - 1] = log_snapshot_to_datum(cursor->last);
	if (cursor->next != NULL)
	{
		values[CURSOR_ATTR_NEXT - 1] = log_snapshot_to_datum(cursor->next);
		values[CURSOR_ATTR_LAST_SEQ - 1] = Int64GetDatum(cursor->position.last_seq);
		values[CURSOR_ATTR_CID - 1] = Int32GetDatum(cursor->position.cid);
		values[CURSOR_ATTR_SEQ - 1] = Int64GetDatum(cursor->position.seq);
	}
	else
	{
		for (int i = CURSOR_ATTR_NEXT; i <= CURSOR_ATTRIBUTES; i++)
			nulls[i - 1] = true;
	}
	tuple = heap_form_tuple(ring_descriptor(RING_CURSOR), values, nulls);
	ring_append(RING_CURSOR, rel, &tuple, 1);
	table_close(rel, NoLock);
	heap_freetuple(tuple);
	cursor->number++;
}
