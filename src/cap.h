/*
 * cap.h
 *	  The event log's size against fluxhooks.max_log_size, and what is given up
 *	  for it.
 *
 * Everything happens in the present transaction and needs SPI and a snapshot.
 */
#ifndef FLUXHOOKS_CAP_H
#define FLUXHOOKS_CAP_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* How long the log may grow unmeasured while events come; -1: nothing is measured. */
extern long cap_interval_ms(void);

/*
 * Measure the log; says once in the server's log when it has grown over the
 * setting, and once when it has come down again.  How many bytes of its oldest
 * part are to be given up; 0 unless the administrator wants that.
 */
extern int64 cap_excess(void);

/* Bytes of a slot. */
extern int64 cap_slot_bytes(int slot);

/* Is the slot in use so large that giving up a whole one would be too much? */
extern bool cap_slot_is_full(void);

/* What is not given up: some deliveries, and all of some webhooks; uuid[] both. */
typedef struct CapKept
{
	Datum		deliveries;
	Datum		webhooks;
} CapKept;

/* In a statement with these two as $1 and $2: is it kept? */
#define CAP_IS_KEPT(webhook, delivery) \
	"(" webhook " = ANY ($2) OR " delivery " IN (SELECT unnest($1))) "

/* Palloc'd. */
extern CapKept *cap_keep(const pg_uuid_t *deliveries, int n_deliveries,
						 const pg_uuid_t *webhooks, int n_webhooks);

/*
 * Forget what has not been sent of a locked slot, except for what is kept, and
 * count it by webhook.  Of a part of it a record says that it was cancelled.
 */
extern void cap_drop(int slot, const CapKept *kept);

#endif
