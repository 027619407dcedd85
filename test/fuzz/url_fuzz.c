/*
 * url_fuzz.c
 *	  What http_url_parse takes for a URL, looked at byte by byte.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <strings.h>

#include "http_url.h"

static void
check_accepted(const char *url, const HttpUrl *parts)
{
	size_t		length = strlen(url);
	const char *authority = strstr(url, "://") + 3;
	size_t		authority_length = strcspn(authority, "/?#");
	const char *scheme = parts->https ? "https://" : "http://";
	const char *port = strrchr(parts->key, ':') + 1;
	char	   *end;
	long		number = strtol(port, &end, 10);

	FUZZ_CHECK(length <= 2048, "too long");
	for (size_t i = 0; i < length; i++)
		FUZZ_CHECK((unsigned char) url[i] > ' ' && url[i] != 0x7f, "white space or control character at %zu", i);
	FUZZ_CHECK(strncasecmp(url, scheme, strlen(scheme)) == 0, "scheme of %s", url);
	FUZZ_CHECK(authority_length > 0, "no host in %s", url);
	FUZZ_CHECK(memchr(authority, '@', authority_length) == NULL, "user in %s", url);
	FUZZ_CHECK(parts->host[0] != '\0', "no host in %s", url);
	for (const char *p = parts->host; *p != '\0'; p++)
	{
		FUZZ_CHECK((unsigned char) *p > ' ' && *p != 0x7f, "white space or control character in host \"%s\" of %s", parts->host, url);
		FUZZ_CHECK(strchr("/?#@[]\\<>\"%", *p) == NULL, "'%c' in host \"%s\" of %s", *p, parts->host, url);
		FUZZ_CHECK(*p < 'A' || *p > 'Z', "capital in host of %s", url);
	}
	FUZZ_CHECK(strncmp(parts->key, scheme, strlen(scheme)) == 0, "scheme of key %s", parts->key);
	FUZZ_CHECK(strstr(parts->key, parts->host) != NULL, "host in key %s", parts->key);
	FUZZ_CHECK(*port >= '0' && *port <= '9' && *end == '\0' && number > 0 && number < 65536, "port of key %s", parts->key);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *url = fuzz_text(data, size);
	HttpUrl    *parts = malloc(sizeof(HttpUrl));
	HttpUrl    *again = malloc(sizeof(HttpUrl));
	HttpUrlProblem problem;

	memset(parts, 'x', sizeof(*parts));
	problem = http_url_parse(url, parts);
	FUZZ_CHECK(problem >= HTTP_URL_OK && problem <= HTTP_URL_USERINFO, "problem %d", problem);
	if (problem == HTTP_URL_OK)
	{
		check_accepted(url, parts);
		/* what counts requests by host is a URL that leads there */
		FUZZ_CHECK(http_url_parse(parts->key, again) == HTTP_URL_OK, "key %s of %s", parts->key, url);
		/* libcurl reads no number in what was percent-encoded, until it is not */
		FUZZ_CHECK(strchr(url, '%') != NULL || strcmp(again->key, parts->key) == 0,
				   "key %s of key %s", again->key, parts->key);
	}
	free(again);
	free(parts);
	free(url);
	return 0;
}
