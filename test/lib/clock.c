/*
 * clock.c
 *	  A clock for LD_PRELOAD that a test sets: the file $TEST_CLOCK has "+N" or "-N",
 *	  so many seconds before or behind the machine's clock, or "=N", stopped at
 *	  that second since 1970.
 *
 * What only measures time, CLOCK_MONOTONIC, goes on as it is, as when an
 * administrator sets a clock.  libfaketime does not do: to a process that the
 * postmaster starts from a signal handler, as it did before PostgreSQL 16, it
 * tells the true time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void
clock_apply(struct timespec *now)
{
	const char *path = getenv("TEST_CLOCK");
	char		text[32];
	ssize_t		length = -1;
	int			fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
	{
		length = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (length <= 0)
		return;
	text[length] = '\0';
	if (text[0] != '=')
		now->tv_sec += strtol(text, NULL, 10);
	else
	{
		now->tv_sec = strtol(text + 1, NULL, 10);
		now->tv_nsec = 0;
	}
}

int
clock_gettime(clockid_t id, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, id, now);

	if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		clock_apply(now);
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}
