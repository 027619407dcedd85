/*
 * virtual.c
 *	  Virtual generated columns (PostgreSQL 18): values that no tuple holds.
 *
 * Expressions are prepared once per table, and computed for each image of a row
 * with the rights of the writer.  PostgreSQL admits nothing but functions and types
 * of its own to them, so they change nothing and do not come back to capture.
 *
 * A division by zero in one fails those who read the column, never those who
 * write the row.  So it must not fail them here: each image is computed in a
 * subtransaction, and what raises an error becomes null.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "subtransaction.h"
#include "virtual.h"

typedef struct VirtualColumn
{
	AttrNumber	attnum;			/* of source */
	int16		length;
	bool		by_value;
	ExprState  *expression;		/* over source's columns */
} VirtualColumn;

struct VirtualColumns
{
	TupleTableSlot *slot;
	int			n;
	VirtualColumn *columns;
};

/* A partition may have its ancestor's columns at other places. */
static AttrMap *
virtual_map(Relation source, TupleDesc desc)
{
	AttrMap    *map = make_attrmap(desc->natts);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped)
			map->attnums[i] = get_attnum(RelationGetRelid(source), NameStr(attribute->attname));
	}
	return map;
}

static void
virtual_column_init(VirtualColumn *column, Relation reported, AttrNumber attnum, const AttrMap *map)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(reported), attnum - 1);
	Node	   *expression;
	bool		whole_row;		/* none is allowed there */

	column->attnum = map->attnums[attnum - 1];
	column->length = attribute->attlen;
	column->by_value = attribute->attbyval;
	expression = map_variable_attnos(compat_generation_expression(reported, attnum), 1, 0, map,
									 InvalidOid, &whole_row);
	column->expression = ExecInitExpr(expression_planner((Expr *) expression), NULL);
}

VirtualColumns *
virtual_columns_make(Relation source, Relation reported)
{
	TupleDesc	desc = RelationGetDescr(reported);
	VirtualColumns *columns;
	AttrMap    *map;
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
		n += compat_is_virtual(TupleDescAttr(desc, i));
	if (n == 0)
		return NULL;
	columns = palloc0(sizeof(VirtualColumns));
	columns->columns = palloc0(n * sizeof(VirtualColumn));
	columns->slot = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(source)),
											 &TTSOpsHeapTuple);
	map = virtual_map(source, desc);
	for (int i = 0; i < desc->natts; i++)
	{
		if (compat_is_virtual(TupleDescAttr(desc, i)))
			virtual_column_init(&columns->columns[columns->n++], reported, i + 1, map);
	}
	free_attrmap(map);
	return columns;
}

/*
 * Computing
 */

/* One image, whose columns up to next are done. */
typedef struct VirtualRun
{
	const VirtualColumns *columns;
	int			next;
	ExprContext *econtext;
	MemoryContext results;
	Datum	   *values;
	bool	   *nulls;
} VirtualRun;

static void
virtual_compute_rest(void *arg)
{
	VirtualRun *run = arg;

	for (; run->next < run->columns->n; run->next++)
	{
		const VirtualColumn *column = &run->columns->columns[run->next];
		int			i = column->attnum - 1;
		Datum		value = ExecEvalExprSwitchContext(column->expression, run->econtext, &run->nulls[i]);

		if (!run->nulls[i])
		{
			MemoryContext old = MemoryContextSwitchTo(run->results);

			run->values[i] = datumCopy(value, column->by_value, column->length);
			MemoryContextSwitchTo(old);
		}
	}
}

/* Any error but a cancelled query is the data's. */
static bool
virtual_is_of_data(int sqlerrcode)
{
	return sqlerrcode != ERRCODE_QUERY_CANCELED;
}

void
virtual_columns_compute(VirtualColumns *columns, HeapTuple tuple, Datum *values, bool *nulls)
{
	VirtualRun	run = {.columns = columns, .results = CurrentMemoryContext,
		.values = values, .nulls = nulls
	};
	bool		failed = false;

	ExecStoreHeapTuple(tuple, columns->slot, false);
	run.econtext = CreateStandaloneExprContext();
	run.econtext->ecxt_scantuple = columns->slot;
	while (!subtransaction_run(virtual_compute_rest, &run, virtual_is_of_data))
	{
		nulls[columns->columns[run.next].attnum - 1] = true;
		run.next++;
		failed = true;
	}
	FreeExprContext(run.econtext, !failed);
	ExecClearTuple(columns->slot);
}
