/*
 * http.c
 *	  Requests through a curl multi handle that never blocks.  The only file
 *	  that includes curl.
 *
 * libcurl tells which sockets it waits for; they live in one epoll set, whose
 * descriptor the caller waits on.  Its timer is a deadline that the caller
 * asks for.  http_progress moves on what is ready, takes finished transfers out
 * of libcurl, and only then calls done, which may start and cancel requests.
 *
 * Connections, the DNS cache and TLS trust belong to a multi handle, and a
 * multi handle to the policy it was made under: new policy means a new one,
 * while transfers under way end in the old one, which then closes what it kept.
 * A socket is always judged by the policy of the moment it is opened.
 *
 * An answer is read to its end, so that the connection can be used again, but
 * for no more than HTTP_DRAIN_MAX beyond what is kept; then the connection is
 * dropped, and the attempt counts by the status that came.
 */
#include "http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "address.h"

#define HTTP_EVENTS			64	/* taken from the epoll set at once */
#define HTTP_ROUNDS			32	/* per http_progress, so that the caller gets its turn */
#define HTTP_HANDLES_IDLE	128 /* easy handles kept for reuse */
#define HTTP_BODY_IDLE		(16 * 1024)	/* largest body buffer kept with one */
#define HTTP_CONNECTIONS	256 /* kept open per multi handle */
#define HTTP_DRAIN_MAX		(1024 * 1024)
#define HTTP_HEADERS_MAX	(256 * 1024)	/* response header bytes, 1xx included */
#define HTTP_URL_MAX		2048

/* A curl multi handle; the first in the list takes new requests. */
typedef struct HttpMulti
{
	struct HttpMulti *next;
	CURLM	   *curl;
	int			transfers;
	int64_t		deadline;		/* microseconds, -1: none */
} HttpMulti;

/* What the epoll set knows of a descriptor, by its number. */
typedef struct HttpSocket
{
	HttpMulti  *multi;
	uint32_t	wanted;			/* by libcurl */
	uint32_t	registered;		/* in the epoll set */
	bool		ours;			/* opened here, closed by http_close_socket */
} HttpSocket;

/* A request with its easy handle; both are used again. */
typedef struct HttpTransfer
{
	struct HttpTransfer *prev;
	struct HttpTransfer *next;
	CURL	   *easy;
	unsigned	policy;			/* number of the policy that easy is set to */
	bool		proxied;
	bool		https;
	int			timeout_ms;

	HttpMulti  *multi;
	void	   *arg;
	CURLcode	outcome;
	struct curl_slist *nodes;	/* the request's header lines */
	int			n_nodes;
	struct curl_slist *blank;	/* rewritten lines of headers without a value */

	char	   *body;
	size_t		body_size;		/* allocated */
	size_t		body_len;		/* kept */
	size_t		body_max;
	size_t		body_seen;
	size_t		header_seen;
	bool		body_cut;
	char		retry_after[HTTP_RETRY_AFTER_SIZE];

	int			sockets;		/* opened */
	bool		no_socket;		/* none to be had */
	const char *denied_why;		/* NULL: no address was refused */
	char		denied[HTTP_ADDRESS_SIZE];
	char		curl_error[CURL_ERROR_SIZE];
} HttpTransfer;

/* Doubly linked through a head of its own. */
typedef struct HttpTransferList
{
	HttpTransfer head;
	int			count;
} HttpTransferList;

static struct
{
	bool		started;
	bool		progressing;
	HttpDone	done;
	bool		(*reserve) (void);
	void		(*release) (void);
	int			epoll;
	HttpMulti  *multis;
	HttpSocket *sockets;
	int			n_sockets;
	bool		short_of_sockets;

	unsigned	policy;
	AddressList *allowed;
	bool		allow_http;
	char	   *ca_file;
	char	   *proxy;

	HttpTransferList active;	/* in a multi handle */
	HttpTransferList finished;	/* taken out, done not yet called */
	HttpTransferList idle;
}			http;

