/*
 * cursor.h
 *	  How far the worker has read, kept in the cursor ring: each row says it
 *	  all, the one with the greatest number counts.
 */
#ifndef FLUXHOOKS_CURSOR_H
#define FLUXHOOKS_CURSOR_H

#include "window.h"

/*
 * Everything that last sees is settled; where next is not NULL, also the
 * events of the window between the two up to position.
 */
typedef struct Cursor
{
	int64		number;
	LogSnapshot *last;
	LogSnapshot *next;
	LogPosition position;
} Cursor;

/* The newest one, palloc'd; an error when there is none. */
extern Cursor *cursor_load(void);

/* Append it under the next number, which cursor->number becomes. */
extern void cursor_append(Cursor *cursor);

#endif
