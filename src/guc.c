/*
 * guc.c
 *	  Every setting of fluxhooks.  CONTRACT.md's table is the source of names,
 *	  defaults and contexts; README.md repeats it for users.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "address.h"
#include "compat.h"
#include "guc.h"
#include "http.h"

bool		guc_capture = true;
bool		guc_delivery = true;
char	   *guc_instance = NULL;
char	   *guc_allowed_networks = NULL;
bool		guc_allow_http = true;
char	   *guc_ca_file = NULL;
char	   *guc_proxy = NULL;
int			guc_max_in_flight = 128;
int			guc_max_in_flight_per_host = 16;
int			guc_max_webhooks_per_role = 1000;
int			guc_max_webhooks_per_table = 100;
int			guc_max_events_per_webhook = 1000;
int			guc_max_headers = 64;
int			guc_max_headers_size = 64 * 1024;
int			guc_max_payload_size = 1024 * 1024;
int			guc_max_response_size = 8 * 1024;
int			guc_retention = 3 * 24 * 3600;
int			guc_max_log_size = 10 * 1024;
int			guc_max_log_action = CAP_WARN;

static const struct config_enum_entry log_actions[] = {
	{"warn", CAP_WARN, false},
	{"drop", CAP_DROP, false},
	{NULL, 0, false}
};

/*
 * A list of networks that does not parse is refused when it is set, with the
 * entry that is wrong.
 */
static bool
guc_check_networks(char **newval, void **extra, GucSource source)
{
	char		problem[256];
	AddressList *list = address_list_parse(*newval, problem, sizeof(problem));

	if (list == NULL)
	{
		GUC_check_errdetail("%s", problem);
		return false;
	}
	address_list_free(list);
	return true;
}

/* The value may hold a password: no message shows it. */
static bool
guc_check_proxy(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] == '\0' || http_proxy_valid(*newval))
		return true;
	GUC_check_errmsg("invalid value for parameter \"fluxhooks.proxy\"");
	GUC_check_errdetail("It is not the URL of an HTTP or SOCKS proxy.");
	return false;
}

static void
guc_define_delivery(void)
{
	DefineCustomBoolVariable("fluxhooks.delivery",
							 "Whether this server sends webhooks.",
							 "Off on a staging or CI server: row changes are still captured.",
							 &guc_delivery, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("fluxhooks.instance",
							   "Name of this server, equal on those that take over from one another.",
							   "A database that has been sending under another name is a copy and comes up paused.",
							   &guc_instance, "", PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("fluxhooks.allowed_networks",
							   "Networks outside the public internet that webhooks may reach.",
							   "A comma-separated list of addresses in CIDR notation, such as 127.0.0.0/8.",
							   &guc_allowed_networks, "", PGC_SIGHUP, 0,
							   guc_check_networks, NULL, NULL);
	DefineCustomBoolVariable("fluxhooks.allow_http",
							 "Whether webhooks may use plain http URLs.",
							 NULL,
							 &guc_allow_http, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("fluxhooks.ca_file",
							   "File of the certificate authorities that https endpoints are verified against.",
							   "Empty: the system's trust store.",
							   &guc_ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("fluxhooks.proxy",
							   "Outbound proxy, whose own policy then decides which addresses are reached.",
							   "Empty: none. The environment's proxy variables are ignored.",
							   &guc_proxy, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   guc_check_proxy, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_in_flight",
							"Requests under way at once, per database.",
							NULL,
							&guc_max_in_flight, 128, 1, 1000, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_in_flight_per_host",
							"Requests under way at once to one host, per database.",
							NULL,
							&guc_max_in_flight_per_host, 16, 1, 1000, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
}

/* Checked when a webhook is made or changed; those there are stay. */
static void
guc_define_limits(void)
{
	DefineCustomIntVariable("fluxhooks.max_webhooks_per_role",
							"How many webhooks a role may have.",
							"Superusers are bound as well.",
							&guc_max_webhooks_per_role, 1000, 0, 1000000, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_webhooks_per_table",
							"How many webhooks may listen to a table.",
							"Each change of a row is sent to all of them.",
							&guc_max_webhooks_per_table, 100, 0, 100000, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_events_per_webhook",
							"How many elements the events of a webhook may have.",
							NULL,
							&guc_max_events_per_webhook, 1000, 1, 100000, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_headers",
							"How many headers of its own a webhook may have.",
							NULL,
							&guc_max_headers, 64, 0, 1000, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_headers_size",
							"How long the names and values of a webhook's own headers may be together.",
							NULL,
							&guc_max_headers_size, 64 * 1024, 0, 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
}

void
guc_init(void)
{
	DefineCustomBoolVariable("fluxhooks.capture",
							 "Whether row changes of this session are captured as events.",
							 "Off for bulk loads that no webhook should hear of.",
							 &guc_capture, true, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	guc_define_delivery();
	guc_define_limits();
	DefineCustomIntVariable("fluxhooks.max_payload_size",
							"Largest body; a larger row is made to fit by leaving out its largest columns.",
							NULL,
							&guc_max_payload_size, 1024 * 1024, 1024, 256 * 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_response_size",
							"How much of an endpoint's response body is kept.",
							NULL,
							&guc_max_response_size, 8 * 1024, 0, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.retention",
							"How long finished deliveries, their payloads and attempts stay readable.",
							"Also how long a delivery may stay pending before it is cancelled.",
							&guc_retention, 3 * 24 * 3600, 1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("fluxhooks.max_log_size",
							"Size of the event log from which on fluxhooks.max_log_action is taken.",
							"Of events and attempts, with their indexes. 0: no limit.",
							&guc_max_log_size, 10 * 1024, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("fluxhooks.max_log_action",
							 "What happens while the event log is larger than fluxhooks.max_log_size.",
							 "warn: it goes on growing, and the server's log says so once. "
							 "drop: its oldest part is given up, and what was not sent of it is cancelled and counted.",
							 &guc_max_log_action, CAP_WARN, log_actions,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	compat_reserve_guc_prefix("fluxhooks");
}
