/*
 * listing.c
 *	  Deliveries of a webhook, newest first, and one by its id: what the view
 *	  "deliveries" shows of them, found by index scans of our own.
 *
 * The view says the same in SQL, for any question.  This answers the two that
 * are asked most without planning a union of thirty tables, and without reading
 * more than it shows.  A delivery is in one of three places: it has ended
 * (attempts, and no row of pending), it is in pending, or the worker has not
 * come to its event yet.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "cursor.h"
#include "id.h"
#include "listing.h"
#include "reader.h"
#include "record.h"
#include "ring.h"
#include "settled.h"
#include "window.h"

#define LISTING_PAGE_DELIVERIES	4096	/* of unread events, looked through at once */
#define LISTING_PAGE_BYTES		(4 * 1024 * 1024)

/* What has been found so far: the newest, at most filter->max_rows. */
typedef struct Listing
{
	const ListingFilter *filter;
	binaryheap *newest;			/* ListedDelivery, the oldest of them first */
	SettledReader *settled;
	MemoryContext context;
} Listing;

static int
listing_compare_id(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN);
}

static bool
listing_in_range(const ListingFilter *filter, const pg_uuid_t *id)
{
	return listing_compare_id(id, &filter->lowest) >= 0 && listing_compare_id(id, &filter->before) < 0;
}

static bool
listing_wants(const ListingFilter *filter, const char *status)
{
	return filter->status == NULL || strcmp(filter->status, status) == 0;
}

static const char *
listing_pending_status(bool deleted)
{
	return deleted ? "cancelled" : "pending";
}

/* ------------------------------------------------------------------- columns */

static Datum
listing_attempt_value(HeapTuple tuple, AttemptAttribute attribute, bool *isnull)
{
	*isnull = true;
	return tuple == NULL ? (Datum) 0 : heap_getattr(tuple, attribute, ring_descriptor(RING_ATTEMPT), isnull);
}

/* A column of type bytea, detoasted; NULL for null. */
static bytea *
listing_attempt_bytes(HeapTuple tuple, AttemptAttribute attribute)
{
	bool		isnull;
	Datum		value = listing_attempt_value(tuple, attribute, &isnull);

	return isnull ? NULL : DatumGetByteaPP(value);
}

static int
listing_attempt_number(HeapTuple tuple)
{
	bool		isnull;

	return DatumGetInt32(listing_attempt_value(tuple, ATTEMPT_ATTR_ATTEMPT, &isnull));
}

static char
listing_outcome(HeapTuple tuple)
{
	bool		isnull;

	return DatumGetChar(listing_attempt_value(tuple, ATTEMPT_ATTR_OUTCOME, &isnull));
}

static TimestampTz
listing_started_at(HeapTuple tuple)
{
	bool		isnull;

	return DatumGetTimestampTz(listing_attempt_value(tuple, ATTEMPT_ATTR_STARTED_AT, &isnull));
}

/* Does this row of a delivery come after the other, NULL being before all? */
static bool
listing_is_later(HeapTuple row, HeapTuple other)
{
	int			attempt;
	bool		cancelled = listing_outcome(row) == OUTCOME_CANCELLED;

	if (other == NULL)
		return true;
	attempt = listing_attempt_number(other);
	if (listing_attempt_number(row) != attempt)
		return listing_attempt_number(row) > attempt;
	if (cancelled != (listing_outcome(other) == OUTCOME_CANCELLED))
		return cancelled;
	return listing_started_at(row) > listing_started_at(other);
}

static const char *
listing_ended_status(HeapTuple tuple)
{
	switch (listing_outcome(tuple))
	{
		case OUTCOME_SUCCESS:
			return "success";
		case OUTCOME_FAILED:
			return "failed";
		case OUTCOME_CANCELLED:
			return "cancelled";
		default:
			return "pending";
	}
}

/* ---------------------------------------------------------------- the newest */

static int
listing_compare_oldest(Datum a, Datum b, void *arg)
{
	return -listing_compare_id(&((ListedDelivery *) DatumGetPointer(a))->id,
							   &((ListedDelivery *) DatumGetPointer(b))->id);
}

static bool
listing_is_full(const Listing *listing)
{
	return listing->newest->bh_size >= listing->filter->max_rows;
}

/* Is there no room for this one, and for any that is older? */
static bool
listing_too_old(const Listing *listing, const pg_uuid_t *id)
{
	return listing_is_full(listing) &&
		listing_compare_id(id, &((ListedDelivery *) DatumGetPointer(binaryheap_first(listing->newest)))->id) < 0;
}

