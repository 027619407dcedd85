/*
 * payload.c
 *	  Rows as canonical JSON: the images that an event keeps, and the body
 *	  that is made of them.
 *
 * A row change is built column by column, new and old value together.  As soon
 * as what is there exceeds fluxhooks.max_payload_size, the largest column so
 * far is taken out of both images; that leaves the same columns as choosing
 * among finished images would, without ever holding much more than one body.
 * Columns of the key are never left out: a body whose key alone is larger than
 * the setting exceeds it.
 *
 * Virtual generated columns are computed first, and are columns like the others from there on.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_index.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "guc.h"
#include "payload.h"
#include "value.h"
#include "virtual.h"

/* Columns that a row's bookkeeping has on the stack. */
#define PAYLOAD_COLUMNS_LOCAL	32

/*
 * Longer than a body can be around its images, with no column left out: a row
 * that fits with it needs no closer look.
 */
#define PAYLOAD_FRAME_MAX	(2 * 6 * NAMEDATALEN + 256)

/*
 * Without a key, rows are told apart by their values up to this length: those
 * are always built in full, so the hash doesn't depend on what is left out.
 */
#define PAYLOAD_HASHED_MAX	1024

struct PayloadPlan
{
	Oid			reported;		/* seeds the hashes */
	TupleDesc	desc;			/* of source */
	int			n_columns;
	ValueColumn *columns;		/* attnum: of source */
	bool	   *is_key;			/* by column */
	int		   *by_position;	/* columns in the reported table's order */
	VirtualColumns *virtual_columns;	/* NULL: none */
	bool		has_key;
	bool		allocates;		/* some writer leaves memory behind */
	int			size_hint;		/* of an image: what the last ones needed */
};

/* One image while it is built. */
typedef struct PayloadImage
{
	JsonWriter	w;				/* begins with room for a varlena header */
	HeapTuple	tuple;
	Datum	   *values;
	bool	   *nulls;
	int		   *starts;			/* of each column's member, and of what follows the last */
	uint64		hash;			/* of the values, without a key */
} PayloadImage;

/* One row change while it is built. */
typedef struct PayloadRow
{
	PayloadPlan *plan;
	const char *table_schema;
	const char *table_name;
	char		operation;
	int			n_images;
	PayloadImage images[2];		/* the new row if there is one, then the old */
	bool	   *dropped;
	int			n_dropped;
	int			dropped_len;	/* of the names of dropped columns */
	int			frame;			/* bytes of the body around the images; 0: not counted yet */
} PayloadRow;

const char *
payload_operation_name(char operation)
{
	switch (operation)
	{
		case OPERATION_INSERT:
			return "INSERT";
		case OPERATION_UPDATE:
			return "UPDATE";
		case OPERATION_DELETE:
			return "DELETE";
		default:
			return "TEST";
	}
}

/*
 * Plan
 */

/* The columns of this index are the key; its attribute numbers are the reported table's. */
static void
payload_plan_take_key(PayloadPlan *plan, Form_pg_index index)
{
	int			i;
	int			k;

	for (i = 0; i < plan->n_columns; i++)
	{
		plan->is_key[i] = false;
		for (k = 0; k < index->indnkeyatts; k++)
			if (index->indkey.values[k] == plan->columns[i].attnum)
				plan->is_key[i] = true;
	}
	plan->has_key = true;
}

/* The primary key of the reported table, else its replica identity index. */
static void
payload_plan_find_key(PayloadPlan *plan, Relation reported)
{
	List	   *indexes = RelationGetIndexList(reported);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisprimary || (index->indisreplident && !plan->has_key))
			payload_plan_take_key(plan, index);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
}

/* A partition has its ancestor's columns, but may have them at other places. */
static void
payload_plan_map(PayloadPlan *plan, Relation source, Relation reported)
{
	int			i;

	for (i = 0; i < plan->n_columns; i++)
	{
		ValueColumn *column = &plan->columns[i];
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(reported), column->attnum - 1);

		column->attnum = get_attnum(RelationGetRelid(source), NameStr(attribute->attname));
		if (column->attnum == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("table \"%s\" lacks column \"%s\" of the table it is a partition of",
							RelationGetRelationName(source), NameStr(attribute->attname))));
	}
}

