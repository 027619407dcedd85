/*
 * address.c
 *	  Which address may be called.
 *
 * Two tables say what is not public: IANA's special-purpose registries for
 * IPv4 and IPv6, and a few addresses that only look public.  An IPv6 address
 * has to lie in 2000::/3 besides, the only block that global unicast is
 * given out from.
 *
 * What a list of allowed networks means: an entry opens exactly the addresses
 * it contains.  An IPv4-mapped IPv6 address (::ffff:a.b.c.d) is that IPv4
 * address, since the kernel sends IPv4: IPv4 entries open it, mapped entries
 * are turned into IPv4 entries, and no IPv6 entry such as ::/0 opens it.  Any
 * other address with IPv4 inside reaches a translator or a tunnel of whose far
 * side nothing is known: only an IPv6 entry opens it.
 */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define IPV4_BITS	32
#define IPV6_BITS	128
#define MAPPED_BITS 96			/* where the IPv4 address in ::ffff:0:0/96 begins */

/* An address in network byte order; IPv4 uses the first four bytes. */
typedef struct Address
{
	int			family;
	unsigned char bytes[16];
} Address;

typedef struct Network
{
	Address		base;
	int			bits;
} Network;

struct AddressList
{
	int			count;
	Network		networks[];
};

typedef struct Special
{
	int			bits;
	unsigned char bytes[16];
	const char *why;
} Special;

/* The first entry that contains an address names it. */
static const Special special_ipv4[] = {
	{32, {0, 0, 0, 0}, "unspecified"},
	{8, {0}, "this network"},
	{8, {10}, "private"},
	{10, {100, 64}, "shared address space of carriers"},
	{8, {127}, "loopback"},
	{32, {168, 63, 129, 16}, "cloud metadata"}, /* Azure's, from within */
	{32, {169, 254, 169, 254}, "cloud metadata"},
	{16, {169, 254}, "link-local"},
	{12, {172, 16}, "private"},
	{24, {192, 0, 0}, "protocol assignments"},
	{24, {192, 0, 2}, "documentation"},
	{24, {192, 88, 99}, "6to4 relay"},
	{16, {192, 168}, "private"},
	{15, {198, 18}, "benchmarking"},
	{24, {198, 51, 100}, "documentation"},
	{24, {203, 0, 113}, "documentation"},
	{4, {224}, "multicast"},
	{32, {255, 255, 255, 255}, "broadcast"},
	{4, {240}, "reserved"},
};

static const Special special_ipv6[] = {
	{128, {0}, "unspecified"},
	{128, {[15] = 1}, "loopback"},
	{96, {0}, "IPv4-compatible"},
	{48, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, "local NAT64"},
	{64, {0x01, 0x00}, "discard-only"},
	{32, {0x20, 0x01}, "Teredo"},
	{48, {0x20, 0x01, 0x00, 0x02}, "benchmarking"},
	{23, {0x20, 0x01}, "protocol assignments"},
	{32, {0x20, 0x01, 0x0d, 0xb8}, "documentation"},
	{16, {0x20, 0x02}, "6to4"},
	{20, {0x3f, 0xff}, "documentation"},
	{16, {0x5f, 0x00}, "segment routing"},
	{128, {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, "cloud metadata"},
	{7, {0xfc}, "private"},
	{10, {0xfe, 0x80}, "link-local"},
	{10, {0xfe, 0xc0}, "site-local"},
	{8, {0xff}, "multicast"},
};

static const unsigned char mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};
static const unsigned char nat64_prefix[12] = {0x00, 0x64, 0xff, 0x9b};
static const unsigned char global_unicast[1] = {0x20};

static bool
address_in(const unsigned char *bytes, const unsigned char *base, int bits)
{
	int			whole = bits / 8;
	int			rest = bits % 8;

	if (memcmp(bytes, base, whole) != 0)
		return false;
	return rest == 0 || ((bytes[whole] ^ base[whole]) >> (8 - rest)) == 0;
}

static void
address_set(Address *address, int family, const void *bytes)
{
	memset(address, 0, sizeof(*address));
	address->family = family;
	memcpy(address->bytes, bytes, family == AF_INET ? 4 : 16);
}