/* What is the same for every request. */
static const struct
{
	CURLoption	option;
	long		value;
}			http_options[] = {
	{CURLOPT_NOSIGNAL, 1},
	{CURLOPT_NOPROGRESS, 1},
	{CURLOPT_POST, 1},
	{CURLOPT_FOLLOWLOCATION, 0},
	{CURLOPT_NETRC, CURL_NETRC_IGNORED},
	{CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
	{CURLOPT_SUPPRESS_CONNECT_HEADERS, 1},
	{CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
	{CURLOPT_TCP_NODELAY, 1},
	{CURLOPT_TCP_KEEPALIVE, 1},
	{CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
	{CURLOPT_SSL_VERIFYPEER, 1},
	{CURLOPT_SSL_VERIFYHOST, 2},
#if LIBCURL_VERSION_NUM >= 0x074000
	{CURLOPT_HTTP09_ALLOWED, 0},
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Else ending a request that is still resolving waits for getaddrinfo. */
	{CURLOPT_QUICK_EXIT, 1},
#endif
};

/* Headers that libcurl would add by itself: a line without value leaves one out. */
static char http_no_accept[] = "Accept:";
static char http_no_expect[] = "Expect:";
static struct curl_slist http_tail_expect = {http_no_expect, NULL};
static struct curl_slist http_tail = {http_no_accept, &http_tail_expect};

static int64_t
http_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
http_list_init(HttpTransferList *list)
{
	list->head.prev = list->head.next = &list->head;
	list->count = 0;
}

static void
http_list_append(HttpTransferList *list, HttpTransfer *transfer)
{
	transfer->prev = list->head.prev;
	transfer->next = &list->head;
	transfer->prev->next = transfer;
	list->head.prev = transfer;
	list->count++;
}

static void
http_list_remove(HttpTransferList *list, HttpTransfer *transfer)
{
	transfer->prev->next = transfer->next;
	transfer->next->prev = transfer->prev;
	list->count--;
}

static HttpTransfer *
http_list_find(HttpTransferList *list, const void *arg)
{
	HttpTransfer *transfer;

	for (transfer = list->head.next; transfer != &list->head; transfer = transfer->next)
	{
		if (transfer->arg == arg)
			return transfer;
	}
	return NULL;
}

/* ---------------------------------------------------------------- sockets */

/* The entry of a descriptor; NULL when memory is short. */
static HttpSocket *
http_socket(int fd)
{
	if (fd >= http.n_sockets)
	{
		int			count = fd + 64;
		HttpSocket *grown = realloc(http.sockets, count * sizeof(HttpSocket));

		if (grown == NULL)
			return NULL;
		memset(grown + http.n_sockets, 0, (count - http.n_sockets) * sizeof(HttpSocket));
		http.sockets = grown;
		http.n_sockets = count;
	}
	return &http.sockets[fd];
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
	if (epoll_ctl(http.epoll, operation, fd, &event) != 0 && events != 0)
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
static int
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

/* CURLMOPT_TIMERFUNCTION */
static int
http_on_timer(CURLM *curl, long timeout_ms, void *arg)
{
	HttpMulti  *multi = arg;

	(void) curl;
	multi->deadline = timeout_ms < 0 ? -1 : http_now() + (int64_t) timeout_ms * 1000;
	return 0;
}

/* May this address be connected to?  Remembers a refusal for the result. */
static bool
http_judge(HttpTransfer *transfer, const struct sockaddr *address)
{
	const char *why;
	const void *bytes;

	if (address_allowed(address, http.allowed, &why))
		return true;
	bytes = address->sa_family == AF_INET6
		? (const void *) &((const struct sockaddr_in6 *) address)->sin6_addr
		: (const void *) &((const struct sockaddr_in *) address)->sin_addr;
	if (inet_ntop(address->sa_family, bytes, transfer->denied, sizeof(transfer->denied)) == NULL)
		transfer->denied[0] = '\0';
	transfer->denied_why = why;
	return false;
}

/* CURLOPT_OPENSOCKETFUNCTION.  A proxy is the administrator's choice. */
static curl_socket_t
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
	if (!transfer->proxied && !http_judge(transfer, (struct sockaddr *) &address))
		return CURL_SOCKET_BAD;
	if (!http.reserve())
	{
		transfer->no_socket = http.short_of_sockets = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(wanted->family, wanted->socktype | SOCK_CLOEXEC, wanted->protocol);
	entry = fd >= 0 ? http_socket(fd) : NULL;
	if (entry == NULL)
	{
		transfer->no_socket = true;
		http.short_of_sockets = fd < 0;
		if (fd >= 0)
			close(fd);
		http.release();
		return CURL_SOCKET_BAD;
	}
	memset(entry, 0, sizeof(*entry));
	entry->ours = true;
	transfer->sockets++;
	return fd;
}

/* CURLOPT_CLOSESOCKETFUNCTION.  May come long after the transfer is gone. */
static int
http_close_socket(void *unused, curl_socket_t fd)
{
	(void) unused;
	if (fd < http.n_sockets && http.sockets[fd].ours)
	{
		memset(&http.sockets[fd], 0, sizeof(HttpSocket));
		http.release();
	}
	return close(fd);
}

/* ------------------------------------------------------------ the response */

/* CURLOPT_WRITEFUNCTION.  Keeps the beginning; where memory is short, less. */
static size_t
http_on_body(char *bytes, size_t size, size_t count, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		length = size * count;
	size_t		keep = transfer->body_max - transfer->body_len;

	transfer->body_seen += length;
	if (keep > length)
		keep = length;
	if (transfer->body_len + keep > transfer->body_size)
	{
		size_t		grown_size = 2 * (transfer->body_len + keep);
		char	   *grown;

		if (grown_size > transfer->body_max)
			grown_size = transfer->body_max;
		grown = realloc(transfer->body, grown_size);
		if (grown != NULL)
		{
			transfer->body = grown;
			transfer->body_size = grown_size;
		}
		else
			keep = 0;
	}
	if (keep > 0)
		memcpy(transfer->body + transfer->body_len, bytes, keep);
	transfer->body_len += keep;
	if (transfer->body_seen > transfer->body_max + HTTP_DRAIN_MAX)
	{
		transfer->body_cut = true;
		return 0;
	}
	return length;
}

/* CURLOPT_HEADERFUNCTION: one line, that of the status and of 1xx included. */
static size_t
http_on_header(char *line, size_t size, size_t count, void *arg)
{
	static const char wanted[] = "retry-after:";
	HttpTransfer *transfer = arg;
	size_t		length = size * count;
	size_t		rest = length;

	transfer->header_seen += length;
	if (transfer->header_seen > HTTP_HEADERS_MAX)
		return 0;
	if (length > 5 && memcmp(line, "HTTP/", 5) == 0)
		transfer->retry_after[0] = '\0';	/* what came before was a 1xx */
	if (length < sizeof(wanted) || (line[0] != 'r' && line[0] != 'R') ||
		strncasecmp(line, wanted, sizeof(wanted) - 1) != 0)
		return length;
	line += sizeof(wanted) - 1;
	rest -= sizeof(wanted) - 1;
	while (rest > 0 && (*line == ' ' || *line == '\t'))
	{
		line++;
		rest--;
	}
	while (rest > 0 && strchr(" \t\r\n", line[rest - 1]) != NULL)
		rest--;
	if (rest < sizeof(transfer->retry_after))
	{
		memcpy(transfer->retry_after, line, rest);
		transfer->retry_after[rest] = '\0';
	}
	return length;
}

/* ------------------------------------------------------- handles and policy */

static void
http_transfer_free(HttpTransfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->blank);
	free(transfer->nodes);
	free(transfer->body);
	free(transfer);
}

static bool
http_set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
							http.allow_http ? "http,https" : "https") == CURLE_OK;
#else
	return curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
							(long) (CURLPROTO_HTTPS | (http.allow_http ? CURLPROTO_HTTP : 0))) == CURLE_OK;
#endif
}

