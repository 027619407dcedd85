/*
 * sql.c
 *	  Statements of the extension's own, through SPI.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "sql.h"

static void
sql_check(int result, int expected)
{
	if (result != expected)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("a statement of fluxhooks failed: %s", SPI_result_code_string(result))));
}

void
sql_execute(const char *sql, int expected, int n_args, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;

	sql_check(SPI_execute_with_args(sql, n_args, types, values, NULL, false, 0), expected);
	MemoryContextSwitchTo(context);
}

void
sql_execute_kept(SPIPlanPtr *plan, const char *sql, int expected,
				 int n_args, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;

	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(sql, n_args, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			sql_check(SPI_result, expected);
		*plan = made;
	}
	sql_check(SPI_execute_plan(*plan, values, NULL, false, 0), expected);
	MemoryContextSwitchTo(context);
}

Datum
sql_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}
