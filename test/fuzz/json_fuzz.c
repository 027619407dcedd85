/*
 * json_fuzz.c
 *	  The JSON writer: whatever goes in, what comes out is JSON, is written the
 *	  same when it goes in again, and keeps within its limit.
 *
 * Input: a byte that chooses, one of a limit, and bytes.
 */
#include "postgres.h"

#include <math.h>

#include "fuzz.h"
#include "json.h"

#undef printf
#undef fprintf
#undef snprintf

/* Strict, as RFC 8259 has it, without white space; returns the end, NULL where it is none. */
static const unsigned char *value_end(const unsigned char *p, const unsigned char *end);

static const unsigned char *
utf8_end(const unsigned char *p, const unsigned char *end)
{
	uint32_t	code;
	int			more = *p < 0xc0 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf8 ? 3 : -1;

	if (more < 0 || end - p <= more)
		return NULL;
	code = *p++ & (0x3f >> more);
	for (int i = 0; i < more; i++)
	{
		if ((*p & 0xc0) != 0x80)
			return NULL;
		code = code << 6 | (*p++ & 0x3f);
	}
	if (code < (more == 1 ? 0x80u : more == 2 ? 0x800u : 0x10000u) || code > 0x10ffff ||
		(code >= 0xd800 && code <= 0xdfff))
		return NULL;
	return p;
}

/* Escapes only where JSON.stringify has them. */
static const unsigned char *
escape_end(const unsigned char *p, const unsigned char *end)
{
	char		hex[5] = "";
	long		code;

	if (end - p < 2)
		return NULL;
	if (strchr("\"\\bfnrt", p[1]) != NULL && p[1] != '\0')
		return p + 2;
	if (p[1] != 'u' || end - p < 6)
		return NULL;
	memcpy(hex, p + 2, 4);
	if (strspn(hex, "0123456789abcdef") != 4)
		return NULL;
	code = strtol(hex, NULL, 16);
	if ((code < 0x20 && strchr("\b\f\n\r\t", (int) code) == NULL) || code == 0 || (code >= 0xd800 && code <= 0xdfff))
		return p + 6;
	return NULL;
}

static const unsigned char *
string_end(const unsigned char *p, const unsigned char *end)
{
	if (p >= end || *p != '"')
		return NULL;
	for (p++; p != NULL && p < end && *p != '"';)
	{
		if (*p == '\\')
			p = escape_end(p, end);
		else if (*p >= 0x80)
			p = utf8_end(p, end);
		else
			p = *p >= 0x20 ? p + 1 : NULL;
	}
	return p != NULL && p < end ? p + 1 : NULL;
}

static const unsigned char *
digits_end(const unsigned char *p, const unsigned char *end)
{
	const unsigned char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p > start ? p : NULL;
}

static const unsigned char *
number_end(const unsigned char *p, const unsigned char *end)
{
	if (p < end && *p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else if ((p = digits_end(p, end)) == NULL)
		return NULL;
	if (p < end && *p == '.' && (p = digits_end(p + 1, end)) == NULL)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = digits_end(p, end);
	}
	return p;
}

static const unsigned char *
members_end(const unsigned char *p, const unsigned char *end, bool object)
{
	char		closing = object ? '}' : ']';

	if (p < end && *p == closing)
		return p + 1;
	while (p != NULL)
	{
		if (object)
		{
			p = string_end(p, end);
			if (p == NULL || p >= end || *p++ != ':')
				return NULL;
		}
		p = value_end(p, end);
		if (p == NULL || p >= end || (*p != ',' && *p != closing))
			return NULL;
		if (*p++ == closing)
			return p;
	}
	return NULL;
}

static const unsigned char *
value_end(const unsigned char *p, const unsigned char *end)
{
	static const char *const words[] = {"true", "false", "null"};

	if (p >= end)
		return NULL;
	if (*p == '{' || *p == '[')
		return members_end(p + 1, end, *p == '{');
	if (*p == '"')
		return string_end(p, end);
	for (int i = 0; i < 3; i++)
	{
		if ((size_t) (end - p) >= strlen(words[i]) && memcmp(p, words[i], strlen(words[i])) == 0)
			return p + strlen(words[i]);
	}
	return number_end(p, end);
}

