/*
 * subtransaction.h
 *	  Running something that may fail without failing the transaction.
 */
#ifndef FLUXHOOKS_SUBTRANSACTION_H
#define FLUXHOOKS_SUBTRANSACTION_H

/*
 * Call run(arg) in a subtransaction, in CurrentMemoryContext.  An error whose SQLSTATE
 * is one of those expected undoes what it did: false.  Any other error is thrown on.
 */
extern bool subtransaction_run(void (*run) (void *arg), void *arg, bool (*expected) (int sqlerrcode));

#endif
