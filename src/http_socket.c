/*
 * http_socket.c
 *	  The sockets that libcurl uses: opened here, judged by their address, and
 *	  watched in one epoll set.
 */
#include "http_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_guard.h"

#define HTTP_EVENTS			64	/* taken from the epoll set at once */

/* What the epoll set knows of a descriptor, by its number. */
typedef struct HttpSocket
{
	HttpMulti  *multi;
	uint32_t	wanted;			/* by libcurl */
	uint32_t	registered;		/* in the epoll set */
	bool		ours;			/* opened here, closed by http_close_socket */
	uint64_t	bytes_read;		/* as http_busiest last found it */
} HttpSocket;

static struct
{
	bool		(*reserve) (void);
	void		(*release) (void);
	int			epoll;
	HttpSocket *entries;		/* by descriptor */
	int			n_entries;
	bool		short_of;		/* one could not be had */
	AddressList *allowed;
}			sockets = {.epoll = -1};

/* The entry of a descriptor; NULL when memory is short. */
static HttpSocket *
http_socket(int fd)
{
	if (fd >= sockets.n_entries)
	{
		int			count = fd + 64;
		HttpSocket *former = sockets.entries;
		HttpSocket *grown = calloc(count, sizeof(HttpSocket));

		if (grown == NULL)
			return NULL;
		if (former != NULL)
			memcpy(grown, former, sockets.n_entries * sizeof(HttpSocket));
		/* a signal handler reads them: never more than there are */
		sockets.entries = grown;
		atomic_signal_fence(memory_order_seq_cst);
		sockets.n_entries = count;
		free(former);
	}
	return &sockets.entries[fd];
}

/* Make the epoll set wait for these events of a descriptor, 0 for none. */
static bool
http_watch(int fd, HttpSocket *entry, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	int			operation;

	if (entry->registered == events)
		return true;
	if (events == 0)
		operation = EPOLL_CTL_DEL;
	else
		operation = entry->registered == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
	if (epoll_ctl(sockets.epoll, operation, fd, &event) != 0 && events != 0)
		return false;
	entry->registered = events;
	return true;
}

/*
 * CURLMOPT_SOCKETFUNCTION.  A connection that is let go stays in the epoll set,
 * since the next request over it asks for the same again; http_ready takes
 * it out if something arrives meanwhile.  Descriptors that libcurl opened by
 * itself may be closed by it at any time, so they are taken out at once.
 */
int
http_on_socket(CURL *easy, curl_socket_t fd, int what, void *multi, void *unused)
{
	HttpSocket *entry = http_socket(fd);

	(void) easy;
	(void) unused;
	if (entry == NULL)
		return -1;
	entry->multi = multi;
	entry->wanted = 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLOUT;
	if (entry->wanted == 0 && entry->ours)
		return 0;
	return http_watch(fd, entry, entry->wanted) ? 0 : -1;
}

/* An address in words; "" for one of neither family. */
static void
http_format_address(const struct sockaddr *address, char text[HTTP_ADDRESS_SIZE])
{
	const void *bytes = address->sa_family == AF_INET6
		? (const void *) &((const struct sockaddr_in6 *) address)->sin6_addr
		: (const void *) &((const struct sockaddr_in *) address)->sin_addr;

	if (inet_ntop(address->sa_family, bytes, text, HTTP_ADDRESS_SIZE) == NULL)
		text[0] = '\0';
}

/* May this address be called?  Remembers a refusal for the result. */
static bool
http_judge(HttpTransfer *transfer, const struct sockaddr *address, bool own)
{
	const char *why;

	if (address_allowed(address, own, sockets.allowed, &why))
		return true;
	http_format_address(address, transfer->denied);
	transfer->denied_why = why;
	return false;
}

/* Does an interface of this machine have the address?  Unknown counts as yes. */
static bool
http_is_own(const struct sockaddr *address)
{
	struct ifaddrs *interfaces;
	struct ifaddrs *each;
	const char *why;

	/* one that is listed may be called anyway: no need to ask */
	if (address_allowed(address, true, sockets.allowed, &why))
		return false;
	if (getifaddrs(&interfaces) != 0)
		return true;
	for (each = interfaces; each != NULL; each = each->ifa_next)
	{
		if (each->ifa_addr != NULL && address_equal(each->ifa_addr, address))
			break;
	}
	freeifaddrs(interfaces);
	return each != NULL;
}

#if LIBCURL_VERSION_NUM >= 0x075000
static bool
http_parse_address(const char *text, struct sockaddr_storage *address)
{
	memset(address, 0, sizeof(*address));
	address->ss_family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	return inet_pton(address->ss_family, text, address->ss_family == AF_INET6
					 ? (void *) &((struct sockaddr_in6 *) address)->sin6_addr
					 : (void *) &((struct sockaddr_in *) address)->sin_addr) == 1;
}

/*
 * CURLOPT_PREREQFUNCTION: a connection is there, new or used before, and the
 * request is about to go out.  One whose two ends have the same address leads to
 * this machine, by whatever route.
 */