/* An empty proxy (and no_proxy) keeps libcurl from asking the environment. */
static bool
http_set_options(HttpTransfer *transfer)
{
	CURL	   *easy = transfer->easy;
	bool		done = http_set_protocols(easy);
	size_t		i;

	for (i = 0; i < sizeof(http_options) / sizeof(http_options[0]); i++)
		done = curl_easy_setopt(easy, http_options[i].option, http_options[i].value) == CURLE_OK &&
			done;

#define HTTP_SET(option, value) \
	(done = curl_easy_setopt(easy, option, value) == CURLE_OK && done)

	HTTP_SET(CURLOPT_PRIVATE, transfer);
	HTTP_SET(CURLOPT_ERRORBUFFER, transfer->curl_error);
	HTTP_SET(CURLOPT_WRITEFUNCTION, http_on_body);
	HTTP_SET(CURLOPT_WRITEDATA, transfer);
	HTTP_SET(CURLOPT_HEADERFUNCTION, http_on_header);
	HTTP_SET(CURLOPT_HEADERDATA, transfer);
	HTTP_SET(CURLOPT_OPENSOCKETFUNCTION, http_open_socket);
	HTTP_SET(CURLOPT_OPENSOCKETDATA, transfer);
	HTTP_SET(CURLOPT_CLOSESOCKETFUNCTION, http_close_socket);
	HTTP_SET(CURLOPT_PROXY, http.proxy);
	HTTP_SET(CURLOPT_NOPROXY, "");
	if (http.ca_file[0] != '\0')
	{
		HTTP_SET(CURLOPT_CAINFO, http.ca_file);
		HTTP_SET(CURLOPT_CAPATH, NULL); /* the system's must not count too */
	}
#undef HTTP_SET
	transfer->policy = http.policy;
	transfer->proxied = http.proxy[0] != '\0';
	return done;
}

