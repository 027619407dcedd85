/*
 * sql.h
 *	  Statements of the extension's own, through SPI.
 *
 * SPI must be connected.  The current memory context stays what it is (SPI's own
 * functions leave their procedure context behind); results are in SPI_tuptable
 * and SPI_processed, until SPI_finish at the latest.
 */
#ifndef FLUXHOOKS_SQL_H
#define FLUXHOOKS_SQL_H

#include "executor/spi.h"

/* Execute a statement; an error where SPI's result is not the expected SPI_OK_…. */
extern void sql_execute(const char *sql, int expected, int n_args, Oid *types, Datum *values);

/* The same with a plan that is made once and kept for the life of the process. */
extern void sql_execute_kept(SPIPlanPtr *plan, const char *sql, int expected,
							 int n_args, Oid *types, Datum *values);

/* A value of what the last statement found; column from 1. */
extern Datum sql_value(uint64 row, int column, bool *isnull);

#endif
