/*
 * copy.c
 *	  Is this database a copy of one that sends?
 *
 * A copy must not send what the original sends as well.  It is known by the
 * system identifier and database OID that the original wrote down, or by the server having
 * come up from a backup.  A promoted standby is no copy: it goes on.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "copy.h"
#include "cursor.h"
#include "record.h"

#define COPY_REASON_COPY	"this database is a copy of another one"
#define COPY_REASON_BACKUP	"this server came up from a backup"

#define palloc0_huge_array(type, n) \
	((type *) MemoryContextAllocExtended(CurrentMemoryContext, sizeof(type) * Max((n), 1), \
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO))

/* set by the postmaster, inherited by fork */
static bool from_backup = false;

void
copy_init(void)
{
	from_backup = access("recovery.signal", F_OK) == 0 ||
		(access("backup_label", F_OK) == 0 && access("standby.signal", F_OK) != 0);
}

static void
copy_pause(const char *reason)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(reason)};

	if (SPI_execute_with_args("INSERT INTO fluxhooks_internal.pause (reason, since) "
							  "VALUES ($1, now()) ON CONFLICT DO NOTHING",
							  1, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not pause deliveries");
	if (SPI_processed > 0)
		ereport(LOG,
				(errmsg("fluxhooks paused all webhooks of this database: %s", reason),
				 errhint("Where this server is to send, a superuser runs fluxhooks.resume().")));
}

/* Run a statement with this database's identity as $1 and $2. */
static void
copy_execute(const char *sql, int expected)
{
	Oid			types[] = {INT8OID, OIDOID};
	Datum		values[] = {Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)};
	int			result = SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0);

	if (result != expected)
		elog(ERROR, "could not use fluxhooks_internal.instance: %s", SPI_result_code_string(result));
}

void
copy_check(void)
{
	copy_execute("SELECT FROM fluxhooks_internal.instance WHERE system_identifier <> $1 OR database <> $2",
				 SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		copy_pause(COPY_REASON_COPY);
		return;
	}
	copy_execute("INSERT INTO fluxhooks_internal.instance (system_identifier, database) "
				 "VALUES ($1, $2) ON CONFLICT DO NOTHING", SPI_OK_INSERT);
	if (SPI_processed > 0 || !from_backup)
		return;					/* a database made since is nobody's copy */
	copy_execute("UPDATE fluxhooks_internal.instance SET started_from_backup = pg_postmaster_start_time() "
				 "WHERE system_identifier = $1 AND database = $2 "
				 "AND started_from_backup IS DISTINCT FROM pg_postmaster_start_time()", SPI_OK_UPDATE);
	if (SPI_processed > 0)
		copy_pause(COPY_REASON_BACKUP);
}

/* Cancel the events that nobody has read: those after the cursor without an outcome. */
static void
copy_cancel_unread(void)
{
	AttemptRow *attempts;
	bool		isnull;

	if (SPI_execute("SELECT d.id, w.id, e.xid, e.cid, e.seq "
					"FROM fluxhooks_internal.event AS e, unnest(e.webhooks) AS w (id), "
					" fluxhooks_internal.delivery_id(e.id, w.id) AS d (id) "
					"WHERE e.xid >= (SELECT pg_snapshot_xmin(c.last_snapshot) FROM fluxhooks_internal.cursor AS c "
					"                ORDER BY c.number DESC LIMIT 1) "
					"  AND NOT EXISTS (SELECT FROM fluxhooks_internal.attempt AS a "
					"                  WHERE a.webhook_id = w.id AND a.delivery_id = d.id) "
					"  AND NOT EXISTS (SELECT FROM fluxhooks_internal.pending AS p WHERE p.delivery_id = d.id)",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the event log");
	attempts = palloc0_huge_array(AttemptRow, SPI_processed);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		attempts[i].delivery_id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &isnull));
		attempts[i].webhook_id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 2, &isnull));
		attempts[i].place.xid = DatumGetFullTransactionId(SPI_getbinval(tuple, desc, 3, &isnull));
		attempts[i].place.cid = DatumGetInt32(SPI_getbinval(tuple, desc, 4, &isnull));
		attempts[i].place.seq = DatumGetInt64(SPI_getbinval(tuple, desc, 5, &isnull));
		attempts[i].outcome = OUTCOME_CANCELLED;
		attempts[i].started_at = GetCurrentTimestamp();
	}
	record_attempts(attempts, SPI_processed);
}

static void
copy_cancel_pending(void)
{
	PendingDelivery *pending;
	int			n = record_load_expired(DT_NOEND, INT_MAX, CurrentMemoryContext, &pending);
	AttemptRow *attempts = palloc0_huge_array(AttemptRow, n);
	pg_uuid_t  *ids = palloc0_huge_array(pg_uuid_t, n);

	for (int i = 0; i < n; i++)
	{
		record_cancelled(&attempts[i], &pending[i], GetCurrentTimestamp());
		ids[i] = pending[i].row.delivery_id;
	}
	record_attempts(attempts, n);
	record_settled(ids, n);
}

void
copy_accept(void)
{
	Cursor	   *cursor;

	if (SPI_execute("SELECT FROM fluxhooks_internal.pause WHERE reason IN ('" COPY_REASON_COPY "', '" COPY_REASON_BACKUP "')",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read fluxhooks_internal.pause");
	if (SPI_processed == 0)
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	copy_cancel_unread();
	copy_cancel_pending();
	cursor = cursor_load();
	cursor->last = log_snapshot_take();
	cursor->next = NULL;
	cursor_append(cursor);
	PopActiveSnapshot();
	copy_execute("DELETE FROM fluxhooks_internal.instance WHERE system_identifier <> $1 OR database <> $2", SPI_OK_DELETE);
	copy_execute("INSERT INTO fluxhooks_internal.instance (system_identifier, database) "
				 "VALUES ($1, $2) ON CONFLICT DO NOTHING", SPI_OK_INSERT);
}
