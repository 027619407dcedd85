/*
 * http.h
 *	  Requests through a curl multi handle that never blocks.  Only files
 *	  whose name begins with http include curl.
 *
 * All of this belongs to the worker (or the process that called http_startup).
 * No function raises a PostgreSQL error; none keeps palloc'd memory; callbacks
 * never longjmp.
 */
#ifndef FLUXHOOKS_HTTP_H
#define FLUXHOOKS_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "http_url.h"

#define HTTP_ADDRESS_SIZE		48	/* an IPv6 address as text */
#define HTTP_ERROR_SIZE			256
#define HTTP_RETRY_AFTER_SIZE	64

/* attempts.error_code */
#define HTTP_ERROR_DNS				"dns"
#define HTTP_ERROR_ADDRESS_DENIED	"address_denied"
#define HTTP_ERROR_REFUSED			"refused"
#define HTTP_ERROR_TIMEOUT			"timeout"
#define HTTP_ERROR_TLS				"tls"
#define HTTP_ERROR_RESET			"reset"
#define HTTP_ERROR_STATUS			"status"
#define HTTP_ERROR_PROTOCOL			"protocol"

/* What rules every connection; taken again whenever a setting changes. */
typedef struct HttpPolicy
{
	const char *allowed_networks;	/* CIDR list, "" = public addresses only */
	bool		allow_http;
	const char *ca_file;			/* "" = system store */
	const char *proxy;				/* "" = none; environment is ignored */
} HttpPolicy;

/*
 * One request.  Header lines ("Name: value"), body and target stay the caller's
 * and must not move or change until the result has been taken or the request
 * cancelled; the url is copied.
 */
typedef struct HttpRequest
{
	const char *url;
	const HttpTarget *target;		/* of the url, or NULL */
	char	  **headers;
	int			n_headers;
	const char *body;
	size_t		body_len;
	int			timeout_ms;			/* whole request, from http_start on */
	size_t		max_response;		/* bytes of response body that are kept */
	void	   *arg;				/* handed back with the result */
} HttpRequest;

/*
 * How it ended.  status_code 0 means that no complete answer came; then
 * error_code is one of the above but status.  With a complete answer
 * error_code is NULL for 2xx and "status" for everything else.
 */
typedef struct HttpResult
{
	void	   *arg;
	int			status_code;
	double		response_time_ms;
	char		remote_address[HTTP_ADDRESS_SIZE];	/* "" = never connected */
	const char *body;				/* raw bytes, valid during the callback */
	size_t		body_len;
	char		retry_after[HTTP_RETRY_AFTER_SIZE];	/* header value, "" = none */
	const char *error_code;
	char		error[HTTP_ERROR_SIZE];	/* a sentence for the user; "" on success;
										 * never a secret, header value or body */
} HttpResult;

typedef void (*HttpDone) (const HttpResult *result);

/*
 * Start libcurl in this process.  done is called from within http_progress
 * (and never from within a libcurl callback) once for each request.
 * reserve/release count descriptors (AcquireExternalFD / ReleaseExternalFD):
 * a socket is opened only where reserve says true.  False and a reason in
 * error when libcurl cannot be started.
 */
extern bool http_startup(HttpDone done, bool (*reserve) (void), void (*release) (void),
						 char *error, size_t error_size);
extern void http_shutdown(void);

/* Is this the URL of a proxy that libcurl speaks to?  Needs no http_startup. */
extern bool http_proxy_valid(const char *proxy);

/* Take new policy; idle connections that were judged by the old one are closed. */
extern bool http_set_policy(const HttpPolicy *policy, char *error, size_t error_size);

/* One descriptor to wait on for readability: libcurl's sockets nest in it. */
extern int	http_descriptor(void);

/* Milliseconds until http_progress wants to be called without an event; -1: never. */
extern long http_timeout_ms(void);

/* Begin a request.  False (with reason) when it could not be started at all. */
extern bool http_start(const HttpRequest *request, char *error, size_t error_size);

/* Move everything on without blocking; calls done for what has ended. */
extern void http_progress(void);

/* Drop the request with this arg, if under way; done is not called for it. */
extern void http_cancel(void *arg);

extern int	http_in_flight(void);

#endif
