/*
 * retry_fuzz.c
 *	  Retry-After, from noise and from dates that are dates; delays between
 *	  attempts.
 *
 * Input: a byte that chooses, eight of the present time, eight of another time
 * or of numbers, and text.
 */
#include "fuzz.h"

#include <time.h>

#include "retry.h"

#define YEAR_10000	INT64_C(253402300800)

static int64_t
read_int64(const uint8_t *data)
{
	int64_t		value;

	memcpy(&value, data, sizeof(value));
	return value;
}

static int64_t
clamp(__int128 ms)
{
	return ms < 0 ? 0 : ms > RETRY_DELAY_MAX_MS ? RETRY_DELAY_MAX_MS : (int64_t) ms;
}

/* A date in one of the three formats of RFC 9110 asks for the time until then. */
static void
fuzz_date(int format, time_t now, time_t then)
{
	static const char *const formats[] = {
		"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"
	};
	struct tm	tm;
	char		text[64];

	/* two digits of a year mean something near to now only */
	if (format == 1 && (then - now > INT64_C(40) * 365 * 86400 || now - then > INT64_C(40) * 365 * 86400))
		return;
	if (gmtime_r(&then, &tm) == NULL || strftime(text, sizeof(text), formats[format], &tm) == 0)
		return;
	FUZZ_CHECK(retry_after_ms(503, text, now) == clamp((__int128) (then - now) * 1000),
			   "\"%s\" at %lld", text, (long long) now);
}

static void
fuzz_noise(int status, time_t now, const char *value)
{
	int64_t		ms = retry_after_ms(status, value, now);
	size_t		skip = strspn(value, " \t");
	size_t		digits = strspn(value + skip, "0123456789");

	FUZZ_CHECK(ms >= -1 && ms <= RETRY_DELAY_MAX_MS, "%lld for \"%s\"", (long long) ms, value);
	if (status != 429 && status != 503)
		FUZZ_CHECK(ms == -1, "status %d", status);
	else if (digits > 0 && value[skip + digits] == '\0')
	{
		__int128	seconds = 0;

		for (size_t i = 0; i < digits && seconds < 1000000; i++)
			seconds = seconds * 10 + (value[skip + i] - '0');
		FUZZ_CHECK(ms == clamp(seconds * 1000), "%lld for \"%s\"", (long long) ms, value);
	}
}

static void
fuzz_delay(const uint8_t *data)
{
	int32_t		backoff;
	int32_t		attempt;
	int64_t		after = read_int64(data);
	double		jitter;
	int64_t		delay;

	memcpy(&backoff, data, sizeof(backoff));
	memcpy(&attempt, data + 4, sizeof(attempt));
	memcpy(&jitter, data + 8, sizeof(jitter));
	delay = retry_delay_ms(backoff, attempt, jitter, after);
	FUZZ_CHECK(delay >= 0 && delay <= RETRY_DELAY_MAX_MS, "%lld", (long long) delay);
	FUZZ_CHECK(after < delay || delay == RETRY_DELAY_MAX_MS || delay == after, "%lld", (long long) delay);
	if (backoff >= 1 && backoff <= 86400 && attempt >= 1)
	{
		long double exact = backoff * 1000.0L;

		for (int i = 1; i < attempt && exact < RETRY_DELAY_MAX_MS; i++)
			exact *= 2;
		if (exact > RETRY_DELAY_MAX_MS)
			exact = RETRY_DELAY_MAX_MS;
		FUZZ_CHECK(delay >= (int64_t) (exact * 0.9L) - 1, "%lld after %d", (long long) delay, attempt);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	time_t		now;
	time_t		then;

	if (size < 17)
		return 0;
	/* years of four digits, as HTTP has them */
	now = (time_t) ((uint64_t) read_int64(data + 1) % YEAR_10000);
	then = (time_t) ((uint64_t) read_int64(data + 9) % YEAR_10000);
	if (data[0] % 8 < 3)
	{
		/* mostly near enough to matter */
		fuzz_date(data[0] % 8, now, data[0] & 8 ? then : (now + then % 8000 - 1000) % YEAR_10000);
	}
	else if (data[0] % 8 == 3)
		fuzz_delay(data + 1);
	else
	{
		char	   *value = fuzz_text(data + 17, size - 17);

		fuzz_noise(data[0] & 8 ? 429 : data[0] & 16 ? 503 : (int) (then % 1000), now, value);
		free(value);
	}
	return 0;
}
