/*
 * address_test.c
 *	  Cases for src/address.c: both ends of every block that is not public and
 *	  the addresses just outside, what a list opens, and spellings of hosts.
 */
#include "address.h"
#include "tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

static struct sockaddr_storage
make_address(const char *text)
{
	struct sockaddr_storage address;
	struct sockaddr_in *ipv4 = (struct sockaddr_in *) &address;
	struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *) &address;

	memset(&address, 0, sizeof(address));
	if (inet_pton(AF_INET, text, &ipv4->sin_addr) == 1)
		address.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &ipv6->sin6_addr) == 1)
		address.ss_family = AF_INET6;
	else
	{
		printf("Bail out! the test itself has a bad address: %s\n", text);
		exit(1);
	}
	return address;
}

/* Judge text; expected is NULL for allowed, else the reason. */
static void
check_judged(const char *text, const AddressList *list, const char *expected,
			 const char *with)
{
	struct sockaddr_storage address = make_address(text);
	const char *why = "unset";
	bool		allowed = address_allowed((struct sockaddr *) &address, false, list, &why);
	bool		right = expected == NULL ? allowed && why == NULL
		: !allowed && why != NULL && strcmp(why, expected) == 0;

	if (!ok(right, "%s%s is %s", text, with, expected ? expected : "allowed"))
		printf("#   got %s\n", why ? why : "allowed");
}

