/*
 * virtual.h
 *	  Virtual generated columns (PostgreSQL 18): values that no tuple holds.
 */
#ifndef FLUXHOOKS_VIRTUAL_H
#define FLUXHOOKS_VIRTUAL_H

#include "access/htup.h"
#include "utils/relcache.h"

typedef struct VirtualColumns VirtualColumns;

/*
 * Those of a table; NULL where it has none.  As in a query, the expressions are
 * those of reported, which is source itself or a partitioned ancestor of it.  In
 * CurrentMemoryContext, for as long as that and the definition of both live.
 */
extern VirtualColumns *virtual_columns_make(Relation source, Relation reported);

/*
 * Put their values where heap_deform_tuple has put those of the other columns of
 * source's tuple.  In CurrentMemoryContext.  A value that cannot be computed is null.
 */
extern void virtual_columns_compute(VirtualColumns *columns, HeapTuple tuple,
									Datum *values, bool *nulls);

#endif
