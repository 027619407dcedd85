/*
 * listing.h
 *	  Deliveries of a webhook, newest first, and one by its id: what the view
 *	  "deliveries" shows of them, found by index scans of our own.
 */
#ifndef FLUXHOOKS_LISTING_H
#define FLUXHOOKS_LISTING_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#include "record.h"

/* A delivery; tuples are copies, NULL where there is no such row. */
typedef struct ListedDelivery
{
	pg_uuid_t	id;
	pg_uuid_t	webhook_id;
	EventPlace	place;
	PendingDelivery *pending;	/* its row of the table pending */
	HeapTuple	ended;			/* last one of the attempt ring; NULL where it is pending */
	HeapTuple	requested;		/* the last one that was a request */
} ListedDelivery;

/* Which ones to list. */
typedef struct ListingFilter
{
	pg_uuid_t	webhook_id;
	bool		deleted;		/* the webhook is: what is pending counts as cancelled */
	pg_uuid_t	lowest;			/* ids from here on */
	pg_uuid_t	before;			/* and up to, without, this one */
	const char *status;			/* NULL: any */
	int			max_rows;
} ListingFilter;

/* Those that match, newest first, palloc'd; how many. */
extern int	listing_find(const ListingFilter *filter, ListedDelivery **deliveries);

/*
 * The delivery with this id of one of these webhooks; false where there is
 * none.  Those of others make no difference, to the time it takes neither.
 */
extern bool listing_find_one(const pg_uuid_t *id, const pg_uuid_t *webhooks, int n_webhooks,
							 ListedDelivery *delivery);

/* A row of the view "deliveries"; desc is the view's. */
extern HeapTuple listing_form_row(const ListedDelivery *delivery, bool deleted, TupleDesc desc);

/* Append the body that its requests have, UTF-8; false where it is no longer kept. */
extern bool listing_append_body(const ListedDelivery *delivery, StringInfo body);

/*
 * What has to be in pending for one that has ended to be sent again, less
 * number and times; false where its body is no longer kept.
 */
extern bool listing_make_pending(const ListedDelivery *delivery, PendingDelivery *pending);

#endif
