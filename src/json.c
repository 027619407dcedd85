/*
 * json.c
 *	  Canonical JSON: the spelling that JSON.stringify(JSON.parse(text)) gives
 *	  back byte for byte wherever a double carries the numbers.
 *
 * Strings are escaped as JSON.stringify escapes them.  A number is spelled as
 * JavaScript spells it when that spelling denotes the same decimal value, and
 * keeps every digit otherwise.  Members of objects stand in the order that
 * JavaScript gives them.  Documents are read with a stack on the heap: however
 * deeply a value is nested, it fails on nothing that PostgreSQL could store.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_conversion.h"
#include "catalog/pg_namespace.h"
#include "common/hashfn.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "compat.h"
#include "json.h"

#define JSON_REPLACEMENT	"\xEF\xBF\xBD"	/* U+FFFD */

/* Digits of a double never exceed 17; a decimal with more is not carried. */
#define JSON_DIGITS_MAX		17
/* A decimal of so few digits survives a double, within these exponents. */
#define JSON_DIGITS_SAFE	15
#define JSON_POINT_SAFE		300
#define JSON_NUMBER_SIZE	40

/* 0.DIGITS times ten to the power of point; no digits: zero. */
typedef struct JsonDecimal
{
	bool		negative;
	int			n_digits;
	int64		point;
	char		digits[JSON_DIGITS_MAX + 3];
} JsonDecimal;

/* A member of an object that is open: where its key stands in out. */
typedef struct JsonMember
{
	int			start;			/* opening quote */
	int			key_end;		/* past the closing quote */
} JsonMember;

/* An object or array that is open. */
typedef struct JsonFrame
{
	bool		object;
	bool		indexed;		/* some key is an array index */
	int			first_member;
} JsonFrame;

/* A document on its way into a writer. */
typedef struct JsonBuilder
{
	JsonWriter *w;
	const char *p;				/* of json text: what is still to be read */
	const char *end;
	JsonFrame  *frames;
	int			n_frames;
	int			max_frames;
	JsonMember *members;
	int			n_members;
	int			max_members;
} JsonBuilder;

/* Open objects and members beyond this count as a value over any limit. */
#define JSON_STACK_MAX	(16 * 1024 * 1024)

/* One member while an object is put in order. */
typedef struct JsonEntry
{
	uint64		rank;			/* array indexes first */
	uint32		hash;
	int			position;		/* where its key stood first */
	int			source;			/* the member whose value counts */
} JsonEntry;

typedef struct JsonObject
{
	const char *data;
	const JsonMember *members;
} JsonObject;

void
json_init(JsonWriter *w, int size, int limit)
{
	w->out.data = palloc(size);
	w->out.maxlen = size;
	w->out.cursor = 0;
	resetStringInfo(&w->out);
	w->limit = limit;
	w->full = false;
}

/*
 * Room for so many bytes, or NULL where the limit forbids them.  The caller
 * fills them and adds to out.len; no terminating NUL is kept.
 */
static inline char *
json_reserve(JsonWriter *w, size_t len)
{
	if (unlikely(w->full || len > (size_t) Max(w->limit - w->out.len, 0)))
	{
		w->full = true;
		return NULL;
	}
	if (unlikely(w->out.len + (int) len >= w->out.maxlen))
		enlargeStringInfo(&w->out, (int) len);
	return w->out.data + w->out.len;
}

void
json_raw(JsonWriter *w, const char *bytes, size_t len)
{
	char	   *dst = json_reserve(w, len);

	if (dst == NULL)
		return;
	memcpy(dst, bytes, len);
	w->out.len += (int) len;
}

static inline void
json_char(JsonWriter *w, char c)
{
	char	   *dst = json_reserve(w, 1);

	if (dst == NULL)
		return;
	*dst = c;
	w->out.len++;
}

/*
 * Strings
 */

