/*
 * id.c
 *	  Ids of events and deliveries: UUIDv7 (RFC 9562, 5.7).
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "id.h"

PG_FUNCTION_INFO_V1(id_of_delivery_sql);
PG_FUNCTION_INFO_V1(id_time_sql);

#define ID_VARIANT_BITS	UINT64CONST(0x8000000000000000)
#define ID_RANDOM_BITS	UINT64CONST(0x3FFFFFFFFFFFFFFF)

/* Eight random bytes; OpenSSL is asked for a page of them at a time. */
static uint64
id_random(void)
{
	static uint64 pool[64];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = lengthof(pool);
	}
	return pool[--left];
}

static void
id_store(unsigned char *out, uint64 value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (unsigned char) (value >> (56 - 8 * i));
}

static uint64
id_load(const unsigned char *in)
{
	uint64		value = 0;

	for (int i = 0; i < 8; i++)
		value = (value << 8) | in[i];
	return value;
}

static void
id_compose(pg_uuid_t *id, TimestampTz at, uint64 bits)
{
	int64		us = at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	uint64		ms = us / 1000;
	uint64		fraction = (us % 1000) * 4096 / 1000;

	id_store(id->data, (ms << 16) | UINT64CONST(0x7000) | fraction);
	id_store(id->data + 8, ID_VARIANT_BITS | (bits & ID_RANDOM_BITS));
}

void
id_make(pg_uuid_t *id, TimestampTz at)
{
	id_compose(id, at, id_random());
}

/* The multipliers are those of splitmix64, which maps no two numbers to one. */
void
id_of_event(pg_uuid_t *id, const pg_uuid_t *chunk_id, int number, TimestampTz at)
{
	uint64		bits = id_load(chunk_id->data + 8) + (uint64) number * UINT64CONST(0x9E3779B97F4A7C15);

	bits = (bits ^ (bits >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	bits = (bits ^ (bits >> 27)) * UINT64CONST(0x94D049BB133111EB);
	id_compose(id, at, bits ^ (bits >> 31));
}

/* Times that the 48 bits of milliseconds can't hold count as infinite. */
void
id_lowest(pg_uuid_t *id, TimestampTz at)
{
	TimestampTz first = SetEpochTimestamp();

	if (at < first)
		memset(id, 0, sizeof(*id));
	else if ((at - first) / 1000 >= INT64CONST(1) << 48)
		memset(id, 0xFF, sizeof(*id));
	else
	{
		id_compose(id, at, 0);
		memset(id->data + 8, 0, 8);
	}
}

void
id_increment(pg_uuid_t *id)
{
	for (int i = UUID_LEN - 1; i >= 0 && ++id->data[i] == 0; i--)
		;
}

void
id_of_delivery(pg_uuid_t *id, const pg_uuid_t *event_id, const pg_uuid_t *webhook_id)
{
	unsigned char mix[8];

	id_store(mix, hash_bytes_extended(webhook_id->data, UUID_LEN, 0) & ID_RANDOM_BITS);
	*id = *event_id;
	for (int i = 0; i < 8; i++)
		id->data[8 + i] ^= mix[i];
}

Datum
id_of_delivery_sql(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	id_of_delivery(id, PG_GETARG_UUID_P(0), PG_GETARG_UUID_P(1));
	PG_RETURN_UUID_P(id);
}

/* What the id was made for, to the microsecond: it keeps 1/4096 ms. */
TimestampTz
id_time(const pg_uuid_t *id)
{
	uint64		high = id_load(id->data);
	int64		ms = high >> 16;
	int64		fraction = high & 0xFFF;

	return ms * 1000 + (fraction * 1000 + 4095) / 4096 -
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

Datum
id_time_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(id_time(PG_GETARG_UUID_P(0)));
}