static HttpTransfer *
http_transfer_make(void)
{
	HttpTransfer *transfer = calloc(1, sizeof(HttpTransfer));

	if (transfer == NULL)
		return NULL;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !http_set_options(transfer))
	{
		http_transfer_free(transfer);
		return NULL;
	}
	return transfer;
}

/* Forget the request, and keep the handle if it is of use. */
static void
http_transfer_recycle(HttpTransfer *transfer)
{
	curl_slist_free_all(transfer->blank);
	transfer->blank = NULL;
	if (transfer->policy != http.policy || http.idle.count >= HTTP_HANDLES_IDLE)
	{
		http_transfer_free(transfer);
		return;
	}
	if (transfer->body_size > HTTP_BODY_IDLE)
	{
		free(transfer->body);
		transfer->body = NULL;
		transfer->body_size = 0;
	}
	http_list_append(&http.idle, transfer);
}

/* The handle used last, which finds most of itself in the processor's cache. */
static HttpTransfer *
http_transfer_take(void)
{
	HttpTransfer *transfer = http.idle.head.prev;

	if (http.idle.count == 0)
		return http_transfer_make();
	http_list_remove(&http.idle, transfer);
	return transfer;
}

static void
http_drop_idle(void)
{
	while (http.idle.count > 0)
		http_transfer_free(http_transfer_take());
}

/* A new multi handle for all further requests. */
static bool
http_renew_multi(void)
{
	HttpMulti  *multi = calloc(1, sizeof(HttpMulti));

	if (multi == NULL || (multi->curl = curl_multi_init()) == NULL)
	{
		free(multi);
		return false;
	}
	multi->deadline = -1;
	curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, http_on_socket);
	curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, multi);
	curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, http_on_timer);
	curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, multi);
	curl_multi_setopt(multi->curl, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(multi->curl, CURLMOPT_MAXCONNECTS, (long) HTTP_CONNECTIONS);
#if LIBCURL_VERSION_NUM >= 0x081400
	curl_multi_setopt(multi->curl, CURLMOPT_QUICK_EXIT, 1L);
#endif
	multi->next = http.multis;
	http.multis = multi;
	return true;
}

/* Free multi handles of former policies once nothing runs in them. */
static void
http_drop_drained(bool all)
{
	HttpMulti **link = &http.multis;

	while (*link != NULL)
	{
		HttpMulti  *multi = *link;

		if (!all && (multi == http.multis || multi->transfers > 0))
		{
			link = &multi->next;
			continue;
		}
		*link = multi->next;
		curl_multi_cleanup(multi->curl);
		free(multi);
	}
}

