/*
 * utility.h
 *	  ProcessUtility hook: commands on databases that need the worker out of
 *	  the way, and COMMIT PREPARED, which commits events of a transaction that
 *	  is not the session's own.
 */
#ifndef FLUXHOOKS_UTILITY_H
#define FLUXHOOKS_UTILITY_H

extern void utility_init(void);

#endif
