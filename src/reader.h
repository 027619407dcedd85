/*
 * reader.h
 *	  Reading one of our own tables by one of its indexes, under the active
 *	  snapshot and without a planner.
 */
#ifndef FLUXHOOKS_READER_H
#define FLUXHOOKS_READER_H

#include "access/genam.h"
#include "access/sdir.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

typedef struct IndexReader
{
	Relation	heap;
	Relation	index;
	IndexScanDesc scan;			/* NULL: the table is empty, or none was opened */
	TupleTableSlot *tuple;		/* what index_reader_next has found */
} IndexReader;

/*
 * A table of ours has one index at most beside its primary key.  Which of the two can be
 * read; to be asked with the table locked, every time: REINDEX CONCURRENTLY
 * puts another in its place, and drops it only once nobody has the table locked.
 */
typedef enum IndexKind
{
	INDEX_PRIMARY_KEY,
	INDEX_OTHER
} IndexKind;

extern Oid	index_find(Relation heap, IndexKind kind);

/* An aborted transaction closes it, too; its memory is the current context's. */
extern void index_reader_open(IndexReader *reader, Oid heap, IndexKind kind, int n_keys);

/* Begin a scan by as many keys as it was opened for. */
extern void index_reader_scan(IndexReader *reader, ScanKey keys);

/* The next visible row; false: there is none. */
extern bool index_reader_next(IndexReader *reader, ScanDirection direction);

extern void index_reader_close(IndexReader *reader);

#endif
