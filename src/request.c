/*
 * request.c
 *	  The request of one delivery: header lines, signatures, body.
 *
 * A webhook's own lines are written once, into its template; a request adds
 * those that differ from delivery to delivery, in one allocation.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "catalog.h"
#include "guc.h"
#include "request.h"
#include "signature.h"

#define STATIC_HEADERS	2		/* Content-Type, User-Agent */
#define OWN_HEADERS		6		/* at most, per request */

struct RequestTemplate
{
	int			users;			/* its owner, and requests */
	char	   *url;
	int			timeout_ms;
	SignatureKey *key;			/* NULL: unsigned */
	char	  **lines;
	int			n_lines;
};

struct Request
{
	RequestTemplate *template;
	HttpRequest http;
	char	   *body;
	char		id[REQUEST_UUID_SIZE + 32];
	char		delivery[64];
	char		event[48];
	char		timestamp[48];
	char		hex[32 + SIGNATURE_HEX_SIZE];
	char		standard[32 + SIGNATURE_STANDARD_SIZE];
	char	   *lines[FLEXIBLE_ARRAY_MEMBER];
};

static bool
template_add_line(RequestTemplate *template, const char *name, const char *value)
{
	size_t		size = strlen(name) + strlen(value) + 3;
	char	   *line = malloc(size);

	if (line == NULL)
		return false;
	/* libcurl sends a header without a value only when it is spelled "Name;" */
	if (value[0] == '\0')
		snprintf(line, size, "%s;", name);
	else
		snprintf(line, size, "%s: %s", name, value);
	template->lines[template->n_lines++] = line;
	return true;
}

RequestTemplate *
request_template_make(const char *url, const char *secret,
					  const char **header_names, const char **header_values,
					  int n_headers, int timeout_seconds)
{
	RequestTemplate *template = calloc(1, sizeof(RequestTemplate));
	bool		complete;

	if (template == NULL)
		return NULL;
	template->users = 1;
	template->url = strdup(url);
	template->timeout_ms = timeout_seconds * 1000;
	template->lines = calloc(STATIC_HEADERS + n_headers, sizeof(char *));
	complete = template->url != NULL && template->lines != NULL;
	if (complete && secret != NULL)
	{
		template->key = signature_key_make(secret);
		complete = template->key != NULL;
	}
	complete = complete &&
		template_add_line(template, "Content-Type", "application/json") &&
		template_add_line(template, "User-Agent", "fluxhooks/" FLUXHOOKS_VERSION);
	for (int i = 0; complete && i < n_headers; i++)
		complete = template_add_line(template, header_names[i], header_values[i]);
	if (complete)
		return template;
	request_template_free(template);
	return NULL;
}

void
request_template_free(RequestTemplate *template)
{
	if (template == NULL || --template->users > 0)
		return;
	for (int i = 0; i < template->n_lines; i++)
		free(template->lines[i]);
	free(template->lines);
	if (template->key != NULL)
		signature_key_free(template->key);
	free(template->url);
	free(template);
}

const char *
request_template_url(const RequestTemplate *template)
{
	return template->url;
}

void
request_format_uuid(const pg_uuid_t *id, char out[REQUEST_UUID_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char	   *p = out;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[id->data[i] >> 4];
		*p++ = digits[id->data[i] & 15];
	}
	*p = '\0';
}

static bool
request_sign(Request *request, SignatureKey *key, const char *id, const char *timestamp)
{
	static const char hex_name[] = "X-Fluxbase-Signature: ";
	static const char standard_name[] = "webhook-signature: ";

	memcpy(request->hex, hex_name, sizeof(hex_name));
	memcpy(request->standard, standard_name, sizeof(standard_name));
	if (!signature_hex(key, request->body, request->http.body_len,
					   request->hex + sizeof(hex_name) - 1) ||
		!signature_standard(key, id, timestamp, request->body, request->http.body_len,
							request->standard + sizeof(standard_name) - 1))
		return false;
	request->http.headers[request->http.n_headers++] = request->hex;
	request->http.headers[request->http.n_headers++] = request->standard;
	return true;
}

Request *
request_make(RequestTemplate *template, const char *event_name,
			 const pg_uuid_t *delivery_id, char *body, size_t body_len,
			 TimestampTz now, void *arg)
{
	Request    *request = malloc(offsetof(Request, lines) +
								 sizeof(char *) * (template->n_lines + OWN_HEADERS));
	char		id[REQUEST_UUID_SIZE];
	char		timestamp[24];
	HttpRequest *http;

	if (request == NULL)
	{
		free(body);
		return NULL;
	}
	request_format_uuid(delivery_id, id);
	snprintf(timestamp, sizeof(timestamp), INT64_FORMAT,
			 now / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (int64) SECS_PER_DAY);

	request->template = template;
	template->users++;
	request->body = body;
	http = &request->http;
	http->url = template->url;
	http->body = body;
	http->body_len = body_len;
	http->timeout_ms = template->timeout_ms;
	http->max_response = guc_max_response_size;
	http->arg = arg;
	http->headers = request->lines;
	memcpy(request->lines, template->lines, sizeof(char *) * template->n_lines);
	http->n_headers = template->n_lines;

	snprintf(request->event, sizeof(request->event), "X-Fluxbase-Event: %s", event_name);
	snprintf(request->delivery, sizeof(request->delivery), "X-Fluxbase-Delivery: %s", id);
	snprintf(request->id, sizeof(request->id), "webhook-id: %s", id);
	snprintf(request->timestamp, sizeof(request->timestamp), "webhook-timestamp: %s", timestamp);
	http->headers[http->n_headers++] = request->event;
	http->headers[http->n_headers++] = request->delivery;
	http->headers[http->n_headers++] = request->id;
	http->headers[http->n_headers++] = request->timestamp;
	if (template->key != NULL && !request_sign(request, template->key, id, timestamp))
	{
		request_free(request);
		return NULL;
	}
	return request;
}

const HttpRequest *
request_http(const Request *request)
{
	return &request->http;
}

void
request_free(Request *request)
{
	if (request == NULL)
		return;
	request_template_free(request->template);
	free(request->body);
	free(request);
}

void
request_drop_body(Request *request)
{
	free(request->body);
	request->body = NULL;
	request->http.body = NULL;
	request->http.body_len = 0;
}
