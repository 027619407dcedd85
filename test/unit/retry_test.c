/*
 * retry_test.c
 *	  Cases for src/retry.c.
 */
#include "retry.h"
#include "tap.h"

#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#define NOW			((time_t) 784111777)	/* Sun, 06 Nov 1994 08:49:37 GMT */
#define HOUR_MS		INT64_C(3600000)
#define NONE		INT64_C(-1)

static void
test_success(void)
{
	int			status;

	for (status = -1; status < 1000; status++)
	{
		if (retry_is_success(status) != (status / 100 == 2 && status > 0))
			break;
	}
	is_int(status, 1000, "2xx and nothing else is success");
}

static void
test_delay(void)
{
	static const struct
	{
		const char *name;
		int			backoff;
		int			attempt;
		double		jitter;
		int64_t		retry_after;
		int64_t		expected;
	}			cases[] = {
		{"first", 5, 1, 0, NONE, 5000},
		{"second doubles", 5, 2, 0, NONE, 10000},
		{"third doubles again", 5, 3, 0, NONE, 20000},
		{"tenth", 5, 10, 0, NONE, 2560000},
		{"at most an hour", 5, 11, 0, NONE, HOUR_MS},
		{"one second, twelfth", 1, 12, 0, NONE, 2048000},
		{"one second, thirteenth", 1, 13, 0, NONE, HOUR_MS},
		{"attempt 32", 1, 32, 0, NONE, HOUR_MS},
		{"attempt 64", 1, 64, 0, NONE, HOUR_MS},
		{"attempt 65", 1, 65, 0, NONE, HOUR_MS},
		{"attempt INT_MAX", 1, INT_MAX, 0, NONE, HOUR_MS},
		{"attempt INT_MAX of INT_MAX", INT_MAX, INT_MAX, 1, NONE, HOUR_MS},
		{"INT_MAX seconds", INT_MAX, 1, 0, NONE, HOUR_MS},
		{"a day", 86400, 1, 0, NONE, HOUR_MS},
		{"a day, less jitter", 86400, 1, -1, NONE, HOUR_MS * 9 / 10},
		{"an hour, more jitter", 3600, 1, 1, NONE, HOUR_MS},
		{"attempt 0 is the first", 5, 0, 0, NONE, 5000},
		{"a negative attempt is the first", 5, INT_MIN, 0, NONE, 5000},
		{"no backoff", 0, INT_MAX, 1, NONE, 0},
		{"a negative backoff", -5, 3, 1, NONE, 0},
		{"jitter up", 10, 1, 1, NONE, 11000},
		{"jitter down", 10, 1, -1, NONE, 9000},
		{"half jitter", 10, 2, 0.5, NONE, 21000},
		{"jitter out of range", 10, 1, 1.5, NONE, 10000},
		{"jitter far out of range", 10, 1, -1e300, NONE, 10000},
		{"jitter that is no number", 10, 1, NAN, NONE, 10000},
		{"Retry-After longer", 5, 1, 0, 60000, 60000},
		{"Retry-After longer, not jittered", 5, 1, 1, 60000, 60000},
		{"Retry-After shorter", 5, 5, 0, 60000, 80000},
		{"Retry-After zero", 5, 1, 0, 0, 5000},
		{"Retry-After an hour", 5, 1, 0, HOUR_MS, HOUR_MS},
		{"Retry-After beyond", 5, 1, 0, HOUR_MS + 1, HOUR_MS},
		{"Retry-After huge", 5, 1, 0, INT64_MAX, HOUR_MS},
		{"Retry-After negative", 5, 1, 0, INT64_MIN, 5000},
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_int(retry_delay_ms(cases[i].backoff, cases[i].attempt, cases[i].jitter,
							  cases[i].retry_after), cases[i].expected, cases[i].name);
}

static void
test_delay_grows(void)
{
	int64_t		before = 0;
	int			attempt;

	for (attempt = 1; attempt < 200; attempt++)
	{
		int64_t		delay = retry_delay_ms(1, attempt, 0, NONE);

		if (delay < before || delay > HOUR_MS)
			break;
		before = delay;
	}
	is_int(attempt, 200, "the delay never shrinks from one attempt to the next");
}

static const struct
{
	const char *value;
	int64_t		expected;
}			after_cases[] = {
	{"0", 0},
	{"1", 1000},
	{"120", 120000},
	{"0120", 120000},
	{"00000000000000000000000000000000000000000000000000000000000000000000000000000007", 7000},
	{"  120", 120000},
	{"120  ", 120000},
	{"\t120\t", 120000},
	{"120\r\n", 120000},
	{"3600", HOUR_MS},
	{"3601", HOUR_MS},
	{"2147483648", HOUR_MS},
	{"9223372036854775807", HOUR_MS},
	{"9223372036854775808", HOUR_MS},
	{"18446744073709551616", HOUR_MS},
	{"99999999999999999999999999999999999999999999999999999999999999999999999999999999", HOUR_MS},
	{"", NONE},
	{"   ", NONE},
	{"-1", NONE},
	{"-0", NONE},
	{"+5", NONE},
	{"5.5", NONE},
	{"1e3", NONE},
	{"0x10", NONE},
	{"5s", NONE},
	{"5 6", NONE},
	{"12,34", NONE},
	{"soon", NONE},
	{"\xc3\xa9", NONE},
	{"\xd9\xa1", NONE},
	/* the three formats, 90 seconds ahead of now */
	{"Sun, 06 Nov 1994 08:51:07 GMT", 90000},
	{"Sunday, 06-Nov-94 08:51:07 GMT", 90000},
	{"Sun Nov  6 08:51:07 1994", 90000},
	{"  Sun, 06 Nov 1994 08:51:07 GMT  ", 90000},
	/* now and before */
	{"Sun, 06 Nov 1994 08:49:37 GMT", 0},
	{"Sun, 06 Nov 1994 08:49:36 GMT", 0},
	{"Sunday, 06-Nov-94 08:49:36 GMT", 0},
	{"Sun Nov  6 08:49:36 1994", 0},
	{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
	{"Mon, 01 Jan 1900 00:00:00 GMT", 0},
	/* ahead: hour, day, year and month change */
	{"Sun, 06 Nov 1994 09:49:37 GMT", HOUR_MS},
	{"Sun, 06 Nov 1994 09:49:36 GMT", HOUR_MS - 1000},
	{"Mon, 07 Nov 1994 08:49:37 GMT", HOUR_MS},
	{"Fri, 31 Dec 9999 23:59:59 GMT", HOUR_MS},
	/* two digits: at most 50 years ahead, else the past */
	{"Sunday, 06-Nov-44 08:49:37 GMT", HOUR_MS},
	{"Monday, 06-Nov-45 08:49:37 GMT", 0},
	{"Saturday, 06-Nov-99 08:49:37 GMT", HOUR_MS},
	{"Monday, 06-Nov-00 08:49:37 GMT", HOUR_MS},
	/* the weekday is not weighed */
	{"Fri, 06 Nov 1994 08:51:07 GMT", 90000},
	/* a leap second */
	{"Sun, 06 Nov 1994 08:49:60 GMT", 22000},
	/* what is no date */
	{"Sun, 06 Nov 1994 08:51:07", NONE},
	{"Sun, 06 Nov 1994 08:51:07 UTC", NONE},
	{"Sun, 06 Nov 1994 08:51:07 +0000", NONE},
	{"Sun, 06 Nov 1994 08:51:07 GMT+1", NONE},
	{"Sun, 06 Nov 1994 08:51 GMT", NONE},
	{"Sun, 06 Nov 1994", NONE},
	{"06 Nov 1994 08:51:07 GMT", NONE},
	{"Sun, 06 Foo 1994 08:51:07 GMT", NONE},
	{"Sun, 06 anF 1994 08:51:07 GMT", NONE},
	{"Sun, 06 No 1994 08:51:07 GMT", NONE},
	{"Sun, 32 Nov 1994 08:51:07 GMT", NONE},
	{"Sun, 31 Nov 1994 08:51:07 GMT", NONE},
	{"Sun, 00 Nov 1994 08:51:07 GMT", NONE},
	{"Sun, 29 Feb 1995 08:51:07 GMT", NONE},
	{"Sun, 06 Nov 1994 24:51:07 GMT", NONE},
	{"Sun, 06 Nov 1994 08:60:07 GMT", NONE},
	{"Sun, 06 Nov 1994 08:51:61 GMT", NONE},
	{"Sun, 06 Nov 1994 -8:51:07 GMT", NONE},
	{"Sun, 06 Nov -994 08:51:07 GMT", NONE},
	{"Sunday, 06-Nov--4 08:51:07 GMT", NONE},
	{"Sun, 06 Nov 0000 08:51:07 GMT", NONE},
	{"2024-11-06T08:51:07Z", NONE},
	{"Sun, 06 Nov 1994 08:51:07 GMT Sun, 06 Nov 1994 08:51:07 GMT", NONE},
	{"Sun, 06 Nov 1994 08:51:07 GMT, and very much more that no date has after it", NONE},
};

static void
test_after(const char *where)
{
	size_t		i;

	for (i = 0; i < sizeof(after_cases) / sizeof(after_cases[0]); i++)
	{
		int64_t		got = retry_after_ms(429, after_cases[i].value, NOW);

		if (!ok(got == after_cases[i].expected, "%s: Retry-After: %.40s", where,
				after_cases[i].value[strspn(after_cases[i].value, " ")] ? after_cases[i].value : "(blank)"))
			printf("#   got %lld, expected %lld\n", (long long) got,
				   (long long) after_cases[i].expected);
	}
	is_int(retry_after_ms(429, "Thu, 29 Feb 1996 00:00:10 GMT", 825552000), 10000,
		   "a day that leap years have");
	is_int(retry_after_ms(429, "Sunday, 01-Jan-00 00:00:10 GMT", 4102444800), 10000,
		   "a two-digit year in another century");
	is_int(retry_after_ms(429, "Thursday, 31-Dec-98 00:00:10 GMT", 4102444800), 0,
		   "a two-digit year of the century before");
	is_int(retry_after_ms(503, "7", NOW), 7000, "503 counts");
	is_int(retry_after_ms(429, NULL, NOW), NONE, "no header");
}

static void
test_after_status(void)
{
	int			status;

	for (status = 0; status < 1000; status++)
	{
		if (retry_after_ms(status, "7", NOW) !=
			(status == 429 || status == 503 ? 7000 : NONE))
			break;
	}
	is_int(status, 1000, "no other status counts");
}

int
main(void)
{
	test_success();
	test_delay();
	test_delay_grows();
	test_after("C");
	setenv("TZ", "Asia/Kathmandu", 1);
	tzset();
	if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL)
		setlocale(LC_ALL, "C.UTF-8");
	test_after("elsewhere");
	test_after_status();
	return tap_done();
}
