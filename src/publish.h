/*
 * publish.h
 *	  What the worker lets others see of its memory: how far it has read, and for
 *	  each webhook what it holds and has counted.
 *
 * It lies in a segment of dynamic shared memory, since there is no bound on
 * the number of webhooks.
 */
#ifndef FLUXHOOKS_PUBLISH_H
#define FLUXHOOKS_PUBLISH_H

#include "utils/uuid.h"

#include "cursor.h"
#include "stats.h"

typedef struct PublishedWebhook
{
	pg_uuid_t	webhook_id;
	int64		held;			/* deliveries in memory that have no pending row */
	TimestampTz oldest_held_at; /* when the first of them was captured; DT_NOEND: none */
	int64		in_a_row;		/* failed attempts since the last success */
	TimestampTz failing_since;	/* 0: not failing */
	bool		breaker;		/* is there one? */
	bool		breaker_open;
	TimestampTz breaker_open_since;
	Stats		stats;
} PublishedWebhook;

typedef struct Published
{
	uint32		segment;		/* where it was read, and which copy it is */
	uint32		changes;
	Cursor		reached;		/* what has been read */
	LogSnapshot *checked;		/* what it sees may have been settled by a former worker */
	int			n_webhooks;
	PublishedWebhook *webhooks;
} Published;

/* The worker's side: something has changed; tell, at most ten times a second. */
extern void publish_touch(void);

/* What is counted here may be about to move into a table, or back. */
extern void publish_begin_move(void);
extern bool publish_wanted(TimestampTz now, long *again);
extern void publish_run(void);

/*
 * What this database's worker has published, palloc'd; NULL where none runs,
 * or it has not started to read yet.
 */
extern Published *publish_read(void);

/*
 * The same, with a snapshot made active that sees the tables as they were then:
 * what is neither here nor there, or in both, there is not.  Where the worker leaves
 * no moment for that, within a quarter of a second, the snapshot is a later one.
 */
extern Published *publish_read_with_snapshot(void);

#endif