/* A new entry, which may push out the oldest one. */
static void
listing_add(Listing *listing, const ListedDelivery *found)
{
	MemoryContext old = MemoryContextSwitchTo(listing->context);
	ListedDelivery *delivery;

	if (listing_is_full(listing))
		delivery = (ListedDelivery *) DatumGetPointer(binaryheap_remove_first(listing->newest));
	else
		delivery = palloc(sizeof(ListedDelivery));
	*delivery = *found;
	delivery->webhook_id = listing->filter->webhook_id;
	if (found->ended != NULL)
		delivery->ended = heap_copytuple(found->ended);
	if (found->requested != NULL)
		delivery->requested = heap_copytuple(found->requested);
	binaryheap_add(listing->newest, PointerGetDatum(delivery));
	MemoryContextSwitchTo(old);
}

/* --------------------------------------------------------------------- ended */

static void
listing_scan_attempts(IndexReader *reader, const ListingFilter *filter)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&filter->webhook_id));
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_UUID_GE, UUIDPGetDatum(&filter->lowest));
	ScanKeyInit(&keys[2], 2, BTLessStrategyNumber, F_UUID_LT, UUIDPGetDatum(&filter->before));
	index_reader_scan(reader, keys);
}

static const pg_uuid_t *
listing_tuple_id(TupleTableSlot *tuple)
{
	bool		isnull;

	return DatumGetUUIDP(slot_getattr(tuple, ATTEMPT_ATTR_DELIVERY_ID, &isnull));
}

/* Take a row of the delivery into account, as the last one, the last request, or neither. */
static void
listing_take_attempt(ListedDelivery *delivery, HeapTuple row)
{
	bool		isnull;

	if (listing_outcome(row) != OUTCOME_CANCELLED && listing_is_later(row, delivery->requested))
		delivery->requested = row;
	if (!listing_is_later(row, delivery->ended))
		return;
	delivery->ended = row;
	delivery->place.xid = DatumGetFullTransactionId(listing_attempt_value(row, ATTEMPT_ATTR_XID, &isnull));
	delivery->place.cid = DatumGetInt32(listing_attempt_value(row, ATTEMPT_ATTR_CID, &isnull));
	delivery->place.seq = DatumGetInt64(listing_attempt_value(row, ATTEMPT_ATTR_SEQ, &isnull));
}

/* The readers' next delivery, of those before which the greatest id is; false at their end. */
static bool
listing_next_attempted(IndexReader *readers, bool *found, ListedDelivery *delivery)
{
	const pg_uuid_t *newest = NULL;

	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		if (found[slot] && (newest == NULL || listing_compare_id(listing_tuple_id(readers[slot].tuple), newest) > 0))
			newest = listing_tuple_id(readers[slot].tuple);
	}
	if (newest == NULL)
		return false;
	memset(delivery, 0, sizeof(*delivery));
	delivery->id = *newest;
	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		while (found[slot] && listing_compare_id(listing_tuple_id(readers[slot].tuple), &delivery->id) == 0)
		{
			listing_take_attempt(delivery, ExecCopySlotHeapTuple(readers[slot].tuple));
			found[slot] = index_reader_next(&readers[slot], BackwardScanDirection);
		}
	}
	return true;
}

static void
listing_open_attempts(IndexReader *readers, bool *found, const ListingFilter *filter)
{
	for (int slot = 0; slot < RING_SLOTS; slot++)
	{
		ring_open_reader(&readers[slot], RING_ATTEMPT, slot, 3);
		listing_scan_attempts(&readers[slot], filter);
		found[slot] = index_reader_next(&readers[slot], BackwardScanDirection);
	}
}

static void
listing_close_attempts(IndexReader *readers)
{
	for (int slot = 0; slot < RING_SLOTS; slot++)
		index_reader_close(&readers[slot]);
}

/* They come newest first, so that the first ones are all there is to find. */
static void
listing_find_ended(Listing *listing)
{
	const ListingFilter *filter = listing->filter;
	MemoryContext rows = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks attempts", ALLOCSET_DEFAULT_SIZES);
	IndexReader readers[RING_SLOTS];
	bool		found[RING_SLOTS];

	listing_open_attempts(readers, found, filter);
	while (!listing_is_full(listing))
	{
		MemoryContext old = MemoryContextSwitchTo(rows);
		ListedDelivery next;
		bool		more = listing_next_attempted(readers, found, &next);

		MemoryContextSwitchTo(old);
		if (!more)
			break;
		if (listing_wants(filter, listing_ended_status(next.ended)) &&
			!settled_is_pending(listing->settled, &next.id))
			listing_add(listing, &next);
		MemoryContextReset(rows);
		CHECK_FOR_INTERRUPTS();
	}
	listing_close_attempts(readers);
	MemoryContextDelete(rows);
}

