/*
 * webhook.h
 *	  The configuration of all webhooks, as the worker's lanes need it.
 */
#ifndef FLUXHOOKS_WEBHOOK_H
#define FLUXHOOKS_WEBHOOK_H

/*
 * Read fluxhooks_internal.webhook into the lanes, in the present transaction
 * with SPI connected.  Lanes of webhooks that are gone stop sending.
 */
extern void webhook_load(void);

#endif
