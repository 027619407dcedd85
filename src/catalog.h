/*
 * catalog.h
 *	  OIDs of the extension's own objects, found once per backend and dropped
 *	  when they change.
 */
#ifndef FLUXHOOKS_CATALOG_H
#define FLUXHOOKS_CATALOG_H

#define FLUXHOOKS_VERSION	"1.0"
#define FLUXHOOKS_SCHEMA	"fluxhooks"
#define FLUXHOOKS_INTERNAL_SCHEMA	"fluxhooks_internal"
#define FLUXHOOKS_TRIGGER	"fluxhooks_capture"

#define RING_SLOTS	10			/* rows of fluxhooks_internal.ring */
#define RING_KINDS	3

typedef struct Catalog
{
	Oid			extension;
	Oid			schema;			/* fluxhooks_internal */
	Oid			user_schema;	/* fluxhooks */
	Oid			owner;			/* of the extension: whose rights its own SQL has */
	Oid			webhook;
	Oid			subscription;
	Oid			ring;
	Oid			pending;
	Oid			instance;
	Oid			pause;
	Oid			event_sequence;
} Catalog;

/*
 * The extension's objects in this database; NULL where it is not installed.
 * Everything is found through pg_extension and the schema that belongs to it,
 * so that a stranger's schema of the same name is never taken for ours.  Needs a
 * transaction.  The result is valid until the next call.
 */
extern const Catalog *catalog_get(void);

/* The same, or an error (55000) where the extension is not installed. */
extern const Catalog *catalog_require(void);

/*
 * The table of a ring (kind: as in ring.h) in a slot.  Most sessions meet few of
 * them, so each is looked up when it is first asked for.
 */
extern Oid	catalog_ring_table(int kind, int slot);

/*
 * The worker's, at the beginning of each transaction: the same as catalog_get,
 * with the extension locked against DROP EXTENSION until the transaction ends.
 * DROP EXTENSION takes that lock before any other, as the worker does, so that
 * neither waits for the other with locks that the other wants.
 */
extern const Catalog *catalog_lock(void);

/* Before DROP EXTENSION: wait for the worker's transaction, and keep the next one off. */
extern void catalog_lock_to_drop(void);

extern void catalog_init(void);

#endif
