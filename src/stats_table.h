/*
 * stats_table.h
 *	  What has been counted of each webhook, kept in webhook_stat: seldom
 *	  written, so that a worker's end costs a minute's counts at most.
 */
#ifndef FLUXHOOKS_STATS_TABLE_H
#define FLUXHOOKS_STATS_TABLE_H

#include "datatype/timestamp.h"

/*
 * The first time: load it into the lanes, which are those of the configuration,
 * in the present transaction with SPI connected.
 */
extern void stats_table_load(void);

/* Something was counted; soon: write it within a second. */
extern void stats_table_touch(bool soon);

/* Was anything counted since it was written? */
extern bool stats_table_is_behind(void);

/* Is it to be written?  *again: as with batch_wanted. */
extern bool stats_table_wanted(TimestampTz now, long *again);

/* Write what has changed, in a transaction of its own. */
extern void stats_table_save(void);

#endif
