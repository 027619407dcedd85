/*
 * reference.h
 *	  Roles and tables by OID that dump as names (SQL: role_reference,
 *	  table_reference).
 */
#ifndef FLUXHOOKS_REFERENCE_H
#define FLUXHOOKS_REFERENCE_H

#include "postgres.h"

/*
 * OID of a role_reference or table_reference: 0 where its name was unknown when
 * the reference was read.  The role or table may be gone since.
 */
extern Oid	reference_get_oid(Datum reference);

/* The present name, or the remembered one of what is gone; palloc'd. */
extern char *reference_role_show(Datum reference);
extern char *reference_table_show(Datum reference);

#endif