static inline bool
json_is_special(unsigned char c)
{
	return c < 0x20 || c == '"' || c == '\\' || c >= 0x80;
}

/* The first byte that is not plain ASCII to JSON, eight at a time. */
static inline const char *
json_skip_plain(const char *p, const char *end)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 highs = UINT64CONST(0x8080808080808080);

	while (end - p >= 8)
	{
		uint64		x,
					quote,
					backslash;

		memcpy(&x, p, 8);
		quote = x ^ (ones * '"');
		backslash = x ^ (ones * '\\');
		if ((x | ((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) |
			 ((backslash - ones) & ~backslash)) & highs)
			break;
		p += 8;
	}
	while (p < end && !json_is_special((unsigned char) *p))
		p++;
	return p;
}

/*
 * Length of the character at p, which begins with a byte above 0x7F; negative
 * where it is none: then so many bytes stand for one U+FFFD, as every WHATWG
 * decoder counts them.
 */
static int
json_utf8_length(const unsigned char *p, const unsigned char *end)
{
	unsigned char low = 0x80;
	unsigned char high = 0xBF;
	int			len;
	int			i;

	if (*p >= 0xC2 && *p <= 0xDF)
		len = 2;
	else if (*p >= 0xE0 && *p <= 0xEF)
		len = 3;
	else if (*p >= 0xF0 && *p <= 0xF4)
		len = 4;
	else
		return -1;

	/* no overlong forms, no surrogates, nothing above U+10FFFF */
	if (*p == 0xE0)
		low = 0xA0;
	else if (*p == 0xED)
		high = 0x9F;
	else if (*p == 0xF0)
		low = 0x90;
	else if (*p == 0xF4)
		high = 0x8F;

	for (i = 1; i < len; i++)
	{
		if (p + i >= end || p[i] < low || p[i] > high)
			return -i;
		low = 0x80;
		high = 0xBF;
	}
	return len;
}

static void
json_escape(JsonWriter *w, unsigned int code)
{
	static const char hex[] = "0123456789abcdef";
	static const char shorts[] = "btn\0fr";
	char		escape[6];

	escape[0] = '\\';
	if (code == '"' || code == '\\')
		escape[1] = (char) code;
	else if (code >= '\b' && code <= '\r' && code != '\v')
		escape[1] = shorts[code - '\b'];
	else
	{
		escape[1] = 'u';
		escape[2] = hex[code >> 12 & 15];
		escape[3] = hex[code >> 8 & 15];
		escape[4] = hex[code >> 4 & 15];
		escape[5] = hex[code & 15];
		json_raw(w, escape, 6);
		return;
	}
	json_raw(w, escape, 2);
}

/* The inside of a string, from bytes that are to be UTF-8. */
static void
json_utf8_chars(JsonWriter *w, const char *p, size_t len)
{
	const char *end = p + len;

	while (p < end && !w->full)
	{
		const char *run = p;
		int			invalid = 0;

		for (;;)
		{
			int			n;

			p = json_skip_plain(p, end);
			if (p >= end || !IS_HIGHBIT_SET(*p))
				break;
			n = json_utf8_length((const unsigned char *) p, (const unsigned char *) end);
			if (n < 0)
			{
				invalid = -n;
				break;
			}
			p += n;
		}
		json_raw(w, run, p - run);
		if (p >= end)
			break;
		if (invalid > 0)
		{
			json_raw(w, JSON_REPLACEMENT, 3);
			p += invalid;
		}
		else
			json_escape(w, (unsigned char) *p++);
	}
}

/*
 * The server's own conversion to UTF-8; NULL where there is none.  Found once:
 * built-in conversions never change, and pg_catalog's is meant, whatever the
 * search_path has.
 */
