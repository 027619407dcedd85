/*
 * address_fuzz.c
 *	  The policy of addresses against ranges of big numbers, written down anew
 *	  from the registries.
 *
 * Input: a byte of flags, sixteen of an address, and then either networks to
 * allow (a byte of prefix length, sixteen of a base each) or, by flag, text.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "address.h"

typedef unsigned __int128 Number;

#define FLAG_IPV4		1
#define FLAG_OWN		2
#define FLAG_TEXT		4
#define NETWORKS_MAX	8

/* Not public, as anyone writes it. */
static const char *const refused_ipv4[] = {
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
	"172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"
};

/* Of what is in 2000::/3; all else is refused but for NAT64 and mapped addresses. */
static const char *const refused_ipv6[] = {
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"
};

static Number
number(const uint8_t *bytes, int size)
{
	Number		value = 0;

	for (int i = 0; i < size; i++)
		value = value << 8 | bytes[i];
	return value;
}

static bool
in_network(Number value, int width, Number base, int bits)
{
	return bits == 0 || (value >= base && (value - base) >> (width - bits) == 0);
}

static bool
in_text(Number value, int width, const char *network)
{
	char		base[64];
	uint8_t		bytes[16];
	int			bits;

	if (sscanf(network, "%63[^/]/%d", base, &bits) != 2 ||
		inet_pton(width == 32 ? AF_INET : AF_INET6, base, bytes) != 1)
		abort();
	return in_network(value, width, number(bytes, width / 8), bits);
}

static bool
public_ipv4(Number value)
{
	for (size_t i = 0; i < sizeof(refused_ipv4) / sizeof(refused_ipv4[0]); i++)
	{
		if (in_text(value, 32, refused_ipv4[i]))
			return false;
	}
	return true;
}

static bool
public_ipv6(Number value)
{
	if (in_text(value, 128, "64:ff9b::/96"))
		return public_ipv4(value & UINT32_MAX);
	if (!in_text(value, 128, "2000::/3"))
		return false;
	for (size_t i = 0; i < sizeof(refused_ipv6) / sizeof(refused_ipv6[0]); i++)
	{
		if (in_text(value, 128, refused_ipv6[i]))
			return false;
	}
	return true;
}

/* A network as the list is to have it, and appended to text. */
typedef struct Listed
{
	int			width;
	Number		base;
	int			bits;
} Listed;

static Listed
read_network(const uint8_t *data, char *text)
{
	uint8_t		bytes[16];
	Listed		listed = {.width = data[0] & 0x80 ? 32 : 128};
	int			size = listed.width / 8;
	char		address[INET6_ADDRSTRLEN];

	listed.bits = (data[0] & 0x7f) % (listed.width + 1);
	memcpy(bytes, data + 1, 16);
	for (int i = 0; i < listed.width; i++)
	{
		if (i >= listed.bits)
			bytes[i / 8] &= ~(0x80 >> i % 8);
	}
	listed.base = number(bytes, size);
	inet_ntop(listed.width == 32 ? AF_INET : AF_INET6, bytes, address, sizeof(address));
	sprintf(text + strlen(text), "%s%s/%d", text[0] ? ", " : "", address, listed.bits);
	/* a mapped network is that of the IPv4 addresses inside */
	if (listed.width == 128 && listed.bits >= 96 && in_text(listed.base, 128, "::ffff:0:0/96"))
		listed = (Listed) {.width = 32, .base = listed.base & UINT32_MAX, .bits = listed.bits - 96};
	return listed;
}

static void
fuzz_text_forms(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	char		problem[200] = "";
	struct sockaddr_storage address;
	AddressList *list = address_list_parse(text, problem, sizeof(problem));

	FUZZ_CHECK((list == NULL) == (problem[0] != '\0'), "list \"%s\", problem \"%s\"", text, problem);
	for (const char *p = problem; *p != '\0'; p++)
		FUZZ_CHECK(*p >= ' ' && *p <= '~', "unprintable in \"%s\"", problem);
	address_list_free(list);
	if (address_from_host(text, &address))
		FUZZ_CHECK(address.ss_family == AF_INET || address.ss_family == AF_INET6, "host %s", text);
	free(text);
}

static void
fuzz_policy(const uint8_t *bytes, bool ipv4, bool own, const uint8_t *rest, size_t size)
{
	struct sockaddr_storage address = {.ss_family = ipv4 ? AF_INET : AF_INET6};
	char		text[NETWORKS_MAX * 64] = "";
	char		problem[200] = "";
	Number		value = number(bytes, ipv4 ? 4 : 16);
	int			width = ipv4 ? 32 : 128;
	bool		expected;
	bool		allowed;
	const char *why = "unset";
	AddressList *list;

	if (ipv4)
		memcpy(&((struct sockaddr_in *) &address)->sin_addr, bytes, 4);
	else
		memcpy(&((struct sockaddr_in6 *) &address)->sin6_addr, bytes, 16);
	if (!ipv4 && in_text(value, 128, "::ffff:0:0/96"))
	{
		value &= UINT32_MAX;
		width = 32;
	}
	expected = !own && (width == 32 ? public_ipv4(value) : public_ipv6(value));
	for (int i = 0; i < NETWORKS_MAX && size >= 17; i++, rest += 17, size -= 17)
	{
		Listed		listed = read_network(rest, text);

		if (listed.width == width && in_network(value, width, listed.base, listed.bits))
			expected = true;
	}
	list = address_list_parse(text, problem, sizeof(problem));
	FUZZ_CHECK(list != NULL, "\"%s\": %s", text, problem);
	allowed = address_allowed((struct sockaddr *) &address, own, list, &why);
	FUZZ_CHECK(allowed == expected, "%d expected with \"%s\"; %s", expected, text, why ? why : "allowed");
	FUZZ_CHECK((why == NULL) == allowed, "a reason, or none");
	FUZZ_CHECK(address_equal((struct sockaddr *) &address, (struct sockaddr *) &address), "equal to itself");
	address_list_free(list);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] & FLAG_TEXT)
		fuzz_text_forms(data + 1, size - 1);
	else if (size >= 17)
		fuzz_policy(data + 1, (data[0] & FLAG_IPV4) != 0, (data[0] & FLAG_OWN) != 0,
					data + 17, size - 17);
	return 0;
}
