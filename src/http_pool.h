/*
 * http_pool.h
 *	  Handles of libcurl, and the policy that they are set to.
 */
#ifndef FLUXHOOKS_HTTP_POOL_H
#define FLUXHOOKS_HTTP_POOL_H

#include "http_transfer.h"

extern void http_pool_startup(void);
/* No transfer may be under way. */
extern void http_pool_shutdown(void);

/* Take new policy for requests to come; false, and why, where it cannot be. */
extern bool http_pool_set_policy(const HttpPolicy *policy, char *error, size_t error_size);

/* A transfer set to the policy of the moment; NULL when memory is short. */
extern HttpTransfer *http_transfer_take(void);

/* Forget its request, which is in no multi handle any more, and keep the handle if it is of use. */
extern void http_transfer_recycle(HttpTransfer *transfer);
extern void http_transfer_free(HttpTransfer *transfer);

/* The multi handle for new requests, before those of former policies. */
extern HttpMulti *http_newest_multi(void);

/* Have a new one, without the connections of the one before; false when memory is short. */
extern bool http_renew_multi(void);

/* Free those of former policies once nothing runs in them; never while libcurl runs.  all: every one. */
extern void http_drop_drained(bool all);

/* Microseconds of a clock that only goes on. */
extern int64_t http_now(void);

/* When the first timer of a multi handle runs out, by that clock; -1: never. */
extern int64_t http_deadline(void);

#endif
