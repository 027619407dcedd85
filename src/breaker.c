/*
 * breaker.c
 *	  A webhook whose endpoint keeps failing is given a rest.
 *
 * Every attempt that fails counts, whatever the reason, until one succeeds.
 * State changes where attempts end, which may be inside libcurl's loop: there it
 * is memory alone, and the log hears of it from breaker_poll.
 */
#include "postgres.h"

#include <time.h>

#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "breaker.h"
#include "fault.h"
#include "lane.h"
#include "retry.h"

#define STATUS_GONE		410

static bool news = false;		/* some breaker has opened or closed */
static bool pause_asked = false;	/* by some breaker */
static TimestampTz next_probe_at = DT_NOEND;	/* the earliest of all */

int
breaker_limit(const Breaker *breaker)
{
	if (breaker->pause != BREAKER_NO_PAUSE)
		return 0;
	if (breaker->open)
		return breaker->probe_due ? 1 : 0;
	return PG_INT32_MAX;
}

static void
breaker_close(Breaker *breaker)
{
	breaker->open = false;
	breaker->probe_due = false;
	news = true;
	FAULT_POINT_KILL("breaker_closed");
}

static void
breaker_probe_at(Breaker *breaker, TimestampTz when)
{
	breaker->probe_due = false;
	breaker->probe_at = when;
	next_probe_at = Min(next_probe_at, when);
}

static void
breaker_open(Breaker *breaker, TimestampTz now, TimestampTz probe_at)
{
	breaker->open = true;
	breaker->open_since = now;
	breaker_probe_at(breaker, probe_at);
	news = true;
	FAULT_POINT_KILL("breaker_opened");
}

void
breaker_reset(Lane *lane)
{
	Breaker    *breaker = &lane->breaker;

	breaker->in_a_row = 0;
	breaker->failing_since = 0;
	breaker->pause = BREAKER_NO_PAUSE;
	breaker_close(breaker);
	lane_room_made = true;
	lane_update(lane);
}

void
breaker_configure(Lane *lane, int failures, int probe_seconds, int pause_after_seconds)
{
	Breaker    *breaker = &lane->breaker;
	bool		sooner = probe_seconds < breaker->probe_seconds;

	breaker->failures = failures;
	breaker->probe_seconds = probe_seconds;
	breaker->pause_after_seconds = pause_after_seconds;
	if (breaker->open && (failures == 0 || breaker->in_a_row < failures))
	{
		breaker_close(breaker);
		lane_room_made = true;
	}
	else if (breaker->open && !breaker->probe_due && sooner)
		breaker_probe_at(breaker, Min(breaker->probe_at,
									  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) probe_seconds * 1000)));
	lane_update(lane);
}

void
breaker_restore(Lane *lane, int64 in_a_row, TimestampTz failing_since)
{
	Breaker    *breaker = &lane->breaker;
	TimestampTz now = GetCurrentTimestamp();

	breaker->in_a_row = in_a_row;
	breaker->failing_since = in_a_row > 0 ? failing_since : 0;
	if (breaker->failures > 0 && in_a_row >= breaker->failures)
	{
		breaker_open(breaker, now, now);
		FAULT_POINT("breaker_restored");
	}
	lane_update(lane);
}

void
breaker_started(Delivery *delivery)
{
	Breaker    *breaker = &delivery->lane->breaker;

	delivery->probe = breaker->open;
	delivery->spared = false;
	breaker->probe_due = false;
}

/* Milliseconds until the next probe, or longer where the endpoint asks for that. */
static int64
breaker_pause_ms(const Delivery *delivery)
{
	const HttpResult *result = &delivery->result;
	int64		asked = retry_after_ms(result->status_code, result->retry_after, time(NULL));

	return Max((int64) delivery->lane->breaker.probe_seconds * 1000, asked);
}

