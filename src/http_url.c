/*
 * http_url.c
 *	  URLs as libcurl reads them.
 */
#include "http_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HTTP_URL_MAX		2048

struct HttpTarget
{
	CURLU	   *parts;
	uint64_t	number;			/* no other one ever has it */
};

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

/* After percent-decoding, which libcurl does: what no host can have in it. */
static bool
http_host_valid(const char *host, size_t length)
{
	size_t		i;

	for (i = 0; i < length; i++)
	{
		if ((unsigned char) host[i] <= ' ' || strchr("\"#%/<>?@[\\]^`{|}\x7f", host[i]) != NULL)
			return false;
	}
	return length > 0;
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

		fits = length < sizeof(out->host) && http_host_valid(name, length);
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

/* libcurl 7.74, told to allow no user, takes a password without one. */
static bool
http_url_has_password(CURLU *parts)
{
	char	   *password = NULL;
	bool		found = curl_url_get(parts, CURLUPART_PASSWORD, &password, 0) == CURLUE_OK;

	curl_free(password);
	return found;
}

CURLU *
http_target_parts(const HttpTarget *target)
{
	return target->parts;
}

uint64_t
http_target_number(const HttpTarget *target)
{
	return target->number;
}

HttpTarget *
http_target_make(const char *url)
{
	static uint64_t last_number = 0;
	HttpTarget *target = malloc(sizeof(HttpTarget));

	if (target == NULL)
		return NULL;
	target->number = ++last_number;
	target->parts = curl_url();
	if (target->parts != NULL &&
		curl_url_set(target->parts, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK)
		return target;
	http_target_free(target);
	return NULL;
}

void
http_target_free(HttpTarget *target)
{
	if (target == NULL)
		return;
	curl_url_cleanup(target->parts);
	free(target);
}

HttpUrlProblem
http_url_parse(const char *url, HttpUrl *out)
{
	HttpUrlProblem problem = HTTP_URL_MALFORMED;
	const char *rest;
	CURLU	   *parts;

	if (!http_url_text_valid(url))
		return HTTP_URL_MALFORMED;
	out->https = strncasecmp(url, "https:", 6) == 0;
	if (!out->https && strncasecmp(url, "http:", 5) != 0)
		return HTTP_URL_SCHEME;
	/* libcurl takes http:/path and http:///path for http://path/ */
	rest = strchr(url, ':');
	if (strncmp(rest, "://", 3) != 0)
		return HTTP_URL_MALFORMED;
	if (strcspn(rest + 3, "/?#") == 0)
		return HTTP_URL_NO_HOST;
	parts = curl_url();
	if (parts == NULL)
		return HTTP_URL_MALFORMED;
	switch (curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER))
	{
		case CURLUE_OK:
			if (http_url_has_password(parts))
				problem = HTTP_URL_USERINFO;
			else if (http_url_split(parts, out))
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
