/*
 * secret.c
 *	  Writing what is secret of a webhook: secrets and header values.
 *
 * No statement ever carries them.  The parameters of a statement find their
 * way out: the planner folds them into plans, which auto_explain logs and
 * debug_print_plan shows to whoever runs the statement, who must not be able
 * to read a secret back; audit extensions log them as they are.  So the row is
 * changed here directly, as catalogs are.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "reader.h"
#include "secret.h"

static bool
secret_text_differs(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a != b : strcmp(a, b) != 0;
}

bool
secret_differs(const WebhookConfig *a, const WebhookConfig *b)
{
	return secret_text_differs(a->secret, b->secret) ||
		secret_text_differs(a->old_secret, b->old_secret) ||
		(a->old_secret != NULL && a->old_secret_expires_at != b->old_secret_expires_at) ||
		compareJsonbContainers(&a->headers->root, &b->headers->root) != 0;
}

/* The row to be written, with one column after the other put in. */
typedef struct SecretRow
{
	Relation	rel;
	Datum	   *values;
	bool	   *nulls;
	bool	   *replace;
} SecretRow;

static void
secret_put(SecretRow *row, const char *column, Datum value, bool isnull)
{
	int			i = get_attnum(RelationGetRelid(row->rel), column) - 1;

	Assert(i >= 0);
	row->values[i] = value;
	row->nulls[i] = isnull;
	row->replace[i] = true;
}

static void
secret_put_text(SecretRow *row, const char *column, const char *text)
{
	secret_put(row, column, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

void
secret_write(const pg_uuid_t *webhook_id, const WebhookConfig *config)
{
	const Catalog *catalog = catalog_require();
	Relation	rel = table_open(catalog->webhook, RowExclusiveLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SecretRow	row;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* the row may be of this very command */
	CommandCounterIncrement();
	row.rel = rel;
	row.values = palloc0(desc->natts * sizeof(Datum));
	row.nulls = palloc0(desc->natts * sizeof(bool));
	row.replace = palloc0(desc->natts * sizeof(bool));
	secret_put_text(&row, "secret", config->secret);
	secret_put_text(&row, "old_secret", config->old_secret);
	secret_put(&row, "old_secret_expires_at", TimestampTzGetDatum(config->old_secret_expires_at),
			   config->old_secret == NULL);
	secret_put(&row, "headers", JsonbPGetDatum(config->headers), false);

	ScanKeyInit(&key, get_attnum(catalog->webhook, "id"), BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(webhook_id));
	scan = systable_beginscan(rel, index_find(rel, INDEX_PRIMARY_KEY), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "could not find the webhook to be changed");
	tuple = heap_modify_tuple(tuple, desc, row.values, row.nulls, row.replace);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}
