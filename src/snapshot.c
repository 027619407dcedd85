/*
 * snapshot.c
 *	  Snapshots as values: which top-level transactions had ended.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "snapshot.h"

static int
snapshot_compare_xid(const void *a, const void *b)
{
	uint64		x = U64FromFullTransactionId(*(const FullTransactionId *) a);
	uint64		y = U64FromFullTransactionId(*(const FullTransactionId *) b);

	return x < y ? -1 : x > y;
}

/* A running or recent xid is never more than 2^31 away from the next one. */
static FullTransactionId
snapshot_widen(TransactionId xid, FullTransactionId next)
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

	result->xmin = snapshot_widen(snapshot->xmin, next);
	result->xmax = snapshot_widen(snapshot->xmax, next);
	result->n_xip = snapshot->xcnt;
	result->xip = palloc(sizeof(FullTransactionId) * Max(snapshot->xcnt, 1));
	for (int i = 0; i < result->n_xip; i++)
		result->xip[i] = snapshot_widen(snapshot->xip[i], next);
	qsort(result->xip, result->n_xip, sizeof(FullTransactionId), snapshot_compare_xid);
	return result;
}

LogSnapshot *
log_snapshot_copy(const LogSnapshot *snapshot, MemoryContext context)
{
	LogSnapshot *result = MemoryContextAlloc(context, sizeof(LogSnapshot));

	*result = *snapshot;
	result->xip = MemoryContextAlloc(context, sizeof(FullTransactionId) * Max(snapshot->n_xip, 1));
	memcpy(result->xip, snapshot->xip, sizeof(FullTransactionId) * snapshot->n_xip);
	return result;
}

void
log_snapshot_free(LogSnapshot *snapshot)
{
	if (snapshot == NULL)
		return;
	pfree(snapshot->xip);
	pfree(snapshot);
}

bool
log_snapshot_sees(const LogSnapshot *snapshot, FullTransactionId xid)
{
	if (FullTransactionIdPrecedes(xid, snapshot->xmin))
		return true;
	if (!FullTransactionIdPrecedes(xid, snapshot->xmax))
		return false;
	return bsearch(&xid, snapshot->xip, snapshot->n_xip, sizeof(FullTransactionId),
				   snapshot_compare_xid) == NULL;
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
