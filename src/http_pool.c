/*
 * http_pool.c
 *	  Handles of libcurl, and the policy that they are set to.
 *
 * Connections, the DNS cache and TLS trust belong to a multi handle, and a
 * multi handle to the policy it was made under: new policy means a new one,
 * while transfers under way end in the old one, which then closes what it kept.
 */
#include "http_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http_guard.h"
#include "http_response.h"
#include "http_socket.h"

#define HTTP_HANDLES_IDLE	128 /* easy handles kept for reuse */
#define HTTP_BODY_IDLE		(16 * 1024)	/* largest body buffer kept with one */
#define HTTP_CONNECTIONS	256 /* kept open per multi handle */

static struct
{
	HttpMulti  *multis;			/* the newest first */
	HttpTransferList idle;

	unsigned	policy;			/* its number */
	bool		allow_http;
	char	   *ca_file;
	char	   *proxy;
}			pool;

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
	{CURLOPT_HTTP_CONTENT_DECODING, 0},
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

int64_t
http_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
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

void
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
							pool.allow_http ? "http,https" : "https") == CURLE_OK;
#else
	return curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
							(long) (CURLPROTO_HTTPS | (pool.allow_http ? CURLPROTO_HTTP : 0))) == CURLE_OK;
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
#if LIBCURL_VERSION_NUM >= 0x075000
	HTTP_SET(CURLOPT_PREREQFUNCTION, http_before_request);
	HTTP_SET(CURLOPT_PREREQDATA, transfer);
#endif
	HTTP_SET(CURLOPT_PROXY, pool.proxy);
	HTTP_SET(CURLOPT_NOPROXY, "");
	if (pool.ca_file[0] != '\0')
	{
		HTTP_SET(CURLOPT_CAINFO, pool.ca_file);
		HTTP_SET(CURLOPT_CAPATH, NULL); /* the system's must not count too */
	}
#undef HTTP_SET
	transfer->policy = pool.policy;
	transfer->proxied = pool.proxy[0] != '\0';
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

/*
 * A request whose connection turns out to be dead is sent again by libcurl, which
 * counts that over the life of a handle, and gives up the sixth time.
 */
static bool
http_was_sent_again(const HttpTransfer *transfer)
{
#if LIBCURL_VERSION_NUM >= 0x075000
	return transfer->asked > 1;
#else
	return transfer->sockets > 0;	/* perhaps */
#endif
}

/*
 * Forget the request, and keep the handle if it is of use.  One that found no
 * address is not: resolving with it again, libcurl 8.14 loses the name before.
 */
void
http_transfer_recycle(HttpTransfer *transfer)
{
	curl_slist_free_all(transfer->blank);
	transfer->blank = NULL;
	if (transfer->policy != pool.policy || pool.idle.count >= HTTP_HANDLES_IDLE ||
		http_was_sent_again(transfer) || transfer->outcome == CURLE_COULDNT_RESOLVE_HOST)
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
	http_list_append(&pool.idle, transfer);
}

/* The handle used last, which finds most of itself in the processor's cache. */
HttpTransfer *
http_transfer_take(void)
{
	HttpTransfer *transfer = pool.idle.head.prev;

	if (pool.idle.count == 0)
		return http_transfer_make();
	/* the analyzer takes a list for what it was before its last removal */
	http_list_remove(&pool.idle, transfer); /* NOLINT(clang-analyzer-unix.Malloc) */
	return transfer;
}

static void
http_drop_idle(void)
{
	while (pool.idle.count > 0)
		http_transfer_free(http_transfer_take());
}

/* A new multi handle for all further requests. */
bool
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
	multi->next = pool.multis;
	pool.multis = multi;
	return true;
}

/* Free multi handles of former policies once nothing runs in them. */
void
http_drop_drained(bool all)
{
	HttpMulti **link = &pool.multis;

	while (*link != NULL)
	{
		HttpMulti  *multi = *link;

		if (!all && (multi == pool.multis || multi->transfers > 0))
		{
			link = &multi->next;
			continue;
		}
		*link = multi->next;
		http_guard_enter();
		curl_multi_cleanup(multi->curl);
		http_guard_leave();
		free(multi);
	}
}

/* libcurl puts a proxy it cannot read into its message, password and all. */
bool
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
http_pool_set_policy(const HttpPolicy *policy, char *error, size_t error_size)
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
	free(pool.ca_file);
	free(pool.proxy);
	http_sockets_allow(allowed);
	pool.allow_http = policy->allow_http;
	pool.ca_file = ca_file;
	pool.proxy = proxy;
	pool.policy++;
	http_drop_idle();
	return true;
}

int64_t
http_deadline(void)
{
	int64_t		deadline = -1;
	HttpMulti  *multi;

	for (multi = pool.multis; multi != NULL; multi = multi->next)
	{
		if (multi->deadline >= 0 && (deadline < 0 || multi->deadline < deadline))
			deadline = multi->deadline;
	}
	return deadline;
}

HttpMulti *
http_newest_multi(void)
{
	return pool.multis;
}

void
http_pool_startup(void)
{
	http_list_init(&pool.idle);
}

void
http_pool_shutdown(void)
{
	http_drop_idle();
	http_drop_drained(true);
	free(pool.ca_file);
	free(pool.proxy);
	memset(&pool, 0, sizeof(pool));
}