static FmgrInfo *
json_conversion(void)
{
	static FmgrInfo conversion;
	static bool looked_up = false;

	if (!looked_up)
	{
		Oid			proc = FindDefaultConversion(PG_CATALOG_NAMESPACE,
												 GetDatabaseEncoding(), PG_UTF8);

		if (OidIsValid(proc))
			fmgr_info_cxt(proc, &conversion, TopMemoryContext);
		looked_up = true;
	}
	return OidIsValid(conversion.fn_oid) ? &conversion : NULL;
}

/* A piece of text in an encoding other than UTF-8: what has no place there is U+FFFD. */
static void
json_converted_piece(JsonWriter *w, const char *text, int len)
{
	int			encoding = GetDatabaseEncoding();
	FmgrInfo   *conversion = json_conversion();
	char	   *buffer = palloc((Size) len * MAX_CONVERSION_GROWTH + 1);

	if (conversion != NULL && compat_convert_to_utf8(conversion, encoding, text, len, buffer))
		json_utf8_chars(w, buffer, strlen(buffer));
	else
		while (len > 0)
		{
			int			n = Min(pg_encoding_mblen(encoding, text), len);

			if (!IS_HIGHBIT_SET(*text))
				json_utf8_chars(w, text, n);
			else if (conversion != NULL &&
					 compat_convert_to_utf8(conversion, encoding, text, n, buffer))
				json_utf8_chars(w, buffer, strlen(buffer));
			else
				json_raw(w, JSON_REPLACEMENT, 3);
			text += n;
			len -= n;
		}
	pfree(buffer);
}

void
json_chars(JsonWriter *w, const char *text, size_t len)
{
	int			encoding = GetDatabaseEncoding();

	/* SQL_ASCII promises nothing: what is UTF-8 there is taken for it */
	if (likely(encoding == PG_UTF8 || encoding == PG_SQL_ASCII))
	{
		json_utf8_chars(w, text, len);
		return;
	}

	/* in pieces: converted text takes several times the room */
	while (len > 0 && !w->full)
	{
		int			piece = (int) Min(len, 8192);

		if (piece < len)
			piece = pg_encoding_mbcliplen(encoding, text, piece, piece);
		if (piece <= 0)
			piece = 1;
		json_converted_piece(w, text, piece);
		text += piece;
		len -= piece;
	}
}

void
json_string(JsonWriter *w, const char *text, size_t len)
{
	const char *plain = json_skip_plain(text, text + len);

	/* most strings need nothing: one reservation, one copy */
	if (likely(plain == text + len))
	{
		json_plain_string(w, text, len);
		return;
	}
	json_char(w, '"');
	json_chars(w, text, len);
	json_char(w, '"');
}

void
json_plain_string(JsonWriter *w, const char *text, size_t len)
{
	char	   *dst = json_reserve(w, len + 2);

	if (dst == NULL)
		return;
	dst[0] = '"';
	memcpy(dst + 1, text, len);
	dst[len + 1] = '"';
	w->out.len += (int) len + 2;
}

/*
 * Numbers
 */

void
json_int(JsonWriter *w, int64 value)
{
	char	   *dst = json_reserve(w, 20);
	int			len = 0;
	uint64		magnitude = (uint64) value;

	/* 20 bytes may be more than the limit leaves where fewer would do: no matter */
	if (dst == NULL)
		return;
	if (value < 0)
	{
		dst[len++] = '-';
		magnitude = -magnitude;
	}
	if (magnitude <= PG_UINT32_MAX)
		len += pg_ultoa_n((uint32) magnitude, dst + len);
	else
		len += pg_ulltoa_n(magnitude, dst + len);
	w->out.len += len;
}

/* Take one digit of a number; false where they become too many to matter. */
static inline bool
json_decimal_digit(JsonDecimal *d, char c, int *zeros)
{
	if (c == '0')
	{
		if (d->n_digits > 0)
			(*zeros)++;
		return true;
	}
	if (d->n_digits + *zeros >= JSON_DIGITS_MAX)
		return false;
	while (*zeros > 0)
	{
		d->digits[d->n_digits++] = '0';
		(*zeros)--;
	}
	d->digits[d->n_digits++] = c;
	return true;
}

