/*
 * stats.c
 *	  What is counted of a webhook's attempts.
 *
 * Response times go into buckets whose bounds grow by the fourth root of two,
 * from 0.05 ms to ten minutes.  Once there are STATS_TIMES_MAX of them, every bucket is
 * halved: so the distribution is that of the latest answers, whether a
 * webhook has ten a day or a thousand a second.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"

#include "stats.h"

#define TIMES_LEAST_MS		0.05
#define TIMES_PER_DOUBLING	4

static StatsPart *
stats_part(Stats *stats, TimestampTz at)
{
	int64		number = at / (STATS_PART_SECONDS * USECS_PER_SEC);
	StatsPart  *part = &stats->parts[number % STATS_PARTS];

	if (part->number != number)
	{
		part->number = number;
		part->succeeded = 0;
		part->failed = 0;
	}
	return part;
}

void
stats_count_success(Stats *stats, TimestampTz at)
{
	stats->sent++;
	stats->last_success_at = at;
	stats_part(stats, at)->succeeded++;
}

void
stats_count_failure(Stats *stats, TimestampTz at, bool retried, const char *error)
{
	int			len;

	if (retried)
		stats->retried++;
	else
		stats->failed++;
	stats->last_failure_at = at;
	len = pg_mbcliplen(error, strlen(error), sizeof(stats->last_error) - 1);
	memcpy(stats->last_error, error, len);
	stats->last_error[len] = '\0';
	stats_part(stats, at)->failed++;
}

void
stats_count_time(Stats *stats, double ms)
{
	int			bucket = 0;

	if (ms > TIMES_LEAST_MS)
		bucket = Min((int) (log2(ms / TIMES_LEAST_MS) * TIMES_PER_DOUBLING), STATS_TIMES - 1);
	stats->times[bucket]++;
	stats->n_times++;
	if (stats->n_times < STATS_TIMES_MAX)
		return;
	stats->n_times = 0;
	for (int i = 0; i < STATS_TIMES; i++)
	{
		stats->times[i] /= 2;
		stats->n_times += stats->times[i];
	}
}

void
stats_rates(const Stats *stats, TimestampTz now, double *succeeded, double *failed)
{
	int64		number = now / (STATS_PART_SECONDS * USECS_PER_SEC);
	double		seconds = (STATS_PARTS - 1) * STATS_PART_SECONDS +
		(now % (STATS_PART_SECONDS * USECS_PER_SEC)) / (double) USECS_PER_SEC;

	*succeeded = 0;
	*failed = 0;
	for (int i = 0; i < STATS_PARTS; i++)
	{
		const StatsPart *part = &stats->parts[i];

		if (part->number <= number - STATS_PARTS || part->number > number)
			continue;
		*succeeded += part->succeeded / seconds;
		*failed += part->failed / seconds;
	}
}

double
stats_time(const int32 *times, int n_buckets, double fraction)
{
	int64		total = 0;
	int64		below = 0;

	for (int i = 0; i < n_buckets; i++)
		total += times[i];
	if (total == 0)
		return -1;
	for (int i = 0; i < n_buckets; i++)
	{
		below += times[i];
		if (below >= fraction * total && below > 0)
			return TIMES_LEAST_MS * exp2((i + 0.5) / TIMES_PER_DOUBLING);
	}
	return TIMES_LEAST_MS * exp2((n_buckets - 0.5) / TIMES_PER_DOUBLING);
}
