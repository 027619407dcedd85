/*
 * wakeup.c
 *	  Tells the worker, or the launcher, once the present transaction has
 *	  committed.
 *
 * At XACT_EVENT_COMMIT other processes see the transaction's rows.  Nothing
 * here may fail: it is too late for an error then.
 *
 * PREPARE TRANSACTION forgets; the utility hook of COMMIT PREPARED, which may
 * run in any other session, wakes instead.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fault.h"
#include "miscadmin.h"

#include "launcher.h"
#include "shared.h"
#include "wakeup.h"

#define WAKEUP_EVENTS		0x01
#define WAKEUP_RECHECK		0x02
#define WAKEUP_LAUNCHER		0x04
#define WAKEUP_DATABASES	0x08

static int	wanted = 0;

static void
wakeup_fire(int what)
{
	FAULT_POINT_KILL("wakeup_commit");
	if (what & WAKEUP_RECHECK)
		shared_worker_set_recheck(MyDatabaseId);
	else if (what & WAKEUP_EVENTS)
		shared_worker_wake(MyDatabaseId);
	if (what & WAKEUP_LAUNCHER)
		launcher_notify(MyDatabaseId);
	if (what & WAKEUP_DATABASES)
		shared_tell_databases();
}

static void
wakeup_xact_callback(XactEvent event, void *arg)
{
	int			what = wanted;

	if (what == 0)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			wanted = 0;
			wakeup_fire(what);
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			wanted = 0;
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

void
wakeup_events_at_commit(void)
{
	wanted |= WAKEUP_EVENTS;
}

void
wakeup_recheck_at_commit(void)
{
	wanted |= WAKEUP_RECHECK;
}

void
wakeup_launcher_at_commit(void)
{
	wanted |= WAKEUP_LAUNCHER;
}

void
wakeup_databases_at_commit(void)
{
	wanted |= WAKEUP_DATABASES;
}

void
wakeup_init(void)
{
	RegisterXactCallback(wakeup_xact_callback, NULL);
}