/* What a writer holds is one JSON value, within its limit, and stays so when rewritten. */
static void
check_written(JsonWriter *w)
{
	const unsigned char *out = (const unsigned char *) w->out.data;
	JsonWriter	again;

	FUZZ_CHECK(w->out.len <= w->limit, "%d bytes of %d", w->out.len, w->limit);
	if (w->full)
		return;
	FUZZ_CHECK(value_end(out, out + w->out.len) == out + w->out.len, "not JSON: %.*s", w->out.len, w->out.data);
	json_init(&again, 16, JSON_SIZE_MAX);
	json_document(&again, w->out.data, w->out.len);
	FUZZ_CHECK(!again.full && again.out.len == w->out.len && memcmp(again.out.data, w->out.data, w->out.len) == 0,
			   "rewritten: %.*s -> %.*s", w->out.len, w->out.data, again.out.len, again.out.data);
	pfree(again.out.data);
}

/* The digits of a number as %e has them, without trailing zeros; their count. */
static int
significant(const char *text, char *digits)
{
	int			n = 0;

	for (; *text != '\0' && *text != 'e'; text++)
	{
		if (*text >= '0' && *text <= '9' && (n > 0 || *text != '0'))
			digits[n++] = *text;
	}
	while (n > 0 && digits[n - 1] == '0')
		n--;
	digits[n] = '\0';
	return n;
}

/* It reads back as the same double, and no fewer digits would. */
static void
check_float8(JsonWriter *w, double value)
{
	char	   *text = fuzz_text((const uint8_t *) w->out.data, w->out.len);
	char		shorter[64];
	char		digits[64];
	int			n = significant(text, digits);
	double		back = strtod(text, NULL);

	FUZZ_CHECK(back == value, "%s for %.17g", text, value);
	FUZZ_CHECK(value != 0 || strcmp(text, "0") == 0, "%s for zero", text);
	FUZZ_CHECK(n <= 17, "%s for %.17g", text, value);
	if (n > 1)
	{
		snprintf(shorter, sizeof(shorter), "%.*e", n - 2, value);
		FUZZ_CHECK(strtod(shorter, NULL) != value, "%s where %s would do", text, shorter);
	}
	/* exponents from 21 on, and below -6 */
	FUZZ_CHECK((strchr(text, 'e') != NULL) == (value != 0 && (fabs(value) >= 1e21 || fabs(value) < 1e-6)), "%s", text);
	free(text);
}

static void
fuzz_numbers(JsonWriter *w, const uint8_t *data, size_t size)
{
	double		value;
	float		single;
	int64_t		integer;
	char	   *text;

	if (size < 8)
		return;
	memcpy(&value, data, 8);
	memcpy(&single, data, 4);
	memcpy(&integer, data, 8);
	json_float8(w, value);
	check_written(w);
	if (isfinite(value))
		check_float8(w, value);
	w->out.len = 0;
	json_float4(w, single);
	check_written(w);
	w->out.len = 0;
	json_int(w, integer);
	text = fuzz_text((const uint8_t *) w->out.data, w->out.len);
	FUZZ_CHECK(strtoll(text, NULL, 10) == integer, "%s for %lld", text, (long long) integer);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	JsonWriter	w;
	char	   *text;

	if (size < 2)
		return 0;
	json_init(&w, 16, data[0] & 8 ? data[1] : JSON_SIZE_MAX);
	text = malloc(size - 2);
	memcpy(text, data + 2, size - 2);
	switch (data[0] % 3)
	{
		case 0:
			json_document(&w, text, size - 2);
			check_written(&w);
			break;
		case 1:
			json_string(&w, text, size - 2);
			check_written(&w);
			break;
		default:
			if (w.limit == JSON_SIZE_MAX)
				fuzz_numbers(&w, data + 2, size - 2);
			break;
	}
	free(text);
	pfree(w.out.data);
	return 0;
}