/* An address with this prefix becomes the IPv4 address behind it. */
static bool
address_unwrap(Address *address, const unsigned char prefix[12])
{
	unsigned char inner[4];

	if (address->family != AF_INET6 || memcmp(address->bytes, prefix, 12) != 0)
		return false;
	memcpy(inner, address->bytes + 12, sizeof(inner));
	address_set(address, AF_INET, inner);
	return true;
}

static bool
address_from_sockaddr(const struct sockaddr *from, Address *address)
{
	switch (from->sa_family)
	{
		case AF_INET:
			address_set(address, AF_INET, &((const struct sockaddr_in *) from)->sin_addr);
			return true;
		case AF_INET6:
			address_set(address, AF_INET6, &((const struct sockaddr_in6 *) from)->sin6_addr);
			address_unwrap(address, mapped_prefix);
			return true;
		default:
			return false;
	}
}

/* Why these bytes are not public, or NULL. */
static const char *
address_special(const unsigned char *bytes, const Special *table, size_t count)
{
	size_t		i;

	for (i = 0; i < count; i++)
	{
		if (address_in(bytes, table[i].bytes, table[i].bits))
			return table[i].why;
	}
	return NULL;
}

static const char *
address_special_ipv4(const unsigned char *bytes)
{
	return address_special(bytes, special_ipv4,
						   sizeof(special_ipv4) / sizeof(special_ipv4[0]));
}

static const char *
address_special_ipv6(const unsigned char *bytes)
{
	const char *why;

	if (memcmp(bytes, nat64_prefix, sizeof(nat64_prefix)) == 0)
		return address_special_ipv4(bytes + sizeof(nat64_prefix));
	why = address_special(bytes, special_ipv6,
						  sizeof(special_ipv6) / sizeof(special_ipv6[0]));
	if (why == NULL && !address_in(bytes, global_unicast, 3))
		why = "not global unicast";
	return why;
}

bool
address_allowed(const struct sockaddr *address, bool own,
				const AddressList *allowed, const char **why)
{
	Address		judged;
	int			i;

	if (!address_from_sockaddr(address, &judged))
	{
		*why = "neither IPv4 nor IPv6";
		return false;
	}
	*why = judged.family == AF_INET ? address_special_ipv4(judged.bytes)
		: address_special_ipv6(judged.bytes);
	if (*why == NULL && own)
		*why = "this server itself";
	if (*why == NULL)
		return true;
	for (i = 0; allowed != NULL && i < allowed->count; i++)
	{
		const Network *network = &allowed->networks[i];

		if (network->base.family == judged.family &&
			address_in(judged.bytes, network->base.bytes, network->bits))
		{
			*why = NULL;
			return true;
		}
	}
	return false;
}

bool
address_equal(const struct sockaddr *a, const struct sockaddr *b)
{
	Address		x;
	Address		y;

	if (!address_from_sockaddr(a, &x) || !address_from_sockaddr(b, &y))
		return false;
	address_unwrap(&x, nat64_prefix);
	address_unwrap(&y, nat64_prefix);
	return x.family == y.family && memcmp(x.bytes, y.bytes, sizeof(x.bytes)) == 0;
}

/* Clear what lies beyond the prefix; was anything set there? */
static bool
network_mask(Network *network)
{
	int			size = network->base.family == AF_INET ? 4 : 16;
	bool		cleared = false;
	int			i;

	for (i = 0; i < size; i++)
	{
		int			keep = network->bits - i * 8;
		unsigned char mask = keep >= 8 ? 0xff : keep <= 0 ? 0 : 0xff << (8 - keep);

		if (network->base.bytes[i] & ~mask)
			cleared = true;
		network->base.bytes[i] &= mask;
	}
	return cleared;
}

/* A prefix length in plain decimal digits, or -1. */
static int
network_prefix(const char *text, int max)
{
	int			bits = 0;

	if (*text == '\0' || (text[0] == '0' && text[1] != '\0'))
		return -1;
	for (; *text != '\0'; text++)
	{
		if (*text < '0' || *text > '9')
			return -1;
		bits = bits * 10 + (*text - '0');
		if (bits > max)
			return -1;
	}
	return bits;
}

