/*
 * settled.c
 *	  Has a delivery an attempt or a pending row, as far as the active snapshot
 *	  sees?
 *
 * By the indexes, whatever a planner would think of tables that grow by a million
 * rows between two of its looks.  Opening eleven tables costs more than asking
 * them, so a reader keeps them open.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "utils/fmgroids.h"

#include "reader.h"
#include "ring.h"
#include "settled.h"

PG_FUNCTION_INFO_V1(settled_sql);

struct SettledReader
{
	IndexReader attempts[RING_SLOTS];	/* the newest slot of the ring first */
	IndexReader pending;
};

static bool
settled_table_has(IndexReader *table, int n_keys, const pg_uuid_t *const *values)
{
	ScanKeyData keys[2];

	for (int i = 0; i < n_keys; i++)
		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(values[i]));
	index_reader_scan(table, keys);
	return index_reader_next(table, ForwardScanDirection);
}

SettledReader *
settled_open(void)
{
	SettledReader *reader = palloc0(sizeof(SettledReader));
	const Catalog *catalog = catalog_require();
	int			current = ring_current_slot();

	for (int i = 0; i < RING_SLOTS; i++)
	{
		int			slot = (current - i + RING_SLOTS) % RING_SLOTS;

		ring_open_reader(&reader->attempts[i], RING_ATTEMPT, slot, 2);
	}
	index_reader_open(&reader->pending, catalog->pending, INDEX_PRIMARY_KEY, 1);
	return reader;
}

bool
settled_is_pending(SettledReader *reader, const pg_uuid_t *delivery_id)
{
	return settled_table_has(&reader->pending, 1, &delivery_id);
}

bool
settled_has(SettledReader *reader, const pg_uuid_t *webhook_id, const pg_uuid_t *delivery_id)
{
	const pg_uuid_t *attempt_key[] = {webhook_id, delivery_id};

	for (int i = 0; i < RING_SLOTS; i++)
	{
		if (settled_table_has(&reader->attempts[i], 2, attempt_key))
			return true;
	}
	return settled_is_pending(reader, delivery_id);
}

void
settled_close(SettledReader *reader)
{
	for (int i = 0; i < RING_SLOTS; i++)
		index_reader_close(&reader->attempts[i]);
	index_reader_close(&reader->pending);
	pfree(reader);
}

Datum
settled_sql(PG_FUNCTION_ARGS)
{
	SettledReader *reader = settled_open();
	bool		settled = settled_has(reader, PG_GETARG_UUID_P(0), PG_GETARG_UUID_P(1));

	settled_close(reader);
	PG_RETURN_BOOL(settled);
}
