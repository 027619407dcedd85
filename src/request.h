/*
 * request.h
 *	  The request of one delivery: header lines, signatures, body.
 *
 * All memory is malloc'd, since libcurl holds pointers into it.
 */
#ifndef FLUXHOOKS_REQUEST_H
#define FLUXHOOKS_REQUEST_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "http.h"

/* What all requests of one webhook share: url, headers, key, timeout. */
typedef struct RequestTemplate RequestTemplate;

/* Strings are UTF-8. */
typedef struct RequestConfig
{
	const char *url;
	const char *secret;			/* NULL: unsigned */
	const char *old_secret;		/* NULL: none; signs as well until it expires */
	TimestampTz old_secret_expires_at;
	int			n_headers;
	const char **header_names;
	const char **header_values;
	int			timeout_seconds;
} RequestConfig;

/* Copies what it needs; NULL when memory is short. */
extern RequestTemplate *request_template_make(const RequestConfig *config);
extern void request_template_free(RequestTemplate *template);
extern const char *request_template_url(const RequestTemplate *template);

typedef struct Request Request;

/*
 * A request that can be started.  body (malloc'd, UTF-8) is taken over, also
 * when NULL is returned because memory is short or OpenSSL refuses.  A
 * template that is freed lives on until its requests are.  now signs the attempt (webhook-timestamp).
 */
extern Request *request_make(RequestTemplate *template, const char *event_name,
							 const pg_uuid_t *delivery_id, char *body, size_t body_len,
							 TimestampTz now, void *arg);
extern const HttpRequest *request_http(const Request *request);
extern void request_free(Request *request);

/* The request has ended: its body is not needed any more. */
extern void request_drop_body(Request *request);

/* The usual 36 characters of a uuid, and a NUL. */
#define REQUEST_UUID_SIZE	37
extern void request_format_uuid(const pg_uuid_t *id, char out[REQUEST_UUID_SIZE]);

#endif
