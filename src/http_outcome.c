/*
 * http_outcome.c
 *	  What became of a request, in words for the user.
 */
#include "http_outcome.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http_guard.h"

/*
 * What became of a request that has no answer.  Where there is no text,
 * libcurl's own says it best.
 */
static const struct
{
	CURLcode	outcome;
	const char *code;
	const char *text;
}			http_failures[] = {
	{CURLE_COULDNT_RESOLVE_HOST, HTTP_ERROR_DNS, "the host name could not be resolved"},
	{CURLE_COULDNT_RESOLVE_PROXY, HTTP_ERROR_DNS, "the name of the proxy could not be resolved"},
	{CURLE_GOT_NOTHING, HTTP_ERROR_RESET, "the endpoint closed the connection without an answer"},
	{CURLE_PARTIAL_FILE, HTTP_ERROR_RESET, "the endpoint closed the connection in the middle of its answer"},
	{CURLE_RECV_ERROR, HTTP_ERROR_RESET, NULL},
	{CURLE_SEND_ERROR, HTTP_ERROR_RESET, NULL},
	{CURLE_UNSUPPORTED_PROTOCOL, HTTP_ERROR_PROTOCOL, "plain http is not allowed: fluxhooks.allow_http is off"},
	{CURLE_URL_MALFORMAT, HTTP_ERROR_PROTOCOL, "the URL is malformed"},
	{CURLE_LOGIN_DENIED, HTTP_ERROR_PROTOCOL, "the URL carries a user name or password"},
	{CURLE_BAD_CONTENT_ENCODING, HTTP_ERROR_PROTOCOL, HTTP_TRANSFER_CODING},
#if LIBCURL_VERSION_NUM >= 0x080600
	{CURLE_TOO_LARGE, HTTP_ERROR_PROTOCOL, HTTP_HEADERS_TOO_LARGE},
	{CURLE_OUT_OF_MEMORY, HTTP_ERROR_PROTOCOL, "the worker is out of memory"},
#else
	{CURLE_OUT_OF_MEMORY, HTTP_ERROR_PROTOCOL, "the worker is out of memory, or a header of the answer is too large"},
#endif
	{CURLE_ABORTED_BY_CALLBACK, HTTP_ERROR_PROTOCOL, "the worker could not watch another connection"},
	{CURLE_SSL_CACERT_BADFILE, HTTP_ERROR_TLS, "the trust store (fluxhooks.ca_file) could not be read"},
	{CURLE_SSL_CONNECT_ERROR, HTTP_ERROR_TLS, NULL},
	{CURLE_PEER_FAILED_VERIFICATION, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_CERTPROBLEM, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_CIPHER, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_ENGINE_INITFAILED, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_ISSUER_ERROR, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_SHUTDOWN_FAILED, HTTP_ERROR_TLS, NULL},
	{CURLE_SSL_INVALIDCERTSTATUS, HTTP_ERROR_TLS, NULL},
	{CURLE_USE_SSL_FAILED, HTTP_ERROR_TLS, NULL},
};

static long
http_info_long(const HttpTransfer *transfer, CURLINFO info)
{
	long		value = 0;

	curl_easy_getinfo(transfer->easy, info, &value);
	return value;
}

static curl_off_t
http_info_time(HttpTransfer *transfer, CURLINFO info)
{
	curl_off_t	value = 0;

	curl_easy_getinfo(transfer->easy, info, &value);
	return value;
}

static void
http_fail(HttpResult *result, const char *code, const char *text)
{
	result->error_code = code;
	snprintf(result->error, sizeof(result->error), "%s", text);
}

static void
http_fail_denied(HttpTransfer *transfer, HttpResult *result)
{
	result->error_code = HTTP_ERROR_ADDRESS_DENIED;
	snprintf(result->error, sizeof(result->error),
			 "the address %s is not public (%s) and not in fluxhooks.allowed_networks",
			 transfer->denied, transfer->denied_why);
}

/* No connection came about. */
static void
http_fail_connect(HttpTransfer *transfer, HttpResult *result)
{
	int			os_error = (int) http_info_long(transfer, CURLINFO_OS_ERRNO);

	if (transfer->no_socket)
		http_fail(result, HTTP_ERROR_REFUSED, "no file descriptor was free for a connection");
	else if (transfer->denied_why != NULL && transfer->sockets == 0)
		http_fail_denied(transfer, result);
	else if (os_error == ETIMEDOUT)
		http_fail(result, HTTP_ERROR_TIMEOUT, "the connection timed out");
	else if (os_error == ECONNREFUSED || os_error == 0)
		http_fail(result, HTTP_ERROR_REFUSED, "the connection was refused");
	else
	{
		result->error_code = HTTP_ERROR_REFUSED;
		snprintf(result->error, sizeof(result->error), "no connection could be made: %s",
				 strerror(os_error));
	}
}

/* Newer libraries count the time before a request though nothing is connected. */
static bool
http_has_asked(HttpTransfer *transfer)
{
#if LIBCURL_VERSION_NUM >= 0x075000
	return transfer->asked > 0;
#else
	return http_info_time(transfer, CURLINFO_PRETRANSFER_TIME_T) > 0;
#endif
}

bool
http_went_silent(HttpTransfer *transfer)
{
	return transfer->outcome == CURLE_OPERATION_TIMEDOUT && transfer->sockets == 0 &&
		transfer->header_seen == 0 && http_has_asked(transfer);
}

