/*
 * secret.h
 *	  Writing what is secret of a webhook: secrets and header values.
 */
#ifndef FLUXHOOKS_SECRET_H
#define FLUXHOOKS_SECRET_H

#include "utils/uuid.h"

#include "config.h"

/* Does what one configuration keeps secret differ from another's? */
extern bool secret_differs(const WebhookConfig *a, const WebhookConfig *b);

/*
 * Store secret, old_secret with its expiry, and headers of a webhook whose
 * row is new in this transaction or locked by it, and no other column.
 */
extern void secret_write(const pg_uuid_t *webhook_id, const WebhookConfig *config);

#endif
