/*
 * fault.c
 *	  Places where a test makes this process fail, in a build for tests alone.
 *
 * What is armed stands in a file rather than in memory, so that it outlives the
 * crashes that it causes, and whoever removes the file has its action to
 * himself.
 */
#include "postgres.h"

#include "fault.h"

#ifdef FLUXHOOKS_FAULT_POINTS

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"

#define FAULT_FILE	"fluxhooks_fault"
#define FAULT_LOG	"fluxhooks_fault.log"
#define FAULT_HOLD	"fluxhooks_fault.hold"

#define FAULT_ACTION_SIZE	16

/* What the file says of this point: false where it says nothing. */
static bool
fault_read(const char *name, char *action, int *count)
{
	char		line[128];
	char		armed[64];
	int			fd = open(FAULT_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t		n;

	if (fd < 0)
		return false;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return false;
	line[n] = '\0';
	return sscanf(line, "%63s %15s %d", armed, action, count) == 3 && strcmp(armed, name) == 0;
}

static void
fault_write(const char *file, int flags, const char *name, const char *action, int number)
{
	char		line[128];
	int			len = snprintf(line, sizeof(line), "%s %s %d\n", name, action, number);
	int			fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

	if (fd < 0)
		return;
	if (write(fd, line, len) != len)
		fprintf(stderr, "fluxhooks: could not write %s\n", file);
	close(fd);
}

static void
fault_take(const char *name, const char *action)
{
	struct stat hold;

	if (strcmp(action, "kill") == 0)
		kill(getpid(), SIGKILL);
	else if (strcmp(action, "exit") == 0)
		proc_exit(1);
	else if (strcmp(action, "sleep") == 0)
	{
		while (stat(FAULT_HOLD, &hold) == 0)
			pg_usleep(10 * 1000);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("fault point %s", name)));
}

void
fault_point(const char *name, bool may_fail)
{
	int			saved_errno = errno;
	char		action[FAULT_ACTION_SIZE];
	int			count;

	if (fault_read(name, action, &count) &&
		(may_fail || strcmp(action, "kill") == 0 || strcmp(action, "sleep") == 0))
	{
		if (count > 1)
			fault_write(FAULT_FILE, O_TRUNC, name, action, count - 1);
		else if (unlink(FAULT_FILE) == 0)
		{
			fault_write(FAULT_LOG, O_APPEND, name, action, MyProcPid);
			fault_take(name, action);
		}
	}
	errno = saved_errno;
}

#endif
