/*
 * chunk.h
 *	  A row of the event log: a chunk of events that one command made on one
 *	  table, packed.
 *
 * A row for each event would be mostly overhead: tuple header, index entry,
 * names and listeners that are the same for all.  The column "events" holds, for each event:
 * a byte of CHUNK_HAS_ flags, microseconds since the chunk's captured_at
 * (uint32), the key hash, the old key hash where it is another, then length
 * (uint32) and bytes of each part that is there.  Numbers are in the machine's
 * byte order, unaligned.  Number i of a chunk has the chunk's seq plus i.
 */
#ifndef FLUXHOOKS_CHUNK_H
#define FLUXHOOKS_CHUNK_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#include "payload.h"

/* attribute numbers of fluxhooks_internal.event_chunk */
typedef enum ChunkAttribute
{
	CHUNK_ATTR_XID = 1,
	CHUNK_ATTR_SEQ,
	CHUNK_ATTR_CAPTURED_AT,
	CHUNK_ATTR_CID,
	CHUNK_ATTR_N_EVENTS,
	CHUNK_ATTR_OPERATION,
	CHUNK_ATTR_ID,
	CHUNK_ATTR_TABLE_SCHEMA,
	CHUNK_ATTR_TABLE_NAME,
	CHUNK_ATTR_WEBHOOKS,
	CHUNK_ATTR_EVENTS
} ChunkAttribute;

#define CHUNK_ATTRIBUTES	CHUNK_ATTR_EVENTS	/* RING_EVENT_ATTRIBUTES */

/* Never more events in one; the extension script knows this number, too. */
#define CHUNK_EVENTS_MAX	256

/* Never more microseconds between the first and the last event of one. */
#define CHUNK_TIME_MAX		PG_UINT32_MAX

/* Bytes that an event takes in a chunk. */
extern Size chunk_event_size(const PayloadImages *images);

/* Append an event, captured so long after the chunk's first; out has the room. */
extern void chunk_append(char *out, uint32 delay_us, const PayloadImages *images);

/* An event of a chunk; parts point into the chunk, NULL where absent. */
typedef struct ChunkEvent
{
	TimestampTz captured_at;
	int64		key_hash;
	int64		old_key_hash;
	const char *record_key;
	const char *record;
	const char *old_record;
	const char *truncated;
	uint32		record_key_len;
	uint32		record_len;
	uint32		old_record_len;
	uint32		truncated_len;
} ChunkEvent;

/* A row as it was read: a palloc'd copy. */
typedef struct Chunk
{
	FullTransactionId xid;
	int32		cid;
	int64		seq;			/* of event number 0 */
	int			n_events;
	TimestampTz captured_at;
	pg_uuid_t	id;
	char		operation;
	char	   *table_schema;
	char	   *table_name;
	int			n_webhooks;
	pg_uuid_t  *webhooks;
	int			number;			/* of the event that chunk_next reads */
	const char *next;
	const char *end;
	bytea	   *detoasted;		/* what next points into; NULL: it is part of this piece */
} Chunk;

extern Chunk *chunk_read(TupleTableSlot *tuple, MemoryContext context);
extern void chunk_free(Chunk *chunk);

/* The next event; false behind the last. */
extern bool chunk_next(Chunk *chunk, ChunkEvent *event);

#endif