/* Parse one entry, which is changed; false with a sentence in problem. */
static bool
network_parse(char *entry, Network *network, char *problem, size_t size)
{
	char	   *slash = strchr(entry, '/');
	unsigned char bytes[16];
	int			family;
	int			max;

	if (slash != NULL)
		*slash = '\0';
	family = strchr(entry, ':') != NULL ? AF_INET6 : AF_INET;
	if (inet_pton(family, entry, bytes) != 1)
	{
		snprintf(problem, size, "\"%s\" is not an IPv4 or IPv6 address.", entry);
		return false;
	}
	address_set(&network->base, family, bytes);
	max = family == AF_INET ? IPV4_BITS : IPV6_BITS;
	network->bits = slash == NULL ? max : network_prefix(slash + 1, max);
	if (network->bits < 0)
	{
		snprintf(problem, size, "\"%s/%s\" needs a prefix length from 0 to %d.",
				 entry, slash + 1, max);
		return false;
	}
	if (network_mask(network))
	{
		char		masked[INET6_ADDRSTRLEN];

		inet_ntop(family, network->base.bytes, masked, sizeof(masked));
		snprintf(problem, size, "\"%s/%d\" has bits set beyond its prefix; the network is %s/%d.",
				 entry, network->bits, masked, network->bits);
		return false;
	}
	if (network->bits >= MAPPED_BITS && address_unwrap(&network->base, mapped_prefix))
		network->bits -= MAPPED_BITS;
	return true;
}

/*
 * Copy the entry that begins at text into entry, trimmed and printable (it may
 * be quoted in a message); returns what follows it, NULL at the end of the list.
 */
static const char *
list_entry(const char *text, char *entry, size_t size)
{
	size_t		length = strcspn(text, ",");
	const char *rest = text[length] == ',' ? text + length + 1 : NULL;
	size_t		i;

	while (length > 0 && strchr(" \t\r\n", *text) != NULL)
	{
		text++;
		length--;
	}
	while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
		length--;
	if (length >= size)
		length = size - 1;
	for (i = 0; i < length; i++)
		entry[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	entry[length] = '\0';
	return rest;
}

AddressList *
address_list_parse(const char *text, char *problem, size_t size)
{
	AddressList *list;
	size_t		entries = 1;
	const char *at;

	if (text == NULL)
		text = "";
	for (at = text; (at = strchr(at, ',')) != NULL; at++)
		entries++;
	list = malloc(sizeof(AddressList) + entries * sizeof(Network));
	if (list == NULL)
	{
		snprintf(problem, size, "Out of memory.");
		return NULL;
	}
	list->count = 0;
	if (text[strspn(text, " \t\r\n")] == '\0')
		return list;
	for (at = text; at != NULL;)
	{
		char		entry[80];	/* longer than any valid one */

		at = list_entry(at, entry, sizeof(entry));
		if (entry[0] == '\0')
			snprintf(problem, size, "The list has an empty entry.");
		if (entry[0] == '\0' ||
			!network_parse(entry, &list->networks[list->count], problem, size))
		{
			free(list);
			return NULL;
		}
		list->count++;
	}
	return list;
}

void
address_list_free(AddressList *list)
{
	free(list);
}

static bool
host_is_localhost(const char *host, size_t length)
{
	static const char name[] = "localhost";
	size_t		name_length = sizeof(name) - 1;

	if (length < name_length ||
		strncasecmp(host + length - name_length, name, name_length) != 0)
		return false;
	return length == name_length || host[length - name_length - 1] == '.';
}

bool
address_from_host(const char *host, struct sockaddr_storage *address)
{
	struct sockaddr_in *ipv4 = (struct sockaddr_in *) address;
	struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *) address;
	size_t		length = strlen(host);
	char		copy[256];

	if (length == 0 || length >= sizeof(copy) || strpbrk(host, " \t\r\n\v\f") != NULL)
		return false;
	if (host[0] == '[' && host[length - 1] == ']')
	{
		host++;
		length -= 2;
	}
	memcpy(copy, host, length);
	copy[length] = '\0';
	memset(address, 0, sizeof(*address));
	if (strchr(copy, ':') != NULL)
	{
		copy[strcspn(copy, "%")] = '\0';	/* a zone names an interface */
		ipv6->sin6_family = AF_INET6;
		return inet_pton(AF_INET6, copy, &ipv6->sin6_addr) == 1;
	}
	if (length > 1 && copy[length - 1] == '.')
		copy[--length] = '\0';
	ipv4->sin_family = AF_INET;
	if (host_is_localhost(copy, length))
	{
		ipv4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return true;
	}
	return inet_aton(copy, &ipv4->sin_addr) != 0;
}
