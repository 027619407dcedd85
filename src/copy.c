/*
 * copy.c
 *	  Is this database a copy of one that sends?
 *
 * A copy must not send what the original sends as well.  A database writes
 * down what tells it from others: the server's system identifier, its OID, the
 * extension's OID (a dump makes a new one even where it is restored in the same
 * place) and fluxhooks.instance.  What differs from that is a copy, and so is
 * every database of a server that came up from a backup.  A promoted standby
 * is none: it goes on.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "copy.h"
#include "fault.h"
#include "guc.h"
#include "sql.h"

/* In the data directory, so that no restart comes before some worker has seen it. */
#define COPY_FILE	"fluxhooks_restored"

/* When this server last came up from a backup.  Inherited by fork. */
static TimestampTz restored_at = DT_NOBEGIN;	/* never */

/* ----------------------------------------------------- came up from a backup */

static void
copy_write_file(void)
{
	FILE	   *file = AllocateFile(COPY_FILE ".new", PG_BINARY_W);
	bool		written;

	written = file != NULL &&
		fprintf(file, INT64_FORMAT "\n", (int64) restored_at) > 0 &&
		fflush(file) == 0 && pg_fsync(fileno(file)) == 0;
	if (!written)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", COPY_FILE ".new"),
				 errdetail("A database whose fluxhooks worker does not start before the server is restarted does not know that it came up from a backup.")));
	if (file != NULL)
		FreeFile(file);
	if (written)
		(void) durable_rename(COPY_FILE ".new", COPY_FILE, LOG);
}

static void
copy_read_file(void)
{
	FILE	   *file = AllocateFile(COPY_FILE, PG_BINARY_R);
	int64		value;

	if (file == NULL)
		return;
	if (fscanf(file, INT64_FORMAT, &value) == 1)
		restored_at = value;
	FreeFile(file);
}

void
copy_init(void)
{
	bool		standby = access("standby.signal", F_OK) == 0;

	if (process_shared_preload_libraries_in_progress && !standby &&
		(access("recovery.signal", F_OK) == 0 || access("backup_label", F_OK) == 0))
	{
		restored_at = GetCurrentTimestamp();
		copy_write_file();
	}
	else
		copy_read_file();
}

/* ------------------------------------------------------------------ identity */

/* Run a statement with what this database is: $1 to $3, its name $4, restored_at $5. */
static uint64
copy_execute(const char *sql, int expected)
{
	Oid			types[] = {INT8OID, OIDOID, OIDOID, TEXTOID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int64GetDatum((int64) GetSystemIdentifier()),
		ObjectIdGetDatum(MyDatabaseId),
		ObjectIdGetDatum(catalog_require()->extension),
		CStringGetTextDatum(guc_instance ? guc_instance : ""),
		TimestampTzGetDatum(restored_at)
	};

	sql_execute(sql, expected, lengthof(types), types, values);
	return SPI_processed;
}

#define COPY_OWN	"((i.system_identifier, i.database, i.extension) = ($1, $2, $3))"

void
copy_remember(void)
{
	copy_execute("INSERT INTO fluxhooks_internal.instance "
				 "(system_identifier, database, extension, name, restored_at) "
				 "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", SPI_OK_INSERT);
}

/* Why this is a copy; NULL where it is none. */
static char *
copy_reason(void)
{
	copy_execute("SELECT CASE "
				 "WHEN bool_or(NOT " COPY_OWN ") THEN 'this database is a copy of another one' "
				 "WHEN $5 > '-infinity' AND bool_or(i.restored_at <> $5) THEN 'this server came up from a backup' "
				 "WHEN bool_or(i.name <> $4) THEN "
				 " format('fluxhooks.instance is \"%s\", and was \"%s\" where this database has been sending', $4, max(i.name)) "
				 "END FROM fluxhooks_internal.instance AS i", SPI_OK_SELECT);
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* From now on it is what it is here; the pause remembers that it was a copy. */
static void
copy_settle(void)
{
	copy_execute("DELETE FROM fluxhooks_internal.instance AS i WHERE NOT " COPY_OWN, SPI_OK_DELETE);
	copy_execute("UPDATE fluxhooks_internal.instance AS i SET name = $4, restored_at = $5 WHERE " COPY_OWN,
				 SPI_OK_UPDATE);
}

/*
 * Over any pause that there is: whatever is captured already is inherited,
 * even what a paused original captured for itself.
 */
static void
copy_pause(char *reason)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(reason)};

	sql_execute("INSERT INTO fluxhooks_internal.pause (copy, reason, since) "
				"VALUES (true, $1, now()) "
				"ON CONFLICT (single) DO UPDATE SET copy = true, reason = excluded.reason, since = excluded.since",
				SPI_OK_INSERT, lengthof(types), types, values);
	ereport(LOG,
			(errmsg("fluxhooks paused all webhooks of database \"%s\": %s", get_database_name(MyDatabaseId), reason),
			 errhint("Where this server is to send, a superuser runs fluxhooks.resume() in that database, or fluxhooks.take_over() if the original is gone for good.")));
}

bool
copy_check(void)
{
	char	   *reason;

	copy_remember();
	reason = copy_reason();
	if (reason == NULL)
		return false;
	copy_settle();
	FAULT_POINT("copy_settled");
	copy_pause(reason);
	FAULT_POINT("copy_paused");
	return true;
}
