/*
 * trigger.h
 *	  The trigger fluxhooks_capture on the tables that somebody listens to.
 */
#ifndef FLUXHOOKS_TRIGGER_H
#define FLUXHOOKS_TRIGGER_H

/*
 * All need SPI connected, the rights of the extension's owner and a lock_timeout
 * (api.c sees to that).  A lock not had in time raises 55P03 and names the
 * table.  Locks stay until the transaction ends.
 */

/*
 * Take the lock under which the two below decide.  Who calls them for several
 * tables takes it for all of these first, in the order of OIDs, so that sessions do
 * not lock crosswise.
 */
extern void trigger_reserve(Oid relid);

/*
 * After that, and before trigger_install or trigger_remove of each: take all the locks
 * that these need together.  One after the other, they would be held while another is
 * waited for, against the very transactions that are waited for.
 */
extern void trigger_reserve_to_install(const Oid *relids, int n);
extern void trigger_reserve_to_remove(const Oid *relids, int n);

/* Have the changes of this table captured; call it for every new subscription. */
extern void trigger_install(Oid relid);

/*
 * Drop the trigger of a table that lost a subscription, unless others
 * listen.  The subscription's row must be gone already.
 */
extern void trigger_remove(Oid relid);

/*
 * Before DROP EXTENSION drops all triggers: keep writers off their tables, partitions
 * too, so that none is amid a statement that needs what is dropped.  Needs no SPI.
 */
extern void trigger_lock_to_drop(void);

/*
 * ALTER TABLE parent ATTACH PARTITION partition clones the parent's trigger:
 * before it, those of the partition's own make room.
 */
extern void trigger_before_attach(Oid parent, Oid partition);

/* DETACH PARTITION drops the clones: after it, who is listened to gets one of its own. */
extern void trigger_after_detach(Oid partition);

#endif
