/*
 * window.h
 *	  Worker's side of the event log: what has been committed since it last
 *	  looked, in the order of the changes.
 */
#ifndef FLUXHOOKS_WINDOW_H
#define FLUXHOOKS_WINDOW_H

#include "access/transam.h"

#include "queue.h"

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
extern LogSnapshot *log_snapshot_copy(const LogSnapshot *snapshot);
extern bool log_snapshot_sees(const LogSnapshot *snapshot, FullTransactionId xid);

/* As a Datum of type pg_snapshot, and back. */
extern Datum log_snapshot_to_datum(const LogSnapshot *snapshot);
extern LogSnapshot *log_snapshot_from_datum(Datum datum);

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

/* An event as it was read; one palloc'd chunk. */
typedef struct LogEvent
{
	EventPlace	place;
	LogPosition position;
	Size		size;			/* bytes of the chunk */
	pg_uuid_t	id;
	char		operation;
	TimestampTz captured_at;
	int64		key_hash;
	int64		old_key_hash;
	char	   *table_schema;
	char	   *table_name;
	int			n_webhooks;
	pg_uuid_t  *webhooks;
	int			record_key_len; /* -1: null */
	int			record_len;		/* -1: null */
	int			old_record_len; /* -1: null */
	int			truncated_len;	/* -1: null */
	char	   *record_key;
	char	   *record;
	char	   *old_record;
	char	   *truncated;
} LogEvent;

/* The body of the event's delivery to a webhook, appended. */
extern void log_event_body(StringInfo body, const LogEvent *event, const pg_uuid_t *webhook_id);

/* SQL: fluxhooks_internal.event_body(event fluxhooks_internal.event, webhook_id uuid) RETURNS bytea */
extern PGDLLEXPORT Datum log_event_body_sql(PG_FUNCTION_ARGS);

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

extern void window_close(Window *window);

/* One event by its place, palloc'd in context; NULL where it is no longer in the log. */
extern LogEvent *window_fetch(const EventPlace *place, MemoryContext context);

#endif
