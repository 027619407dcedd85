/*
 * right.h
 *	  What a role needs to have webhooks, and which of it is missing.
 */
#ifndef FLUXHOOKS_RIGHT_H
#define FLUXHOOKS_RIGHT_H

/*
 * What keeps a role from having webhooks at all, or one on a table that there
 * is: a palloc'd sentence without a full stop; NULL where nothing does.
 * Nothing ever keeps a superuser.
 */
extern char *right_missing(Oid role);
extern char *right_missing_on(Oid role, Oid relid);

/* Does the role own the table, as PostgreSQL counts ownership? */
extern bool right_owns(Oid role, Oid relid);

/*
 * Grows whenever an answer above may have become another one, as this session
 * hears of it.
 */
extern uint64 right_changes(void);

extern void right_init(void);

#endif
