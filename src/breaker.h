/*
 * breaker.h
 *	  A webhook whose endpoint keeps failing is given a rest: its circuit
 *	  breaker opens, or it is to be paused.
 *
 * Only the worker's memory.  While a breaker is open, one request at a time
 * goes out, no more often than every probe_seconds; the first success closes it.
 */
#ifndef FLUXHOOKS_BREAKER_H
#define FLUXHOOKS_BREAKER_H

#include "datatype/timestamp.h"

struct Lane;
struct Delivery;

#define BREAKER_FAILURES		10	/* defaults of circuit_breaker */
#define BREAKER_PROBE_SECONDS	30

/* Is the webhook to be paused, and why? */
typedef enum BreakerPause
{
	BREAKER_NO_PAUSE,
	BREAKER_PAUSE_GONE,			/* the endpoint answered 410 */
	BREAKER_PAUSE_FAILING,		/* no success for pause_after_seconds */
	BREAKER_PAUSE_WRITTEN		/* done; the configuration is yet to be read */
} BreakerPause;

typedef struct Breaker
{
	/* configuration */
	int			failures;		/* in a row that open it; 0: it never opens */
	int			probe_seconds;
	int			pause_after_seconds;	/* 0: never */

	int64		in_a_row;		/* failed attempts since the last success */
	TimestampTz failing_since;	/* the first of them; 0: there is none */
	bool		open;
	TimestampTz open_since;
	bool		probe_due;		/* open: a request may be started */
	TimestampTz probe_at;		/* when it may be, otherwise */
	bool		reported;		/* open, as the log has it */
	BreakerPause pause;
} Breaker;

/* How many requests an open or closed breaker lets through. */
extern int	breaker_limit(const Breaker *breaker);

extern void breaker_configure(struct Lane *lane, int failures, int probe_seconds, int pause_after_seconds);

/* The webhook has a fresh start: no failure counts any more. */
extern void breaker_reset(struct Lane *lane);

/* Go on counting where a former worker left off. */
extern void breaker_restore(struct Lane *lane, int64 in_a_row, TimestampTz failing_since);

/* An attempt starts; has ended.  Raise no error. */
extern void breaker_started(struct Delivery *delivery);
extern void breaker_ended(struct Delivery *delivery);

/*
 * Is this failed attempt one that spends no retry: a probe, or one that has its
 * webhook paused?  Then the delivery is given the time of its next one.
 */
extern bool breaker_spares(struct Delivery *delivery, TimestampTz now);

/* Does a breaker, does any of all, ask for a pause that is not written yet? */
extern bool breaker_asks(const Breaker *breaker);
extern bool breaker_asks_pause(void);

/* Let probes go that are due, and log what has opened or closed; true where something has. */
extern bool breaker_poll(TimestampTz now);

/* Milliseconds until the next probe is due; -1: none will be. */
extern long breaker_timeout_ms(TimestampTz now);

#endif
