/*
 * reason.c
 *	  Why a webhook is paused: the reason that was written down for it, or what
 *	  is missing now - its owner, a right of its owner's, a table.
 *
 * In C because it is asked for every webhook whenever the worker reads the
 * configuration, and by the views webhooks and status.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "reader.h"
#include "reference.h"
#include "right.h"

PG_FUNCTION_INFO_V1(reason_sql);

#define SUBSCRIPTION_ATTR_WEBHOOK	1
#define SUBSCRIPTION_ATTR_RELATION	3

/* The first table, in the order of events, of which a restore knows the name only. */
static char *
reason_table_unknown(Oid relid, Datum reference, Oid owner)
{
	if (OidIsValid(relid))
		return NULL;
	return psprintf("table %s does not exist", reference_table_show(reference));
}

/* The first that the owner has no right to; one that was dropped is no matter. */
static char *
reason_right_missing(Oid relid, Datum reference, Oid owner)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return NULL;
	return right_missing_on(owner, relid);
}

static char *
reason_of_tables(Datum webhook_id, Oid owner, char *(*ask) (Oid relid, Datum reference, Oid owner))
{
	const Catalog *catalog = catalog_require();
	IndexReader reader;
	ScanKeyData key;
	char	   *reason = NULL;

	ScanKeyInit(&key, SUBSCRIPTION_ATTR_WEBHOOK, BTEqualStrategyNumber, F_UUID_EQ, webhook_id);
	index_reader_open(&reader, catalog->subscription, INDEX_PRIMARY_KEY, 1);
	index_reader_scan(&reader, &key);
	while (reason == NULL && index_reader_next(&reader, ForwardScanDirection))
	{
		bool		isnull;
		Datum		reference = slot_getattr(reader.tuple, SUBSCRIPTION_ATTR_RELATION, &isnull);

		reason = ask(reference_get_oid(reference), reference, owner);
	}
	index_reader_close(&reader);
	return reason;
}

static char *
reason_find(Datum webhook_id, Datum owner_reference)
{
	Oid			owner = reference_get_oid(owner_reference);
	char	   *reason;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		return psprintf("owner \"%s\" does not exist", reference_role_show(owner_reference));
	reason = right_missing(owner);
	if (reason == NULL)
		reason = reason_of_tables(webhook_id, owner, reason_table_unknown);
	if (reason == NULL)
		reason = reason_of_tables(webhook_id, owner, reason_right_missing);
	return reason;
}

/* webhook_paused_reason(fluxhooks_internal.webhook) RETURNS text */
Datum
reason_sql(PG_FUNCTION_ARGS)
{
	HeapTupleHeader webhook = PG_GETARG_HEAPTUPLEHEADER(0);
	Datum		id;
	Datum		owner;
	Datum		written;
	char	   *reason;
	bool		isnull;

	written = GetAttributeByName(webhook, "paused_reason", &isnull);
	if (!isnull)
		PG_RETURN_DATUM(written);
	id = GetAttributeByName(webhook, "id", &isnull);
	if (isnull)
		PG_RETURN_NULL();
	owner = GetAttributeByName(webhook, "owner", &isnull);
	if (isnull)
		PG_RETURN_NULL();
	reason = reason_find(id, owner);
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}