static void
breaker_failed(Delivery *delivery, TimestampTz now)
{
	Breaker    *breaker = &delivery->lane->breaker;
	TimestampTz probe_at = TimestampTzPlusMilliseconds(now, breaker_pause_ms(delivery));

	breaker->in_a_row++;
	if (breaker->failing_since == 0)
		breaker->failing_since = now;
	if (breaker->pause == BREAKER_NO_PAUSE)
	{
		if (delivery->result.status_code == STATUS_GONE)
			breaker->pause = BREAKER_PAUSE_GONE;
		else if (breaker->pause_after_seconds > 0 &&
				 now >= TimestampTzPlusMilliseconds(breaker->failing_since,
													(int64) breaker->pause_after_seconds * 1000))
			breaker->pause = BREAKER_PAUSE_FAILING;
		pause_asked |= breaker->pause != BREAKER_NO_PAUSE;
	}
	if (!breaker->open && breaker->failures > 0 && breaker->in_a_row >= breaker->failures)
		breaker_open(breaker, now, probe_at);
	else if (breaker->open && delivery->probe)
		breaker_probe_at(breaker, probe_at);
	else if (breaker->open)
		next_probe_at = Min(next_probe_at, breaker->probe_at);
}

void
breaker_ended(Delivery *delivery)
{
	Breaker    *breaker = &delivery->lane->breaker;

	/* what a former endpoint has answered says nothing of the present one */
	if (delivery->lane->deleted ||
		strcmp(delivery_url(delivery), request_template_url(delivery->lane->template)) != 0)
		return;
	if (!retry_is_success(delivery->result.status_code))
	{
		breaker_failed(delivery, GetCurrentTimestamp());
		return;
	}
	breaker->in_a_row = 0;
	breaker->failing_since = 0;
	if (breaker->open)
	{
		breaker_close(breaker);
		lane_room_made = true;
	}
}

bool
breaker_asks(const Breaker *breaker)
{
	return breaker->pause == BREAKER_PAUSE_GONE || breaker->pause == BREAKER_PAUSE_FAILING;
}

bool
breaker_asks_pause(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	bool		found = false;

	if (!pause_asked)
		return false;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
		found |= breaker_asks(&lane->breaker);
	pause_asked = found;
	return found;
}

/*
 * May be asked again for the same attempt, when recording it has failed.  The
 * delivery is due at once, behind all that wait: what holds it back is the
 * breaker, and once that is closed or changed nothing must.
 */
bool
breaker_spares(Delivery *delivery, TimestampTz now)
{
	if (!delivery->probe && delivery->result.status_code != STATUS_GONE)
		return false;
	if (!delivery->spared)
		delivery->row.attempts_before++;
	delivery->spared = true;
	delivery->row.due_at = now;
	return true;
}

static void
breaker_report(Lane *lane)
{
	Breaker    *breaker = &lane->breaker;
	char	   *id;

	if (breaker->reported == breaker->open || lane->deleted)
		return;
	breaker->reported = breaker->open;
	id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&lane->webhook_id)));
	if (breaker->open)
		ereport(LOG,
				(errmsg("fluxhooks webhook %s: circuit breaker open after " INT64_FORMAT " failures in a row",
						id, breaker->in_a_row),
				 errdetail("One request at a time goes out, every %d seconds; the rest waits.",
						   breaker->probe_seconds)));
	else
		ereport(LOG, (errmsg("fluxhooks webhook %s: circuit breaker closed", id)));
	pfree(id);
}

bool
breaker_poll(TimestampTz now)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	bool		had_news = news;

	if (!news && now < next_probe_at)
		return false;
	news = false;
	next_probe_at = DT_NOEND;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		Breaker    *breaker = &lane->breaker;

		breaker_report(lane);
		if (!breaker->open || breaker->probe_due || lane->in_flight > 0)
			continue;
		if (now < breaker->probe_at)
		{
			next_probe_at = Min(next_probe_at, breaker->probe_at);
			continue;
		}
		breaker->probe_due = true;
		FAULT_POINT_KILL("breaker_probe");
		lane_room_made = true;
		lane_update(lane);
	}
	return had_news;
}

long
breaker_timeout_ms(TimestampTz now)
{
	if (news)
		return 0;
	if (next_probe_at == DT_NOEND)
		return -1;
	return next_probe_at <= now ? 0 : (long) Min((next_probe_at - now) / 1000 + 1, 3600 * 1000);
}
