/*
 * header.h
 *	  Which header lines a webhook may add to its requests.  Pure functions: no
 *	  server header.
 */
#ifndef FLUXHOOKS_HEADER_H
#define FLUXHOOKS_HEADER_H

#include <stdbool.h>

/* A token as RFC 9110 has it: what HTTP allows as a name. */
extern bool header_name_valid(const char *name);

/*
 * Does it belong to the request itself (CONTRACT.md, "reserved header")?  In any
 * spelling of upper and lower case.
 */
extern bool header_name_reserved(const char *name);

/* Bytes below space and DEL: where there is one, a line may end before its end. */
extern bool header_has_control(const char *text);

#endif
