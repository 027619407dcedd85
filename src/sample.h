/*
 * sample.h
 *	  test_webhook's request: handed by a backend to the worker of its
 *	  database, and the answer handed back, through shared memory.
 */
#ifndef FLUXHOOKS_SAMPLE_H
#define FLUXHOOKS_SAMPLE_H

#include "http.h"

/*
 * Backend: have the worker send this request and wait for its end (cancellable).
 * Fills result; body is palloc'd.  55000 where no worker runs, or it goes
 * away while the request is under way; 54000 where too many wait already.
 */
extern void sample_send(const HttpRequest *request, HttpResult *result);

/*
 * Worker, once per loop: start the requests that backends have handed over,
 * outside the lanes' limits.  Their http args are recognised by sample_is.
 */
extern void sample_poll(void);
extern bool sample_is(const void *arg);

/* Worker, from its HttpDone: hand the result back and forget the request. */
extern void sample_done(const HttpResult *result);

/* Worker, once per loop: cancel what nobody waits for any more. */
extern void sample_reap(void);

#endif
