/*
 * pace.c
 *	  Reading keeps to the pace of sending.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "lane.h"
#include "pace.h"
#include "parking.h"
#include "stage.h"

#define BACKLOG_LOW			1024	/* read on when lanes hold fewer */
#define BACKLOG_PATIENCE_MS	250		/* how long reading waits for lanes to make room */
#define BACKLOG_DRAIN_MS	2000	/* lanes that need longer to send what they hold park */

static TimestampTz paced_since = 0; /* when lanes' pace began to be counted */

/* What parks anyhow is in nobody's way. */
static bool
pace_has_room(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	int			backlog = 0;

	if (lane_backlog() < BACKLOG_LOW)
		return true;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		if (!lane->parked && !lane->parking && !lane_is_full(lane))
			backlog += lane_first_queued(lane);
	}
	return backlog < BACKLOG_LOW;
}

static TimestampTz
pace_patience_ends(void)
{
	return TimestampTzPlusMilliseconds(paced_since, BACKLOG_PATIENCE_MS);
}

bool
pace_allows(TimestampTz now, TimestampTz *when)
{
	*when = pace_patience_ends();
	return pace_has_room() || now >= *when;
}

void
pace_begin(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;

	paced_since = stage.now;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
		lane->n_started = 0;
}

/* At its present pace, how long does a lane need to start what it holds? */
static bool
pace_is_slow(const Lane *lane)
{
	double		elapsed_ms = (stage.now - paced_since) / 1000.0;

	return lane->n_started == 0 ||
		lane->n_queued * elapsed_ms / lane->n_started > BACKLOG_DRAIN_MS;
}

/*
 * Reading has waited long enough: lanes of slow or hanging endpoints park, so
 * that the others get what is theirs.  A lane alone keeps nobody waiting, and
 * what it has not read is best kept in the log.
 */
static void
pace_park_slow(void)
{
	HASH_SEQ_STATUS status;
	Lane	   *lane;
	int			share = BACKLOG_LOW / Max(lane_count(), 1);

	if (lane_count() <= 1)
		return;
	lane_each_begin(&status);
	while ((lane = lane_each(&status)) != NULL)
	{
		int			n = lane_first_queued(lane);

		if (!lane->parked && n > 0 && n >= share && pace_is_slow(lane))
			parking_begin(lane);
	}
}

bool
pace_make_room(void)
{
	if (pace_has_room())
		return true;
	if (stage.now < pace_patience_ends())
		return false;
	pace_park_slow();
	pace_begin();
	return pace_has_room();
}
