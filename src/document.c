/*
 * document.c
 *	  Values of json and jsonb, rewritten canonically: no white space, strings
 *	  and numbers as json.c spells them, members in the order that JavaScript
 *	  gives them, of equal keys the last value at the first one's place.
 *
 * Containers that are open are kept on the heap, not on the stack: however
 * deeply a value is nested, it fails on nothing that PostgreSQL could store.
 * A writer's limit applies to what has been read so far, values of repeated keys
 * included, so that no value takes more memory than its limit.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "json.h"

/* A member of an object that is open: where its key stands in out. */
typedef struct DocumentMember
{
	int			start;			/* opening quote */
	int			key_end;		/* past the closing quote */
} DocumentMember;

/* An object or array that is open. */
typedef struct DocumentFrame
{
	bool		object;
	bool		indexed;		/* some key is an array index */
	int			first_member;
} DocumentFrame;

/* A document on its way into a writer. */
typedef struct DocumentBuilder
{
	JsonWriter *w;
	const char *p;				/* of json text: what is still to be read */
	const char *end;
	DocumentFrame *frames;
	int			n_frames;
	int			max_frames;
	DocumentMember *members;
	int			n_members;
	int			max_members;
} DocumentBuilder;

/* More open containers or members than this count as a value over any limit. */
#define DOCUMENT_STACK_MAX	(16 * 1024 * 1024)

/* One member while an object is put in order. */
typedef struct DocumentEntry
{
	uint64		rank;			/* array indexes first */
	uint32		hash;
	int			position;		/* where its key stood first */
	int			source;			/* the member whose value counts */
} DocumentEntry;

typedef struct DocumentObject
{
	const char *data;
	const DocumentMember *members;
} DocumentObject;

bool
json_index_key(const char *name, size_t len, uint32 *index)
{
	uint64		value = 0;
	size_t		i;

	if (len == 0 || len > 10 || (name[0] == '0' && len > 1))
		return false;
	for (i = 0; i < len; i++)
	{
		if (name[i] < '0' || name[i] > '9')
			return false;
		value = value * 10 + (name[i] - '0');
	}
	*index = (uint32) value;
	return value < PG_UINT32_MAX;
}

static bool
document_member_index(const char *data, const DocumentMember *m, uint32 *index)
{
	return json_index_key(data + m->start + 1, m->key_end - m->start - 2, index);
}

static int
document_key_compare(const DocumentObject *object, int a, int b)
{
	const DocumentMember *x = &object->members[a];
	const DocumentMember *y = &object->members[b];
	int			len = x->key_end - x->start;

	if (len != y->key_end - y->start)
		return len < y->key_end - y->start ? -1 : 1;
	return memcmp(object->data + x->start, object->data + y->start, len);
}

static int
document_entry_by_key(const void *a, const void *b, void *object)
{
	const DocumentEntry *x = a;
	const DocumentEntry *y = b;
	int			order;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	order = document_key_compare(object, x->position, y->position);
	return order != 0 ? order : (x->position < y->position ? -1 : 1);
}

static int
document_entry_by_place(const void *a, const void *b)
{
	const DocumentEntry *x = a;
	const DocumentEntry *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->position < y->position ? -1 : 1;
}

/* Entries of an object, equal keys merged: the last value at the first place. */
static int
document_object_entries(const DocumentObject *object, int n, DocumentEntry *entries)
{
	int			kept = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		const DocumentMember *m = &object->members[i];
		uint32		index;

		entries[i].position = entries[i].source = i;
		entries[i].hash = hash_bytes((const unsigned char *) object->data + m->start,
									 m->key_end - m->start);
		entries[i].rank = document_member_index(object->data, m, &index) ? index : PG_UINT64_MAX;
	}
	qsort_arg(entries, n, sizeof(DocumentEntry), document_entry_by_key, (void *) object);
	for (i = 1; i < n; i++)
	{
		if (document_key_compare(object, entries[kept].position, entries[i].position) == 0)
			entries[kept].source = entries[i].position;
		else
			entries[++kept] = entries[i];
	}
	return kept + 1;
}

