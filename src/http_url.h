/*
 * http_url.h
 *	  URLs as libcurl reads them: checked, split, and parsed ahead for many requests.
 *
 * Any process may call this.  No function raises a PostgreSQL error.
 */
#ifndef FLUXHOOKS_HTTP_URL_H
#define FLUXHOOKS_HTTP_URL_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A URL parsed once for many requests, which is a tenth of what libcurl does for one.
 * NULL where it cannot be parsed, or memory is short: then the request tells.
 */
typedef struct HttpTarget HttpTarget;

extern HttpTarget *http_target_make(const char *url);
extern void http_target_free(HttpTarget *target);

/* What CURLOPT_CURLU takes, and a number that no other target ever has; it is not to be changed. */
extern CURLU *http_target_parts(const HttpTarget *target);
extern uint64_t http_target_number(const HttpTarget *target);

/*
 * Split and check a URL as libcurl reads it (curl_url(3): no handle, no thread,
 * no network, so that backends may call it).  host is as written, without
 * brackets, lower-cased; key is "scheme://host:port" for counting by host.
 */
typedef enum HttpUrlProblem
{
	HTTP_URL_OK,
	HTTP_URL_MALFORMED,
	HTTP_URL_SCHEME,			/* neither http nor https */
	HTTP_URL_NO_HOST,
	HTTP_URL_USERINFO			/* carries user or password */
} HttpUrlProblem;

typedef struct HttpUrl
{
	bool		https;
	char		host[256];
	char		key[288];
} HttpUrl;

extern HttpUrlProblem http_url_parse(const char *url, HttpUrl *out);

#endif
