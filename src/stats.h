/*
 * stats.h
 *	  What is counted of a webhook's attempts: how they ended, the rates of the
 *	  last minute, and the distribution of response times.
 *
 * Pure functions on a struct of fixed size.
 */
#ifndef FLUXHOOKS_STATS_H
#define FLUXHOOKS_STATS_H

#include "datatype/timestamp.h"

#define STATS_TIMES			96	/* buckets of response times, four to a doubling */
#define STATS_TIMES_MAX		10000	/* answers; beyond, all buckets are halved */
#define STATS_PARTS			7	/* of ten seconds each: the last minute, and the present part */
#define STATS_PART_SECONDS	10
#define STATS_ERROR_SIZE	128

/* What a number of seconds saw. */
typedef struct StatsPart
{
	int64		number;			/* seconds since the epoch ÷ STATS_PART_SECONDS */
	int32		succeeded;		/* attempts */
	int32		failed;
} StatsPart;

typedef struct Stats
{
	TimestampTz since;			/* when counting began */
	int64		sent;			/* deliveries that succeeded */
	int64		failed;			/* deliveries that failed for good */
	int64		retried;		/* attempts that failed and are followed by another */
	TimestampTz last_success_at;	/* 0: none yet */
	TimestampTz last_failure_at;
	char		last_error[STATS_ERROR_SIZE];
	StatsPart	parts[STATS_PARTS];
	int32		n_times;
	int32		times[STATS_TIMES];
} Stats;

/* An attempt that ended at some time. */
extern void stats_count_success(Stats *stats, TimestampTz at);
extern void stats_count_failure(Stats *stats, TimestampTz at, bool retried, const char *error);

/* An answer came after so long. */
extern void stats_count_time(Stats *stats, double ms);

/* Attempts per second that succeeded and failed in the minute before now. */
extern void stats_rates(const Stats *stats, TimestampTz now, double *succeeded, double *failed);

/*
 * The time that this fraction of answers took no longer than; -1 without
 * answers.  The middle of a bucket, which is off by 9 % at most.
 */
extern double stats_time(const int32 *times, int n_buckets, double fraction);

#endif
