/*
 * stage.h
 *	  What a batch has decided and not committed yet: what it has read, and the
 *	  rows that it is to write.
 */
#ifndef FLUXHOOKS_STAGE_H
#define FLUXHOOKS_STAGE_H

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"

#include "delivery.h"
#include "record.h"
#include "window.h"

#define STAGE_BYTES		(4 * 1024 * 1024)	/* of bodies, from each source */

typedef struct StagedEvent
{
	LogEvent   *event;
	int64		number;
	int			unsettled;
	OpenEvent  *open;
} StagedEvent;

typedef struct StagedDelivery
{
	Delivery   *delivery;
	StagedEvent *event;			/* NULL: loaded from pending */
} StagedDelivery;

/* All of it in stage_context. */
typedef struct Stage
{
	TimestampTz now;
	List	   *events;			/* StagedEvent */
	List	   *deliveries;		/* StagedDelivery: to be queued */
	List	   *saved;			/* Delivery in memory whose pending row was written */
	List	   *recorded;		/* Delivery that has ended */
	List	   *parking;		/* Lane that parks from now on */
	PendingRow *pending;
	int			n_pending;
	int			size_pending;
	AttemptRow *attempts;
	int			n_attempts;
	int			size_attempts;
	pg_uuid_t  *settled;
	int			n_settled;
	int			size_settled;
	bool		window_done;
	bool		configuration_read;
	bool		cursor_written;
	XLogRecPtr	flush_to;		/* before anything of the window is sent */
} Stage;

extern Stage stage;
extern MemoryContext stage_context; /* emptied after each batch */

extern void stage_init(MemoryContext context);

/* Forget it all, except what has joined a lane. */
extern void stage_clear(void);

/* Rows to be written. */
extern void stage_add_pending(const PendingRow *row);
extern AttemptRow *stage_add_attempt(const PendingRow *row, char outcome);
extern void stage_add_settled(const pg_uuid_t *delivery_id);

/* A delivery to be queued once this has committed; event is NULL where it was pending. */
extern void stage_add_delivery(Delivery *delivery, StagedEvent *event);

/* Write the rows, in the present transaction. */
extern void stage_write(void);

/* After commit: queue the deliveries.  After an error: free them. */
extern void stage_queue(void);
extern void stage_drop(void);

#endif
