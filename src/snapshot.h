/*
 * snapshot.h
 *	  Snapshots as values: which top-level transactions had ended.
 */
#ifndef FLUXHOOKS_SNAPSHOT_H
#define FLUXHOOKS_SNAPSHOT_H

#include "access/transam.h"

/* A snapshot as a value: which top-level transactions had ended. */
typedef struct LogSnapshot
{
	FullTransactionId xmin;
	FullTransactionId xmax;
	int			n_xip;
	FullTransactionId *xip;		/* ascending */
} LogSnapshot;

/* That of the active snapshot, palloc'd. */
extern LogSnapshot *log_snapshot_take(void);
extern LogSnapshot *log_snapshot_copy(const LogSnapshot *snapshot, MemoryContext context);
extern void log_snapshot_free(LogSnapshot *snapshot);	/* NULL: does nothing */
extern bool log_snapshot_sees(const LogSnapshot *snapshot, FullTransactionId xid);

/* As a Datum of type pg_snapshot, and back. */
extern Datum log_snapshot_to_datum(const LogSnapshot *snapshot);
extern LogSnapshot *log_snapshot_from_datum(Datum datum);

#endif
