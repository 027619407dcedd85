/*
 * retry.c
 *	  What follows an attempt: success or not, how long to wait, and what a
 *	  Retry-After header asks for.  Pure functions of their arguments; nothing
 *	  depends on locale or time zone.
 */
#include "retry.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* 1 ms doubled this often is beyond the longest delay. */
#define RETRY_DOUBLINGS_MAX		22
#define RETRY_JITTER			0.10

bool
retry_is_success(int status_code)
{
	return status_code >= 200 && status_code <= 299;
}

int64_t
retry_delay_ms(int backoff_seconds, int attempt, double jitter, int64_t retry_after_ms)
{
	int64_t		delay = backoff_seconds > 0 ? backoff_seconds * INT64_C(1000) : 0;
	int			doublings = attempt > 1 ? attempt - 1 : 0;

	/* Cut before doubling, so that nothing can overflow. */
	if (doublings > RETRY_DOUBLINGS_MAX)
		doublings = RETRY_DOUBLINGS_MAX;
	if (delay > RETRY_DELAY_MAX_MS)
		delay = RETRY_DELAY_MAX_MS;
	delay <<= doublings;
	if (delay > RETRY_DELAY_MAX_MS)
		delay = RETRY_DELAY_MAX_MS;
	if (jitter >= -1.0 && jitter <= 1.0)
		delay += (int64_t) (delay * RETRY_JITTER * jitter);
	if (retry_after_ms > delay)
		delay = retry_after_ms;
	return delay > RETRY_DELAY_MAX_MS ? RETRY_DELAY_MAX_MS : delay;
}

/* A number of seconds of any length; the longest delay stands for all beyond. */
static int64_t
retry_seconds(const char *text, size_t length)
{
	int64_t		ms = 0;
	size_t		i;

	for (i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		if (ms < RETRY_DELAY_MAX_MS)
			ms = ms * 10 + (text[i] - '0') * INT64_C(1000);
	}
	return ms > RETRY_DELAY_MAX_MS ? RETRY_DELAY_MAX_MS : ms;
}

static int
retry_month(const char *name)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const char *found = strlen(name) == 3 ? strstr(months, name) : NULL;

	return found != NULL && (found - months) % 3 == 0 ? (int) (found - months) / 3 : -1;
}

/*
 * A year of two digits is the nearest to now of those that end so; RFC 9110
 * asks for no more than 50 years ahead.
 */
static int
retry_full_year(int year, time_t now)
{
	struct tm	tm;
	int			this_year;

	if (gmtime_r(&now, &tm) == NULL)
		return year + 2000;
	this_year = tm.tm_year + 1900;
	year += this_year - this_year % 100;
	if (year > this_year + 50)
		year -= 100;
	else if (year < this_year - 49)
		year += 100;
	return year;
}

/*
 * Read the parts of an HTTP date in any of its three formats.  scanf's %d and
 * %[ know no locale; that its numbers may carry a sign is caught by the ranges.
 */
static bool
retry_scan_date(const char *text, time_t now, struct tm *tm, char month[4])
{
	size_t		length = strlen(text);
	int			end = -1;

	if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &tm->tm_mday, month,
			   &tm->tm_year, &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &end) == 6 &&
		end == (int) length)
		return true;
	end = -1;
	if (sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &tm->tm_mday, month,
			   &tm->tm_year, &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &end) == 6 &&
		end == (int) length && tm->tm_year >= 0)
	{
		tm->tm_year = retry_full_year(tm->tm_year, now);
		return true;
	}
	end = -1;
	return sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", month, &tm->tm_mday,
				  &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &tm->tm_year, &end) == 6 &&
		end == (int) length;
}

static bool
retry_date(const char *text, time_t now, time_t *date)
{
	struct tm	tm;
	char		month[4];
	int			day;

	memset(&tm, 0, sizeof(tm));
	if (!retry_scan_date(text, now, &tm, month))
		return false;
	day = tm.tm_mday;
	tm.tm_year -= 1900;
	tm.tm_mon = retry_month(month);
	if (tm.tm_mon < 0 || tm.tm_year < 0 || tm.tm_hour < 0 || tm.tm_hour > 23 ||
		tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
		return false;
	if (tm.tm_sec == 60)		/* a leap second counts as the one before it */
		tm.tm_sec = 59;
	*date = timegm(&tm);
	/* timegm turns a day that the month lacks into one of another month. */
	return tm.tm_mday == day;
}

int64_t
retry_after_ms(int status_code, const char *value, time_t now)
{
	char		text[64];
	size_t		length;
	time_t		date;

	if ((status_code != 429 && status_code != 503) || value == NULL)
		return -1;
	value += strspn(value, " \t");
	length = strlen(value);
	while (length > 0 && strchr(" \t\r\n", value[length - 1]) != NULL)
		length--;
	if (length == 0)
		return -1;
	if (value[0] >= '0' && value[0] <= '9')
		return retry_seconds(value, length);
	if (length >= sizeof(text))
		return -1;
	memcpy(text, value, length);
	text[length] = '\0';
	if (!retry_date(text, now, &date))
		return -1;
	if (date <= now)
		return 0;
	if (date - now > RETRY_DELAY_MAX_MS / 1000)
		return RETRY_DELAY_MAX_MS;
	return (int64_t) (date - now) * 1000;
}