/* Put the members of the innermost object, which ends here, in order. */
static void
document_object_order(DocumentBuilder *b, const DocumentFrame *frame)
{
	StringInfo	out = &b->w->out;
	DocumentObject	object = {out->data, b->members + frame->first_member};
	int			n = b->n_members - frame->first_member;
	int			start = object.members[0].start;
	int			end = out->len;
	DocumentEntry *entries = palloc(n * sizeof(DocumentEntry));
	int			n_entries = document_object_entries(&object, n, entries);
	char	   *text;
	int			i;

	if (n_entries == n && !frame->indexed)
	{
		pfree(entries);
		return;
	}
	qsort(entries, n_entries, sizeof(DocumentEntry), document_entry_by_place);

	text = palloc(end - start);
	memcpy(text, out->data + start, end - start);
	out->len = start;
	for (i = 0; i < n_entries; i++)
	{
		const DocumentMember *m = &object.members[entries[i].source];
		int			member_end = entries[i].source == n - 1 ? end : m[1].start - 1;

		if (i > 0)
			out->data[out->len++] = ',';
		memcpy(out->data + out->len, text + m->start - start, member_end - m->start);
		out->len += member_end - m->start;
	}
	pfree(text);
	pfree(entries);
}

/* Few keys are compared pair by pair, which costs less than putting them in order. */
static bool
document_object_in_order(const DocumentBuilder *b, const DocumentFrame *frame)
{
	DocumentObject	object = {b->w->out.data, b->members + frame->first_member};
	int			n = b->n_members - frame->first_member;
	int			i;
	int			j;

	if (frame->indexed || n > 8)
		return false;
	for (i = 1; i < n; i++)
		for (j = 0; j < i; j++)
			if (document_key_compare(&object, i, j) == 0)
				return false;
	return true;
}

/* Room for one more in a stack; false where a document exceeds all measure. */
static bool
document_stack_grow(void **stack, int n, int *max, size_t size)
{
	if (n < *max)
		return true;
	if (n >= DOCUMENT_STACK_MAX)
		return false;
	if (*stack == NULL)
	{
		*max = 16;
		*stack = palloc(*max * size);
	}
	else
	{
		*max *= 2;
		*stack = repalloc(*stack, *max * size);
	}
	return true;
}

static void
document_builder_begin(DocumentBuilder *b, JsonWriter *w)
{
	memset(b, 0, sizeof(*b));
	b->w = w;
}

static void
document_builder_end(DocumentBuilder *b)
{
	if (b->frames)
		pfree(b->frames);
	if (b->members)
		pfree(b->members);
}

static inline DocumentFrame *
document_top(DocumentBuilder *b)
{
	return &b->frames[b->n_frames - 1];
}

static void
document_open(DocumentBuilder *b, bool object)
{
	if (!document_stack_grow((void **) &b->frames, b->n_frames, &b->max_frames, sizeof(DocumentFrame)))
	{
		b->w->full = true;
		return;
	}
	b->n_frames++;
	document_top(b)->object = object;
	document_top(b)->indexed = false;
	document_top(b)->first_member = b->n_members;
	json_raw(b->w, object ? "{" : "[", 1);
}

static void
document_close(DocumentBuilder *b, bool unique)
{
	DocumentFrame *frame = document_top(b);

	if (frame->object && !b->w->full && b->n_members > frame->first_member &&
		(unique ? frame->indexed : !document_object_in_order(b, frame)))
		document_object_order(b, frame);
	b->n_members = frame->first_member;
	json_raw(b->w, frame->object ? "}" : "]", 1);
	b->n_frames--;
}

/* A comma, unless what is due is the first of its container. */
static void
document_separate(DocumentBuilder *b)
{
	StringInfo	out = &b->w->out;

	if (b->n_frames > 0 && !b->w->full && strchr("{[:", out->data[out->len - 1]) == NULL)
		json_raw(b->w, ",", 1);
}