/*
 * Read a number as JSON or numeric_out spell it; false where it is none, or
 * has more significant digits than a double can carry.
 */
static bool
json_decimal_parse(const char *p, const char *end, JsonDecimal *d)
{
	int			zeros = 0;		/* behind the last significant digit so far */
	bool		fraction = false;
	int64		exponent = 0;
	bool		negative = false;

	d->negative = (p < end && *p == '-');
	d->n_digits = 0;
	d->point = 0;
	for (p += d->negative; p < end && *p != 'e' && *p != 'E'; p++)
	{
		if (*p == '.')
		{
			fraction = true;
			continue;
		}
		if (*p < '0' || *p > '9' || !json_decimal_digit(d, *p, &zeros))
			return false;
		if (!fraction && d->n_digits > 0)
			d->point++;
		else if (fraction && d->n_digits == 0)
			d->point--;
	}
	if (p < end && ++p < end && (*p == '-' || *p == '+'))
		negative = (*p++ == '-');
	for (; p < end; p++)
		if (exponent < PG_INT32_MAX)
			exponent = exponent * 10 + (*p - '0');
	d->point += negative ? -exponent : exponent;
	return true;
}

/* Number.prototype.toString, from the digits on; returns the length. */
static int
json_decimal_format(const JsonDecimal *d, char *out)
{
	char	   *p = out;
	int			n = (int) d->point;
	int			k = d->n_digits;

	if (k == 0)
	{
		*out = '0';
		return 1;
	}
	if (d->negative)
		*p++ = '-';
	if (n > 21 || n < -5)
	{
		*p++ = d->digits[0];
		if (k > 1)
		{
			*p++ = '.';
			memcpy(p, d->digits + 1, k - 1);
			p += k - 1;
		}
		*p++ = 'e';
		*p++ = n > 0 ? '+' : '-';
		p += pg_ultoa_n((uint32) abs(n - 1), p);
	}
	else if (n >= k)
	{
		memcpy(p, d->digits, k);
		memset(p + k, '0', n - k);
		p += n;
	}
	else if (n > 0)
	{
		memcpy(p, d->digits, n);
		p[n] = '.';
		memcpy(p + n + 1, d->digits + n, k - n);
		p += k + 1;
	}
	else
	{
		memcpy(p, "0.00000", 2 - n);
		memcpy(p + 2 - n, d->digits, k);
		p += 2 - n + k;
	}
	return (int) (p - out);
}

/*
 * The point halfway to a neighbour, q times two to the power of s: has it
 * fewer digits than d?  Then it is the shortest.
 */
static void
json_shortest_boundary(uint64 q, int s, JsonDecimal *d)
{
	int			zeros = 0;
	char		digits[20];
	int			n;

	while (zeros < s && q % 5 == 0)
	{
		q /= 5;
		zeros++;
	}
	s -= zeros;
	if (zeros == 0 || s >= 64 || q > (PG_UINT64_MAX >> s))
		return;
	n = pg_ulltoa_n(q << s, digits);
	if (n >= d->n_digits)
		return;
	memcpy(d->digits, digits, n);
	d->n_digits = n;
	d->point = n + zeros;
}

/*
 * The shortest digits that read back as this double, as JavaScript chooses
 * them.  PostgreSQL's Ryu looks strictly between the halfway points to both
 * neighbours; ECMAScript counts those points in where reading rounds them to
 * the even mantissa that this one has (1e23).  A halfway point has few digits
 * only as a multiple of a power of ten, so only above 2^53.
 */
