/*
 * http.c
 *	  Requests through a curl multi handle that never blocks: started, moved on
 *	  and cancelled.
 *
 * libcurl tells which sockets it waits for; they live in one epoll set, whose
 * descriptor the caller waits on.  Its timer is a deadline that the caller
 * asks for.  http_progress moves on what is ready, takes finished transfers out
 * of libcurl, and only then calls done, which may start and cancel requests.
 */
#include "http.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_guard.h"
#include "http_outcome.h"
#include "http_pool.h"
#include "http_socket.h"

#define HTTP_ROUNDS			32	/* per http_progress, so that the caller gets its turn */

static struct
{
	bool		started;
	bool		progressing;
	bool		silent;			/* a connection of the newest multi handle may be dead */
	HttpDone	done;
	HttpTransferList active;	/* in a multi handle */
	HttpTransferList finished;	/* taken out, done not yet called */
}			http;

/* Headers that libcurl would add by itself: a line without value leaves one out. */
static char http_no_accept[] = "Accept:";
static char http_no_expect[] = "Expect:";
static struct curl_slist http_tail_expect = {http_no_expect, NULL};
static struct curl_slist http_tail = {http_no_accept, &http_tail_expect};

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

/* ----------------------------------------------------- starting and stopping */

bool
http_set_policy(const HttpPolicy *policy, char *error, size_t error_size)
{
	if (!http_pool_set_policy(policy, error, error_size))
		return false;
	if (!http.progressing)
		http_drop_drained(false);
	return true;
}

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
	http_list_init(&http.active);
	http_list_init(&http.finished);
	http_pool_startup();
	if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) == 0)
		snprintf(error, error_size, "This libcurl cannot resolve names without blocking.");
	else if (http_sockets_startup(reserve, release, error, error_size) &&
			 http_set_policy(&strictest, error, error_size))
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
		http_cancel(http.active.head.next->arg);	/* NOLINT(clang-analyzer-unix.Malloc): as above */
	while (http.finished.count > 0)
		http_cancel(http.finished.head.next->arg);	/* NOLINT(clang-analyzer-unix.Malloc) */
	http_pool_shutdown();
	http_sockets_shutdown();
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

/* Nothing is to be set where the handle's last request went to the same target. */
static bool
http_set_target(HttpTransfer *transfer, const HttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	uint64_t	number = request->target != NULL ? http_target_number(request->target) : 0;
	bool		done = true;

	if (number != 0 && number == transfer->target)
		return true;
	if (number != 0)
		done = curl_easy_setopt(easy, CURLOPT_URL, NULL) == CURLE_OK &&
			curl_easy_setopt(easy, CURLOPT_CURLU, http_target_parts(request->target)) == CURLE_OK;
	else
		done = curl_easy_setopt(easy, CURLOPT_CURLU, NULL) == CURLE_OK &&
			curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK;
	transfer->target = number;
	return done;
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
	return http_set_target(transfer, request) &&
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
	transfer->multi = http_newest_multi();
	transfer->body_max = request->max_response;
	transfer->body_len = transfer->body_seen = transfer->header_seen = 0;
	transfer->body_cut = transfer->no_socket = false;
	transfer->retry_after[0] = transfer->curl_error[0] = '\0';
	transfer->sockets = transfer->asked = transfer->local_port = 0;
	transfer->denied_why = transfer->header_problem = NULL;

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
	http_guard_enter();
	curl_multi_remove_handle(transfer->multi->curl, transfer->easy);
	http_guard_leave();
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

/* ------------------------------------------------------------ moving on */

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
		if (multi == http_newest_multi() && http_went_silent(transfer))
			http.silent = true;
		http_detach(transfer);
		http_list_append(&http.finished, transfer);
	}
}

/* One round: sockets, timers, endings.  True where more is ready at once. */
static bool
http_step(void)
{
	bool		more = http_sockets_progress();
	int64_t		now = http_now();
	HttpMulti  *multi;
	int			running;

	for (multi = http_newest_multi(); multi != NULL; multi = multi->next)
	{
		if (multi->deadline >= 0 && multi->deadline <= now)
		{
			multi->deadline = -1;
			http_guard_enter();
			curl_multi_socket_action(multi->curl, CURL_SOCKET_TIMEOUT, 0, &running);
			http_guard_leave();
		}
		http_collect(multi);
	}
	return more;
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
	http_guard_spare(&all);
	for (round = 0; more && round < HTTP_ROUNDS; round++)
	{
		pthread_sigmask(SIG_SETMASK, &all, &before);
		more = http_step();
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		http_deliver();
		more = more || http_timeout_ms() == 0;
	}
	/* connections go with their multi handle, and those of HTTP/2 in no other way */
	if (http_sockets_were_short() || http.silent)
		http_renew_multi();
	http.progressing = http.silent = false;
	http_drop_drained(false);
}

int
http_descriptor(void)
{
	return http_sockets_descriptor();
}

long
http_timeout_ms(void)
{
	int64_t		deadline = http_deadline();
	int64_t		now;

	if (deadline < 0)
		return -1;
	now = http_now();
	return deadline <= now ? 0 : (long) ((deadline - now + 999) / 1000);
}
