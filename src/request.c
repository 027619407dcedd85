/*
 * request.c
 *	  The request of one delivery: header lines, signatures, body.
 *
 * A webhook's own lines are written once, into its template; a request adds
 * those that differ from delivery to delivery, in one allocation.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "guc.h"
#include "request.h"
#include "signature.h"

#define STATIC_HEADERS	2		/* Content-Type, User-Agent */
#define OWN_HEADERS		7		/* at most, per request */

struct RequestTemplate
{
	int			users;			/* its owner, and requests */
	char	   *url;
	HttpTarget *target;			/* of the url, or NULL */
	int			timeout_ms;
	SignatureKey *key;			/* NULL: unsigned */
	SignatureKey *old_key;		/* NULL: the secret has no predecessor */
	TimestampTz old_key_expires_at;
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
	char		old_hex[32 + SIGNATURE_HEX_SIZE];
	char		standard[32 + 2 * SIGNATURE_STANDARD_SIZE];
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

static bool
template_set_keys(RequestTemplate *template, const RequestConfig *config)
{
	if (config->secret == NULL)
		return true;
	template->key = signature_key_make(config->secret);
	if (config->old_secret != NULL)
	{
		template->old_key = signature_key_make(config->old_secret);
		template->old_key_expires_at = config->old_secret_expires_at;
		if (template->old_key == NULL)
			return false;
	}
	return template->key != NULL;
}

RequestTemplate *
request_template_make(const RequestConfig *config)
{
	RequestTemplate *template = calloc(1, sizeof(RequestTemplate));
	bool		complete;

	if (template == NULL)
		return NULL;
	template->users = 1;
	template->url = strdup(config->url);
	template->target = http_target_make(config->url);
	template->timeout_ms = config->timeout_seconds * 1000;
	template->lines = calloc(STATIC_HEADERS + config->n_headers, sizeof(char *));
	complete = template->url != NULL && template->lines != NULL &&
		template_set_keys(template, config) &&
		template_add_line(template, "Content-Type", "application/json") &&
		template_add_line(template, "User-Agent", "fluxhooks/" FLUXHOOKS_VERSION);
	for (int i = 0; complete && i < config->n_headers; i++)
		complete = template_add_line(template, config->header_names[i], config->header_values[i]);
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
	signature_key_free(template->key);
	signature_key_free(template->old_key);
	http_target_free(template->target);
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

/* "name: value", put together at line, as the next header line. */
static void
request_add_line(Request *request, char *line, const char *name, const char *value)
{
	size_t		len = strlen(name);

	memcpy(line, name, len);
	strcpy(line + len, value);
	request->http.headers[request->http.n_headers++] = line;
}

/* The same with the body's signature as value. */
static bool
request_add_hex(Request *request, SignatureKey *key, const char *name, char *line)
{
	size_t		len = strlen(name);

	memcpy(line, name, len);
	if (!signature_hex(key, request->body, request->http.body_len, line + len))
		return false;
	request->http.headers[request->http.n_headers++] = line;
	return true;
}

/*
 * Sign with the secret, and with its predecessor (NULL: none) as well, so
 * that a receiver which knows either verifies.
 */
static bool
request_sign(Request *request, SignatureKey *key, SignatureKey *old_key,
			 const char *id, const char *timestamp)
{
	static const char standard_name[] = "webhook-signature: ";
	char	   *standard = request->standard + sizeof(standard_name) - 1;

	memcpy(request->standard, standard_name, sizeof(standard_name));
	if (!request_add_hex(request, key, "X-Fluxbase-Signature: ", request->hex) ||
		!signature_standard(key, id, timestamp, request->body, request->http.body_len, standard))
		return false;
	if (old_key != NULL)
	{
		standard += strlen(standard);
		*standard++ = ' ';
		if (!request_add_hex(request, old_key, "X-Fluxbase-Signature-Previous: ", request->old_hex) ||
			!signature_standard(old_key, id, timestamp, request->body, request->http.body_len, standard))
			return false;
	}
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
	pg_lltoa(now / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (int64) SECS_PER_DAY,
			 timestamp);

	request->template = template;
	template->users++;
	request->body = body;
	http = &request->http;
	http->url = template->url;
	http->target = template->target;
	http->body = body;
	http->body_len = body_len;
	http->timeout_ms = template->timeout_ms;
	http->max_response = guc_max_response_size;
	http->arg = arg;
	http->headers = request->lines;
	memcpy(request->lines, template->lines, sizeof(char *) * template->n_lines);
	http->n_headers = template->n_lines;

	request_add_line(request, request->event, "X-Fluxbase-Event: ", event_name);
	request_add_line(request, request->delivery, "X-Fluxbase-Delivery: ", id);
	request_add_line(request, request->id, "webhook-id: ", id);
	request_add_line(request, request->timestamp, "webhook-timestamp: ", timestamp);
	if (template->key != NULL &&
		!request_sign(request, template->key,
					  now < template->old_key_expires_at ? template->old_key : NULL,
					  id, timestamp))
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
