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
#include "miscadmin.h"
#include "utils/builtins.h"

#include "copy.h"
#include "sql.h"

/* set by the postmaster, inherited by fork */
static bool from_backup = false;

void
copy_init(void)
{
	from_backup = access("recovery.signal", F_OK) == 0 ||
		(access("backup_label", F_OK) == 0 && access("standby.signal", F_OK) != 0);
}

/*
 * fresh: this has only been found out now, so that whatever is captured already
 * is inherited, even what a paused original captured for itself.
 */
static void
copy_pause(const char *reason, bool fresh)
{
	Oid			types[] = {TEXTOID, BOOLOID};
	Datum		values[] = {CStringGetTextDatum(reason), BoolGetDatum(fresh)};

	sql_execute("INSERT INTO fluxhooks_internal.pause (copy, reason, since) "
				"VALUES (true, $1, now()) "
				"ON CONFLICT (single) DO UPDATE SET copy = true, reason = excluded.reason, since = excluded.since "
				"WHERE $2 OR NOT pause.copy", SPI_OK_INSERT, lengthof(types), types, values);
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

	sql_execute(sql, expected, lengthof(types), types, values);
}

void
copy_check(void)
{
	bool		fresh;

	copy_execute("INSERT INTO fluxhooks_internal.instance (system_identifier, database) "
				 "VALUES ($1, $2) ON CONFLICT DO NOTHING", SPI_OK_INSERT);
	fresh = SPI_processed > 0;
	copy_execute("SELECT FROM fluxhooks_internal.instance WHERE system_identifier <> $1 OR database <> $2",
				 SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		copy_pause("this database is a copy of another one", fresh);
		return;
	}
	if (fresh || !from_backup)
		return;					/* a database made since is nobody's copy */
	copy_execute("UPDATE fluxhooks_internal.instance SET started_from_backup = pg_postmaster_start_time() "
				 "WHERE system_identifier = $1 AND database = $2 "
				 "AND started_from_backup IS DISTINCT FROM pg_postmaster_start_time()", SPI_OK_UPDATE);
	if (SPI_processed > 0)
		copy_pause("this server came up from a backup", true);
}
