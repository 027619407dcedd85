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

typedef struct Catalog
{
	Oid			extension;
	Oid			schema;			/* fluxhooks_internal */
	Oid			owner;			/* of the extension: whose rights its own SQL has */
	Oid			webhook;
	Oid			subscription;
	Oid			ring;
	Oid			pending;
	Oid			pending_pkey;
	Oid			instance;
	Oid			pause;
	Oid			event_sequence;
	Oid			event[RING_SLOTS];
	Oid			event_index[RING_SLOTS];
	Oid			attempt[RING_SLOTS];
	Oid			attempt_index[RING_SLOTS];
	Oid			cursor[RING_SLOTS];
	Oid			cursor_index[RING_SLOTS];
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

extern void catalog_init(void);

#endif
