/*
 * address.h
 *	  Which address may be called.  Pure functions: no server header, no curl.
 */
#ifndef FLUXHOOKS_ADDRESS_H
#define FLUXHOOKS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

typedef struct AddressList AddressList;

/*
 * Parse a comma-separated list of addresses and networks in CIDR notation
 * (fluxhooks.allowed_networks); NULL or empty text gives an empty list.
 * Returns a malloc'd list, or NULL with the offending entry in problem.
 */
extern AddressList *address_list_parse(const char *text, char *problem, size_t size);
extern void address_list_free(AddressList *list);

/*
 * May this resolved address be connected to?  Only public unicast addresses,
 * unless the list contains it.  IPv4 inside IPv6 (mapped, compatible, NAT64,
 * 6to4, Teredo) is judged by the IPv4 inside as well.  On false, *why is a
 * static text such as "loopback" or "private".
 */
extern bool address_allowed(const struct sockaddr *address, const AddressList *allowed,
							const char **why);

/*
 * Is the host of a URL, as written, an address (any spelling that a resolver
 * takes for a number, brackets around IPv6) or localhost?  Then *address is
 * filled, so that a policy refusal can be foretold when a webhook is created.
 * Resolves no name.
 */
extern bool address_from_host(const char *host, struct sockaddr_storage *address);

#endif