static void
json_shortest(float8 value, JsonDecimal *d)
{
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];
	int			len = double_to_shortest_decimal_bufn(value, text);
	uint64		bits;
	uint64		mantissa;
	int			exponent;

	json_decimal_parse(text, text + len, d);

	memcpy(&bits, &value, sizeof(bits));
	mantissa = (bits & ((UINT64CONST(1) << 52) - 1)) | (UINT64CONST(1) << 52);
	exponent = (int) (bits >> 52 & 0x7FF) - 1075;
	if (exponent < 1 || (mantissa & 1) != 0)
		return;
	json_shortest_boundary(2 * mantissa + 1, exponent - 1, d);
	/* below a power of two the neighbour is half as far */
	if (mantissa == UINT64CONST(1) << 52)
		json_shortest_boundary(4 * mantissa - 1, exponent - 2, d);
	else
		json_shortest_boundary(2 * mantissa - 1, exponent - 1, d);
}

static void
json_infinite(JsonWriter *w, float8 value)
{
	if (isnan(value))
		json_raw(w, "\"NaN\"", 5);
	else if (value > 0)
		json_raw(w, "\"Infinity\"", 10);
	else
		json_raw(w, "\"-Infinity\"", 11);
}

void
json_float8(JsonWriter *w, float8 value)
{
	JsonDecimal d;
	char		text[JSON_NUMBER_SIZE];

	if (!isfinite(value))
	{
		json_infinite(w, value);
		return;
	}
	json_shortest(value, &d);
	json_raw(w, text, json_decimal_format(&d, text));
}

/* A float4's own shortest decimal: nine digits at most, so carried. */
void
json_float4(JsonWriter *w, float4 value)
{
	JsonDecimal d;
	char		text[JSON_NUMBER_SIZE];

	if (!isfinite(value))
	{
		json_infinite(w, value);
		return;
	}
	json_decimal_parse(text, text + float_to_shortest_decimal_bufn(value, text), &d);
	json_raw(w, text, json_decimal_format(&d, text));
}

/* Does the double nearest to this decimal print back to the same decimal? */
static bool
json_decimal_carried(const JsonDecimal *d)
{
	char		text[JSON_NUMBER_SIZE];
	JsonDecimal back;
	float8		value;

	if (d->n_digits == 0)
		return true;
	if (d->point < -400 || d->point > 400)
		return false;
	if (d->n_digits <= JSON_DIGITS_SAFE && Abs(d->point) <= JSON_POINT_SAFE)
		return true;

	/* without a decimal point, which a library may have localised */
	snprintf(text, sizeof(text), "%.*se%d", d->n_digits, d->digits,
			 (int) d->point - d->n_digits);
	value = strtod(text, NULL);
	if (!isfinite(value) || value == 0)
		return false;
	json_shortest(value, &back);
	return back.n_digits == d->n_digits && back.point == d->point &&
		memcmp(back.digits, d->digits, d->n_digits) == 0;
}

void
json_decimal(JsonWriter *w, const char *text, size_t len)
{
	JsonDecimal d;
	char		spelled[JSON_NUMBER_SIZE];
	char		last = len > 0 ? text[len - 1] : '\0';

	/* NaN, Infinity, -Infinity */
	if (last < '0' || last > '9')
		json_plain_string(w, text, len);
	else if (json_decimal_parse(text, text + len, &d) && json_decimal_carried(&d))
		json_raw(w, spelled, json_decimal_format(&d, spelled));
	else
		json_raw(w, text, len);
}

/*
 * Documents
 */

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
json_member_index(const char *data, const JsonMember *m, uint32 *index)
{
	return json_index_key(data + m->start + 1, m->key_end - m->start - 2, index);
}

static int
json_key_compare(const JsonObject *object, int a, int b)
{
	const JsonMember *x = &object->members[a];
	const JsonMember *y = &object->members[b];
	int			len = x->key_end - x->start;

	if (len != y->key_end - y->start)
		return len < y->key_end - y->start ? -1 : 1;
	return memcmp(object->data + x->start, object->data + y->start, len);
}

