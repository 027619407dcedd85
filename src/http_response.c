/*
 * http_response.c
 *	  Reading an answer within limits.
 *
 * An answer is read to its end, so that the connection can be used again, but
 * for no more than HTTP_DRAIN_MAX beyond what is kept; then the connection is
 * dropped, and the attempt counts by the status that came.
 */
#include "http_response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HTTP_DRAIN_MAX		(1024 * 1024)
#define HTTP_HEADERS_MAX	(256 * 1024)	/* response header bytes, 1xx included */

/* CURLOPT_WRITEFUNCTION.  Keeps the beginning; where memory is short, less. */
size_t
http_on_body(char *bytes, size_t size, size_t count, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		length = size * count;
	size_t		keep = transfer->body_max - transfer->body_len;

	transfer->body_seen += length;
	if (keep > length)
		keep = length;
	if (transfer->body_len + keep > transfer->body_size)
	{
		size_t		grown_size = 2 * (transfer->body_len + keep);
		char	   *grown;

		if (grown_size > transfer->body_max)
			grown_size = transfer->body_max;
		grown = realloc(transfer->body, grown_size);
		if (grown != NULL)
		{
			transfer->body = grown;
			transfer->body_size = grown_size;
		}
		else
			keep = 0;
	}
	if (keep > 0)
		memcpy(transfer->body + transfer->body_len, bytes, keep);
	transfer->body_len += keep;
	if (transfer->body_seen > transfer->body_max + HTTP_DRAIN_MAX)
	{
		transfer->body_cut = true;
		return 0;
	}
	return length;
}

/* The value of a header line, trimmed, if it has that name; NULL if not. */
static const char *
http_header_value(const char *line, size_t *length, const char *name)
{
	size_t		name_length = strlen(name);
	const char *end = line + *length;

	if (*length <= name_length || line[name_length] != ':' ||
		strncasecmp(line, name, name_length) != 0)
		return NULL;
	line += name_length + 1;
	while (line < end && (*line == ' ' || *line == '\t'))
		line++;
	while (end > line && memchr(" \t\r\n", end[-1], 4) != NULL)
		end--;
	*length = end - line;
	return line;
}

/*
 * CURLOPT_HEADERFUNCTION: one line, that of the status and of 1xx included.
 * libcurl unpacks a compressed transfer coding though nobody asked for one, up to
 * five of them nested, so any coding but chunked ends the request.
 */
size_t
http_on_header(char *line, size_t size, size_t count, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		length = size * count;
	size_t		value_length = length;
	const char *value;

	transfer->header_seen += length;
	if (transfer->header_seen > HTTP_HEADERS_MAX)
	{
		transfer->header_problem = HTTP_HEADERS_TOO_LARGE;
		return 0;
	}
	if (length > 5 && memcmp(line, "HTTP/", 5) == 0)
		transfer->retry_after[0] = '\0';	/* what came before was a 1xx */
	if (length == 0 || strchr("rRtT", line[0]) == NULL)
		return length;
	if ((value = http_header_value(line, &value_length, "Retry-After")) != NULL)
	{
		if (value_length < sizeof(transfer->retry_after))
		{
			memcpy(transfer->retry_after, value, value_length);
			transfer->retry_after[value_length] = '\0';
		}
	}
	else if ((value = http_header_value(line, &value_length, "Transfer-Encoding")) != NULL &&
			 (value_length != 7 || strncasecmp(value, "chunked", 7) != 0) &&
			 (value_length != 8 || strncasecmp(value, "identity", 8) != 0))
	{
		transfer->header_problem = HTTP_TRANSFER_CODING;
		return 0;
	}
	return length;
}