/* The last request made for a delivery, NULL: there was none. */
static HeapTuple
listing_last_request(const pg_uuid_t *webhook_id, const pg_uuid_t *id)
{
	ListingFilter filter = {.webhook_id = *webhook_id, .lowest = *id, .before = *id};
	IndexReader readers[RING_SLOTS];
	bool		found[RING_SLOTS];
	ListedDelivery delivery = {.ended = NULL};

	id_increment(&filter.before);
	listing_open_attempts(readers, found, &filter);
	(void) listing_next_attempted(readers, found, &delivery);
	listing_close_attempts(readers);
	return delivery.requested;
}

/* ------------------------------------------------------------------- pending */

static void
listing_find_pending(Listing *listing)
{
	const ListingFilter *filter = listing->filter;
	const Catalog *catalog = catalog_require();
	IndexReader reader;
	ScanKeyData key;

	if (!listing_wants(filter, listing_pending_status(filter->deleted)))
		return;
	index_reader_open(&reader, catalog->pending, INDEX_OTHER, 1);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&filter->webhook_id));
	index_reader_scan(&reader, &key);
	while (index_reader_next(&reader, ForwardScanDirection))
	{
		ListedDelivery found = {.ended = NULL};
		bool		isnull;

		found.id = *DatumGetUUIDP(slot_getattr(reader.tuple, PENDING_ATTR_DELIVERY_ID, &isnull));
		if (listing_in_range(filter, &found.id) && !listing_too_old(listing, &found.id))
			listing_add(listing, &found);
		CHECK_FOR_INTERRUPTS();
	}
	index_reader_close(&reader);
}

/* -------------------------------------------------------------------- unread */

/* Committed, and neither attempted nor put aside. */
static void
listing_take_unread(LogEvent *event, void *arg)
{
	Listing    *listing = arg;
	const ListingFilter *filter = listing->filter;

	for (int i = 0; i < event->n_webhooks; i++)
	{
		ListedDelivery found = {.place = event->place};

		if (listing_compare_id(&event->webhooks[i], &filter->webhook_id) != 0)
			continue;
		id_of_delivery(&found.id, &event->id, &filter->webhook_id);
		if (listing_in_range(filter, &found.id) && !listing_too_old(listing, &found.id) &&
			!settled_has(listing->settled, &filter->webhook_id, &found.id))
			listing_add(listing, &found);
	}
}

/* Hand out the events that the worker has not settled. */
static void
listing_read_unread(void (*take) (LogEvent *event, void *arg), void *arg)
{
	MemoryContext page = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks page", ALLOCSET_DEFAULT_SIZES);
	Cursor	   *cursor = cursor_load();
	Window	   *window = window_open(cursor->last, log_snapshot_take(), NULL, CurrentMemoryContext);

	while (!window_is_empty(window) &&
		   !window_read(window, LISTING_PAGE_DELIVERIES, LISTING_PAGE_BYTES, page, take, arg))
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(page);
	}
	window_close(window);
	MemoryContextDelete(page);
}

static void
listing_find_unread(Listing *listing)
{
	if (listing_wants(listing->filter, listing_pending_status(listing->filter->deleted)))
		listing_read_unread(listing_take_unread, listing);
}

/* ----------------------------------------------------------------------- all */

static int
listing_compare_newest(const void *a, const void *b)
{
	return -listing_compare_id(&((const ListedDelivery *) a)->id, &((const ListedDelivery *) b)->id);
}

/* What is not of the attempts alone is looked up for those that are shown. */
static void
listing_complete(ListedDelivery *delivery)
{
	if (delivery->ended != NULL)
		return;
	delivery->pending = record_load_delivery(&delivery->id, CurrentMemoryContext);
	if (delivery->pending == NULL)
		return;
	delivery->place = delivery->pending->row.place;
	if (delivery->pending->row.attempts > 0)
		delivery->requested = listing_last_request(&delivery->webhook_id, &delivery->id);
}

