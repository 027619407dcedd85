/*
 * bare.c
 *	  The yardstick of the drain benchmark: a libcurl multi loop that posts the
 *	  same body with the same header lines, and does nothing else.
 *
 *	bare URL REQUESTS CONCURRENCY BODY_BYTES	prints requests per second
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static size_t
discard(char *data, size_t size, size_t n, void *arg)
{
	(void) data;
	(void) arg;
	return size * n;
}

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	static const char *const lines[] = {
		"Content-Type: application/json", "User-Agent: bare/1.0", "X-Fluxbase-Event: INSERT",
		"X-Fluxbase-Delivery: 01a209df-f84c-7676-8f6f-3a7fb3b26ed7",
		"webhook-id: 01a209df-f84c-7676-8f6f-3a7fb3b26ed7", "webhook-timestamp: 1795462002",
		"X-Fluxbase-Signature: 71dd6e7a092b8d5c2c16bd27c818e9530ffd271d1c8d1348cb953ef492fd8f63",
		"webhook-signature: v1,kJ8MKKi3tGfGID/PO5wFzxqx9Ln4kImxStVRYXGlHw0="
	};
	struct curl_slist *headers = NULL;
	long		requests,
				concurrency,
				size,
				started = 0,
				ended = 0,
				failed = 0;
	char	   *body;
	CURLM	   *multi;
	double		begin;

	if (argc != 5)
		return 2;
	requests = atol(argv[2]);
	concurrency = atol(argv[3]);
	size = atol(argv[4]);
	body = malloc(size);
	memset(body, 'x', size);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		headers = curl_slist_append(headers, lines[i]);
	begin = seconds();
	for (; started < concurrency && started < requests; started++)
	{
		CURL	   *easy = curl_easy_init();

		curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, size);
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, discard);
		curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
		curl_multi_add_handle(multi, easy);
	}
	while (ended < requests)
	{
		CURLMsg    *message;
		int			n;

		curl_multi_perform(multi, &n);
		while ((message = curl_multi_info_read(multi, &n)) != NULL)
		{
			CURL	   *easy = message->easy_handle;

			failed += message->data.result != CURLE_OK;
			ended++;
			curl_multi_remove_handle(multi, easy);
			if (started < requests)
			{
				curl_multi_add_handle(multi, easy);
				started++;
			}
			else
				curl_easy_cleanup(easy);
		}
		if (ended < requests)
			curl_multi_poll(multi, NULL, 0, 1000, NULL);
	}
	printf("%.0f\n", requests / (seconds() - begin));
	return failed > 0;
}