PayloadPlan *
payload_plan_make(Relation source, Relation reported, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	PayloadPlan *plan = palloc0(sizeof(PayloadPlan));
	int			i;

	plan->reported = RelationGetRelid(reported);
	plan->desc = CreateTupleDescCopyConstr(RelationGetDescr(source));
	plan->n_columns = value_columns_make(RelationGetDescr(reported), &plan->columns);
	plan->is_key = palloc0(Max(plan->n_columns, 1) * sizeof(bool));
	plan->by_position = palloc(Max(plan->n_columns, 1) * sizeof(int));
	plan->size_hint = 256;
	plan->virtual_columns = virtual_columns_make(source, reported);
	for (i = 0; i < plan->n_columns; i++)
	{
		plan->by_position[plan->columns[i].position] = i;
		plan->allocates |= plan->columns[i].writer->allocates;
	}
	payload_plan_find_key(plan, reported);
	if (RelationGetRelid(source) != RelationGetRelid(reported))
		payload_plan_map(plan, source, reported);
	MemoryContextSwitchTo(old);
	return plan;
}

/*
 * Fitting a row into a body
 */

/* An image as it will be stored, whose last comma becomes a brace. */
static inline int
payload_image_len(const PayloadImage *image)
{
	return Max(image->w.out.len - VARHDRSZ, 2);
}

/* Bytes that a body made of what is there would have. */
static int64
payload_body_len(PayloadRow *row)
{
	int64		len;

	if (row->frame == 0)
	{
		PayloadEvent event = {.operation = row->operation,
			.table_schema = row->table_schema,
			.table_name = row->table_name,
			.record = "",
			.old_record = row->operation == OPERATION_INSERT ? NULL : "",
		};
		pg_uuid_t	webhook = {{0}};
		StringInfoData body;

		initStringInfo(&body);
		payload_body(&body, &event, &webhook);
		row->frame = body.len;
		pfree(body.data);
	}

	len = row->frame + payload_image_len(&row->images[0]);
	if (row->operation == OPERATION_UPDATE)
		len += payload_image_len(&row->images[1]);
	else if (row->operation == OPERATION_DELETE)
		len += payload_image_len(&row->images[0]);
	/* names with a comma or the closing bracket behind each, no colon */
	if (row->n_dropped > 0)
		len += strlen(",\"truncated\":[") + row->dropped_len;
	return len;
}

/* Take a column, whose members are built in all images, out of them. */
static void
payload_drop_column(PayloadRow *row, int column, int n_built)
{
	int			i;
	int			k;

	for (i = 0; i < row->n_images; i++)
	{
		PayloadImage *image = &row->images[i];
		int			start = image->starts[column];
		int			end = image->starts[column + 1];

		memmove(image->w.out.data + start, image->w.out.data + end, image->w.out.len - end);
		image->w.out.len -= end - start;
		for (k = column + 1; k <= n_built; k++)
			image->starts[k] -= end - start;
	}
	row->dropped[column] = true;
	row->n_dropped++;
	row->dropped_len += row->plan->columns[column].label_len;
}

/* Leave out the largest columns of those built until a body fits. */
static void
payload_fit(PayloadRow *row, int n_built)
{
	while (payload_body_len(row) > guc_max_payload_size)
	{
		int			largest = -1;
		int64		largest_size = -1;
		int			i;

		for (i = 0; i < n_built; i++)
		{
			int64		size = 0;
			int			k;

			if (row->dropped[i] || row->plan->is_key[i])
				continue;
			for (k = 0; k < row->n_images; k++)
				size += row->images[k].starts[i + 1] - row->images[k].starts[i] -
					row->plan->columns[i].label_len;
			if (size > largest_size)
			{
				largest = i;
				largest_size = size;
			}
		}
		if (largest < 0)
			return;
		payload_drop_column(row, largest, n_built);
	}
}

/*
 * Building a row
 */