static int
json_entry_by_key(const void *a, const void *b, void *object)
{
	const JsonEntry *x = a;
	const JsonEntry *y = b;
	int			order;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	order = json_key_compare(object, x->position, y->position);
	return order != 0 ? order : (x->position < y->position ? -1 : 1);
}

static int
json_entry_by_place(const void *a, const void *b)
{
	const JsonEntry *x = a;
	const JsonEntry *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->position < y->position ? -1 : 1;
}

/* Entries of an object, equal keys merged: the last value at the first place. */
static int
json_object_entries(const JsonObject *object, int n, JsonEntry *entries)
{
	int			kept = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		const JsonMember *m = &object->members[i];
		uint32		index;

		entries[i].position = entries[i].source = i;
		entries[i].hash = hash_bytes((const unsigned char *) object->data + m->start,
									 m->key_end - m->start);
		entries[i].rank = json_member_index(object->data, m, &index) ? index : PG_UINT64_MAX;
	}
	qsort_arg(entries, n, sizeof(JsonEntry), json_entry_by_key, (void *) object);
	for (i = 1; i < n; i++)
	{
		if (json_key_compare(object, entries[kept].position, entries[i].position) == 0)
			entries[kept].source = entries[i].position;
		else
			entries[++kept] = entries[i];
	}
	return kept + 1;
}

