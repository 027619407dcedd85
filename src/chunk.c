/*
 * chunk.c
 *	  A row of the event log: a chunk of events that one command made on one
 *	  table, packed.
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "chunk.h"

/* in an event's first byte */
#define CHUNK_HAS_OLD_KEY_HASH	0x01
#define CHUNK_HAS_RECORD_KEY	0x02
#define CHUNK_HAS_RECORD		0x04
#define CHUNK_HAS_OLD_RECORD	0x08
#define CHUNK_HAS_TRUNCATED		0x10

/* ------------------------------------------------------------------ writing */

static Size
chunk_part_size(const bytea *part)
{
	return part == NULL ? 0 : sizeof(uint32) + VARSIZE(part) - VARHDRSZ;
}

Size
chunk_event_size(const PayloadImages *images)
{
	return 1 + sizeof(uint32) + sizeof(int64) +
		(images->old_key_hash != images->key_hash ? sizeof(int64) : 0) +
		chunk_part_size(images->record_key) + chunk_part_size(images->record) +
		chunk_part_size(images->old_record) + chunk_part_size(images->truncated);
}

static char *
chunk_put(char *p, const void *bytes, Size len)
{
	memcpy(p, bytes, len);
	return p + len;
}

static char *
chunk_put_part(char *p, const bytea *part)
{
	uint32		len;

	if (part == NULL)
		return p;
	len = VARSIZE(part) - VARHDRSZ;
	p = chunk_put(p, &len, sizeof(len));
	return chunk_put(p, VARDATA(part), len);
}

void
chunk_append(char *out, uint32 delay_us, const PayloadImages *images)
{
	unsigned char flags = 0;

	if (images->old_key_hash != images->key_hash)
		flags |= CHUNK_HAS_OLD_KEY_HASH;
	if (images->record_key != NULL)
		flags |= CHUNK_HAS_RECORD_KEY;
	if (images->record != NULL)
		flags |= CHUNK_HAS_RECORD;
	if (images->old_record != NULL)
		flags |= CHUNK_HAS_OLD_RECORD;
	if (images->truncated != NULL)
		flags |= CHUNK_HAS_TRUNCATED;
	*out++ = (char) flags;
	out = chunk_put(out, &delay_us, sizeof(delay_us));
	out = chunk_put(out, &images->key_hash, sizeof(int64));
	if (flags & CHUNK_HAS_OLD_KEY_HASH)
		out = chunk_put(out, &images->old_key_hash, sizeof(int64));
	out = chunk_put_part(out, images->record_key);
	out = chunk_put_part(out, images->record);
	out = chunk_put_part(out, images->old_record);
	(void) chunk_put_part(out, images->truncated);
}

/* ------------------------------------------------------------------ reading */

static Datum
chunk_value(TupleTableSlot *tuple, ChunkAttribute attribute)
{
	bool		isnull;

	return slot_getattr(tuple, attribute, &isnull);
}

static char *
chunk_copy(char **p, const void *bytes, Size len)
{
	char	   *copy = *p;

	memcpy(copy, bytes, len);
	copy[len] = '\0';
	*p += len + 1;
	return copy;
}

/* The events as they are in the tuple, or where they were toasted a copy in context. */
static bytea *
chunk_detoast(Datum stored, MemoryContext context, bool *detoasted)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	bytea	   *events = DatumGetByteaPP(stored);

	MemoryContextSwitchTo(old);
	*detoasted = (Pointer) events != DatumGetPointer(stored);
	return events;
}

