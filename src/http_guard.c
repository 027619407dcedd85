/*
 * http_guard.c
 *	  Ends a call of libcurl that an endpoint keeps from returning.
 *
 * Such a call keeps the processor busy, so that a timer of the thread's own CPU
 * time finds it; that one does nothing while the process waits, and costs no system
 * call.  Its signal goes to this thread alone: libcurl's that resolve names never see it.
 * The handler looks which connection the call reads from, shuts it down and throws
 * away what has arrived there, so that the call comes to its end; nobody else's
 * connection is touched.
 */
#include "http_guard.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HTTP_GUARD_SIGNAL	SIGRTMIN
#define HTTP_GUARD_TICK_MS	100
#define HTTP_GUARD_TICKS	5	/* that a call may take */
#define HTTP_GUARD_PORTS	64	/* remembered */
#define HTTP_GUARD_READS	1024	/* to throw away what has arrived */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid	/* the name that timer_create(2) gives it */
#endif

static struct
{
	bool		started;
	timer_t		timer;
	int			(*busiest) (void);

	/* shared with the signal handler */
	volatile sig_atomic_t within;	/* a call is under way */
	volatile sig_atomic_t ticks;	/* since it began */
	volatile sig_atomic_t ports[HTTP_GUARD_PORTS];	/* of those broken off, the newest where it is full */
	volatile sig_atomic_t n_ports;	/* so far */
}			guard;

static int
http_guard_local_port(int fd)
{
	union
	{
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	}			local = {.v6 = {0}};
	socklen_t	size = sizeof(local);

	if (getsockname(fd, &local.any, &size) != 0)
		return 0;
	return ntohs(local.any.sa_family == AF_INET6 ? local.v6.sin6_port : local.v4.sin_port);
}

/*
 * Break a connection off.  Nothing can arrive after that (shutdown(2)); what has,
 * which may be tens of megabytes, goes without being copied (tcp(7), MSG_TRUNC).
 */
static void
http_guard_break(int fd)
{
	static char unused[65536];
	int			port = http_guard_local_port(fd);

	if (!http_guard_broke(port))
		guard.ports[guard.n_ports++ % HTTP_GUARD_PORTS] = port;
	shutdown(fd, SHUT_RDWR);
	for (int i = 0; i < HTTP_GUARD_READS; i++)
	{
		if (recv(fd, unused, sizeof(unused), MSG_TRUNC | MSG_DONTWAIT) <= 0)
			break;
	}
}

static void
http_guard_tick(int signal_number)
{
	int			save_errno = errno;
	int			fd;

	(void) signal_number;
	if (guard.within && ++guard.ticks >= HTTP_GUARD_TICKS - 1)
	{
		fd = guard.busiest();
		if (fd >= 0 && guard.ticks >= HTTP_GUARD_TICKS)
			http_guard_break(fd);
	}
	errno = save_errno;
}

bool
http_guard_startup(int (*busiest) (void), char *error, size_t error_size)
{
	struct sigaction action;
	struct sigevent event;
	struct itimerspec interval = {{0, HTTP_GUARD_TICK_MS * 1000000L}, {0, HTTP_GUARD_TICK_MS * 1000000L}};

	guard.busiest = busiest;
	memset(&action, 0, sizeof(action));
	action.sa_handler = http_guard_tick;
	action.sa_flags = SA_RESTART;
	sigemptyset(&action.sa_mask);
	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = HTTP_GUARD_SIGNAL;
	event.sigev_notify_thread_id = getpid();	/* the first thread's number */
	if (sigaction(HTTP_GUARD_SIGNAL, &action, NULL) == 0 &&
		timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &guard.timer) == 0)
	{
		guard.started = true;
		if (timer_settime(guard.timer, 0, &interval, NULL) == 0)
			return true;
	}
	snprintf(error, error_size, "A timer could not be created: %s.", strerror(errno));
	return false;
}

void
http_guard_shutdown(void)
{
	if (guard.started)
		timer_delete(guard.timer);
	memset(&guard, 0, sizeof(guard));
}

void
http_guard_enter(void)
{
	guard.ticks = 0;
	guard.within = true;
}

void
http_guard_leave(void)
{
	guard.within = false;
}

bool
http_guard_broke(int port)
{
	for (int i = 0; i < HTTP_GUARD_PORTS; i++)
	{
		if (port != 0 && guard.ports[i] == port)
			return true;
	}
	return false;
}

void
http_guard_forget(int port)
{
	for (int i = 0; guard.n_ports > 0 && i < HTTP_GUARD_PORTS; i++)
	{
		if (guard.ports[i] == port)
			guard.ports[i] = 0;
	}
}

void
http_guard_spare(sigset_t *signals)
{
	sigdelset(signals, HTTP_GUARD_SIGNAL);
}
