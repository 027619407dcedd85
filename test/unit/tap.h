/*
 * tap.h
 *	  Just enough of the Test Anything Protocol for a table of cases: a failed
 *	  case is named and the rest still run.
 */
#ifndef FLUXHOOKS_TAP_H
#define FLUXHOOKS_TAP_H

#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int	tap_run = 0;
static int	tap_failed = 0;

__attribute__((format(printf, 2, 3)))
static inline bool
ok(bool passed, const char *name, ...)
{
	va_list		args;

	tap_run++;
	if (!passed)
		tap_failed++;
	printf("%sok %d - ", passed ? "" : "not ", tap_run);
	va_start(args, name);
	vprintf(name, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	return passed;
}

static inline bool
is_string(const char *got, const char *expected, const char *name)
{
	bool		same = got != NULL && strcmp(got, expected) == 0;

	ok(same, "%s", name);
	if (!same)
		printf("#   got \"%s\"\n#   expected \"%s\"\n", got ? got : "(null)", expected);
	return same;
}

static inline bool
is_int(long long got, long long expected, const char *name)
{
	ok(got == expected, "%s", name);
	if (got != expected)
		printf("#   got %lld\n#   expected %lld\n", got, expected);
	return got == expected;
}

/* Points that cannot be had here, with the reason. */
static inline void
skip(int count, const char *why)
{
	while (count-- > 0)
		printf("ok %d # skip %s\n", ++tap_run, why);
	fflush(stdout);
}

static inline int
tap_done(void)
{
	printf("1..%d\n", tap_run);
	return tap_failed == 0 ? 0 : 1;
}

#endif
