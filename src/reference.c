/*
 * reference.c
 *	  Types role_reference and table_reference: an OID, so that a rename is
 *	  followed, and the name, so that a dump restores by name, and restores
 *	  even where the role or the table is missing.
 *
 * Input never fails: a name that leads nowhere gives OID 0 and is remembered.
 * Output gives the present name, or the remembered one of what is gone.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "reference.h"

PG_FUNCTION_INFO_V1(role_reference_in);
PG_FUNCTION_INFO_V1(role_reference_out);
PG_FUNCTION_INFO_V1(role_reference_from_oid);
PG_FUNCTION_INFO_V1(table_reference_in);
PG_FUNCTION_INFO_V1(table_reference_out);
PG_FUNCTION_INFO_V1(table_reference_from_oid);
PG_FUNCTION_INFO_V1(reference_oid);

typedef struct Reference
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	Oid			oid;
	char		name[FLEXIBLE_ARRAY_MEMBER];	/* NUL-terminated */
} Reference;

static Reference *
reference_make(Oid oid, const char *name)
{
	Size		size = offsetof(Reference, name) + strlen(name) + 1;
	Reference  *reference = palloc(size);

	SET_VARSIZE(reference, size);
	reference->oid = oid;
	strcpy(reference->name, name);
	return reference;
}

static Reference *
reference_get(Datum datum)
{
	return (Reference *) PG_DETOAST_DATUM(datum);
}

Oid
reference_get_oid(Datum reference)
{
	return reference_get(reference)->oid;
}

/* reference_oid(role_reference), reference_oid(table_reference) RETURNS oid */
Datum
reference_oid(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(reference_get_oid(PG_GETARG_DATUM(0)));
}

Datum
role_reference_in(PG_FUNCTION_ARGS)
{
	char	   *name = PG_GETARG_CSTRING(0);

	PG_RETURN_POINTER(reference_make(get_role_oid(name, true), name));
}

char *
reference_role_show(Datum datum)
{
	Reference  *reference = reference_get(datum);
	char	   *name = GetUserNameFromId(reference->oid, true);

	return name ? name : pstrdup(reference->name);
}

Datum
role_reference_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(reference_role_show(PG_GETARG_DATUM(0)));
}

Datum
role_reference_from_oid(PG_FUNCTION_ARGS)
{
	Oid			oid = PG_GETARG_OID(0);

	PG_RETURN_POINTER(reference_make(oid, GetUserNameFromId(oid, false)));
}

/* Qualified and quoted where needed; NULL for a table that is gone. */
static char *
reference_table_name(Oid oid)
{
	char	   *name = get_rel_name(oid);
	char	   *schema = name ? get_namespace_name(get_rel_namespace(oid)) : NULL;

	return schema ? quote_qualified_identifier(schema, name) : NULL;
}

static Oid
reference_find_table(const char *qualified)
{
	List	   *parts;
	Oid			schema;
	Oid			oid;
	char		kind;

	if (!SplitIdentifierString(pstrdup(qualified), '.', &parts) || list_length(parts) != 2)
		return InvalidOid;
	schema = get_namespace_oid(linitial(parts), true);
	if (!OidIsValid(schema))
		return InvalidOid;
	oid = get_relname_relid(lsecond(parts), schema);
	kind = OidIsValid(oid) ? get_rel_relkind(oid) : '\0';
	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE ? oid : InvalidOid;
}

Datum
table_reference_in(PG_FUNCTION_ARGS)
{
	char	   *name = PG_GETARG_CSTRING(0);

	PG_RETURN_POINTER(reference_make(reference_find_table(name), name));
}

char *
reference_table_show(Datum datum)
{
	Reference  *reference = reference_get(datum);
	char	   *name = reference_table_name(reference->oid);

	return name ? name : pstrdup(reference->name);
}

Datum
table_reference_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(reference_table_show(PG_GETARG_DATUM(0)));
}

Datum
table_reference_from_oid(PG_FUNCTION_ARGS)
{
	Oid			oid = PG_GETARG_OID(0);
	char	   *name = reference_table_name(oid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", oid)));
	PG_RETURN_POINTER(reference_make(oid, name));
}