/* libcurl puts a proxy it cannot read into its message, password and all. */
static bool
http_proxy_valid(const char *proxy)
{
	CURLU	   *parts = curl_url();
	bool		valid = parts != NULL &&
		curl_url_set(parts, CURLUPART_URL, proxy, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
	char	   *scheme = NULL;

	if (valid)
		valid = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
			(strncmp(scheme, "http", 4) == 0 || strncmp(scheme, "socks", 5) == 0);
	curl_free(scheme);
	curl_url_cleanup(parts);
	return valid;
}

bool
http_set_policy(const HttpPolicy *policy, char *error, size_t error_size)
{
	AddressList *allowed = address_list_parse(policy->allowed_networks, error, error_size);
	char	   *ca_file = strdup(policy->ca_file ? policy->ca_file : "");
	char	   *proxy = strdup(policy->proxy ? policy->proxy : "");
	bool		accepted = false;

	if (allowed == NULL)
		 /* the error has been told */ ;
	else if (proxy != NULL && proxy[0] != '\0' && !http_proxy_valid(proxy))
		snprintf(error, error_size, "fluxhooks.proxy is not the URL of an HTTP or SOCKS proxy.");
	else if (ca_file == NULL || proxy == NULL || !http_renew_multi())
		snprintf(error, error_size, "Out of memory.");
	else
		accepted = true;
	if (!accepted)
	{
		address_list_free(allowed);
		free(ca_file);
		free(proxy);
		return false;
	}
	address_list_free(http.allowed);
	free(http.ca_file);
	free(http.proxy);
	http.allowed = allowed;
	http.allow_http = policy->allow_http;
	http.ca_file = ca_file;
	http.proxy = proxy;
	http.policy++;
	http_drop_idle();
	if (!http.progressing)
		http_drop_drained(false);
	return true;
}

/* ----------------------------------------------------- starting and stopping */

bool
http_startup(HttpDone done, bool (*reserve) (void), void (*release) (void),
			 char *error, size_t error_size)
{
	HttpPolicy	strictest = {"", true, "", ""};

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
	{
		snprintf(error, error_size, "libcurl could not be initialised.");
		return false;
	}
	http.started = true;
	http.done = done;
	http.reserve = reserve;
	http.release = release;
	http_list_init(&http.active);
	http_list_init(&http.finished);
	http_list_init(&http.idle);
	http.epoll = -1;
	if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) == 0)
		snprintf(error, error_size, "This libcurl cannot resolve names without blocking.");
	else if (!reserve())
		snprintf(error, error_size, "No file descriptor is free.");
	else if ((http.epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
	{
		snprintf(error, error_size, "An epoll set could not be created: %s.", strerror(errno));
		release();
	}
	else if (http_set_policy(&strictest, error, error_size))
		return true;
	http_shutdown();
	return false;
}

void
http_shutdown(void)
{
	if (!http.started)
		return;
	while (http.active.count > 0)
		http_cancel(http.active.head.next->arg);
	while (http.finished.count > 0)
		http_cancel(http.finished.head.next->arg);
	http_drop_idle();
	http_drop_drained(true);
	if (http.epoll >= 0)
	{
		close(http.epoll);
		http.release();
	}
	free(http.sockets);
	address_list_free(http.allowed);
	free(http.ca_file);
	free(http.proxy);
	memset(&http, 0, sizeof(http));
	curl_global_cleanup();
}

/* ------------------------------------------------------------ requests */

/*
 * libcurl takes "Name:" as an order to leave a header out, and sends an empty
 * one for "Name;".
 */
static char *
http_header_line(HttpTransfer *transfer, char *line)
{
	char	   *colon = strchr(line, ':');
	struct curl_slist *copy;

	if (colon == NULL || colon[1 + strspn(colon + 1, " \t")] != '\0')
		return line;
	copy = curl_slist_append(NULL, line);
	if (copy == NULL)
		return NULL;
	strcpy(copy->data + (colon - line), ";");
	copy->next = transfer->blank;
	transfer->blank = copy;
	return copy->data;
}

/* Chain the caller's lines, in memory that the handle keeps. */
static bool
http_chain_headers(HttpTransfer *transfer, char **lines, int count)
{
	int			i;

	if (count > transfer->n_nodes)
	{
		struct curl_slist *grown = realloc(transfer->nodes, count * sizeof(struct curl_slist));

		if (grown == NULL)
			return false;
		transfer->nodes = grown;
		transfer->n_nodes = count;
	}
	for (i = 0; i < count; i++)
	{
		transfer->nodes[i].data = http_header_line(transfer, lines[i]);
		if (transfer->nodes[i].data == NULL)
			return false;
		transfer->nodes[i].next = i + 1 < count ? &transfer->nodes[i + 1] : &http_tail;
	}
	return curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER,
							count > 0 ? transfer->nodes : &http_tail) == CURLE_OK;
}

/*
 * HTTP/2 is for https only.  No CURLOPT_PIPEWAIT: a request that waits for the
 * connection of another outlives its own timeout while that one hangs.
 */
static bool
http_set_request(HttpTransfer *transfer, const HttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	bool		https = strncasecmp(request->url, "https:", 6) == 0;
	int			timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : 1;

	if (https != transfer->https)
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
						 (long) (https ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	transfer->https = https;
	if (timeout_ms != transfer->timeout_ms)
	{
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) timeout_ms);
		curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) timeout_ms);
		transfer->timeout_ms = timeout_ms;
	}
	return curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body_len > 0 ? request->body : "") == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_len) == CURLE_OK &&
		http_chain_headers(transfer, request->headers, request->n_headers);
}

bool
http_start(const HttpRequest *request, char *error, size_t error_size)
{
	HttpTransfer *transfer = http_transfer_take();

	if (transfer == NULL)
	{
		snprintf(error, error_size, "Out of memory.");
		return false;
	}
	transfer->arg = request->arg;
	transfer->multi = http.multis;
	transfer->body_max = request->max_response;
	transfer->body_len = transfer->body_seen = transfer->header_seen = 0;
	transfer->body_cut = transfer->no_socket = false;
	transfer->retry_after[0] = transfer->curl_error[0] = '\0';
	transfer->sockets = 0;
	transfer->denied_why = NULL;

	/* Adding only queues: signals need no blocking here. */
	if (!http_set_request(transfer, request) ||
		curl_multi_add_handle(transfer->multi->curl, transfer->easy) != CURLM_OK)
	{
		http_transfer_free(transfer);
		snprintf(error, error_size, "Out of memory.");
		return false;
	}
	transfer->multi->transfers++;
	http_list_append(&http.active, transfer);
	return true;
}