/* Equal bytes, toast pointers among them, are equal JSON: no need to write it twice. */
static bool
payload_value_unchanged(const PayloadRow *row, int column)
{
	AttrNumber	attnum = row->plan->columns[column].attnum;
	Form_pg_attribute attribute = TupleDescAttr(row->plan->desc, attnum - 1);
	const PayloadImage *record = &row->images[0];
	const PayloadImage *old = &row->images[1];

	if (record->nulls[attnum - 1] || old->nulls[attnum - 1])
		return record->nulls[attnum - 1] && old->nulls[attnum - 1];
	return datumIsEqual(record->values[attnum - 1], old->values[attnum - 1],
						attribute->attbyval, attribute->attlen);
}

/* Write one member, with a comma behind. */
static void
payload_write_member(PayloadRow *row, PayloadImage *image, int i)
{
	const ValueColumn *column = &row->plan->columns[i];
	JsonWriter *w = &image->w;
	int			value_start;

	json_raw(w, column->label, column->label_len);
	value_start = w->out.len;
	if (image->nulls[column->attnum - 1])
		json_raw(w, "null", 4);
	else
		value_write(w, column->writer, image->values[column->attnum - 1]);

	if (!row->plan->has_key)
	{
		bool		hashed = !w->full && w->out.len - value_start <= PAYLOAD_HASHED_MAX;

		image->hash = hash_bytes_extended((unsigned char *) w->out.data + value_start,
										  hashed ? w->out.len - value_start : 0,
										  image->hash);
	}
	json_raw(w, ",", 1);
}

/* Copy a member that is the same in both images. */
static void
payload_copy_member(PayloadRow *row, int i)
{
	const PayloadImage *record = &row->images[0];
	PayloadImage *old = &row->images[1];
	const ValueColumn *column = &row->plan->columns[i];
	const char *member = record->w.out.data + record->starts[i];
	int			len = record->w.out.len - record->starts[i];
	int			value_len = len - column->label_len - 1;

	if (!row->plan->has_key)
		old->hash = hash_bytes_extended((const unsigned char *) member + column->label_len,
										value_len <= PAYLOAD_HASHED_MAX ? value_len : 0,
										old->hash);
	json_raw(&old->w, member, len);
}

/*
 * Add a column to all images.  A value larger than any body can be is not even
 * finished: the column is left out at once.
 */
static void
payload_add_column(PayloadRow *row, int i)
{
	bool		full = false;
	int			k;

	for (k = 0; k < row->n_images; k++)
	{
		PayloadImage *image = &row->images[k];
		JsonWriter *w = &image->w;

		image->starts[i] = w->out.len;
		w->limit = row->plan->is_key[i] ? JSON_SIZE_MAX :
			w->out.len + guc_max_payload_size;
		if (k == 1 && !full && payload_value_unchanged(row, i))
			payload_copy_member(row, i);
		else
			payload_write_member(row, image, i);
		full |= w->full;
		w->full = false;
		image->starts[i + 1] = w->out.len;
	}
	if (unlikely(full))
		payload_drop_column(row, i, i + 1);
}

static void
payload_row_build(PayloadRow *row)
{
	PayloadPlan *plan = row->plan;
	MemoryContext scratch = NULL;
	MemoryContext caller = CurrentMemoryContext;
	int64		built;
	int			i;

	/* its own for each call: a cast may change a row of the same table */
	if (plan->allocates)
	{
		scratch = AllocSetContextCreate(caller, "fluxhooks row", ALLOCSET_SMALL_SIZES);
		MemoryContextSwitchTo(scratch);
	}
	for (i = 0; i < plan->n_columns; i++)
	{
		payload_add_column(row, i);
		built = row->images[0].w.out.len;
		built += row->n_images == 2 ? row->images[1].w.out.len : built;
		if (unlikely(built + PAYLOAD_FRAME_MAX > guc_max_payload_size))
			payload_fit(row, i + 1);
		if (plan->columns[i].writer->allocates)
			MemoryContextReset(scratch);
	}
	if (scratch != NULL)
	{
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(scratch);
	}
}

/*
 * What a row change is told apart by
 */

