/*
 * fault.h
 *	  Places where a test makes this process fail, in a build for tests alone.
 *
 * In a normal build nothing is left of them.  With -DFLUXHOOKS_FAULT_POINTS a
 * point asks whether the file fluxhooks_fault in the data directory names it:
 * one line "POINT ACTION COUNT".  At the COUNT-th time that any process comes by,
 * the file is removed, a line "POINT ACTION PID" appended to
 * fluxhooks_fault.log, and the action taken:
 *
 *	error		raise an error
 *	kill		end the process as kill -9 would
 *	exit		end the process in an orderly way, as proc_exit(1)
 *	sleep		wait as long as the file fluxhooks_fault.hold exists
 */
#ifndef FLUXHOOKS_FAULT_H
#define FLUXHOOKS_FAULT_H

#ifdef FLUXHOOKS_FAULT_POINTS

/* The process came by a point. */
extern void fault_point(const char *name, bool may_fail);

/* Where an error may be raised. */
#define FAULT_POINT(name)			fault_point((name), true)

/* Where the code around relies on there being none: error and exit do nothing. */
#define FAULT_POINT_KILL(name)		fault_point((name), false)

#else

#define FAULT_POINT(name)			((void) 0)
#define FAULT_POINT_KILL(name)		((void) 0)

#endif

#endif