/* Take a transfer, ended or not, out of libcurl. */
static void
http_detach(HttpTransfer *transfer)
{
	curl_multi_remove_handle(transfer->multi->curl, transfer->easy);
	transfer->multi->transfers--;
	http_list_remove(&http.active, transfer);
}

void
http_cancel(void *arg)
{
	HttpTransfer *transfer = http_list_find(&http.active, arg);

	if (transfer != NULL)
		http_detach(transfer);
	else if ((transfer = http_list_find(&http.finished, arg)) != NULL)
		http_list_remove(&http.finished, transfer);
	else
		return;
	http_transfer_recycle(transfer);
}

int
http_in_flight(void)
{
	return http.active.count + http.finished.count;
}

/* ------------------------------------------------------------ the outcome */

/*
 * What became of a request that has no answer.  Where there is no text,
 * libcurl's own says it best.
 */
static const struct
{
	CURLcode	outcome;
	const char *code;
	const char *text;
}			http_failures[] = {
	{CURLE_COULDNT_RESOLVE_HOST, HTTP_ERROR_DNS, "the host name could not be resolved"},
	{CURLE_COULDNT_RESOLVE_PROXY, HTTP_ERROR_DNS, "the name of the proxy could not be resolved"},
	{CURLE_GOT_NOTHING, HTTP_ERROR_RESET, "the endpoint closed the connection without an answer"},
	{CURLE_PARTIAL_FILE, HTTP_ERROR_RESET, "the endpoint closed the connection in the middle of its answer"},
	{CURLE_RECV_ERROR, HTTP_ERROR_RESET, NULL},
	{CURLE_SEND_ERROR, HTTP_ERROR_RESET, NULL},
	{CURLE_UNSUPPORTED_PROTOCOL, HTTP_ERROR_PROTOCOL, "plain http is not allowed: fluxhooks.allow_http is off"},
	{CURLE_URL_MALFORMAT, HTTP_ERROR_PROTOCOL, "the URL is malformed"},
	{CURLE_LOGIN_DENIED, HTTP_ERROR_PROTOCOL, "the URL carries a user name or password"},
	{CURLE_WRITE_ERROR, HTTP_ERROR_PROTOCOL, "the headers of the answer are too large"},
	{CURLE_OUT_OF_MEMORY, HTTP_ERROR_PROTOCOL, "the worker is out of memory"},
	{CURLE_ABORTED_BY_CALLBACK, HTTP_ERROR_PROTOCOL, "the worker could not watch another connection"},
	{CURLE_SSL_CACERT_BADFILE, HTTP_ERROR_TLS, "the trust store (fluxhooks.ca_file) could not be read"},
	{CURLE_SSL_CONNECT_ERROR, HTTP_ERROR_TLS, NULL},
	{CURLE_PEER_FAILED_VERIFICATION, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_CERTPROBLEM, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_CIPHER, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_ENGINE_INITFAILED, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_ISSUER_ERROR, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_SHUTDOWN_FAILED, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_INVALIDCERTSTATUS, HTTP_ERROR_TLS, NULL},
	{CURLE_USE_SSL_FAILED, HTTP_ERROR_TLS, NULL},
};

static long
http_info_long(HttpTransfer *transfer, CURLINFO info)
{
	long		value = 0;

	curl_easy_getinfo(transfer->easy, info, &value);
	return value;
}

static curl_off_t
http_info_time(HttpTransfer *transfer, CURLINFO info)
{
	curl_off_t	value = 0;

	curl_easy_getinfo(transfer->easy, info, &value);
	return value;
}

static void
http_fail(HttpResult *result, const char *code, const char *text)
{
	result->error_code = code;
	snprintf(result->error, sizeof(result->error), "%s", text);
}

/* No connection came about. */
static void
http_fail_connect(HttpTransfer *transfer, HttpResult *result)
{
	int			os_error = (int) http_info_long(transfer, CURLINFO_OS_ERRNO);

	if (transfer->no_socket)
		http_fail(result, HTTP_ERROR_REFUSED, "no file descriptor was free for a connection");
	else if (transfer->denied_why != NULL && transfer->sockets == 0)
	{
		result->error_code = HTTP_ERROR_ADDRESS_DENIED;
		snprintf(result->error, sizeof(result->error),
				 "the address %s is not public (%s) and not in fluxhooks.allowed_networks",
				 transfer->denied, transfer->denied_why);
	}
	else if (os_error == ETIMEDOUT)
		http_fail(result, HTTP_ERROR_TIMEOUT, "the connection timed out");
	else if (os_error == ECONNREFUSED || os_error == 0)
		http_fail(result, HTTP_ERROR_REFUSED, "the connection was refused");
	else
	{
		result->error_code = HTTP_ERROR_REFUSED;
		snprintf(result->error, sizeof(result->error), "no connection could be made: %s",
				 strerror(os_error));
	}
}

