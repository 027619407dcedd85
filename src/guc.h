/*
 * guc.h
 *	  Every setting of fluxhooks, as CONTRACT.md's table names them.
 */
#ifndef FLUXHOOKS_GUC_H
#define FLUXHOOKS_GUC_H

/* fluxhooks.max_log_action */
typedef enum CapAction
{
	CAP_WARN,
	CAP_DROP
} CapAction;

extern bool guc_capture;				/* fluxhooks.capture */
extern bool guc_delivery;				/* fluxhooks.delivery */
extern char *guc_instance;				/* fluxhooks.instance, "" = unnamed */
extern char *guc_allowed_networks;		/* fluxhooks.allowed_networks, checked CIDR list */
extern bool guc_allow_http;				/* fluxhooks.allow_http */
extern char *guc_ca_file;				/* fluxhooks.ca_file, "" = system store */
extern char *guc_proxy;					/* fluxhooks.proxy, "" = none */
extern int	guc_max_in_flight;			/* requests */
extern int	guc_max_in_flight_per_host; /* requests */
extern int	guc_max_webhooks_per_role;
extern int	guc_max_webhooks_per_table;
extern int	guc_max_events_per_webhook; /* elements of events */
extern int	guc_max_headers;			/* per webhook */
extern int	guc_max_headers_size;		/* bytes, of a webhook's together */
extern int	guc_max_payload_size;		/* bytes */
extern int	guc_max_response_size;		/* bytes */
extern int	guc_retention;				/* seconds */
extern int	guc_max_log_size;			/* megabytes, 0 = no limit */
extern int	guc_max_log_action;			/* a CapAction */

extern void guc_init(void);

#endif
