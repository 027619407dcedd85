/*
 * receiver.c
 *	  The endpoint that takes times: it notes when a request had arrived whole, in
 *	  microseconds since 1970, then answers.  One thread, HTTP/1.1 only.
 *
 *	receiver PORT COUNT		listens on 127.0.0.1, COUNT ports from PORT on
 *
 * The path of a POST says how it is answered:
 *	/ok		200 at once
 *	/500	500 at once
 *	/flaky	500 for every 20th of them, else 200
 *	/drip	200, a byte every 100 ms
 *	/hang	never
 * What was posted to whom is told, and forgotten, by GET:
 *	/count	"total succeeded" since /reset
 *	/log	a line "port tag microseconds" for each request that carried a "tag" key
 *	/reset	forgets both
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX	4096	/* highest descriptor + 1 */
#define DRIP_MS			100
#define FLAKY			20

typedef struct Connection
{
	bool		open;
	bool		listening;
	int			port;
	char	   *in;				/* what has come, from the start of a request */
	size_t		in_size;
	size_t		in_len;
	size_t		dripped;		/* bytes of the answer sent; 0: not dripping */
} Connection;

typedef struct Arrival
{
	int64_t		at;
	int			port;
	char		tag[28];
} Arrival;

static Connection connections[CONNECTIONS_MAX];
static int	epoll_fd;
static int	dripping;
static Arrival *arrivals;
static size_t n_arrivals;
static size_t arrivals_size;
static long total;
static long succeeded;
static long flaky;

static const char drip[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

static void
fail(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * INT64_C(1000000) + time.tv_nsec / 1000;
}

static void
watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll_ctl");
}

static void
listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(fd, 512) != 0)
		fail("listen");
	connections[fd].open = connections[fd].listening = true;
	connections[fd].port = port;
	watch(fd);
}

static void
drop(int fd)
{
	Connection *connection = &connections[fd];

	if (connection->dripped > 0)
		dripping--;
	close(fd);
	free(connection->in);
	memset(connection, 0, sizeof(*connection));
}

static void
accept_all(int listener)
{
	int			fd;
	int			on = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
	{
		if (fd >= CONNECTIONS_MAX)
		{
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		connections[fd].open = true;
		connections[fd].port = connections[listener].port;
		watch(fd);
	}
}

/* Answers are small enough for any socket's buffer, but for the log's. */
static void
send_all(int fd, const char *bytes, size_t length)
{
	while (length > 0)
	{
		ssize_t		sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
		{
			usleep(1000);
			continue;
		}
		if (sent < 0)
			return;
		bytes += sent;
		length -= sent;
	}
}

static void
answer(int fd, const char *status, const char *body, size_t length)
{
	char		head[128];
	int			head_len = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status, length);

	if (head_len + length < 4096)
	{
		char		whole[4096];

		memcpy(whole, head, head_len);
		memcpy(whole + head_len, body, length);
		send_all(fd, whole, head_len + length);
		return;
	}
	send_all(fd, head, head_len);
	send_all(fd, body, length);
}

/* The value of the body's first key "tag", if it is a string. */
static void
note_arrival(int port, int64_t at, const char *body, size_t length)
{
	static const char key[] = "\"tag\":\"";
	const char *tag = memmem(body, length, key, sizeof(key) - 1);
	size_t		tag_len = 0;
	Arrival    *arrival;

	if (tag == NULL)
		return;
	tag += sizeof(key) - 1;
	while (tag + tag_len < body + length && tag[tag_len] != '"')
		tag_len++;
	if (tag_len >= sizeof(arrival->tag))
		return;
	if (n_arrivals == arrivals_size)
	{
		arrivals_size = arrivals_size ? arrivals_size * 2 : 65536;
		arrivals = realloc(arrivals, arrivals_size * sizeof(Arrival));
		if (arrivals == NULL)
			fail("realloc");
	}
	arrival = &arrivals[n_arrivals++];
	arrival->at = at;
	arrival->port = port;
	memcpy(arrival->tag, tag, tag_len);
	arrival->tag[tag_len] = '\0';
}

