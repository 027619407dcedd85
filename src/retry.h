/*
 * retry.h
 *	  What follows an attempt: pure functions, no server header.
 */
#ifndef FLUXHOOKS_RETRY_H
#define FLUXHOOKS_RETRY_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define RETRY_DELAY_MAX_MS	(3600 * INT64_C(1000))

/* 2xx and nothing else. */
extern bool retry_is_success(int status_code);

/*
 * Milliseconds from failed attempt k (1-based, counted since the delivery was
 * last made pending) to attempt k+1: backoff_seconds * 2^(k-1), spread by
 * jitter (-1.0 to 1.0 stands for -10% to +10%), at most one hour.  A
 * retry_after_ms (-1: none) counts when it is longer, up to one hour.
 */
extern int64_t retry_delay_ms(int backoff_seconds, int attempt, double jitter,
							  int64_t retry_after_ms);

/*
 * Milliseconds that a Retry-After header (RFC 9110, 10.2.3: seconds or an
 * HTTP date in any of the three formats) asks for, 0 for one in the past, at most one
 * hour; -1 where the status is not 429 or 503, or the value says nothing.
 */
extern int64_t retry_after_ms(int status_code, const char *value, time_t now);

#endif