/* {"id":1}, from an image that is built. */
static bytea *
payload_key(const PayloadPlan *plan, const PayloadImage *image)
{
	int			len = 1;
	bytea	   *key;
	char	   *p;
	int			i;

	for (i = 0; i < plan->n_columns; i++)
		if (plan->is_key[i])
			len += image->starts[i + 1] - image->starts[i];
	key = palloc(VARHDRSZ + Max(len, 2));
	SET_VARSIZE(key, VARHDRSZ + Max(len, 2));
	p = VARDATA(key);
	*p++ = '{';
	for (i = 0; i < plan->n_columns; i++)
		if (plan->is_key[i])
		{
			int			member_len = image->starts[i + 1] - image->starts[i];

			memcpy(p, image->w.out.data + image->starts[i], member_len);
			p += member_len;
		}
	VARDATA(key)[Max(len, 2) - 1] = '}';
	return key;
}

static int64
payload_key_hash(const PayloadPlan *plan, const bytea *key)
{
	return (int64) hash_bytes_extended((const unsigned char *) VARDATA(key),
									   VARSIZE(key) - VARHDRSZ, plan->reported);
}

static void
payload_identify(const PayloadRow *row, PayloadImages *out)
{
	const PayloadPlan *plan = row->plan;
	const PayloadImage *last = &row->images[row->n_images - 1];
	bool		unchanged = true;
	int			i;

	if (!plan->has_key)
	{
		out->key_hash = (int64) row->images[0].hash;
		out->old_key_hash = (int64) last->hash;
		return;
	}
	out->record_key = payload_key(plan, &row->images[0]);
	out->key_hash = payload_key_hash(plan, out->record_key);
	out->old_key_hash = out->key_hash;
	if (row->n_images == 1)
		return;
	for (i = 0; i < plan->n_columns; i++)
		if (plan->is_key[i])
			unchanged &= payload_value_unchanged(row, i);
	if (!unchanged)
	{
		bytea	   *old_key = payload_key(plan, last);

		out->old_key_hash = payload_key_hash(plan, old_key);
		pfree(old_key);
	}
}

/* ["body","notes"] in the table's order. */
static bytea *
payload_truncated(const PayloadRow *row)
{
	const PayloadPlan *plan = row->plan;
	int			len = VARHDRSZ + 1 + row->dropped_len;
	bytea	   *truncated = palloc(len);
	char	   *p = VARDATA(truncated);
	int			i;

	SET_VARSIZE(truncated, len);
	*p++ = '[';
	for (i = 0; i < plan->n_columns; i++)
	{
		int			k = plan->by_position[i];
		const ValueColumn *column = &plan->columns[k];

		if (!row->dropped[k])
			continue;
		memcpy(p, column->label, column->label_len - 1);
		p += column->label_len;
		p[-1] = ',';
	}
	p[-1] = ']';
	return truncated;
}

/* Close an image; its buffer becomes the bytea. */
static bytea *
payload_image_finish(PayloadPlan *plan, PayloadImage *image)
{
	StringInfo	out = &image->w.out;
	int			len = VARHDRSZ + payload_image_len(image);

	out->data[len - 1] = '}';
	SET_VARSIZE(out->data, len);
	plan->size_hint = Max(256, Min(len + len / 4, 8192));
	return (bytea *) out->data;
}

static void
payload_image_begin(PayloadRow *row, HeapTuple tuple, Datum *values, bool *nulls, int *starts)
{
	PayloadImage *image = &row->images[row->n_images++];

	json_init(&image->w, row->plan->size_hint, JSON_SIZE_MAX);
	image->w.out.len = VARHDRSZ;
	image->w.out.data[image->w.out.len++] = '{';
	image->tuple = tuple;
	image->values = values;
	image->nulls = nulls;
	image->starts = starts;
	image->hash = row->plan->reported;
	heap_deform_tuple(tuple, row->plan->desc, values, nulls);
	if (unlikely(row->plan->virtual_columns != NULL))
		virtual_columns_compute(row->plan->virtual_columns, tuple, values, nulls);
}

