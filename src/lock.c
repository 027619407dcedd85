/*
 * lock.c
 *	  Locks of tables, without keeping their writers waiting for long.
 *
 * Whoever waits for a lock has everybody behind it wait as well, who would not
 * mind the transactions that it waits for.  So locks are asked for in turns:
 * queued for LOCK_TURN_MS at most, then left alone for longer than that, so that those
 * behind get on with their work.  Those of several tables are had all in one turn or
 * left again: a transaction that has written to one of them, and is to write to
 * another that is locked already, would wait for us as we for it.
 *
 * Where there is no end to the time, turns get slowly longer, for tables that some
 * long transaction or other uses all the time.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "lock.h"
#include "subtransaction.h"

#define LOCK_TURN_MS	100
#define LOCK_REST_MS	300
#define LOCK_TURN_LONGEST_MS	(24 * 3600 * 1000)

/* What is left of the time, at most so much; 0: none. */
static int
lock_time_left(TimestampTz end, int most_ms)
{
	return (int) Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end), most_ms);
}

/* Queue for the lock until then; after that an error. */
static void
lock_wait(Oid relid, LOCKMODE mode, TimestampTz end)
{
	char		timeout[16];

	if (ConditionalLockRelationOid(relid, mode))
		return;
	/* 0 would be no limit */
	snprintf(timeout, sizeof(timeout), "%d", Max(lock_time_left(end, LOCK_TURN_LONGEST_MS), 1));
	(void) set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	LockRelationOid(relid, mode);
}

/* One turn. */
typedef struct LockTurn
{
	List	   *relids;
	LOCKMODE	mode;
	TimestampTz end;
	Oid			waited;			/* the table whose lock was asked for last */
} LockTurn;

static void
lock_all(void *arg)
{
	LockTurn   *turn = arg;
	ListCell   *lc;

	foreach(lc, turn->relids)
	{
		turn->waited = lfirst_oid(lc);
		lock_wait(turn->waited, turn->mode, turn->end);
	}
}

static bool
lock_was_not_had(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* InvalidOid, or the table whose lock was not had, and none of them is. */
static Oid
lock_turn(List *relids, LOCKMODE mode, int turn_ms)
{
	LockTurn	turn = {
		.relids = relids,
		.mode = mode,
		.end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), turn_ms),
	};
	int			guc_level = NewGUCNestLevel();
	bool		all = subtransaction_run(lock_all, &turn, lock_was_not_had);

	AtEOXact_GUC(true, guc_level);
	return all ? InvalidOid : turn.waited;
}

static void
lock_rest(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

Oid
lock_tables(List *relids, LOCKMODE mode)
{
	TimestampTz end = DT_NOEND;
	int			turn = LOCK_TURN_MS;

	if (LockTimeout > 0)
		end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LockTimeout);
	while (relids != NIL)
	{
		Oid			waited = lock_turn(relids, mode, Max(lock_time_left(end, turn), 1));
		int			rest = lock_time_left(end, LOCK_REST_MS);

		if (!OidIsValid(waited))
			break;
		if (rest <= 0)
			return waited;
		lock_rest(rest);
		/* first the next time: who has it locked does not have to wait for the others, then */
		relids = lcons_oid(waited, list_delete_oid(list_copy(relids), waited));
		if (end == DT_NOEND)
			turn = Min(turn + turn / 4, LOCK_TURN_LONGEST_MS);
	}
	return InvalidOid;
}
