/*
 * api_event.c
 *	  Events of the log for SQL: what views and retention.c see of a chunk.
 *
 * A log_event has neither images nor body, which few want: event_body makes
 * that of the chunk when it is asked for.  event_at shows no event that the
 * current user sees no delivery of.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/xid8.h"

#include "api.h"
#include "compat.h"
#include "id.h"
#include "window.h"

PG_FUNCTION_INFO_V1(api_chunk_events);
PG_FUNCTION_INFO_V1(api_event_at);
PG_FUNCTION_INFO_V1(api_event_body);
PG_FUNCTION_INFO_V1(api_key_json);

/* columns of fluxhooks_internal.log_event */
#define LOG_EVENT_COLUMNS	12

static void
api_event_values(const LogEvent *event, Datum *values, bool *nulls)
{
	Datum	   *ids = palloc(event->n_webhooks * sizeof(Datum));
	int			n = 0;

	for (int i = 0; i < event->n_webhooks; i++)
		ids[i] = UUIDPGetDatum(&event->webhooks[i]);
	memset(nulls, 0, LOG_EVENT_COLUMNS * sizeof(bool));
	values[n++] = FullTransactionIdGetDatum(event->place.xid);
	values[n++] = Int32GetDatum(event->place.cid);
	values[n++] = Int64GetDatum(event->place.seq);
	values[n++] = UUIDPGetDatum(&event->id);
	values[n++] = TimestampTzGetDatum(event->stored.captured_at);
	values[n++] = CharGetDatum(event->operation);
	values[n++] = CStringGetTextDatum(event->table_schema);
	values[n++] = CStringGetTextDatum(event->table_name);
	values[n++] = PointerGetDatum(construct_array(ids, event->n_webhooks, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[n++] = Int64GetDatum(event->stored.key_hash);
	values[n++] = Int64GetDatum(event->stored.old_key_hash);
	if (event->stored.record_key == NULL)
		nulls[n++] = true;
	else
		values[n++] = PointerGetDatum(cstring_to_text_with_len(event->stored.record_key,
															   event->stored.record_key_len));
	Assert(n == LOG_EVENT_COLUMNS);
}

/* A composite argument of type event_chunk, as that type is now: see ring.h. */
static Chunk *
api_chunk_argument(FunctionCallInfo fcinfo, int number)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(number);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	HeapTupleData tuple;
	Chunk	   *chunk;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	ExecStoreHeapTuple(&tuple, slot, false);

	/* a row of the table has none, but anything can be cast to its type */
	for (int i = 1; i <= CHUNK_ATTRIBUTES; i++)
	{
		if (slot_attisnull(slot, i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a chunk of events has no nulls")));
	}
	chunk = chunk_read(slot, CurrentMemoryContext);
	ExecDropSingleTupleTableSlot(slot);
	ReleaseTupleDesc(desc);
	return chunk;
}

/* chunk_events(chunk fluxhooks_internal.event_chunk) RETURNS SETOF fluxhooks_internal.log_event */
Datum
api_chunk_events(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Tuplestorestate *store = api_begin_rows(fcinfo, &desc);
	Chunk	   *chunk = api_chunk_argument(fcinfo, 0);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fluxhooks events", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ChunkEvent	stored;

	while (chunk_next(chunk, &stored))
	{
		Datum		values[LOG_EVENT_COLUMNS];
		bool		nulls[LOG_EVENT_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		api_event_values(log_event_make(chunk, &stored, 0, context), values, nulls);
		tuplestore_putvalues(store, desc, values, nulls);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	PG_RETURN_NULL();
}

static bool
api_sees_event(const LogEvent *event)
{
	for (int i = 0; i < event->n_webhooks; i++)
	{
		if (api_sees_webhook(&event->webhooks[i]))
			return true;
	}
	return superuser();
}

/* event_at(xid xid8, cid integer, seq bigint) RETURNS fluxhooks_internal.log_event */
Datum
api_event_at(PG_FUNCTION_ARGS)
{
	EventPlace	place = {PG_GETARG_FULLTRANSACTIONID(0), PG_GETARG_INT32(1), PG_GETARG_INT64(2)};
	LogEvent   *event = window_fetch(&place, CurrentMemoryContext);
	Datum		values[LOG_EVENT_COLUMNS];
	bool		nulls[LOG_EVENT_COLUMNS];
	TupleDesc	desc = fcinfo->flinfo->fn_extra;

	if (event == NULL || !api_sees_event(event))
		PG_RETURN_NULL();
	if (desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		desc = BlessTupleDesc(CreateTupleDescCopy(desc));
		fcinfo->flinfo->fn_extra = desc;
		MemoryContextSwitchTo(old);
	}
	api_event_values(event, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* event_body(chunk fluxhooks_internal.event_chunk, seq bigint, webhook_id uuid) RETURNS bytea */
Datum
api_event_body(PG_FUNCTION_ARGS)
{
	Chunk	   *chunk = api_chunk_argument(fcinfo, 0);
	int64		seq = PG_GETARG_INT64(1);
	ChunkEvent	stored;
	StringInfoData body;

	while (chunk_next(chunk, &stored))
	{
		if (chunk->seq + chunk->number - 1 < seq)
			continue;
		initStringInfo(&body);
		log_event_body(&body, log_event_make(chunk, &stored, 0, CurrentMemoryContext), PG_GETARG_UUID_P(2));
		PG_RETURN_BYTEA_P(cstring_to_text_with_len(body.data, body.len));
	}
	PG_RETURN_NULL();
}

/* key_json(record_key bytea) RETURNS jsonb: stored in UTF-8, shown in the database's encoding. */
Datum
api_key_json(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	char	   *text = compat_utf8_to_server(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}
