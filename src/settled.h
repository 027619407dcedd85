/*
 * settled.h
 *	  Has a delivery an attempt or a pending row, as far as the active snapshot
 *	  sees?
 */
#ifndef FLUXHOOKS_SETTLED_H
#define FLUXHOOKS_SETTLED_H

#include "fmgr.h"
#include "utils/uuid.h"

typedef struct SettledReader SettledReader;

/* For any number of questions, in the current memory context; an aborted transaction closes it, too. */
extern SettledReader *settled_open(void);
extern bool settled_has(SettledReader *reader, const pg_uuid_t *webhook_id, const pg_uuid_t *delivery_id);

/* Has it a row in pending? */
extern bool settled_is_pending(SettledReader *reader, const pg_uuid_t *delivery_id);

extern void settled_close(SettledReader *reader);

/* SQL: fluxhooks_internal.delivery_is_settled(webhook_id uuid, delivery_id uuid) RETURNS boolean */
extern PGDLLEXPORT Datum settled_sql(PG_FUNCTION_ARGS);

#endif
