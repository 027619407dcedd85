/*
 * http_guard.h
 *	  Ends a call of libcurl that an endpoint keeps from returning.
 *
 * libcurl does not wait, but some of what it reads is no answer, such as a PING of
 * HTTP/2 or a ticket of TLS, and it goes on reading as long as there is more.  An
 * endpoint that sends that faster than it is read would hold up everybody.  (Seen with
 * 7.88; 8.14 returns now and then from reading HTTP/2.)
 */
#ifndef FLUXHOOKS_HTTP_GUARD_H
#define FLUXHOOKS_HTTP_GUARD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Watch over the calls of this process's first thread.  busiest, called by a signal
 * handler, gives the connection that most was read from since it was last called, -1
 * if nothing was read.  False, and why, where the system gives no timer.
 */
extern bool http_guard_startup(int (*busiest) (void), char *error, size_t error_size);
extern void http_guard_shutdown(void);

/* Around each call of libcurl that may read from connections. */
extern void http_guard_enter(void);
extern void http_guard_leave(void);

/* Has the connection with this local port been broken off? */
extern bool http_guard_broke(int port);

/* There is a new connection with this local port. */
extern void http_guard_forget(int port);

/* Take the guard's own signal out of a set that is to be blocked. */
extern void http_guard_spare(sigset_t *signals);

#endif
