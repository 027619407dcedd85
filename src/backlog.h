/*
 * backlog.h
 *	  How many deliveries of each webhook are pending, as anybody's backend can
 *	  tell: from the log behind what the worker has read, its memory as
 *	  published, and the pending table.
 */
#ifndef FLUXHOOKS_BACKLOG_H
#define FLUXHOOKS_BACKLOG_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* Beyond so many events, or pending rows, the rest is estimated from the size of the tables. */
#define BACKLOG_COUNTED		1000000

typedef struct Backlog
{
	pg_uuid_t	webhook_id;		/* hash key */
	int64		pending;		/* deliveries, those not read included */
	int64		unread;			/* of them, those whose event has not been read */
	TimestampTz oldest_at;		/* since when the oldest has been waiting; DT_NOEND: none */
	TimestampTz oldest_unread_at;

	/* while a transaction's events are counted */
	int64		all;
	int64		behind;
} Backlog;

/*
 * Count, palloc'd: n of them in *backlogs.  Sees what is committed now, and
 * asks for no right on the tables.  Exact, except that a delivery may be counted
 * twice that moves on while the worker leaves no moment to look.
 */
extern int	backlog_count(Backlog **backlogs);

#endif