int
listing_find(const ListingFilter *filter, ListedDelivery **deliveries)
{
	Listing		listing = {.filter = filter, .context = CurrentMemoryContext};
	int			n = 0;

	listing.newest = binaryheap_allocate(filter->max_rows, listing_compare_oldest, NULL);
	listing.settled = settled_open();
	listing_find_ended(&listing);
	listing_find_pending(&listing);
	listing_find_unread(&listing);
	settled_close(listing.settled);

	*deliveries = palloc(sizeof(ListedDelivery) * filter->max_rows);
	while (!binaryheap_empty(listing.newest))
		(*deliveries)[n++] = *(ListedDelivery *) DatumGetPointer(binaryheap_remove_first(listing.newest));
	qsort(*deliveries, n, sizeof(ListedDelivery), listing_compare_newest);
	for (int i = 0; i < n; i++)
		listing_complete(&(*deliveries)[i]);
	return n;
}

/* ----------------------------------------------------------------------- one */

typedef struct Sought
{
	const pg_uuid_t *webhooks;
	int			n_webhooks;
	ListedDelivery *delivery;
	bool		found;
} Sought;

static bool
listing_is_of(const Sought *sought, const pg_uuid_t *webhook_id)
{
	for (int i = 0; i < sought->n_webhooks; i++)
	{
		if (listing_compare_id(&sought->webhooks[i], webhook_id) == 0)
			return true;
	}
	return false;
}

static void
listing_seek_unread(LogEvent *event, void *arg)
{
	Sought	   *sought = arg;

	for (int i = 0; i < event->n_webhooks && !sought->found; i++)
	{
		pg_uuid_t	id;

		id_of_delivery(&id, &event->id, &event->webhooks[i]);
		if (listing_compare_id(&id, &sought->delivery->id) != 0 ||
			!listing_is_of(sought, &event->webhooks[i]))
			continue;
		sought->delivery->webhook_id = event->webhooks[i];
		sought->delivery->place = event->place;
		sought->found = true;
	}
}

/* A stranger's row is not read any further than to see that it is one. */
static bool
listing_seek_pending(const Sought *sought)
{
	const Catalog *catalog = catalog_require();
	IndexReader pending;
	ScanKeyData key;
	bool		found = false;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&sought->delivery->id));
	index_reader_open(&pending, catalog->pending, INDEX_PRIMARY_KEY, 1);
	index_reader_scan(&pending, &key);
	while (!found && index_reader_next(&pending, ForwardScanDirection))
	{
		bool		isnull;

		found = listing_is_of(sought, DatumGetUUIDP(slot_getattr(pending.tuple, 2, &isnull)));
	}
	index_reader_close(&pending);
	return found;
}

/* Webhook by webhook, which is how attempts are indexed. */
static bool
listing_seek_ended(const Sought *sought)
{
	ListedDelivery *delivery = sought->delivery;
	ListingFilter filter = {.lowest = delivery->id, .before = delivery->id};
	bool		done = false;

	id_increment(&filter.before);
	for (int i = 0; i < sought->n_webhooks && !done; i++)
	{
		IndexReader readers[RING_SLOTS];
		bool		found[RING_SLOTS];

		filter.webhook_id = sought->webhooks[i];
		listing_open_attempts(readers, found, &filter);
		done = listing_next_attempted(readers, found, delivery);
		delivery->webhook_id = filter.webhook_id;
		listing_close_attempts(readers);
	}
	return done;
}

bool
listing_find_one(const pg_uuid_t *id, const pg_uuid_t *webhooks, int n_webhooks,
				 ListedDelivery *delivery)
{
	Sought		sought = {.webhooks = webhooks, .n_webhooks = n_webhooks, .delivery = delivery};

	memset(delivery, 0, sizeof(*delivery));
	delivery->id = *id;
	if (n_webhooks == 0)
		return false;
	if (listing_seek_pending(&sought))
		delivery->pending = record_load_delivery(id, CurrentMemoryContext);
	if (delivery->pending != NULL)
	{
		delivery->webhook_id = delivery->pending->row.webhook_id;
		listing_complete(delivery);
		return true;
	}
	if (listing_seek_ended(&sought))
		return true;
	memset(delivery, 0, sizeof(*delivery));
	delivery->id = *id;
	listing_read_unread(listing_seek_unread, &sought);
	return sought.found;
}

/* ---------------------------------------------------------------------- rows */

