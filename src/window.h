/*
 * window.h
 *	  Worker's side of the event log: what has been committed since it last
 *	  looked, in the order of the changes.
 */
#ifndef FLUXHOOKS_WINDOW_H
#define FLUXHOOKS_WINDOW_H

#include "access/transam.h"
#include "access/xlogdefs.h"

#include "chunk.h"
#include "queue.h"
#include "snapshot.h"

/*
 * Order of events in a window: transactions by the greatest seq among their
 * events, within one by (cid, seq).
 */
typedef struct LogPosition
{
	int64		last_seq;		/* greatest seq of the transaction */
	int32		cid;
	int64		seq;
} LogPosition;

/*
 * An event as it was read; names, webhooks and the parts of stored belong to
 * its chunk, in the same memory context.
 */
typedef struct LogEvent
{
	EventPlace	place;
	LogPosition position;
	Size		size;			/* bytes of memory that it stands for */
	pg_uuid_t	id;
	char		operation;
	const char *table_schema;
	const char *table_name;
	int			n_webhooks;
	const pg_uuid_t *webhooks;
	ChunkEvent	stored;			/* time, hashes, images */
} LogEvent;

/*
 * The event that chunk_next has just read, palloc'd in context; last_seq is
 * its transaction's, where that matters.
 */
extern LogEvent *log_event_make(const Chunk *chunk, const ChunkEvent *stored,
								int64 last_seq, MemoryContext context);

/* The body of the event's delivery to a webhook, appended. */
extern void log_event_body(StringInfo body, const LogEvent *event, const pg_uuid_t *webhook_id);

typedef struct Window Window;

/*
 * The events of transactions that next sees and last does not, after a
 * position (NULL: all).  Needs an active snapshot not older than next.  Kept
 * in a memory context of its own below parent.
 */
extern Window *window_open(const LogSnapshot *last, const LogSnapshot *next,
						   const LogPosition *after, MemoryContext parent);

/*
 * Read on: events are palloc'd in context and handed to take, until their
 * deliveries number max_deliveries or their bytes max_bytes.
 * True when the window has been read to its end.  In any later transaction
 * the same window goes on.
 */
extern bool window_read(Window *window, int max_deliveries, Size max_bytes,
						MemoryContext context, void (*take) (LogEvent *event, void *arg), void *arg);

/* Holds it no transaction with events? */
extern bool window_is_empty(const Window *window);

/* WAL up to here must be on disk before anything of what is read next is sent; may be invalid. */
extern XLogRecPtr window_flush_to(const Window *window);

extern void window_close(Window *window);

/*
 * Many events by their places, within one transaction: in the log's order each chunk
 * is looked up and read once.  What it reads is palloc'd in context.
 */
typedef struct LogFetch LogFetch;

extern LogFetch *log_fetch_begin(MemoryContext context);

/* NULL where it is no longer in the log. */
extern LogEvent *log_fetch(LogFetch *fetch, const EventPlace *place);

extern void log_fetch_end(LogFetch *fetch);

/* One event by its place, likewise. */
extern LogEvent *window_fetch(const EventPlace *place, MemoryContext context);

#endif
