/*
 * api.h
 *	  What the SQL functions share: acting with the rights of the extension's
 *	  owner, and webhooks as their owners may see them.
 */
#ifndef FLUXHOOKS_API_H
#define FLUXHOOKS_API_H

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "config.h"

typedef struct ApiScope
{
	Oid			caller;			/* the current user, whose rights count */
	int			security_context;
	int			guc_level;
	MemoryContext context;		/* the caller's; SPI's own goes with api_leave */
} ApiScope;

/*
 * Connect to SPI with the rights of the extension's owner, a search_path that
 * nobody can plant objects in, and a bound on waiting for locks.  An
 * error undoes it all.
 */
extern void api_enter(ApiScope *scope);
extern void api_leave(const ApiScope *scope);

/* A parameter of api_execute. */
typedef struct ApiParameter
{
	Oid			type;
	Datum		value;
	bool		isnull;
} ApiParameter;

/* Run one statement, whose results are then in SPI_tuptable; how many rows it was. */
extern uint64 api_execute(const char *sql, const ApiParameter *parameters, int n_parameters);

/* The same, seeing only what the calling statement sees. */
extern uint64 api_query(const char *sql, const ApiParameter *parameters, int n_parameters);

/* Column of a row of the last result, copied into the caller's context; 0 and *isnull for null. */
extern Datum api_datum(const ApiScope *scope, uint64 row, int column, bool *isnull);
extern int	api_int(const ApiScope *scope, uint64 row, int column);
extern char *api_text(const ApiScope *scope, uint64 row, int column);	/* NULL for null */

#define API_UUID(id)		((ApiParameter) {UUIDOID, UUIDPGetDatum(id), false})
#define API_INT(number)		((ApiParameter) {INT4OID, Int32GetDatum(number), false})
#define API_OID(oid)		((ApiParameter) {OIDOID, ObjectIdGetDatum(oid), false})
#define API_BOOL(value)		((ApiParameter) {BOOLOID, BoolGetDatum(value), false})
#define API_TEXT(string)	((ApiParameter) {TEXTOID, (string) ? CStringGetTextDatum(string) : (Datum) 0, !(string)})
#define API_JSONB(jsonb)	((ApiParameter) {JSONBOID, JsonbPGetDatum(jsonb), false})

typedef struct ApiWebhook
{
	pg_uuid_t	id;
	Oid			owner;			/* 0: missing */
	bool		deleted;
	WebhookConfig config;		/* without events */
} ApiWebhook;

/*
 * A webhook that the caller may use, inside a scope.  Of others, and of what
 * does not exist, find is false and load raises 42704.  lock: until the transaction
 * ends.
 */
extern bool api_find_webhook(const ApiScope *scope, const pg_uuid_t *id, bool lock,
							 bool deleted_too, ApiWebhook *webhook);
extern void api_load_webhook(const ApiScope *scope, const pg_uuid_t *id, bool lock,
							 bool deleted_too, ApiWebhook *webhook);

/* Begin a set of rows, the result of the function called; put them into it. */
extern Tuplestorestate *api_begin_rows(FunctionCallInfo fcinfo, TupleDesc *desc);

/*
 * Does the current user see this webhook, deleted or not, and does it see every
 * one?  For functions that views run with their reader's rights: members of
 * pg_write_all_data and pg_read_all_data, who have USAGE on every schema, can
 * call them by themselves.
 */
extern bool api_sees_webhook(const pg_uuid_t *id);
extern bool api_sees_all_webhooks(void);

/* The argument of this number, or an error (22023) where it is null. */
extern Datum api_argument(FunctionCallInfo fcinfo, int number, const char *name);

/* "550e8400-…" */
extern char *api_show_uuid(const pg_uuid_t *id);

#endif