int
http_before_request(void *arg, char *address, char *local, int port, int local_port)
{
	HttpTransfer *transfer = arg;
	struct sockaddr_storage judged;

	(void) port;
	transfer->asked++;
	transfer->local_port = local_port;
	if (transfer->sockets > 0)
		http_guard_forget(local_port);
	if (transfer->proxied)
		return CURL_PREREQFUNC_OK;
	if (!http_parse_address(address, &judged) ||
		!http_judge(transfer, (struct sockaddr *) &judged, strcmp(address, local) == 0))
		return CURL_PREREQFUNC_ABORT;
	return CURL_PREREQFUNC_OK;
}
#endif

/* CURLOPT_OPENSOCKETFUNCTION.  A proxy is the administrator's choice. */
curl_socket_t
http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *wanted)
{
	HttpTransfer *transfer = arg;
	struct sockaddr_storage address;
	HttpSocket *entry;
	int			fd;

	if (purpose != CURLSOCKTYPE_IPCXN || wanted->addrlen > sizeof(address))
		return CURL_SOCKET_BAD;
	memset(&address, 0, sizeof(address));
	memcpy(&address, &wanted->addr, wanted->addrlen);
	if (!transfer->proxied && !http_judge(transfer, (struct sockaddr *) &address,
										  http_is_own((struct sockaddr *) &address)))
		return CURL_SOCKET_BAD;
	if (!sockets.reserve())
	{
		transfer->no_socket = sockets.short_of = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(wanted->family, wanted->socktype | SOCK_CLOEXEC, wanted->protocol);
	entry = fd >= 0 ? http_socket(fd) : NULL;
	if (entry == NULL)
	{
		transfer->no_socket = true;
		sockets.short_of = fd < 0;
		if (fd >= 0)
			close(fd);
		sockets.release();
		return CURL_SOCKET_BAD;
	}
	memset(entry, 0, sizeof(*entry));
	entry->ours = true;
	transfer->sockets++;
	http_format_address((struct sockaddr *) &address, transfer->called);
	return fd;
}

/* CURLOPT_CLOSESOCKETFUNCTION.  May come long after the transfer is gone. */
int
http_close_socket(void *unused, curl_socket_t fd)
{
	(void) unused;
	if (fd < sockets.n_entries && sockets.entries[fd].ours)
	{
		memset(&sockets.entries[fd], 0, sizeof(HttpSocket));
		sockets.release();
	}
	return close(fd);
}

/* Tell libcurl of a socket that is ready. */
static void
http_ready(const struct epoll_event *event)
{
	int			fd = event->data.fd;
	HttpSocket *entry = &sockets.entries[fd];
	int			running;
	int			action = 0;

	if (entry->wanted == 0)
	{
		http_watch(fd, entry, 0);
		return;
	}
	if (event->events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		action |= CURL_CSELECT_IN;
	if (event->events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		action |= CURL_CSELECT_OUT;
	http_guard_enter();
	curl_multi_socket_action(entry->multi->curl, fd, action, &running);
	http_guard_leave();
}

/* How many bytes have been read from a connection; 0 where the system does not tell (tcp(7), TCP_INFO). */
static uint64_t
http_bytes_read(int fd)
{
	struct tcp_info info = {0};
	socklen_t	size = sizeof(info);
	int			unread = 0;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || ioctl(fd, FIONREAD, &unread) != 0)
		return 0;
	return info.tcpi_bytes_received > (uint64_t) unread ? info.tcpi_bytes_received - unread : 0;
}

/* For http_guard.c, whose signal handler calls it. */
static int
http_busiest(void)
{
	int			busiest = -1;
	uint64_t	most = 0;
	int			fd;

	for (fd = 0; fd < sockets.n_entries; fd++)
	{
		HttpSocket *entry = &sockets.entries[fd];
		uint64_t	former = entry->bytes_read;

		if (!entry->ours)
			continue;
		entry->bytes_read = http_bytes_read(fd);
		if (entry->bytes_read > former && entry->bytes_read - former > most)
		{
			most = entry->bytes_read - former;
			busiest = fd;
		}
	}
	return busiest;
}

bool
http_sockets_progress(void)
{
	struct epoll_event events[HTTP_EVENTS];
	int			count = epoll_wait(sockets.epoll, events, HTTP_EVENTS, 0);
	int			i;

	for (i = 0; i < count; i++)
		http_ready(&events[i]);
	return count == HTTP_EVENTS;
}

int
http_sockets_descriptor(void)
{
	return sockets.epoll;
}

bool
http_sockets_were_short(void)
{
	bool		were_short = sockets.short_of;

	sockets.short_of = false;
	return were_short;
}

void
http_sockets_allow(AddressList *allowed)
{
	address_list_free(sockets.allowed);
	sockets.allowed = allowed;
}

bool
http_sockets_startup(bool (*reserve) (void), void (*release) (void), char *error, size_t error_size)
{
	sockets.reserve = reserve;
	sockets.release = release;
	if (!reserve())
	{
		snprintf(error, error_size, "No file descriptor is free.");
		return false;
	}
	sockets.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (sockets.epoll >= 0)
		return http_guard_startup(http_busiest, error, error_size);
	snprintf(error, error_size, "An epoll set could not be created: %s.", strerror(errno));
	release();
	return false;
}

void
http_sockets_shutdown(void)
{
	http_guard_shutdown();
	if (sockets.epoll >= 0)
	{
		close(sockets.epoll);
		sockets.release();
	}
	free(sockets.entries);
	address_list_free(sockets.allowed);
	memset(&sockets, 0, sizeof(sockets));
	sockets.epoll = -1;
}