Chunk *
chunk_read(TupleTableSlot *tuple, MemoryContext context)
{
	text	   *schema = DatumGetTextPP(chunk_value(tuple, CHUNK_ATTR_TABLE_SCHEMA));
	text	   *name = DatumGetTextPP(chunk_value(tuple, CHUNK_ATTR_TABLE_NAME));
	ArrayType  *webhooks = DatumGetArrayTypeP(chunk_value(tuple, CHUNK_ATTR_WEBHOOKS));
	bool		detoasted;
	bytea	   *events = chunk_detoast(chunk_value(tuple, CHUNK_ATTR_EVENTS), context, &detoasted);
	int			n_webhooks = ArrayGetNItems(ARR_NDIM(webhooks), ARR_DIMS(webhooks));
	Size		webhooks_len = n_webhooks * sizeof(pg_uuid_t);
	Chunk	   *chunk;
	char	   *p;

	if (ARR_HASNULL(webhooks))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("an event in the log cannot be read"),
				 errdetail("Its list of webhooks has nulls.")));
	chunk = MemoryContextAllocHuge(context, MAXALIGN(sizeof(Chunk)) + webhooks_len +
								   VARSIZE_ANY_EXHDR(schema) + VARSIZE_ANY_EXHDR(name) +
								   (detoasted ? 0 : VARSIZE_ANY_EXHDR(events)) + 4);
	chunk->xid = DatumGetFullTransactionId(chunk_value(tuple, CHUNK_ATTR_XID));
	chunk->cid = DatumGetInt32(chunk_value(tuple, CHUNK_ATTR_CID));
	chunk->seq = DatumGetInt64(chunk_value(tuple, CHUNK_ATTR_SEQ));
	chunk->n_events = DatumGetInt32(chunk_value(tuple, CHUNK_ATTR_N_EVENTS));
	chunk->captured_at = DatumGetTimestampTz(chunk_value(tuple, CHUNK_ATTR_CAPTURED_AT));
	chunk->id = *DatumGetUUIDP(chunk_value(tuple, CHUNK_ATTR_ID));
	chunk->operation = DatumGetChar(chunk_value(tuple, CHUNK_ATTR_OPERATION));

	p = (char *) chunk + MAXALIGN(sizeof(Chunk));
	chunk->n_webhooks = n_webhooks;
	chunk->webhooks = (pg_uuid_t *) chunk_copy(&p, ARR_DATA_PTR(webhooks), webhooks_len);
	chunk->table_schema = chunk_copy(&p, VARDATA_ANY(schema), VARSIZE_ANY_EXHDR(schema));
	chunk->table_name = chunk_copy(&p, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	chunk->number = 0;
	chunk->next = detoasted ? VARDATA_ANY(events) :
		chunk_copy(&p, VARDATA_ANY(events), VARSIZE_ANY_EXHDR(events));
	chunk->end = chunk->next + VARSIZE_ANY_EXHDR(events);
	chunk->detoasted = detoasted ? events : NULL;
	return chunk;
}

void
chunk_free(Chunk *chunk)
{
	if (chunk->detoasted != NULL)
		pfree(chunk->detoasted);
	pfree(chunk);
}

/* Only a hand in our tables could make this true of a chunk. */
static void
chunk_check(const Chunk *chunk, Size len)
{
	if (len > (Size) (chunk->end - chunk->next))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("an event in the log cannot be read"),
				 errdetail("Of chunk (" UINT64_FORMAT ",%d," INT64_FORMAT "), event %d is cut off.",
						   U64FromFullTransactionId(chunk->xid), chunk->cid, chunk->seq, chunk->number)));
}

static void
chunk_take(Chunk *chunk, void *out, Size len)
{
	chunk_check(chunk, len);
	memcpy(out, chunk->next, len);
	chunk->next += len;
}

static const char *
chunk_take_part(Chunk *chunk, bool present, uint32 *len)
{
	const char *part;

	*len = 0;
	if (!present)
		return NULL;
	chunk_take(chunk, len, sizeof(*len));
	chunk_check(chunk, *len);
	part = chunk->next;
	chunk->next += *len;
	return part;
}

bool
chunk_next(Chunk *chunk, ChunkEvent *event)
{
	unsigned char flags;
	uint32		delay_us;

	if (chunk->number >= chunk->n_events)
		return false;
	chunk_take(chunk, &flags, sizeof(flags));
	chunk_take(chunk, &delay_us, sizeof(delay_us));
	event->captured_at = chunk->captured_at + delay_us;
	chunk_take(chunk, &event->key_hash, sizeof(int64));
	event->old_key_hash = event->key_hash;
	if (flags & CHUNK_HAS_OLD_KEY_HASH)
		chunk_take(chunk, &event->old_key_hash, sizeof(int64));
	event->record_key = chunk_take_part(chunk, flags & CHUNK_HAS_RECORD_KEY, &event->record_key_len);
	event->record = chunk_take_part(chunk, flags & CHUNK_HAS_RECORD, &event->record_len);
	event->old_record = chunk_take_part(chunk, flags & CHUNK_HAS_OLD_RECORD, &event->old_record_len);
	event->truncated = chunk_take_part(chunk, flags & CHUNK_HAS_TRUNCATED, &event->truncated_len);
	chunk->number++;
	return true;
}