static const struct
{
	const char *address;
	const char *why;			/* NULL: public */
}			judged[] = {
	/* IPv4: both ends of each block, and the neighbours outside */
	{"0.0.0.0", "unspecified"}, {"0.0.0.1", "this network"}, {"0.255.255.255", "this network"},
	{"1.0.0.0", NULL}, {"1.1.1.1", NULL}, {"8.8.8.8", NULL}, {"9.255.255.255", NULL},
	{"10.0.0.0", "private"}, {"10.1.2.3", "private"}, {"10.255.255.255", "private"},
	{"11.0.0.0", NULL}, {"100.63.255.255", NULL},
	{"100.64.0.0", "shared address space of carriers"},
	{"100.100.100.200", "shared address space of carriers"},
	{"100.127.255.255", "shared address space of carriers"}, {"100.128.0.0", NULL},
	{"126.255.255.255", NULL}, {"127.0.0.0", "loopback"}, {"127.0.0.1", "loopback"},
	{"127.255.255.255", "loopback"}, {"128.0.0.0", NULL},
	{"168.63.129.15", NULL}, {"168.63.129.16", "cloud metadata"}, {"168.63.129.17", NULL},
	{"169.253.255.255", NULL}, {"169.254.0.0", "link-local"},
	{"169.254.169.253", "link-local"}, {"169.254.169.254", "cloud metadata"},
	{"169.254.169.255", "link-local"}, {"169.254.170.2", "link-local"},
	{"169.254.255.255", "link-local"}, {"169.255.0.0", NULL},
	{"172.15.255.255", NULL}, {"172.16.0.0", "private"}, {"172.31.255.255", "private"},
	{"172.32.0.0", NULL}, {"191.255.255.255", NULL},
	{"192.0.0.0", "protocol assignments"}, {"192.0.0.192", "protocol assignments"},
	{"192.0.0.255", "protocol assignments"}, {"192.0.1.0", NULL}, {"192.0.1.255", NULL},
	{"192.0.2.0", "documentation"}, {"192.0.2.255", "documentation"}, {"192.0.3.0", NULL},
	{"192.88.98.255", NULL}, {"192.88.99.0", "6to4 relay"}, {"192.88.99.255", "6to4 relay"},
	{"192.88.100.0", NULL}, {"192.167.255.255", NULL}, {"192.168.0.0", "private"},
	{"192.168.255.255", "private"}, {"192.169.0.0", NULL}, {"198.17.255.255", NULL},
	{"198.18.0.0", "benchmarking"}, {"198.19.255.255", "benchmarking"}, {"198.20.0.0", NULL},
	{"198.51.99.255", NULL}, {"198.51.100.0", "documentation"},
	{"198.51.100.255", "documentation"}, {"198.51.101.0", NULL}, {"203.0.112.255", NULL},
	{"203.0.113.0", "documentation"}, {"203.0.113.255", "documentation"}, {"203.0.114.0", NULL},
	{"223.255.255.255", NULL}, {"224.0.0.0", "multicast"}, {"224.0.0.1", "multicast"},
	{"239.255.255.255", "multicast"}, {"240.0.0.0", "reserved"}, {"255.255.255.254", "reserved"},
	{"255.255.255.255", "broadcast"},
	/* IPv6 */
	{"::", "unspecified"}, {"::1", "loopback"}, {"::2", "IPv4-compatible"},
	{"::127.0.0.1", "IPv4-compatible"}, {"::8.8.8.8", "IPv4-compatible"},
	{"::ffff:ffff", "IPv4-compatible"}, {"::1:0:0", "not global unicast"},
	{"::ffff:0:8.8.8.8", "not global unicast"}, {"::ffff:0:127.0.0.1", "not global unicast"},
	{"::fffe:8.8.8.8", "not global unicast"},
	{"64:ff9b:0:1::1", "not global unicast"}, {"64:ff9a::8.8.8.8", "not global unicast"},
	{"64:ff9b:1::", "local NAT64"}, {"64:ff9b:1::8.8.8.8", "local NAT64"},
	{"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "local NAT64"}, {"64:ff9b:2::", "not global unicast"},
	{"100::", "discard-only"}, {"100::ffff:ffff:ffff:ffff", "discard-only"},
	{"100:0:0:1::", "not global unicast"}, {"1fff:ffff::", "not global unicast"},
	{"2000::", NULL}, {"2000:ffff::", NULL}, {"2001::", "Teredo"},
	{"2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"},
	{"2001:0:4136:e378:8000:63bf:80ff:fffe", "Teredo"},
	{"2001:1::1", "protocol assignments"}, {"2001:2::", "benchmarking"},
	{"2001:2:0:ffff::", "benchmarking"}, {"2001:2:1::", "protocol assignments"},
	{"2001:3::1", "protocol assignments"}, {"2001:10::1", "protocol assignments"},
	{"2001:20::1", "protocol assignments"},
	{"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "protocol assignments"}, {"2001:200::", NULL},
	{"2001:4860:4860::8888", NULL}, {"2001:db7:ffff::", NULL}, {"2001:db8::", "documentation"},
	{"2001:db8:ffff:ffff::1", "documentation"}, {"2001:db9::", NULL}, {"2001:ffff::", NULL},
	{"2002::", "6to4"}, {"2002:7f00:1::", "6to4"}, {"2002:808:808::1", "6to4"},
	{"2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"}, {"2003::", NULL},
	{"2606:4700:4700::1111", NULL}, {"2a00:1450:4001:81b::200e", NULL}, {"3ffe::1", NULL},
	{"3fff::", "documentation"}, {"3fff:fff:ffff::", "documentation"}, {"3fff:1000::", NULL},
	{"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL}, {"4000::", "not global unicast"},
	{"5eff:ffff::", "not global unicast"}, {"5f00::", "segment routing"},
	{"5f00:ffff::1", "segment routing"}, {"5f01::", "not global unicast"},
	{"8000::1", "not global unicast"}, {"e000::", "not global unicast"},
	{"fbff:ffff::", "not global unicast"}, {"fc00::", "private"}, {"fd12:3456:789a::1", "private"},
	{"fd00:ec2::254", "cloud metadata"}, {"fd00:ec2::253", "private"},
	{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"}, {"fe00::", "not global unicast"},
	{"fe7f:ffff::", "not global unicast"}, {"fe80::", "link-local"}, {"fe80::1", "link-local"},
	{"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"}, {"fec0::", "site-local"},
	{"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local"}, {"ff00::", "multicast"},
	{"ff02::1", "multicast"}, {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"},
};

/* Every IPv4 case again, inside the two IPv6 forms that are judged by it. */
static void
test_judged(void)
{
	size_t		i;

	for (i = 0; i < sizeof(judged) / sizeof(judged[0]); i++)
	{
		char		inside[64];

		check_judged(judged[i].address, NULL, judged[i].why, "");
		if (strchr(judged[i].address, ':') != NULL)
			continue;
		snprintf(inside, sizeof(inside), "::ffff:%s", judged[i].address);
		check_judged(inside, NULL, judged[i].why, "");
		snprintf(inside, sizeof(inside), "64:ff9b::%s", judged[i].address);
		check_judged(inside, NULL, judged[i].why, "");
	}
}

/* The server's own addresses, which only a list opens, however public they are. */
static void
test_own(void)
{
	static const char *const equal[][2] = {
		{"8.8.8.8", "8.8.8.8"}, {"8.8.8.8", "::ffff:8.8.8.8"}, {"::ffff:8.8.8.8", "8.8.8.8"},
		{"8.8.8.8", "64:ff9b::8.8.8.8"}, {"2600::1", "2600::1"}
	};
	static const char *const different[][2] = {
		{"8.8.8.8", "8.8.8.9"}, {"8.8.8.8", "::8.8.8.8"}, {"2600::1", "2600::2"},
		{"0.0.0.0", "::"}, {"8.8.8.8", "64:ff9b:1::8.8.8.8"}
	};
	struct sockaddr_storage own = make_address("8.8.8.8");
	struct sockaddr_storage other;
	struct sockaddr local = {.sa_family = AF_UNIX};
	AddressList *list = address_list_parse("8.8.8.8", NULL, 0);
	const char *why;
	size_t		i;

	ok(!address_allowed((struct sockaddr *) &own, true, NULL, &why), "a public address of the server");
	is_string(why, "this server itself", "says so");
	ok(address_allowed((struct sockaddr *) &own, true, list, &why) && why == NULL, "unless it is listed");
	own = make_address("10.0.0.1");
	ok(!address_allowed((struct sockaddr *) &own, true, list, &why), "a private address of the server");
	is_string(why, "private", "is private first");
	for (i = 0; i < sizeof(equal) / sizeof(equal[0]); i++)
	{
		own = make_address(equal[i][0]);
		other = make_address(equal[i][1]);
		ok(address_equal((struct sockaddr *) &own, (struct sockaddr *) &other), "%s is %s",
		   equal[i][0], equal[i][1]);
	}
	for (i = 0; i < sizeof(different) / sizeof(different[0]); i++)
	{
		own = make_address(different[i][0]);
		other = make_address(different[i][1]);
		ok(!address_equal((struct sockaddr *) &own, (struct sockaddr *) &other), "%s is not %s",
		   different[i][0], different[i][1]);
	}
	ok(!address_equal((struct sockaddr *) &own, &local) && !address_equal(&local, &local),
	   "a local socket is no address");
	address_list_free(list);
}

static void
test_other_families(void)
{
	struct sockaddr address = {.sa_family = AF_UNIX};
	AddressList *list = address_list_parse("0.0.0.0/0, ::/0", NULL, 0);
	const char *why = NULL;

	ok(!address_allowed(&address, false, NULL, &why) && why != NULL, "a local socket is refused");
	why = NULL;
	ok(!address_allowed(&address, false, list, &why) && why != NULL,
	   "a local socket is refused whatever is allowed");
	address_list_free(list);
}

static const struct
{
	const char *list;
	const char *address;
	const char *why;
}			listed[] = {
	{"", "127.0.0.1", "loopback"},
	{"   ", "127.0.0.1", "loopback"},
	{"", "8.8.8.8", NULL},
	{"127.0.0.0/8", "127.0.0.1", NULL},
	{"127.0.0.0/8", "127.255.255.255", NULL},
	{"127.0.0.0/8", "128.0.0.1", NULL},
	{"127.0.0.0/8", "10.0.0.1", "private"},
	{"127.0.0.0/8", "::1", "loopback"},
	{"127.0.0.0/8", "8.8.8.8", NULL},
	{"127.0.0.1", "127.0.0.1", NULL},
	{"127.0.0.1", "127.0.0.2", "loopback"},
	{"127.0.0.1/32", "127.0.0.0", "loopback"},
	{"10.0.0.0/8", "10.255.255.255", NULL},
	{"10.20.0.0/15", "10.21.255.255", NULL},
	{"10.20.0.0/15", "10.22.0.0", "private"},
	{"10.20.0.0/15", "10.19.255.255", "private"},
	{"192.168.1.128/25", "192.168.1.128", NULL},
	{"192.168.1.128/25", "192.168.1.127", "private"},
	{"192.168.1.4/30", "192.168.1.7", NULL},
	{"192.168.1.4/30", "192.168.1.8", "private"},
	{"192.168.1.4/31", "192.168.1.5", NULL},
	{"192.168.1.4/31", "192.168.1.6", "private"},
	{"10.0.0.0/8,172.16.0.0/12,192.168.0.0/16", "172.31.0.1", NULL},
	{"10.0.0.0/8,172.16.0.0/12,192.168.0.0/16", "192.168.9.9", NULL},
	{"10.0.0.0/8,172.16.0.0/12,192.168.0.0/16", "169.254.169.254", "cloud metadata"},
	{" 10.0.0.0/8 ,\t172.16.0.0/12 ", "172.16.0.1", NULL},
	{"169.254.169.254", "169.254.169.254", NULL},
	{"168.63.129.16", "168.63.129.16", NULL},
	{"224.0.0.0/4", "239.1.2.3", NULL},
	{"0.0.0.0/0", "127.0.0.1", NULL},
	{"0.0.0.0/0", "255.255.255.255", NULL},
	{"0.0.0.0/0", "::1", "loopback"},
	{"0.0.0.0/0", "fd00::1", "private"},
	{"0.0.0.0/1", "127.0.0.1", NULL},
	{"0.0.0.0/1", "192.168.0.1", "private"},
	{"0.0.0.0", "0.0.0.0", NULL},
	{"0.0.0.0", "127.0.0.1", "loopback"},
	{"::1", "::1", NULL},
	{"::1", "127.0.0.1", "loopback"},
	{"::1/128", "::2", "IPv4-compatible"},
	{"fd00::/8", "fd12::1", NULL},
	{"fd00::/8", "fc00::1", "private"},
	{"fd12:3456::/33", "fd12:3456:7fff::1", NULL},
	{"fd12:3456::/33", "fd12:3456:8000::1", "private"},
	{"FD00::/8", "fd12::1", NULL},
	{"fe80::/10", "fe80::1", NULL},
	{"2001:db8::/32", "2001:db8::1", NULL},
	{"::/0", "::1", NULL},
	{"::/0", "fd00::1", NULL},
	{"::/0", "10.0.0.1", "private"},
	/* a mapped address is its IPv4 address, in the list as on the wire */
	{"127.0.0.0/8", "::ffff:127.0.0.1", NULL},
	{"10.0.0.0/8", "::ffff:127.0.0.1", "loopback"},
	{"::/0", "::ffff:127.0.0.1", "loopback"},
	{"::ffff:127.0.0.1", "127.0.0.1", NULL},
	{"::ffff:127.0.0.1", "::ffff:127.0.0.1", NULL},
	{"::ffff:127.0.0.1", "127.0.0.2", "loopback"},
	{"::ffff:127.0.0.0/104", "127.9.9.9", NULL},
	{"::ffff:127.0.0.0/104", "10.0.0.1", "private"},
	{"::ffff:0:0/96", "10.0.0.1", NULL},
	{"::ffff:0:0/96", "::1", "loopback"},
	/* other addresses with IPv4 inside: by IPv6 entries only */
	{"10.0.0.0/8", "64:ff9b::10.0.0.1", "private"},
	{"64:ff9b::/96", "64:ff9b::10.0.0.1", NULL},
	{"64:ff9b::10.0.0.0/104", "64:ff9b::10.0.0.1", NULL},
	{"64:ff9b::10.0.0.0/104", "64:ff9b::127.0.0.1", "loopback"},
	{"64:ff9b::10.0.0.0/104", "10.0.0.1", "private"},
	{"64:ff9b:1::/48", "64:ff9b:1::8.8.8.8", NULL},
	{"127.0.0.0/8", "::127.0.0.1", "IPv4-compatible"},
	{"127.0.0.0/8", "2002:7f00:1::", "6to4"},
	{"2002::/16", "2002:7f00:1::", NULL},
	{"2001::/32", "2001:0:4136:e378:8000:63bf:80ff:fffe", NULL},
};

static void
test_listed(void)
{
	size_t		i;

	for (i = 0; i < sizeof(listed) / sizeof(listed[0]); i++)
	{
		char		problem[256] = "";
		char		with[128];
		AddressList *list = address_list_parse(listed[i].list, problem, sizeof(problem));

		if (!ok(list != NULL, "list \"%s\" parses", listed[i].list))
		{
			printf("#   %s\n", problem);
			continue;
		}
		snprintf(with, sizeof(with), " with \"%s\"", listed[i].list);
		check_judged(listed[i].address, list, listed[i].why, with);
		address_list_free(list);
	}
}

static const struct
{
	const char *list;
	const char *problem;
}			bad_lists[] = {
	{"localhost", "\"localhost\" is not an IPv4 or IPv6 address."},
	{"127.0.0", "\"127.0.0\" is not an IPv4 or IPv6 address."},
	{"127", "\"127\" is not an IPv4 or IPv6 address."},
	{"127/8", "\"127\" is not an IPv4 or IPv6 address."},
	{"127.0.0.256", "\"127.0.0.256\" is not an IPv4 or IPv6 address."},
	{"0x7f.0.0.1", "\"0x7f.0.0.1\" is not an IPv4 or IPv6 address."},
	{"[::1]", "\"[::1]\" is not an IPv4 or IPv6 address."},
	{"fe80::1%eth0", "\"fe80::1%eth0\" is not an IPv4 or IPv6 address."},
	{"::1::", "\"::1::\" is not an IPv4 or IPv6 address."},
	{"10.0.0.0/8 172.16.0.0/12", "\"10.0.0.0/8 172.16.0.0/12\" needs a prefix length from 0 to 32."},
	{"10.0.0.0/33", "\"10.0.0.0/33\" needs a prefix length from 0 to 32."},
	{"10.0.0.0/-1", "\"10.0.0.0/-1\" needs a prefix length from 0 to 32."},
	{"10.0.0.0/", "\"10.0.0.0/\" needs a prefix length from 0 to 32."},
	{"10.0.0.0/08", "\"10.0.0.0/08\" needs a prefix length from 0 to 32."},
	{"10.0.0.0/8/8", "\"10.0.0.0/8/8\" needs a prefix length from 0 to 32."},
	{"10.0.0.0/255.0.0.0", "\"10.0.0.0/255.0.0.0\" needs a prefix length from 0 to 32."},
	{"10.0.0.0/4294967304", "\"10.0.0.0/4294967304\" needs a prefix length from 0 to 32."},
	{"::1/129", "\"::1/129\" needs a prefix length from 0 to 128."},
	{"/8", "\"\" is not an IPv4 or IPv6 address."},
	{"10.0.0.1/8", "\"10.0.0.1/8\" has bits set beyond its prefix; the network is 10.0.0.0/8."},
	{"192.168.1.129/25", "\"192.168.1.129/25\" has bits set beyond its prefix; "
	"the network is 192.168.1.128/25."},
	{"10.0.0.0/0", "\"10.0.0.0/0\" has bits set beyond its prefix; the network is 0.0.0.0/0."},
	{"fd00::1/8", "\"fd00::1/8\" has bits set beyond its prefix; the network is fd00::/8."},
	{"::ffff:127.0.0.1/104", "\"::ffff:127.0.0.1/104\" has bits set beyond its prefix; "
	"the network is ::ffff:127.0.0.0/104."},
	{"::ffff:0:0/95", "\"::ffff:0:0/95\" has bits set beyond its prefix; "
	"the network is ::fffe:0:0/95."},
	{"10.0.0.0/8,", "The list has an empty entry."},
	{",10.0.0.0/8", "The list has an empty entry."},
	{"10.0.0.0/8,,::1", "The list has an empty entry."},
	{"10.0.0.0/8, ,::1", "The list has an empty entry."},
	{",", "The list has an empty entry."},
	{"10.0.0.0/8,bad,::1", "\"bad\" is not an IPv4 or IPv6 address."},
	{"10.0.0.0/8;::1", "\"10.0.0.0/8;::1\" needs a prefix length from 0 to 32."},
	{"b\xc3\xa4" "d\n!", "\"b??d?!\" is not an IPv4 or IPv6 address."},
};

static void
test_bad_lists(void)
{
	char		problem[256];
	char		tiny[8];
	char		huge[4096];
	size_t		i;

	for (i = 0; i < sizeof(bad_lists) / sizeof(bad_lists[0]); i++)
	{
		AddressList *list;

		strcpy(problem, "unset");
		list = address_list_parse(bad_lists[i].list, problem, sizeof(problem));
		ok(list == NULL, "bad list %zu is refused", i);
		is_string(problem, bad_lists[i].problem, "with its reason");
		address_list_free(list);
	}
	memset(huge, '1', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	ok(address_list_parse(huge, problem, sizeof(problem)) == NULL && strlen(problem) < 200,
	   "an entry of 4,095 bytes is refused");
	ok(address_list_parse("localhost", tiny, sizeof(tiny)) == NULL &&
	   strcmp(tiny, "\"localh") == 0, "a problem is cut to its buffer");
}

static void
test_long_list(void)
{
	char		text[20000];
	size_t		length = 0;
	AddressList *list;
	int			i;

	for (i = 0; i < 1000; i++)
		length += snprintf(text + length, sizeof(text) - length, "%s10.%d.%d.0/24",
						   i ? "," : "", i / 256, i % 256);
	list = address_list_parse(text, NULL, 0);
	ok(list != NULL, "a list of 1,000 networks parses");
	check_judged("10.3.231.9", list, NULL, " with 1,000 networks");
	check_judged("10.3.232.9", list, "private", " with 1,000 networks");
	address_list_free(list);
	list = address_list_parse(NULL, NULL, 0);
	ok(list != NULL, "no list is an empty list");
	check_judged("10.3.231.9", list, "private", " with no list");
	address_list_free(list);
	address_list_free(NULL);
}

static const struct
{
	const char *host;
	const char *address;		/* NULL: a name */
}			hosts[] = {
	{"127.0.0.1", "127.0.0.1"}, {"8.8.8.8", "8.8.8.8"}, {"127.0.0.1.", "127.0.0.1"},
	{"127.1", "127.0.0.1"}, {"127.0.1", "127.0.0.1"}, {"127.1.", "127.0.0.1"},
	{"2130706433", "127.0.0.1"}, {"2130706433.", "127.0.0.1"}, {"0", "0.0.0.0"},
	{"0x7f000001", "127.0.0.1"}, {"0X7F000001", "127.0.0.1"}, {"0x7f.1", "127.0.0.1"},
	{"0x7f.0x0.0x0.0x1", "127.0.0.1"}, {"017700000001", "127.0.0.1"}, {"0177.1", "127.0.0.1"},
	{"0177.0.0.01", "127.0.0.1"}, {"127.0.0.0x1", "127.0.0.1"}, {"10.0x10.1", "10.16.0.1"},
	{"4294967295", "255.255.255.255"}, {"169.254.43518", "169.254.169.254"},
	{"0xa9fea9fe", "169.254.169.254"}, {"::1", "::1"}, {"[::1]", "::1"},
	{"[0:0:0:0:0:0:0:1]", "::1"}, {"[::ffff:127.0.0.1]", "::ffff:127.0.0.1"},
	{"[FE80::1]", "fe80::1"}, {"fe80::1%eth0", "fe80::1"}, {"[fe80::1%25eth0]", "fe80::1"},
	{"[::]", "::"}, {"localhost", "127.0.0.1"}, {"LocalHost", "127.0.0.1"},
	{"localhost.", "127.0.0.1"}, {"app.localhost", "127.0.0.1"},
	{"a.b.localhost.", "127.0.0.1"}, {".localhost", "127.0.0.1"},
	{"example.com", NULL}, {"", NULL}, {".", NULL}, {"..", NULL}, {"127.0.0.1..", NULL},
	{"notlocalhost", NULL}, {"localhost.example.com", NULL}, {"localhost..", NULL},
	{"127.0.0.1.example.com", NULL}, {"127.0.0.256", NULL}, {"256.1", NULL},
	{"4294967296", NULL}, {"1.2.3.4.5", NULL}, {"0xg", NULL}, {"08.1", NULL},
	{"127.0.0.-1", NULL}, {"+1", NULL}, {" 127.0.0.1", NULL}, {"127.0.0.1 ", NULL},
	{"127.0.0.1 x", NULL}, {"127.0.0.1\t", NULL}, {"[]", NULL}, {"[", NULL}, {"]", NULL},
	{"[::1", NULL}, {"::1]", NULL}, {"[v1.fe80::1]", NULL}, {":", NULL}, {":::", NULL},
	{"1:2:3", NULL}, {"%eth0", NULL}, {"12345:", NULL}, {"1e3", NULL}, {"dead.beef", NULL},
};

static void
test_hosts(void)
{
	struct sockaddr_storage address;
	char		huge[4096];
	size_t		i;

	for (i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
	{
		char		text[INET6_ADDRSTRLEN] = "a name";
		const void *bytes = &((struct sockaddr_in *) &address)->sin_addr;

		if (address_from_host(hosts[i].host, &address))
		{
			if (address.ss_family == AF_INET6)
				bytes = &((struct sockaddr_in6 *) &address)->sin6_addr;
			inet_ntop(address.ss_family, bytes, text, sizeof(text));
		}
		is_string(text, hosts[i].address ? hosts[i].address : "a name", hosts[i].host);
	}
	memset(huge, '1', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	ok(!address_from_host(huge, &address), "4,095 digits are no address");
}

int
main(void)
{
	test_judged();
	test_own();
	test_other_families();
	test_listed();
	test_bad_lists();
	test_long_list();
	test_hosts();
	return tap_done();
}