static void
http_fail_timeout(HttpTransfer *transfer, HttpResult *result)
{
	const char *during;

	if (transfer->header_seen > 0)
		during = "while the answer was read";
	else if (http_info_time(transfer, CURLINFO_PRETRANSFER_TIME_T) > 0)
		during = "while the answer was awaited";
	else if (transfer->sockets > 0)
		during = transfer->https ? "while connecting or in the TLS handshake" : "while connecting";
	else
		during = "while resolving the host name";
	result->error_code = HTTP_ERROR_TIMEOUT;
	snprintf(result->error, sizeof(result->error), "timed out after %g seconds, %s",
			 transfer->timeout_ms / 1000.0, during);
}

static void
http_fail_otherwise(HttpTransfer *transfer, HttpResult *result)
{
	const char *text = NULL;
	size_t		i;

	result->error_code = HTTP_ERROR_PROTOCOL;
	for (i = 0; i < sizeof(http_failures) / sizeof(http_failures[0]); i++)
	{
		if (http_failures[i].outcome == transfer->outcome)
		{
			result->error_code = http_failures[i].code;
			text = http_failures[i].text;
			break;
		}
	}
	if (text == NULL)
		text = transfer->curl_error[0] ? transfer->curl_error : curl_easy_strerror(transfer->outcome);
	http_fail(result, result->error_code, text);
	for (i = 0; result->error[i] != '\0'; i++)
	{
		if (result->error[i] < ' ' || result->error[i] > '~')
			result->error[i] = '?';
	}
}

static void
http_fail_status(HttpResult *result)
{
	result->error_code = HTTP_ERROR_STATUS;
	snprintf(result->error, sizeof(result->error), "the endpoint answered with status %d%s",
			 result->status_code,
			 result->status_code / 100 == 3 ? "; redirects are not followed" : "");
}

static void
http_fill_result(HttpTransfer *transfer, HttpResult *result)
{
	CURLcode	outcome = transfer->outcome;
	long		tunnel;
	char	   *address = NULL;

	memset(result, 0, offsetof(HttpResult, error));
	result->error[0] = '\0';
	result->arg = transfer->arg;
	result->response_time_ms = http_info_time(transfer, CURLINFO_TOTAL_TIME_T) / 1000.0;
	if (http_info_time(transfer, CURLINFO_CONNECT_TIME_T) > 0 ||
		http_info_time(transfer, CURLINFO_PRETRANSFER_TIME_T) > 0)
		curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &address);
	if (address != NULL)
		snprintf(result->remote_address, sizeof(result->remote_address), "%s", address);

	if (outcome == CURLE_OK || (outcome == CURLE_WRITE_ERROR && transfer->body_cut))
	{
		result->status_code = (int) http_info_long(transfer, CURLINFO_RESPONSE_CODE);
		result->body = transfer->body;
		result->body_len = transfer->body_len;
		memcpy(result->retry_after, transfer->retry_after, sizeof(result->retry_after));
		if (result->status_code / 100 != 2)
			http_fail_status(result);
	}
	else if (outcome == CURLE_COULDNT_CONNECT)
		http_fail_connect(transfer, result);
	else if (outcome == CURLE_OPERATION_TIMEDOUT)
		http_fail_timeout(transfer, result);
	else if (transfer->proxied && (tunnel = http_info_long(transfer, CURLINFO_HTTP_CONNECTCODE)) >= 300)
	{
		result->error_code = HTTP_ERROR_REFUSED;
		snprintf(result->error, sizeof(result->error),
				 "the proxy refused the connection with status %ld", tunnel);
	}
	else
		http_fail_otherwise(transfer, result);
}

/* ------------------------------------------------------------ moving on */

static bool
http_due(int64_t now)
{
	HttpMulti  *multi;

	for (multi = http.multis; multi != NULL; multi = multi->next)
	{
		if (multi->deadline >= 0 && multi->deadline <= now)
			return true;
	}
	return false;
}

/* Tell libcurl of a socket that is ready. */
static void
http_ready(const struct epoll_event *event)
{
	int			fd = event->data.fd;
	HttpSocket *entry = &http.sockets[fd];
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
	curl_multi_socket_action(entry->multi->curl, fd, action, &running);
}

/* Take what has ended out of libcurl. */
static void
http_collect(HttpMulti *multi)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi->curl, &left)) != NULL)
	{
		CURLcode	outcome = message->data.result;
		HttpTransfer *transfer;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		transfer->outcome = outcome;
		http_detach(transfer);
		http_list_append(&http.finished, transfer);
	}
}