static void
document_key_begin(DocumentBuilder *b)
{
	document_separate(b);
	if (!document_stack_grow((void **) &b->members, b->n_members, &b->max_members, sizeof(DocumentMember)))
	{
		b->w->full = true;
		return;
	}
	b->members[b->n_members++].start = b->w->out.len;
}

static void
document_key_end(DocumentBuilder *b)
{
	JsonWriter *w = b->w;
	DocumentMember *m;
	uint32		index;

	if (w->full)
		return;
	m = &b->members[b->n_members - 1];
	m->key_end = w->out.len;
	if (document_member_index(w->out.data, m, &index))
		document_top(b)->indexed = true;
	json_raw(w, ":", 1);
}

/*
 * json text
 */

static inline void
document_skip_space(DocumentBuilder *b)
{
	while (b->p < b->end && (*b->p == ' ' || *b->p == '\t' || *b->p == '\n' || *b->p == '\r'))
		b->p++;
}

/* Four hex digits; -1 where they are none. */
static int
document_read_hex(const char *p, const char *end)
{
	int			code = 0;
	int			i;

	if (end - p < 4)
		return -1;
	for (i = 0; i < 4; i++)
	{
		if (p[i] >= '0' && p[i] <= '9')
			code = code * 16 + (p[i] - '0');
		else if ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'f')
			code = code * 16 + ((p[i] | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return code;
}

/* What follows a backslash. */
static bool
document_read_escape(DocumentBuilder *b)
{
	static const char letters[] = "bfnrt";
	static const char codes[] = "\b\f\n\r\t";
	const char *letter;
	int			code;
	int			low;

	if (b->p >= b->end)
		return false;
	if (*b->p == '"' || *b->p == '\\' || *b->p == '/')
		code = (unsigned char) *b->p++;
	else if (*b->p != 'u')
	{
		letter = *b->p == '\0' ? NULL : strchr(letters, *b->p++);
		if (letter == NULL)
			return false;
		code = (unsigned char) codes[letter - letters];
	}
	else
	{
		code = document_read_hex(b->p + 1, b->end);
		if (code < 0)
			return false;
		b->p += 5;
		if (code >= 0xD800 && code <= 0xDBFF && b->end - b->p >= 6 &&
			b->p[0] == '\\' && b->p[1] == 'u')
		{
			low = document_read_hex(b->p + 2, b->end);
			if (low >= 0xDC00 && low <= 0xDFFF)
			{
				code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
				b->p += 6;
			}
		}
	}
	json_code_point(b->w, code);
	return true;
}

static bool
document_read_string(DocumentBuilder *b)
{
	b->p++;
	json_raw(b->w, "\"", 1);
	while (b->p < b->end && !b->w->full)
	{
		const char *run = b->p;

		while (b->p < b->end && *b->p != '"' && *b->p != '\\' && (unsigned char) *b->p >= 0x20)
			b->p++;
		json_chars(b->w, run, b->p - run);
		if (b->p >= b->end)
			return false;
		if (*b->p == '"')
		{
			b->p++;
			json_raw(b->w, "\"", 1);
			return true;
		}
		if (*b->p++ != '\\' || !document_read_escape(b))
			return false;
	}
	return b->w->full;
}

static bool
document_skip_digits(DocumentBuilder *b)
{
	const char *start = b->p;

	while (b->p < b->end && *b->p >= '0' && *b->p <= '9')
		b->p++;
	return b->p > start;
}

static bool
document_read_number(DocumentBuilder *b)
{
	const char *start = b->p;

	if (*b->p == '-')
		b->p++;
	if (b->p < b->end && *b->p == '0')
		b->p++;
	else if (!document_skip_digits(b))
		return false;
	if (b->p < b->end && *b->p == '.')
	{
		b->p++;
		if (!document_skip_digits(b))
			return false;
	}
	if (b->p < b->end && (*b->p | 0x20) == 'e')
	{
		b->p++;
		if (b->p < b->end && (*b->p == '-' || *b->p == '+'))
			b->p++;
		if (!document_skip_digits(b))
			return false;
	}
	json_decimal(b->w, start, b->p - start);
	return true;
}

static bool
document_read_word(DocumentBuilder *b, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (b->end - b->p) < len || memcmp(b->p, word, len) != 0)
		return false;
	b->p += len;
	json_raw(b->w, word, len);
	return true;
}

static bool
document_read_key(DocumentBuilder *b)
{
	if (b->p >= b->end || *b->p != '"')
		return false;
	document_key_begin(b);
	if (!document_read_string(b))
		return false;
	document_key_end(b);
	document_skip_space(b);
	if (b->p >= b->end || *b->p++ != ':')
		return b->w->full;
	document_skip_space(b);
	return true;
}

/* A scalar, or the opening of a container; before it its key. */
static bool
document_read_item(DocumentBuilder *b)
{
	document_skip_space(b);
	if (b->n_frames > 0 && document_top(b)->object && !document_read_key(b))
		return false;
	if (b->p >= b->end)
		return b->w->full;
	document_separate(b);
	switch (*b->p)
	{
		case '{':
		case '[':
			document_open(b, *b->p++ == '{');
			return true;
		case '"':
			return document_read_string(b);
		case 't':
			return document_read_word(b, "true");
		case 'f':
			return document_read_word(b, "false");
		case 'n':
			return document_read_word(b, "null");
		default:
			return document_read_number(b);
	}
}

/*
 * What may follow an item: closings, then a comma or the end.  opened: the
 * item was an opening bracket, and the next item may follow at once.
 */
static bool
document_read_rest(DocumentBuilder *b, bool opened)
{
	for (;;)
	{
		document_skip_space(b);
		if (b->n_frames == 0)
			return b->p == b->end;
		if (b->p >= b->end)
			return false;
		if (*b->p == (document_top(b)->object ? '}' : ']'))
			document_close(b, false);
		else if (opened)
			return true;
		else if (*b->p == ',')
		{
			b->p++;
			return true;
		}
		else
			return false;
		b->p++;
		opened = false;
	}
}

void
json_document(JsonWriter *w, const char *text, size_t len)
{
	DocumentBuilder b;
	int			start = w->out.len;
	bool		valid = true;

	document_builder_begin(&b, w);
	b.p = text;
	b.end = text + len;
	do
	{
		int			depth = b.n_frames;

		valid = document_read_item(&b) &&
			(w->full || document_read_rest(&b, b.n_frames > depth));
	} while (valid && !w->full && b.n_frames > 0);
	document_builder_end(&b);

	if (!valid)
	{
		w->out.len = start;
		w->full = false;
		json_string(w, text, len);
	}
}

/*
 * jsonb
 */

static void
document_jsonb_scalar(JsonWriter *w, JsonbValue *value)
{
	char	   *text;

	switch (value->type)
	{
		case jbvNull:
			json_raw(w, "null", 4);
			break;
		case jbvBool:
			if (value->val.boolean)
				json_raw(w, "true", 4);
			else
				json_raw(w, "false", 5);
			break;
		case jbvString:
			json_string(w, value->val.string.val, value->val.string.len);
			break;
		default:
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
			json_decimal(w, text, strlen(text));
			pfree(text);
			break;
	}
}

/* Keys are unique there already, but not in JavaScript's order. */
void
json_jsonb(JsonWriter *w, Jsonb *jb)
{
	DocumentBuilder b;
	JsonbIterator *it = JsonbIteratorInit(&jb->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		scalar = JB_ROOT_IS_SCALAR(jb);

	document_builder_begin(&b, w);
	while (!w->full && (token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
			case WJB_BEGIN_OBJECT:
				if (scalar)
					break;
				document_separate(&b);
				document_open(&b, token == WJB_BEGIN_OBJECT);
				break;
			case WJB_END_ARRAY:
			case WJB_END_OBJECT:
				if (!scalar)
					document_close(&b, true);
				break;
			case WJB_KEY:
				document_key_begin(&b);
				json_string(w, value.val.string.val, value.val.string.len);
				document_key_end(&b);
				break;
			default:
				document_separate(&b);
				document_jsonb_scalar(w, &value);
				break;
		}
	}
	document_builder_end(&b);
}