static void
answer_post(int fd, const char *path)
{
	total++;
	if (strncmp(path, "/hang", 5) == 0)
		return;
	if (strncmp(path, "/drip", 5) == 0)
	{
		connections[fd].dripped = 1;
		dripping++;
		send_all(fd, drip, 1);
		return;
	}
	if (strncmp(path, "/500", 4) == 0 || (strncmp(path, "/flaky", 6) == 0 && ++flaky % FLAKY == 0))
	{
		answer(fd, "500 Internal Server Error", "no", 2);
		return;
	}
	succeeded++;
	answer(fd, "200 OK", "OK", 2);
}

static void
tell_log(int fd)
{
	char	   *text;
	size_t		length;
	FILE	   *stream = open_memstream(&text, &length);

	for (size_t i = 0; i < n_arrivals; i++)
		fprintf(stream, "%d %s %lld\n", arrivals[i].port, arrivals[i].tag, (long long) arrivals[i].at);
	fclose(stream);
	answer(fd, "200 OK", text, length);
	free(text);
}

static void
answer_get(int fd, const char *path)
{
	char		text[64];

	if (strncmp(path, "/log", 4) == 0)
		tell_log(fd);
	else if (strncmp(path, "/count", 6) == 0)
		answer(fd, "200 OK", text, snprintf(text, sizeof(text), "%ld %ld\n", total, succeeded));
	else
	{
		total = succeeded = flaky = 0;
		n_arrivals = 0;
		answer(fd, "200 OK", "", 0);
	}
}

static size_t
content_length(const char *head, const char *end)
{
	static const char name[] = "\r\nContent-Length:";

	for (const char *p = head; p < end; p++)
	{
		if (*p == '\r' && strncasecmp(p, name, sizeof(name) - 1) == 0)
			return strtoul(p + sizeof(name) - 1, NULL, 10);
	}
	return 0;
}

/* Answer the requests that have come whole. */
static void
serve(int fd, int64_t at)
{
	Connection *connection = &connections[fd];
	char	   *end;

	while (connection->in_len > 0 &&
		   (end = memmem(connection->in, connection->in_len, "\r\n\r\n", 4)) != NULL)
	{
		size_t		head_len = end + 4 - connection->in;
		size_t		whole = head_len + content_length(connection->in, end);

		if (connection->in_len < whole)
			return;
		if (strncmp(connection->in, "POST ", 5) == 0)
		{
			note_arrival(connection->port, at, connection->in + head_len, whole - head_len);
			answer_post(fd, connection->in + 5);
		}
		else
			answer_get(fd, connection->in + 4);
		connection->in_len -= whole;
		memmove(connection->in, connection->in + whole, connection->in_len);
	}
}

static void
read_from(int fd)
{
	Connection *connection = &connections[fd];
	ssize_t		got;

	if (connection->in_size - connection->in_len < 4096)
	{
		/* one more than is read, since strings are looked for in it */
		connection->in_size = connection->in_size ? connection->in_size * 2 : 16384;
		connection->in = realloc(connection->in, connection->in_size + 1);
		if (connection->in == NULL)
			fail("realloc");
	}
	got = read(fd, connection->in + connection->in_len, connection->in_size - connection->in_len);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0)
	{
		drop(fd);
		return;
	}
	connection->in_len += got;
	connection->in[connection->in_len] = '\0';
	serve(fd, now());
}

static void
drip_on(void)
{
	for (int fd = 0; fd < CONNECTIONS_MAX; fd++)
	{
		Connection *connection = &connections[fd];

		if (connection->dripped == 0)
			continue;
		send_all(fd, drip + connection->dripped++, 1);
		if (connection->dripped == sizeof(drip) - 1)
		{
			connection->dripped = 0;
			dripping--;
		}
	}
}

int
main(int argc, char **argv)
{
	int64_t		next_drip = 0;

	if (argc != 3)
	{
		fprintf(stderr, "usage: receiver PORT COUNT\n");
		return 2;
	}
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < atoi(argv[2]); i++)
		listen_on(atoi(argv[1]) + i);
	for (;;)
	{
		struct epoll_event events[256];
		int			count = epoll_wait(epoll_fd, events, 256, dripping > 0 ? DRIP_MS : -1);

		for (int i = 0; i < count; i++)
		{
			int			fd = events[i].data.fd;

			if (connections[fd].listening)
				accept_all(fd);
			else if (connections[fd].open)
				read_from(fd);
		}
		if (dripping > 0 && now() >= next_drip)
		{
			drip_on();
			next_drip = now() + DRIP_MS * 1000;
		}
	}
}
