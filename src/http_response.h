/*
 * http_response.h
 *	  Reading an answer within limits: callbacks of libcurl, with an HttpTransfer,
 *	  which gets what is kept of the body and what the headers say.
 */
#ifndef FLUXHOOKS_HTTP_RESPONSE_H
#define FLUXHOOKS_HTTP_RESPONSE_H

#include "http_transfer.h"

extern size_t http_on_body(char *bytes, size_t size, size_t count, void *arg);
extern size_t http_on_header(char *line, size_t size, size_t count, void *arg);

#endif
