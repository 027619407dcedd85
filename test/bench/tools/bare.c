/*
 * bare.c
 *	  The yardstick of the drain benchmark: a libcurl multi loop that posts the
 *	  same body with the same header lines again and again, and does nothing else.
 *
 *	bare [option ...] URL REQUESTS		prints requests per second
 *
 *	-c N	requests under way at once
 *	-b FILE	the body
 *	-h FILE	header lines
 *	-a FILE	certificate authorities
 *	-2		HTTP/2
 *	-m N	connections at most
 *	-p		curl_multi_poll instead of epoll and curl_multi_socket_action
 *
 * Handles are set up once and used again, connections stay open.  The exit status is 1
 * when a request failed or was answered with anything but 200.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static const char *url;
static long requests;
static long concurrency = 16;
static const char *body = "";
static long body_len;
static struct curl_slist *headers;
static const char *ca_file;
static bool http2;
static long max_connections;

static CURLM *multi;
static int	epoll_fd;
static long timeout_ms = -1;
static long started;
static long ended;
static long failed;

static void
fail(const char *what)
{
	fprintf(stderr, "bare: %s\n", what);
	exit(2);
}

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	(void) data;
	(void) arg;
	return size * count;
}

/* The socket's former events hang on the socket itself, as events + 1. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *before)
{
	struct epoll_event event = {.data.fd = fd};

	(void) easy;
	(void) arg;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		event.events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		event.events |= EPOLLOUT;
	if (before == (void *) (long) (event.events + 1))
		return 0;
	if (epoll_ctl(epoll_fd, before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0 &&
		(errno != EEXIST || epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0))
		return -1;
	curl_multi_assign(multi, fd, (void *) (long) (event.events + 1));
	return 0;
}

static int
on_timer(CURLM *unused, long timeout, void *arg)
{
	(void) unused;
	(void) arg;
	timeout_ms = timeout;
	return 0;
}

static char *
read_file(const char *path, long *length)
{
	FILE	   *file = fopen(path, "r");
	char	   *content;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		fail(path);
	*length = ftell(file);
	rewind(file);
	content = malloc(*length + 1);
	if (content == NULL || fread(content, 1, *length, file) != (size_t) *length)
		fail(path);
	content[*length] = '\0';
	fclose(file);
	return content;
}

static void
read_headers(const char *path)
{
	long		length;
	char	   *content = read_file(path, &length);

	for (char *line = strtok(content, "\n"); line != NULL; line = strtok(NULL, "\n"))
		headers = curl_slist_append(headers, line);
	/* what libcurl would add by itself, and fluxhooks does not send */
	headers = curl_slist_append(headers, "Accept:");
	headers = curl_slist_append(headers, "Expect:");
	free(content);
}

static void
read_options(int argc, char **argv, bool *poll)
{
	int			option;

	while ((option = getopt(argc, argv, "c:b:h:a:2m:p")) != -1)
	{
		switch (option)
		{
			case 'c':
				concurrency = atol(optarg);
				break;
			case 'b':
				body = read_file(optarg, &body_len);
				break;
			case 'h':
				read_headers(optarg);
				break;
			case 'a':
				ca_file = optarg;
				break;
			case '2':
				http2 = true;
				break;
			case 'm':
				max_connections = atol(optarg);
				break;
			case 'p':
				*poll = true;
				break;
			default:
				fail("unknown option");
		}
	}
	if (argc - optind != 2)
		fail("usage: bare [option ...] URL REQUESTS");
	url = argv[optind];
	requests = atol(argv[optind + 1]);
}

static void
start_one(void)
{
	CURL	   *easy = curl_easy_init();

	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, body_len);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
					 (long) (http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	if (ca_file != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
	curl_multi_add_handle(multi, easy);
	started++;
}

/* Count what has ended, and send it again while there is need. */
static void
take_ended(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURL	   *easy = message->easy_handle;
		long		status = 0;

		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		failed += message->data.result != CURLE_OK || status != 200;
		ended++;
		curl_multi_remove_handle(multi, easy);
		if (started < requests)
		{
			curl_multi_add_handle(multi, easy);
			started++;
		}
		else
			curl_easy_cleanup(easy);
	}
}

static void
loop_poll(void)
{
	while (ended < requests)
	{
		int			running;

		curl_multi_perform(multi, &running);
		take_ended();
		if (ended < requests)
			curl_multi_poll(multi, NULL, 0, 1000, NULL);
	}
}

static void
loop_epoll(void)
{
	struct epoll_event events[64];
	int			running;

	while (ended < requests)
	{
		int			count = epoll_wait(epoll_fd, events, 64, timeout_ms < 0 ? 1000 : (int) timeout_ms);

		if (count == 0 || timeout_ms == 0)
		{
			timeout_ms = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		for (int i = 0; i < count; i++)
		{
			int			mask = 0;

			if (events[i].events & EPOLLIN)
				mask |= CURL_CSELECT_IN;
			if (events[i].events & EPOLLOUT)
				mask |= CURL_CSELECT_OUT;
			if (events[i].events & (EPOLLERR | EPOLLHUP))
				mask |= CURL_CSELECT_ERR;
			curl_multi_socket_action(multi, events[i].data.fd, mask, &running);
		}
		take_ended();
	}
}

int
main(int argc, char **argv)
{
	bool		poll = false;
	double		begin;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	read_options(argc, argv, &poll);
	multi = curl_multi_init();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_MULTIPLEX);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 1000L);
	if (max_connections > 0)
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, max_connections);
	if (!poll)
	{
		curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	}
	begin = seconds();
	while (started < concurrency && started < requests)
		start_one();
	if (poll)
		loop_poll();
	else
		loop_epoll();
	printf("%.0f\n", requests / (seconds() - begin));
	if (failed > 0)
		fprintf(stderr, "bare: %ld of %ld requests failed\n", failed, requests);
	return failed > 0;
}