/* columns of the view "deliveries" */
typedef enum DeliveryColumn
{
	COLUMN_ID,
	COLUMN_WEBHOOK_ID,
	COLUMN_EVENT,
	COLUMN_TABLE_SCHEMA,
	COLUMN_TABLE_NAME,
	COLUMN_RECORD_KEY,
	COLUMN_STATUS,
	COLUMN_ATTEMPTS,
	COLUMN_STATUS_CODE,
	COLUMN_RESPONSE_TIME_MS,
	COLUMN_RESPONSE_BODY,
	COLUMN_ERROR,
	COLUMN_CREATED_AT,
	COLUMN_LAST_ATTEMPT_AT,
	COLUMN_NEXT_ATTEMPT_AT
} DeliveryColumn;

#define DELIVERY_COLUMNS	(COLUMN_NEXT_ATTEMPT_AT + 1)

typedef struct DeliveryRow
{
	Datum		values[DELIVERY_COLUMNS];
	bool		nulls[DELIVERY_COLUMNS];
} DeliveryRow;

static void
listing_put(DeliveryRow *row, DeliveryColumn column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
listing_put_attempt(DeliveryRow *row, DeliveryColumn column, HeapTuple tuple, AttemptAttribute attribute)
{
	row->values[column] = listing_attempt_value(tuple, attribute, &row->nulls[column]);
}

static void
listing_put_key(DeliveryRow *row, const char *key, size_t len)
{
	char	   *text = compat_utf8_to_server(key, len);

	listing_put(row, COLUMN_RECORD_KEY, DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/* What the row change was: kept with the delivery where its event may be gone, else the event's. */
static void
listing_put_event(DeliveryRow *row, const ListedDelivery *delivery)
{
	const PendingDelivery *pending = delivery->pending;
	LogEvent   *event;
	bool		isnull;
	Datum		kept = listing_attempt_value(delivery->ended, ATTEMPT_ATTR_OPERATION, &isnull);

	if (!isnull)
	{
		bytea	   *key = listing_attempt_bytes(delivery->ended, ATTEMPT_ATTR_RECORD_KEY);

		if (key != NULL)
			listing_put_key(row, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
		listing_put(row, COLUMN_EVENT, CStringGetTextDatum(payload_operation_name(DatumGetChar(kept))));
		listing_put_attempt(row, COLUMN_TABLE_SCHEMA, delivery->ended, ATTEMPT_ATTR_TABLE_SCHEMA);
		listing_put_attempt(row, COLUMN_TABLE_NAME, delivery->ended, ATTEMPT_ATTR_TABLE_NAME);
		listing_put_attempt(row, COLUMN_CREATED_AT, delivery->ended, ATTEMPT_ATTR_CAPTURED_AT);
	}
	else if (pending != NULL && pending->operation != 0)
	{
		if (pending->record_key != NULL)
			listing_put_key(row, pending->record_key, strlen(pending->record_key));
		listing_put(row, COLUMN_EVENT, CStringGetTextDatum(payload_operation_name(pending->operation)));
		listing_put(row, COLUMN_TABLE_SCHEMA, CStringGetTextDatum(pending->table_schema));
		listing_put(row, COLUMN_TABLE_NAME, CStringGetTextDatum(pending->table_name));
		listing_put(row, COLUMN_CREATED_AT, TimestampTzGetDatum(pending->captured_at));
	}
	else if ((event = window_fetch(&delivery->place, CurrentMemoryContext)) != NULL)
	{
		if (event->stored.record_key != NULL)
			listing_put_key(row, event->stored.record_key, event->stored.record_key_len);
		listing_put(row, COLUMN_EVENT, CStringGetTextDatum(payload_operation_name(event->operation)));
		listing_put(row, COLUMN_TABLE_SCHEMA, CStringGetTextDatum(event->table_schema));
		listing_put(row, COLUMN_TABLE_NAME, CStringGetTextDatum(event->table_name));
		listing_put(row, COLUMN_CREATED_AT, TimestampTzGetDatum(event->stored.captured_at));
	}
}

HeapTuple
listing_form_row(const ListedDelivery *delivery, bool deleted, TupleDesc desc)
{
	const PendingDelivery *pending = delivery->pending;
	DeliveryRow row;
	const char *status = delivery->ended != NULL ? listing_ended_status(delivery->ended)
		: listing_pending_status(deleted);

	memset(row.nulls, true, sizeof(row.nulls));
	listing_put(&row, COLUMN_ID, UUIDPGetDatum(&delivery->id));
	listing_put(&row, COLUMN_WEBHOOK_ID, UUIDPGetDatum(&delivery->webhook_id));
	listing_put_event(&row, delivery);
	listing_put(&row, COLUMN_STATUS, CStringGetTextDatum(status));
	if (delivery->ended != NULL)
		listing_put(&row, COLUMN_ATTEMPTS, Int32GetDatum(listing_attempt_number(delivery->ended)));
	else
		listing_put(&row, COLUMN_ATTEMPTS, Int32GetDatum(pending != NULL ? pending->row.attempts : 0));
	listing_put_attempt(&row, COLUMN_STATUS_CODE, delivery->requested, ATTEMPT_ATTR_STATUS_CODE);
	listing_put_attempt(&row, COLUMN_RESPONSE_TIME_MS, delivery->requested, ATTEMPT_ATTR_RESPONSE_TIME_MS);
	listing_put_attempt(&row, COLUMN_RESPONSE_BODY, delivery->requested, ATTEMPT_ATTR_RESPONSE_BODY);
	listing_put_attempt(&row, COLUMN_ERROR, delivery->requested, ATTEMPT_ATTR_ERROR);
	listing_put_attempt(&row, COLUMN_LAST_ATTEMPT_AT, delivery->requested, ATTEMPT_ATTR_STARTED_AT);
	if (pending != NULL && !deleted && !TIMESTAMP_NOT_FINITE(pending->row.due_at))
		listing_put(&row, COLUMN_NEXT_ATTEMPT_AT, TimestampTzGetDatum(pending->row.due_at));
	return heap_form_tuple(desc, row.values, row.nulls);
}

/* ------------------------------------------------------------------ the body */

/* Where an attempt keeps the body, since the event may be gone. */
static bytea *
listing_kept_body(const ListedDelivery *delivery)
{
	bytea	   *body = listing_attempt_bytes(delivery->ended, ATTEMPT_ATTR_BODY);

	return body != NULL ? body : listing_attempt_bytes(delivery->requested, ATTEMPT_ATTR_BODY);
}

bool
listing_append_body(const ListedDelivery *delivery, StringInfo body)
{
	bytea	   *kept = listing_kept_body(delivery);
	LogEvent   *event;

	if (delivery->pending != NULL && delivery->pending->body != NULL)
		appendBinaryStringInfo(body, delivery->pending->body, delivery->pending->body_len);
	else if (kept != NULL)
		appendBinaryStringInfo(body, VARDATA_ANY(kept), VARSIZE_ANY_EXHDR(kept));
	else if ((event = window_fetch(&delivery->place, CurrentMemoryContext)) != NULL)
		log_event_body(body, event, &delivery->webhook_id);
	else
		return false;
	return true;
}

static char *
listing_attempt_text(HeapTuple tuple, AttemptAttribute attribute)
{
	bytea	   *text = listing_attempt_bytes(tuple, attribute);

	return text == NULL ? NULL : pnstrdup(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
}

bool
listing_make_pending(const ListedDelivery *delivery, PendingDelivery *pending)
{
	LogEvent   *event = window_fetch(&delivery->place, CurrentMemoryContext);
	bytea	   *body = event == NULL ? listing_kept_body(delivery) : NULL;
	bool		isnull;
	Datum		operation;

	memset(pending, 0, sizeof(*pending));
	pending->row.delivery_id = delivery->id;
	pending->row.webhook_id = delivery->webhook_id;
	pending->row.place = delivery->place;
	pending->row.attempts = listing_attempt_number(delivery->ended);
	if (event != NULL)
	{
		pending->row.key_hash = event->stored.key_hash;
		pending->row.old_key_hash = event->stored.old_key_hash;
		return true;
	}
	operation = listing_attempt_value(delivery->ended, ATTEMPT_ATTR_OPERATION, &isnull);
	if (body == NULL || isnull)
		return false;
	pending->operation = DatumGetChar(operation);
	pending->captured_at = DatumGetTimestampTz(listing_attempt_value(delivery->ended, ATTEMPT_ATTR_CAPTURED_AT, &isnull));
	pending->table_schema = listing_attempt_text(delivery->ended, ATTEMPT_ATTR_TABLE_SCHEMA);
	pending->table_name = listing_attempt_text(delivery->ended, ATTEMPT_ATTR_TABLE_NAME);
	pending->record_key = listing_attempt_text(delivery->ended, ATTEMPT_ATTR_RECORD_KEY);
	pending->body = pnstrdup(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body));
	pending->body_len = VARSIZE_ANY_EXHDR(body);
	return true;
}
