/*
 * id.h
 *	  Ids of events and deliveries: UUIDv7 (RFC 9562, 5.7).
 */
#ifndef FLUXHOOKS_ID_H
#define FLUXHOOKS_ID_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/uuid.h"

/* A new one: milliseconds, 12 bits below them, 62 random bits. */
extern void id_make(pg_uuid_t *id, TimestampTz at);

/*
 * The id of an event of a chunk, its number counted from 0: the time is the
 * event's, the other 62 bits are mixed from the chunk's id and the number.
 */
extern void id_of_event(pg_uuid_t *id, const pg_uuid_t *chunk_id, int number, TimestampTz at);

/* The time that it was made for, to the microsecond. */
extern TimestampTz id_time(const pg_uuid_t *id);

/* The smallest that can be made at this time; infinite times give the smallest and the greatest of all. */
extern void id_lowest(pg_uuid_t *id, TimestampTz at);

/* The next greater one: a bound behind this one. */
extern void id_increment(pg_uuid_t *id);

/* The id of an event's delivery to a webhook. */
extern void id_of_delivery(pg_uuid_t *id, const pg_uuid_t *event_id, const pg_uuid_t *webhook_id);

/* SQL: fluxhooks_internal.delivery_id(event_id uuid, webhook_id uuid) RETURNS uuid */
extern PGDLLEXPORT Datum id_of_delivery_sql(PG_FUNCTION_ARGS);

/* SQL: fluxhooks_internal.captured_at(delivery_id uuid) RETURNS timestamptz: the time in an id */
extern PGDLLEXPORT Datum id_time_sql(PG_FUNCTION_ARGS);

#endif
