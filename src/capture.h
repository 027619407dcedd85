/*
 * capture.h
 *	  The row trigger (SQL: fluxhooks_internal.capture()).
 */
#ifndef FLUXHOOKS_CAPTURE_H
#define FLUXHOOKS_CAPTURE_H

#include "fmgr.h"

extern PGDLLEXPORT Datum capture_trigger(PG_FUNCTION_ARGS);

#endif
