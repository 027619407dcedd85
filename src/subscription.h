/*
 * subscription.h
 *	  Which webhooks listen to a table: a cache per backend.
 */
#ifndef FLUXHOOKS_SUBSCRIPTION_H
#define FLUXHOOKS_SUBSCRIPTION_H

#include "fmgr.h"

#include "payload.h"

typedef enum SubscriptionOperation
{
	SUBSCRIPTION_INSERT,
	SUBSCRIPTION_UPDATE,
	SUBSCRIPTION_DELETE
} SubscriptionOperation;

/*
 * Listeners that see a row change under the same name: the table's own, or
 * those of a partitioned ancestor.  They share one event.
 */
typedef struct SubscriptionGroup
{
	Oid			relid;			/* the table that is reported */
	char	   *table_schema;
	char	   *table_name;
	Datum		schema_text;	/* the same two as text */
	Datum		name_text;
	Datum		webhooks[3];	/* uuid[] by SubscriptionOperation; 0: nobody listens */
	PayloadPlan *plan;
} SubscriptionGroup;

typedef struct Subscription
{
	Oid			relid;			/* the table whose trigger fires; hash key */
	bool		valid;
	uint64		number;			/* of this content, in this backend */
	MemoryContext context;		/* owns everything below */
	int			n_groups;
	SubscriptionGroup *groups;
} Subscription;

/*
 * Who listens to this table.  Never NULL; valid until the end of the
 * transaction, whatever is invalidated meanwhile.
 */
extern const Subscription *subscription_lookup(Relation rel);

/* Trigger of the tables webhook and subscription: have every backend forget. */
extern PGDLLEXPORT Datum subscription_configuration_changed(PG_FUNCTION_ARGS);

extern void subscription_init(void);

#endif
