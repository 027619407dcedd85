/*
 * compat.h
 *	  Every #if PG_VERSION_NUM of fluxhooks: PostgreSQL 13 to 18.
 *
 * Include after postgres.h; a file that needs one of the wrappers includes
 * the server header that the wrapped function lives in by itself.
 */
#ifndef FLUXHOOKS_COMPAT_H
#define FLUXHOOKS_COMPAT_H

#include "utils/guc.h"

/* 15 renamed EmitWarningsOnPlaceholders and made the prefix reserved. */
static inline void
compat_reserve_guc_prefix(const char *prefix)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved(prefix);
#else
	EmitWarningsOnPlaceholders(prefix);
#endif
}

#endif
