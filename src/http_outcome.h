/*
 * http_outcome.h
 *	  What became of a request, in words for the user.
 */
#ifndef FLUXHOOKS_HTTP_OUTCOME_H
#define FLUXHOOKS_HTTP_OUTCOME_H

#include "http_transfer.h"

/* Of a transfer that libcurl has ended; body stays the transfer's. */
extern void http_fill_result(HttpTransfer *transfer, HttpResult *result);

/*
 * Has it timed out without a byte over a connection that was there before?  The other end
 * may be gone, and the same be true of all that lead there.
 */
extern bool http_went_silent(HttpTransfer *transfer);

#endif