/* Put the members of the innermost object, which ends here, in order. */
static void
json_object_order(JsonBuilder *b, const JsonFrame *frame)
{
	StringInfo	out = &b->w->out;
	JsonObject	object = {out->data, b->members + frame->first_member};
	int			n = b->n_members - frame->first_member;
	int			start = object.members[0].start;
	int			end = out->len;
	JsonEntry  *entries = palloc(n * sizeof(JsonEntry));
	int			n_entries = json_object_entries(&object, n, entries);
	char	   *text;
	int			i;

	if (n_entries == n && !frame->indexed)
	{
		pfree(entries);
		return;
	}
	qsort(entries, n_entries, sizeof(JsonEntry), json_entry_by_place);

	text = palloc(end - start);
	memcpy(text, out->data + start, end - start);
	out->len = start;
	for (i = 0; i < n_entries; i++)
	{
		const JsonMember *m = &object.members[entries[i].source];
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
json_object_in_order(const JsonBuilder *b, const JsonFrame *frame)
{
	JsonObject	object = {b->w->out.data, b->members + frame->first_member};
	int			n = b->n_members - frame->first_member;
	int			i;
	int			j;

	if (frame->indexed || n > 8)
		return false;
	for (i = 1; i < n; i++)
		for (j = 0; j < i; j++)
			if (json_key_compare(&object, i, j) == 0)
				return false;
	return true;
}

/* Room for one more in a stack; false where a document exceeds all measure. */
static bool
json_stack_grow(void **stack, int n, int *max, size_t size)
{
	if (n < *max)
		return true;
	if (n >= JSON_STACK_MAX)
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
json_builder_begin(JsonBuilder *b, JsonWriter *w)
{
	memset(b, 0, sizeof(*b));
	b->w = w;
}

static void
json_builder_end(JsonBuilder *b)
{
	if (b->frames)
		pfree(b->frames);
	if (b->members)
		pfree(b->members);
}

static inline JsonFrame *
json_top(JsonBuilder *b)
{
	return &b->frames[b->n_frames - 1];
}

static void
json_open(JsonBuilder *b, bool object)
{
	if (!json_stack_grow((void **) &b->frames, b->n_frames, &b->max_frames, sizeof(JsonFrame)))
	{
		b->w->full = true;
		return;
	}
	b->n_frames++;
	json_top(b)->object = object;
	json_top(b)->indexed = false;
	json_top(b)->first_member = b->n_members;
	json_char(b->w, object ? '{' : '[');
}

static void
json_close(JsonBuilder *b, bool unique)
{
	JsonFrame  *frame = json_top(b);

	if (frame->object && !b->w->full && b->n_members > frame->first_member &&
		(unique ? frame->indexed : !json_object_in_order(b, frame)))
		json_object_order(b, frame);
	b->n_members = frame->first_member;
	json_char(b->w, frame->object ? '}' : ']');
	b->n_frames--;
}

/* A comma, unless what is due is the first of its container. */
static void
json_separate(JsonBuilder *b)
{
	StringInfo	out = &b->w->out;

	if (b->n_frames > 0 && !b->w->full && strchr("{[:", out->data[out->len - 1]) == NULL)
		json_char(b->w, ',');
}

static void
json_key_begin(JsonBuilder *b)
{
	json_separate(b);
	if (!json_stack_grow((void **) &b->members, b->n_members, &b->max_members, sizeof(JsonMember)))
	{
		b->w->full = true;
		return;
	}
	b->members[b->n_members++].start = b->w->out.len;
}

static void
json_key_end(JsonBuilder *b)
{
	JsonWriter *w = b->w;
	JsonMember *m;
	uint32		index;

	if (w->full)
		return;
	m = &b->members[b->n_members - 1];
	m->key_end = w->out.len;
	if (json_member_index(w->out.data, m, &index))
		json_top(b)->indexed = true;
	json_char(w, ':');
}

/*
 * json text
 */

static inline void
json_skip_space(JsonBuilder *b)
{
	while (b->p < b->end && (*b->p == ' ' || *b->p == '\t' || *b->p == '\n' || *b->p == '\r'))
		b->p++;
}

/* Four hex digits; -1 where they are none. */
static int
json_read_hex(const char *p, const char *end)
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

static void
json_code_point(JsonWriter *w, pg_wchar code)
{
	unsigned char utf8[4];

	if (code < 0x80 && !json_is_special((unsigned char) code))
		json_char(w, (char) code);
	else if (code < 0x80 || (code >= 0xD800 && code <= 0xDFFF))
		json_escape(w, code);
	else
	{
		unicode_to_utf8(code, utf8);
		json_raw(w, (char *) utf8, pg_utf_mblen(utf8));
	}
}

/* What follows a backslash. */
static bool
json_read_escape(JsonBuilder *b)
{
	static const char letters[] = "bfnrt";
	static const char codes[] = "\b\f\n\r\t";
	const char *letter;
	int			code;
	int			low;

	if (b->p >= b->end)
		return false;
	if (*b->p == '"' || *b->p == '\\' || *b->p == '/')
		code = *b->p++;
	else if (*b->p != 'u')
	{
		letter = *b->p == '\0' ? NULL : strchr(letters, *b->p++);
		if (letter == NULL)
			return false;
		code = codes[letter - letters];
	}
	else
	{
		code = json_read_hex(b->p + 1, b->end);
		if (code < 0)
			return false;
		b->p += 5;
		if (code >= 0xD800 && code <= 0xDBFF && b->end - b->p >= 6 &&
			b->p[0] == '\\' && b->p[1] == 'u')
		{
			low = json_read_hex(b->p + 2, b->end);
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
json_read_string(JsonBuilder *b)
{
	b->p++;
	json_char(b->w, '"');
	while (b->p < b->end && !b->w->full)
	{
		const char *run = b->p;

		do
		{
			b->p = json_skip_plain(b->p, b->end);
			while (b->p < b->end && IS_HIGHBIT_SET(*b->p))
				b->p++;
		} while (b->p < b->end && !json_is_special((unsigned char) *b->p));
		json_chars(b->w, run, b->p - run);
		if (b->p >= b->end)
			return false;
		if (*b->p == '"')
		{
			b->p++;
			json_char(b->w, '"');
			return true;
		}
		if (*b->p++ != '\\' || !json_read_escape(b))
			return false;
	}
	return b->w->full;
}

static bool
json_skip_digits(JsonBuilder *b)
{
	const char *start = b->p;

	while (b->p < b->end && *b->p >= '0' && *b->p <= '9')
		b->p++;
	return b->p > start;
}

static bool
json_read_number(JsonBuilder *b)
{
	const char *start = b->p;

	if (*b->p == '-')
		b->p++;
	if (b->p < b->end && *b->p == '0')
		b->p++;
	else if (!json_skip_digits(b))
		return false;
	if (b->p < b->end && *b->p == '.')
	{
		b->p++;
		if (!json_skip_digits(b))
			return false;
	}
	if (b->p < b->end && (*b->p | 0x20) == 'e')
	{
		b->p++;
		if (b->p < b->end && (*b->p == '-' || *b->p == '+'))
			b->p++;
		if (!json_skip_digits(b))
			return false;
	}
	json_decimal(b->w, start, b->p - start);
	return true;
}

static bool
json_read_word(JsonBuilder *b, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (b->end - b->p) < len || memcmp(b->p, word, len) != 0)
		return false;
	b->p += len;
	json_raw(b->w, word, len);
	return true;
}

static bool
json_read_key(JsonBuilder *b)
{
	if (b->p >= b->end || *b->p != '"')
		return false;
	json_key_begin(b);
	if (!json_read_string(b))
		return false;
	json_key_end(b);
	json_skip_space(b);
	if (b->p >= b->end || *b->p++ != ':')
		return b->w->full;
	json_skip_space(b);
	return true;
}

/* A scalar, or the opening of a container; before it its key. */
static bool
json_read_item(JsonBuilder *b)
{
	json_skip_space(b);
	if (b->n_frames > 0 && json_top(b)->object && !json_read_key(b))
		return false;
	if (b->p >= b->end)
		return b->w->full;
	json_separate(b);
	switch (*b->p)
	{
		case '{':
		case '[':
			json_open(b, *b->p++ == '{');
			return true;
		case '"':
			return json_read_string(b);
		case 't':
			return json_read_word(b, "true");
		case 'f':
			return json_read_word(b, "false");
		case 'n':
			return json_read_word(b, "null");
		default:
			return json_read_number(b);
	}
}

/*
 * What may follow an item: closings, then a comma or the end.  opened: the
 * item was an opening bracket, and the next item may follow at once.
 */
static bool
json_read_rest(JsonBuilder *b, bool opened)
{
	for (;;)
	{
		json_skip_space(b);
		if (b->n_frames == 0)
			return b->p == b->end;
		if (b->p >= b->end)
			return false;
		if (*b->p == (json_top(b)->object ? '}' : ']'))
			json_close(b, false);
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
	JsonBuilder b;
	int			start = w->out.len;
	bool		valid = true;

	json_builder_begin(&b, w);
	b.p = text;
	b.end = text + len;
	do
	{
		int			depth = b.n_frames;

		valid = json_read_item(&b) &&
			(w->full || json_read_rest(&b, b.n_frames > depth));
	} while (valid && !w->full && b.n_frames > 0);
	json_builder_end(&b);

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
json_jsonb_scalar(JsonWriter *w, JsonbValue *value)
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
	JsonBuilder b;
	JsonbIterator *it = JsonbIteratorInit(&jb->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		scalar = JB_ROOT_IS_SCALAR(jb);

	json_builder_begin(&b, w);
	while (!w->full && (token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
			case WJB_BEGIN_OBJECT:
				if (scalar)
					break;
				json_separate(&b);
				json_open(&b, token == WJB_BEGIN_OBJECT);
				break;
			case WJB_END_ARRAY:
			case WJB_END_OBJECT:
				if (!scalar)
					json_close(&b, true);
				break;
			case WJB_KEY:
				json_key_begin(&b);
				json_string(w, value.val.string.val, value.val.string.len);
				json_key_end(&b);
				break;
			default:
				json_separate(&b);
				json_jsonb_scalar(w, &value);
				break;
		}
	}
	json_builder_end(&b);
}