/* One round: sockets, timers, endings.  True where more is ready at once. */
static bool
http_step(void)
{
	struct epoll_event events[HTTP_EVENTS];
	int			count = epoll_wait(http.epoll, events, HTTP_EVENTS, 0);
	int64_t		now;
	HttpMulti  *multi;
	int			running;
	int			i;

	for (i = 0; i < count; i++)
		http_ready(&events[i]);
	now = http_now();
	for (multi = http.multis; multi != NULL; multi = multi->next)
	{
		if (multi->deadline >= 0 && multi->deadline <= now)
		{
			multi->deadline = -1;
			curl_multi_socket_action(multi->curl, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		http_collect(multi);
	}
	return count == HTTP_EVENTS;
}

static void
http_deliver(void)
{
	while (http.finished.count > 0)
	{
		HttpTransfer *transfer = http.finished.head.next;
		HttpResult	result;

		http_list_remove(&http.finished, transfer);
		http_fill_result(transfer, &result);
		http.done(&result);
		http_transfer_recycle(transfer);
	}
}

/*
 * libcurl may start a thread that resolves a name, which must never receive a
 * signal meant for this process, so it inherits a mask of all.
 */
void
http_progress(void)
{
	sigset_t	all;
	sigset_t	before;
	bool		more = true;
	int			round;

	if (http.progressing)
		return;
	http.progressing = true;
	sigfillset(&all);
	for (round = 0; more && round < HTTP_ROUNDS; round++)
	{
		pthread_sigmask(SIG_SETMASK, &all, &before);
		more = http_step();
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		http_deliver();
		more = more || http_due(http_now());
	}
	if (http.short_of_sockets)
	{
		/* Idle connections go with their multi handle. */
		http.short_of_sockets = false;
		http_renew_multi();
	}
	http.progressing = false;
	http_drop_drained(false);
}

int
http_descriptor(void)
{
	return http.epoll;
}

long
http_timeout_ms(void)
{
	int64_t		deadline = -1;
	int64_t		now;
	HttpMulti  *multi;

	for (multi = http.multis; multi != NULL; multi = multi->next)
	{
		if (multi->deadline >= 0 && (deadline < 0 || multi->deadline < deadline))
			deadline = multi->deadline;
	}
	if (deadline < 0)
		return -1;
	now = http_now();
	return deadline <= now ? 0 : (long) ((deadline - now + 999) / 1000);
}

/* ------------------------------------------------------------ URLs */

static bool
http_url_text_valid(const char *url)
{
	size_t		length = strlen(url);
	size_t		i;

	if (length == 0 || length > HTTP_URL_MAX)
		return false;
	for (i = 0; i < length; i++)
	{
		if ((unsigned char) url[i] <= ' ' || url[i] == 0x7f)
			return false;
	}
	return true;
}

/* Copy the parts that callers need; false where they do not fit. */
static bool
http_url_split(CURLU *parts, HttpUrl *out)
{
	char	   *host = NULL;
	char	   *port = NULL;
	bool		fits;

	fits = curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		strcmp(port, "0") != 0;
	if (fits)
	{
		const char *name = host[0] == '[' ? host + 1 : host;
		size_t		length = strcspn(name, "]");
		size_t		i;

		fits = length < sizeof(out->host);
		for (i = 0; fits && i < length; i++)
			out->host[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i];
		out->host[fits ? length : 0] = '\0';
		snprintf(out->key, sizeof(out->key), "%s://%s%s%s:%s", out->https ? "https" : "http",
				 name != host ? "[" : "", out->host, name != host ? "]" : "", port);
	}
	curl_free(host);
	curl_free(port);
	return fits;
}

HttpUrlProblem
http_url_parse(const char *url, HttpUrl *out)
{
	HttpUrlProblem problem = HTTP_URL_MALFORMED;
	CURLU	   *parts;

	if (!http_url_text_valid(url))
		return HTTP_URL_MALFORMED;
	out->https = strncasecmp(url, "https:", 6) == 0;
	if (!out->https && strncasecmp(url, "http:", 5) != 0)
		return HTTP_URL_SCHEME;
	parts = curl_url();
	if (parts == NULL)
		return HTTP_URL_MALFORMED;
	switch (curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER))
	{
		case CURLUE_OK:
			if (http_url_split(parts, out))
				problem = HTTP_URL_OK;
			break;
		case CURLUE_NO_HOST:
			problem = HTTP_URL_NO_HOST;
			break;
		case CURLUE_USER_NOT_ALLOWED:
			problem = HTTP_URL_USERINFO;
			break;
		default:
			break;
	}
	curl_url_cleanup(parts);
	return problem;
}
