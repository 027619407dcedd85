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
 * (fluxhooks.allowed_networks); NULL or empty text gives an empty list.  Bits
 * beyond a prefix are refused.  Returns a malloc'd list, or NULL with a sentence
 * about the offending entry in problem.
 */
extern AddressList *address_list_parse(const char *text, char *problem, size_t size);
extern void address_list_free(AddressList *list);

/*
 * May this resolved address be connected to?  Only public unicast addresses
 * that are not the server's own (the caller knows), unless the list contains it.  Of IPv6 with IPv4 inside, mapped and NAT64
 * addresses are judged by the IPv4 inside, compatible, 6to4 and Teredo ones are
 * refused; which list entries open them, address.c says.  On false, *why is a
 * static text such as "loopback" or "private".
 */
extern bool address_allowed(const struct sockaddr *address, bool own,
							const AddressList *allowed, const char **why);

/*
 * Do both lead to the same host?  Mapped and NAT64 addresses count as the IPv4
 * inside.  False for other families.
 */
extern bool address_equal(const struct sockaddr *a, const struct sockaddr *b);

/*
 * Is the host of a URL, as written, an address (any spelling that a resolver
 * takes for a number, brackets around IPv6) or localhost?  Then *address is
 * filled, so that a policy refusal can be foretold when a webhook is created.
 * Resolves no name.
 */
extern bool address_from_host(const char *host, struct sockaddr_storage *address);

#endif