static void
http_fail_timeout(HttpTransfer *transfer, HttpResult *result)
{
	const char *during;

	if (transfer->header_seen > 0)
		during = "while the answer was read";
	else if (http_has_asked(transfer))
		during = "while the answer was awaited";
	else if (transfer->sockets > 0)
		during = transfer->https ? "while connecting or in the TLS handshake" : "while connecting";
	else
		during = "while resolving the host name";
	result->error_code = HTTP_ERROR_TIMEOUT;
	snprintf(result->error, sizeof(result->error), "timed out after %g seconds, %s",
			 transfer->timeout_ms / 1000.0, during);
}

/* Did it end because its connection was broken off?  Not known before libcurl 7.80. */
static bool
http_was_struck(const HttpTransfer *transfer)
{
	switch (transfer->outcome)
	{
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_RECV_ERROR:
		case CURLE_SEND_ERROR:
		case CURLE_HTTP2:
		case CURLE_HTTP2_STREAM:
		case CURLE_SSL_CONNECT_ERROR:
			return http_guard_broke(transfer->local_port);
		default:
			return false;
	}
}

static void
http_fail_otherwise(HttpTransfer *transfer, HttpResult *result)
{
	const char *text = transfer->header_problem;
	size_t		i;

	result->error_code = HTTP_ERROR_PROTOCOL;
	if (text == NULL && transfer->outcome == CURLE_UNSUPPORTED_PROTOCOL && http_has_asked(transfer))
		text = "the answer has no status line";
	else if (text == NULL && http_was_struck(transfer))
		text = "the connection was broken off, since it brought without pause what is no answer";
	for (i = 0; text == NULL && i < sizeof(http_failures) / sizeof(http_failures[0]); i++)
	{
		if (http_failures[i].outcome == transfer->outcome)
		{
			result->error_code = http_failures[i].code;
			text = http_failures[i].text;
			break;
		}
	}
	if (text == NULL)
		text = transfer->curl_error[0] ? transfer->curl_error : curl_easy_strerror(transfer->outcome);
	http_fail(result, result->error_code, text);
	/* libcurl keeps the address to itself until TLS is up; of several it may be any */
	if (strcmp(result->error_code, HTTP_ERROR_TLS) == 0 && transfer->sockets == 1)
		memcpy(result->remote_address, transfer->called, sizeof(result->remote_address));
	for (i = 0; result->error[i] != '\0'; i++)
	{
		if (result->error[i] < ' ' || result->error[i] > '~')
			result->error[i] = '?';
	}
}

static void
http_fail_status(HttpResult *result)
{
	result->error_code = HTTP_ERROR_STATUS;
	snprintf(result->error, sizeof(result->error), "the endpoint answered with status %d%s",
			 result->status_code,
			 result->status_code / 100 == 3 ? "; redirects are not followed" : "");
}

/*
 * Has the whole answer come, or as much of it as is wanted?  An HTTP/2 endpoint
 * that does not wait for the body answers, then resets the stream without an
 * error; the answer counts (RFC 9113, 8.1).  libcurl fails the request, and has
 * a text for every reset but this.
 */
static bool
http_is_answered(const HttpTransfer *transfer)
{
	switch (transfer->outcome)
	{
		case CURLE_OK:
			return true;
		case CURLE_WRITE_ERROR:
			return transfer->body_cut;
		case CURLE_HTTP2_STREAM:
			return transfer->curl_error[0] == '\0' && http_info_long(transfer, CURLINFO_RESPONSE_CODE) >= 200;
		default:
			return false;
	}
}

void
http_fill_result(HttpTransfer *transfer, HttpResult *result)
{
	CURLcode	outcome = transfer->outcome;
	long		tunnel;
	char	   *address = NULL;

	memset(result, 0, offsetof(HttpResult, error));
	result->error[0] = '\0';
	result->arg = transfer->arg;
	result->response_time_ms = http_info_time(transfer, CURLINFO_TOTAL_TIME_T) / 1000.0;
	if (http_info_time(transfer, CURLINFO_CONNECT_TIME_T) > 0 || http_has_asked(transfer))
		curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &address);
	if (address != NULL)
		snprintf(result->remote_address, sizeof(result->remote_address), "%s", address);

	if (http_is_answered(transfer))
	{
		result->status_code = (int) http_info_long(transfer, CURLINFO_RESPONSE_CODE);
		result->body = transfer->body;
		result->body_len = transfer->body_len;
		memcpy(result->retry_after, transfer->retry_after, sizeof(result->retry_after));
		if (result->status_code < 100)	/* libcurl 7.74 reads any number */
		{
			result->status_code = 0;
			http_fail(result, HTTP_ERROR_PROTOCOL, "the answer has no valid status");
		}
		else if (result->status_code / 100 != 2)
			http_fail_status(result);
	}
	else if (outcome == CURLE_ABORTED_BY_CALLBACK && transfer->denied_why != NULL)
		http_fail_denied(transfer, result);
	else if (outcome == CURLE_OPERATION_TIMEDOUT)
		http_fail_timeout(transfer, result);
	else if (transfer->proxied && (tunnel = http_info_long(transfer, CURLINFO_HTTP_CONNECTCODE)) >= 300)
	{
		result->error_code = HTTP_ERROR_REFUSED;
		snprintf(result->error, sizeof(result->error),
				 "the proxy refused the connection with status %ld", tunnel);
	}
	else if (outcome == CURLE_COULDNT_CONNECT)
		http_fail_connect(transfer, result);
	else
		http_fail_otherwise(transfer, result);
}
