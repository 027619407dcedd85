/*
 * http_transfer.h
 *	  A request under way, as the files named http_ share it.
 *
 * http_pool.c makes and keeps them, http_socket.c opens their connections,
 * http_response.c reads their answers, http_outcome.c says how they ended; http.c
 * starts them and takes them out of libcurl.
 */
#ifndef FLUXHOOKS_HTTP_TRANSFER_H
#define FLUXHOOKS_HTTP_TRANSFER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http.h"

/* What newer libraries find out before we do is said in the same words. */
#define HTTP_HEADERS_TOO_LARGE	"the headers of the answer are too large"
#define HTTP_TRANSFER_CODING	"the answer has a transfer coding other than chunked"

/* A curl multi handle; the first in the list takes new requests. */
typedef struct HttpMulti
{
	struct HttpMulti *next;
	CURLM	   *curl;
	int			transfers;
	int64_t		deadline;		/* microseconds, -1: none */
} HttpMulti;

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
	uint64_t	target;			/* that easy is set to, 0: to a URL */

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
	const char *header_problem; /* NULL: none so far */
	char		retry_after[HTTP_RETRY_AFTER_SIZE];

	int			sockets;		/* opened */
	char		called[HTTP_ADDRESS_SIZE];	/* address of the last one opened */
	int			asked;			/* how often a connection was ready for the request */
	int			local_port;		/* of the last one, 0: not known */
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

static inline void
http_list_init(HttpTransferList *list)
{
	list->head.prev = list->head.next = &list->head;
	list->count = 0;
}

static inline void
http_list_append(HttpTransferList *list, HttpTransfer *transfer)
{
	transfer->prev = list->head.prev;
	transfer->next = &list->head;
	transfer->prev->next = transfer;
	list->head.prev = transfer;
	list->count++;
}

static inline void
http_list_remove(HttpTransferList *list, HttpTransfer *transfer)
{
	transfer->prev->next = transfer->next;
	transfer->next->prev = transfer->prev;
	list->count--;
}

#endif
