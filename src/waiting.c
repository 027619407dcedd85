/*
 * waiting.c
 *	  Since when an event that is read counts as pending.
 *
 * Mostly that is when its window was opened, a moment after its commit.  While a
 * database is paused nothing is read; but the log moves on, and notes each
 * time what had committed by then.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/timestamp.h"

#include "ring.h"
#include "snapshot.h"
#include "sql.h"
#include "waiting.h"

#define WAITING_SHORT_MS	10000	/* too short for the log to come round to the same slot */

typedef struct ClosedSlot
{
	TimestampTz at;
	LogSnapshot *snapshot;
} ClosedSlot;

static MemoryContext waiting_context = NULL;
static TimestampTz opened_at = 0;	/* the window */
static int	opened_slot = -1;	/* that was in use then */
static TimestampTz done_at = 0; /* the same of the last one that was read to its end */
static int	done_slot = -1;
static ClosedSlot closed[RING_SLOTS];	/* since then, and perhaps before; the first one first */
static int	n_closed = 0;

void
waiting_init(MemoryContext context)
{
	waiting_context = context;
}

static void
waiting_load(void)
{
	sql_execute("SELECT closed_at, closed_snapshot FROM fluxhooks_internal.ring "
				"WHERE closed_at IS NOT NULL ORDER BY closed_at",
				SPI_OK_SELECT, 0, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed && i < RING_SLOTS; i++)
	{
		bool		isnull;
		LogSnapshot *snapshot = log_snapshot_from_datum(sql_value(i, 2, &isnull));

		closed[i].snapshot = log_snapshot_copy(snapshot, waiting_context);
		closed[i].at = DatumGetTimestampTz(sql_value(i, 1, &isnull));
		n_closed++;
	}
}

void
waiting_begin(TimestampTz now)
{
	while (n_closed > 0)
		log_snapshot_free(closed[--n_closed].snapshot);
	opened_at = now;
	opened_slot = ring_current_slot();
	if (opened_slot != done_slot || now >= TimestampTzPlusMilliseconds(done_at, WAITING_SHORT_MS))
		waiting_load();
}

void
waiting_end(void)
{
	done_at = opened_at;
	done_slot = opened_slot;
}

TimestampTz
waiting_since(FullTransactionId xid)
{
	for (int i = 0; i < n_closed; i++)
	{
		if (log_snapshot_sees(closed[i].snapshot, xid))
			return Min(closed[i].at, opened_at);
	}
	return opened_at;
}
