/*
 * delivery.c
 *	  A delivery in the worker's memory.
 *
 * Bodies and responses are malloc'd: libcurl reads the one, and the other is
 * copied while libcurl's loop is running, where an error must not be raised.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "breaker.h"
#include "delivery.h"
#include "fault.h"
#include "id.h"
#include "lane.h"
#include "retry.h"

dlist_head	delivery_ended = DLIST_STATIC_INIT(delivery_ended);
int			delivery_n_ended = 0;
TimestampTz delivery_ended_since = 0;
Size		delivery_bytes_in_flight = 0;
uint64		delivery_n_counted = 0;

/* The largest buffer that is kept to put bodies together. */
#define DELIVERY_BUFFER_KEPT	(128 * 1024)

typedef struct LoadedDelivery
{
	pg_uuid_t	id;				/* hash key */
	Delivery   *delivery;
} LoadedDelivery;

static MemoryContext delivery_context = NULL;
static HTAB *loaded = NULL;		/* deliveries with a pending row */
static StringInfoData building; /* the body that is being put together */

static void
delivery_make_buffer(void)
{
	MemoryContext old = MemoryContextSwitchTo(delivery_context);

	initStringInfo(&building);
	MemoryContextSwitchTo(old);
}

void
delivery_init(MemoryContext context)
{
	HASHCTL		ctl;

	delivery_context = AllocSetContextCreate(context, "fluxhooks deliveries", ALLOCSET_DEFAULT_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.hcxt = context;
	ctl.keysize = sizeof(pg_uuid_t);
	ctl.entrysize = sizeof(LoadedDelivery);
	loaded = hash_create("fluxhooks loaded deliveries", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	delivery_make_buffer();
}

static void
delivery_take_body(Delivery *delivery, const char *body, size_t len)
{
	delivery->body = malloc(Max(len, 1));
	if (delivery->body == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	memcpy(delivery->body, body, len);
	delivery->body_len = len;
	delivery->size = sizeof(Delivery) + len;
}

/* Put together in a buffer that is kept: to grow one for each body costs more than to copy it. */
static void
delivery_build_body(Delivery *delivery, const LogEvent *event)
{
	resetStringInfo(&building);
	log_event_body(&building, event, &delivery->row.webhook_id);
	delivery->operation = event->operation;
	delivery_take_body(delivery, building.data, building.len);
	if (building.maxlen > DELIVERY_BUFFER_KEPT)
	{
		char	   *large = building.data;

		delivery_make_buffer();
		pfree(large);
	}
}

static Delivery *
delivery_make(void)
{
	return MemoryContextAllocZero(delivery_context, sizeof(Delivery));
}

Delivery *
delivery_from_event(const LogEvent *event, const pg_uuid_t *webhook_id,
					int64 number, TimestampTz pending_since)
{
	Delivery   *delivery = delivery_make();
	PendingRow *row = &delivery->row;

	id_of_delivery(&row->delivery_id, &event->id, webhook_id);
	row->webhook_id = *webhook_id;
	row->number = number;
	row->due_at = DT_NOBEGIN;
	row->pending_since = pending_since;
	row->place = event->place;
	row->key_hash = event->stored.key_hash;
	row->old_key_hash = event->stored.old_key_hash;
	delivery_build_body(delivery, event);
	return delivery;
}

Delivery *
delivery_from_pending(const PendingDelivery *pending, const LogEvent *event)
{
	Delivery   *delivery = delivery_make();

	delivery->row = pending->row;
	if (event != NULL)
		delivery_build_body(delivery, event);
	else
	{
		delivery->operation = pending->operation;
		delivery_take_body(delivery, pending->body, pending->body_len);
		delivery->copy = MemoryContextAlloc(delivery_context, sizeof(PendingDelivery));
		*delivery->copy = *pending;
		delivery->copy->body = NULL;
		delivery->copy->table_schema = MemoryContextStrdup(delivery_context, pending->table_schema);
		delivery->copy->table_name = MemoryContextStrdup(delivery_context, pending->table_name);
		if (pending->record_key != NULL)
			delivery->copy->record_key = MemoryContextStrdup(delivery_context, pending->record_key);
	}
	return delivery;
}

void
delivery_free(Delivery *delivery)
{
	if (delivery->has_pending)
	{
		hash_search(loaded, &delivery->row.delivery_id, HASH_REMOVE, NULL);
		delivery->lane->n_saved--;
	}
	if (delivery->copy != NULL)
	{
		pfree(delivery->copy->table_schema);
		pfree(delivery->copy->table_name);
		if (delivery->copy->record_key != NULL)
			pfree(delivery->copy->record_key);
		pfree(delivery->copy);
	}
	free(delivery->body);
	free(unconstify(char *, delivery->result.body));
	request_free(delivery->request);
	pfree(delivery);
}

bool
delivery_is_retry(const Delivery *delivery)
{
	return delivery->row.due_at != DT_NOBEGIN;
}

bool
delivery_is_loaded(const pg_uuid_t *delivery_id)
{
	return hash_search(loaded, delivery_id, HASH_FIND, NULL) != NULL;
}

void
delivery_set_pending(Delivery *delivery)
{
	LoadedDelivery *entry;

	delivery->saving = false;
	if (delivery->has_pending)
		return;
	entry = hash_search(loaded, &delivery->row.delivery_id, HASH_ENTER, NULL);
	entry->delivery = delivery;
	delivery->has_pending = true;
	delivery->lane->n_saved++;
}

static void
delivery_end(Delivery *delivery)
{
	if (delivery_n_ended++ == 0)
		delivery_ended_since = GetCurrentTimestamp();
	dlist_push_tail(&delivery_ended, &delivery->ended_node);
	delivery->lane->n_ended++;
	delivery_bytes_in_flight -= delivery->body_len;
	breaker_ended(delivery);
	lane_ended(delivery, delivery->result.status_code != 0);
}

void
delivery_start(Delivery *delivery, TimestampTz now)
{
	char		error[HTTP_ERROR_SIZE] = "out of memory";
	char	   *body = delivery->body;

	delivery->body = NULL;
	FAULT_POINT_KILL("delivery_start");
	delivery->started_at = now;
	delivery->row.attempts++;
	breaker_started(delivery);
	delivery_bytes_in_flight += delivery->body_len;
	delivery->request = request_make(delivery->lane->template,
									 payload_operation_name(delivery->operation),
									 &delivery->row.delivery_id, body, delivery->body_len,
									 now, delivery);
	if (delivery->request != NULL &&
		http_start(request_http(delivery->request), error, sizeof(error)))
	{
		FAULT_POINT_KILL("delivery_started");
		return;
	}
	memset(&delivery->result, 0, sizeof(HttpResult));
	delivery->result.error_code = HTTP_ERROR_PROTOCOL;
	snprintf(delivery->result.error, sizeof(delivery->result.error),
			 "the request could not be started: %.200s", error);
	delivery_end(delivery);
}

void
delivery_done(const HttpResult *result)
{
	Delivery   *delivery = result->arg;
	char	   *body = NULL;

	FAULT_POINT_KILL("delivery_done");
	delivery->result = *result;
	if (result->body_len > 0)
		body = malloc(result->body_len);
	if (body != NULL)
		memcpy(body, result->body, result->body_len);
	else
		delivery->result.body_len = 0;
	delivery->result.body = body;
	/* the body of one whose event is gone is recorded with the attempt */
	if (delivery->copy == NULL)
		request_drop_body(delivery->request);
	delivery_end(delivery);
}

void
delivery_count(const Delivery *delivery, TimestampTz now)
{
	Stats	   *stats = &delivery->lane->stats;
	const HttpResult *result = &delivery->result;

	delivery_n_counted++;
	if (result->status_code != 0)
		stats_count_time(stats, result->response_time_ms);
	if (retry_is_success(result->status_code))
		stats_count_success(stats, now);
	else
		stats_count_failure(stats, now, delivery->retrying, result->error);
}

const char *
delivery_url(const Delivery *delivery)
{
	if (delivery->request != NULL)
		return request_http(delivery->request)->url;
	return request_template_url(delivery->lane->template);
}
