/*
 * json.c
 *	  Canonical JSON: the spelling that JSON.stringify(JSON.parse(text)) gives
 *	  back byte for byte wherever a double carries the numbers.
 *
 * Strings are escaped as JSON.stringify escapes them.  A number is spelled as
 * JavaScript spells it when that spelling denotes the same decimal value, and
 * keeps every digit otherwise.  document.c rewrites whole values of json and
 * jsonb with what is here.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_conversion.h"
#include "catalog/pg_namespace.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "json.h"

#define JSON_REPLACEMENT	"\xEF\xBF\xBD"	/* U+FFFD */

/* Strings are escaped in pieces; an escape has six bytes for one. */
#define JSON_PIECE			256
#define JSON_GROWTH			6

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

/* Eight bytes at p that JSON takes as they are? */
static inline bool
json_is_plain_word(const char *p)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 highs = UINT64CONST(0x8080808080808080);
	uint64		x,
				quote,
				backslash;

	memcpy(&x, p, 8);
	quote = x ^ (ones * '"');
	backslash = x ^ (ones * '\\');
	return ((x | ((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) |
			 ((backslash - ones) & ~backslash)) & highs) == 0;
}

/* The first byte that JSON does not take as it is. */
static inline const char *
json_skip_plain(const char *p, const char *end)
{
	while (end - p >= 8 && json_is_plain_word(p))
		p += 8;
	while (p < end && !json_is_special((unsigned char) *p))
		p++;
	return p;
}

/*
 * Length of the character at p, which begins with a byte above 0x7F; negative
 * where it is none: then so many bytes stand for one U+FFFD, as every WHATWG
 * decoder counts them.
 */
static inline int
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

/* Copy the character at *text, or what stands for no character; returns the output's end. */
static inline char *
json_put_character(char *out, const char **text, const char *end)
{
	const char *p = *text;
	int			n = json_utf8_length((const unsigned char *) p, (const unsigned char *) end);

	if (unlikely(n < 0))
	{
		memcpy(out, JSON_REPLACEMENT, 3);
		*text = p - n;
		return out + 3;
	}
	/* byte by byte: a call of memcpy costs more */
	out[0] = p[0];
	out[1] = p[1];
	if (n > 2)
		out[2] = p[2];
	if (n > 3)
		out[3] = p[3];
	*text = p + n;
	return out + n;
}

/* The escape of a character that has to have one; returns its end. */
static char *
json_put_escape(char *p, unsigned int code)
{
	static const char hex[] = "0123456789abcdef";
	static const char shorts[] = "btn\0fr";

	*p++ = '\\';
	if (code == '"' || code == '\\')
		*p++ = (char) code;
	else if (code >= '\b' && code <= '\r' && code != '\v')
		*p++ = shorts[code - '\b'];
	else
	{
		*p++ = 'u';
		*p++ = hex[code >> 12 & 15];
		*p++ = hex[code >> 8 & 15];
		*p++ = hex[code >> 4 & 15];
		*p++ = hex[code & 15];
	}
	return p;
}

/*
 * Escape from *text on up to stop, or a little beyond where a character that
 * begins before ends after; it never reaches beyond end.  Returns the output's end.
 */
static char *
json_put_chars(char *out, const char **text, const char *stop, const char *end)
{
	const char *p = *text;

	while (p < stop)
	{
		const char *word = stop - p > 8 ? p + 8 : stop;

		if (word - p == 8 && json_is_plain_word(p))
		{
			memcpy(out, p, 8);
			out += 8;
			p = word;
			continue;
		}
		while (p < word)
		{
			if (!json_is_special((unsigned char) *p))
				*out++ = *p++;
			else if (IS_HIGHBIT_SET(*p))
				out = json_put_character(out, &p, end);
			else
				out = json_put_escape(out, (unsigned char) *p++);
		}
	}
	*text = p;
	return out;
}

/* The inside of a string, from bytes that are to be UTF-8. */
static void
json_utf8_chars(JsonWriter *w, const char *p, size_t len)
{
	const char *end = p + len;
	char		buffer[(JSON_PIECE + 4) * JSON_GROWTH];

	while (p < end && !w->full)
	{
		const char *stop = end - p > JSON_PIECE ? p + JSON_PIECE : end;

		json_raw(w, buffer, json_put_chars(buffer, &p, stop, end) - buffer);
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

void
json_code_point(JsonWriter *w, pg_wchar code)
{
	char		text[JSON_GROWTH];

	if (code < 0x80 && !json_is_special((unsigned char) code))
		json_char(w, (char) code);
	else if (code < 0x80 || (code >= 0xD800 && code <= 0xDFFF))
		json_raw(w, text, json_put_escape(text, code) - text);
	else
	{
		unicode_to_utf8(code, (unsigned char *) text);
		json_raw(w, text, pg_utf_mblen((unsigned char *) text));
	}
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
	if (d->n_digits <= JSON_DIGITS_SAFE && abs((int) d->point) <= JSON_POINT_SAFE)
		return true;

	/* without a decimal point, which a library may have localised */
	memcpy(text, d->digits, d->n_digits);
	text[d->n_digits] = 'e';
	text[d->n_digits + 1 + compat_ltoa((int) d->point - d->n_digits, text + d->n_digits + 1)] = '\0';
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
