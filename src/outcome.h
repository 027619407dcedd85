/*
 * outcome.h
 *	  What becomes of a delivery whose attempt has ended.
 */
#ifndef FLUXHOOKS_OUTCOME_H
#define FLUXHOOKS_OUTCOME_H

/* Stage what is to be recorded of those that have ended. */
extern void outcome_stage(void);

/* It has been recorded: let go of them. */
extern void outcome_apply(void);

#endif