void
payload_images(PayloadPlan *plan, const char *table_schema, const char *table_name,
			   HeapTuple newtuple, HeapTuple oldtuple, PayloadImages *out)
{
	Datum		local_values[2][PAYLOAD_COLUMNS_LOCAL];
	bool		local_nulls[2][PAYLOAD_COLUMNS_LOCAL];
	int			local_starts[2][PAYLOAD_COLUMNS_LOCAL + 1];
	bool		local_dropped[PAYLOAD_COLUMNS_LOCAL] = {false};
	HeapTuple	tuples[2] = {newtuple, oldtuple};
	PayloadRow	row = {.plan = plan, .table_schema = table_schema, .table_name = table_name};
	int			natts = plan->desc->natts;
	bool		local = natts <= PAYLOAD_COLUMNS_LOCAL;
	int			i;

	row.operation = newtuple == NULL ? OPERATION_DELETE :
		oldtuple == NULL ? OPERATION_INSERT : OPERATION_UPDATE;
	row.dropped = local ? local_dropped : palloc0(natts * sizeof(bool));
	for (i = 0; i < 2; i++)
		if (tuples[i] != NULL)
			payload_image_begin(&row, tuples[i],
								local ? local_values[i] : palloc(natts * sizeof(Datum)),
								local ? local_nulls[i] : palloc(natts * sizeof(bool)),
								local ? local_starts[i] : palloc((natts + 1) * sizeof(int)));
	payload_row_build(&row);

	memset(out, 0, sizeof(*out));
	payload_identify(&row, out);
	if (row.n_dropped > 0)
		out->truncated = payload_truncated(&row);
	if (newtuple != NULL)
		out->record = payload_image_finish(plan, &row.images[0]);
	if (oldtuple != NULL)
		out->old_record = payload_image_finish(plan, &row.images[row.n_images - 1]);
	if (!local)
	{
		pfree(row.dropped);
		for (i = 0; i < row.n_images; i++)
		{
			pfree(row.images[i].values);
			pfree(row.images[i].nulls);
			pfree(row.images[i].starts);
		}
	}
}

/*
 * Body
 */

static void
payload_body_name(StringInfo out, const char *name)
{
	JsonWriter	w = {.out = *out, .limit = JSON_SIZE_MAX};

	json_string(&w, name, strlen(name));
	*out = w.out;
}

static void
payload_body_literal(StringInfo out, const char *text)
{
	appendBinaryStringInfo(out, text, strlen(text));
}

void
payload_body(StringInfo out, const PayloadEvent *event, const pg_uuid_t *webhook_id)
{
	bool		once = event->record == NULL;
	const char *record = once ? event->old_record : event->record;
	int			record_len = once ? event->old_record_len : event->record_len;
	char		text[VALUE_TIME_SIZE];

	enlargeStringInfo(out, record_len + event->old_record_len + event->truncated_len +
					  PAYLOAD_FRAME_MAX);
	payload_body_literal(out, "{\"event\":\"");
	payload_body_literal(out, payload_operation_name(event->operation));
	payload_body_literal(out, "\",\"table\":");
	payload_body_name(out, event->table_name);
	payload_body_literal(out, ",\"schema\":");
	payload_body_name(out, event->table_schema);
	payload_body_literal(out, ",\"record\":");
	appendBinaryStringInfo(out, record, record_len);
	payload_body_literal(out, ",\"old_record\":");
	if (event->old_record == NULL)
		payload_body_literal(out, "null");
	else
		appendBinaryStringInfo(out, event->old_record, event->old_record_len);
	payload_body_literal(out, ",\"timestamp\":\"");
	appendBinaryStringInfo(out, text, value_timestamp_text(text, event->captured_at, 3, "Z"));
	payload_body_literal(out, "\",\"webhook_id\":\"");
	value_uuid_text(text, webhook_id);
	appendBinaryStringInfo(out, text, VALUE_UUID_LEN);
	payload_body_literal(out, "\"");
	if (event->truncated != NULL)
	{
		payload_body_literal(out, ",\"truncated\":");
		appendBinaryStringInfo(out, event->truncated, event->truncated_len);
	}
	payload_body_literal(out, "}");
}
