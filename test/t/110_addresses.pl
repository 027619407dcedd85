# Which addresses are called, whatever a URL looks like and whatever a name
# server says: a listener on every address of this machine must see nothing but
# what fluxhooks.allowed_networks lists.  No name ever leaves this machine: the
# worker resolves through test/lib/resolver.c.
use strict;
use warnings;
use utf8;

use FluxhooksTest;
use IO::Socket::IP ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $ipv6 = defined IO::Socket::IP->new(LocalHost => '::1', Listen => 1);
my $node = new_node('addresses', start => 0);
my $hosts = PostgreSQL::Test::Utils::tempdir() . '/hosts';
my $listener = start_listener();
my $port = $listener->port;

# Where only one address of a name listens, the others show if they are tried.
my $only_first = start_listener(host => '127.0.0.1');

PostgreSQL::Test::Utils::append_to_file($hosts, <<"HOSTS");
localhost 127.0.0.1
loopback.test 127.0.0.1
loopback6.test ::1
mapped.test ::ffff:127.0.0.1
any.test 0.0.0.0
any6.test ::
private.test 10.0.0.1,192.168.0.1,172.16.0.1,fd00::1
metadata.test 169.254.169.254
many.test 127.0.0.1,::1,10.0.0.1,127.0.0.2,169.254.169.254
rebind.test 127.0.0.2 127.0.0.1
fails.test fail
empty.test empty
fails-later.test 127.0.0.2 fail
HOSTS
{
	local $ENV{LD_PRELOAD} = build_preload('resolver');
	local $ENV{FLUXHOOKS_TEST_HOSTS} = $hosts;
	# the environment's proxies are nobody's business here either
	local $ENV{http_proxy} = "http://127.0.0.1:$port";
	local $ENV{ALL_PROXY} = "http://127.0.0.1:$port";
	# nor is its password file
	local $ENV{HOME} = PostgreSQL::Test::Utils::tempdir();
	PostgreSQL::Test::Utils::append_to_file("$ENV{HOME}/.netrc", "default login netr0c password netr0c\n");
	$node->append_conf('postgresql.conf', "fluxhooks.allowed_networks = ''\nfluxhooks.max_webhooks_per_table = 1000");
	$node->start;
}
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fluxhooks;
CREATE FUNCTION try_webhook(config jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN fluxhooks.create_webhook(config);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
SQL

# Addresses of this machine's interfaces, loopback left out.
sub own_addresses
{
	my ($out) = PostgreSQL::Test::Utils::run_command([ 'hostname', '-I' ]);

	return map { /:/ ? "[$_]" : $_ } split ' ', $out;
}

# Hosts that lead, or might be taken to lead, to this machine.
my @hosts = (
	# numbers
	qw(127.0.0.1 127.1 127.0.1 127.0.0.2 127.255.255.254 2130706433 017700000001 0x7f000001 0X7F000001
	  0177.0.0.1 0177.0.0.01 00000177.0.0.1 0x7f.1 0x7f.0x0.0x0.0x1 127.0x0.00.1 127.000.000.001
	  6425673729 0x17f000001 127.0.0.257 383.0.0.1 127.0.0.1. 127.0.0.1.. .127.0.0.1 127..0.1
	  0 0.0.0.0 00 0x0 0.0 0.0.0.0. -1 4294967295 169.254.169.254 2852039166 0xa9fea9fe 10.0.0.1 012.1
	  100.100.100.200 192.168.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 127.0.0.1e0 1e9),
	# brackets
	qw([::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::01] [0::0.0.0.1] [::] [::0]
	  [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:7F00:0001] [0:0:0:0:0:ffff:127.0.0.1] [::ffff:0.0.0.0]
	  [::ffff:0:127.0.0.1] [::127.0.0.1] [::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1]
	  [2002:7f00:1::] [2002:7f00:1::1] [2001:0:7f00:1::] [2001::80ff:fffe] [fe80::1] [fe80::1%25lo] [fe80::1%lo]
	  [::1%25lo] [::1%lo] [::1%251] [fd00::1] [fd00:ec2::254] [ff02::1] [fec0::1] [2001:db8::1]
	  [::1 ::1] ::1 [[::1]] [127.0.0.1] [127.1] [localhost] [::1%00] [v1.1] []),
	# names
	qw(localhost LOCALHOST LocalHost localhost. localhost.. foo.localhost LOCALHOST.LOCALDOMAIN
	  loopback.test loopback6.test mapped.test any.test any6.test private.test metadata.test
	  127.0.0.1.nip.test ip6-localhost),
	# other scripts' digits and letters, and what hides between letters
	'１２７.０.０.１', '１２７．０．０．１', '127。0。0。1', '127｡0｡0｡1', '①②⑦.⓪.⓪.①', '②①③⓪⑦⓪⑥④③③',
	'١٢٧.٠.٠.١', '₁₂₇.₀.₀.₁', '０ｘ７ｆ.１', 'ｌｏｃａｌｈｏｓｔ', 'ⓛⓞⓒⓐⓛⓗⓞⓢⓣ', 'localhoſt', "local\x{ad}host",
	"local\x{200b}host", "127.0.0.1\x{200d}", "\x{feff}localhost", '［::1］', 'xn--localhost-', 'xn--127',
	# percent-encoding
	qw(%31%32%37.0.0.1 127%2e0%2e0%2e1 %31%32%37%2e%30%2e%30%2e%31 loc%61lhost %6c%6f%63%61%6c%68%6f%73%74
	  127.0.0.1%00 127.0.0.1%00.example.test 127.0.0.1%2f.example.test 127.0.0.1%20 127.0.0.1%0d%0a %5b::1%5d
	  %2531%2532%2537.0.0.1 127.0.0.1%23.example.test %00localhost loopback%2etest),
	own_addresses());

# $P is the port; each is a whole URL.
my @urls = map { s/\$P/$port/gr } (
	(map { "http://$_:\$P/" } @hosts),
	# user names
	'http://example.test@127.0.0.1:$P/', 'http://example.test:80@127.0.0.1:$P/', 'http://@127.0.0.1:$P/',
	'http://a:b@127.0.0.1:$P/', 'http://:@127.0.0.1:$P/', 'http://127.0.0.1:$P@example.test/',
	'http://example.test%40127.0.0.1:$P/', 'http://127.0.0.1:$P#@example.test/', 'http://example.test#@127.0.0.1:$P/',
	'http://example.test?@127.0.0.1:$P/', 'http://example.test\@127.0.0.1:$P/', 'http://127.0.0.1:$P\@example.test/',
	'http://example.test@@127.0.0.1:$P/', 'http://a@b@127.0.0.1:$P/', 'http://127.0.0.1:$P:80/', 'http://[::1]$P/',
	# white space and control characters
	"http://127.0.0.1\t:\$P/", "http://\t127.0.0.1:\$P/", "ht\ntp://127.0.0.1:\$P/", " http://127.0.0.1:\$P/",
	"http://127.0.0.1:\$P/ ", "\x01http://127.0.0.1:\$P/", "http://127.0.0.1:\$P/\r\nX-Evil: 1",
	"http://127.0.0.1\r\n:\$P/", "http://example.test\n127.0.0.1:\$P/", "http://127.0.0.1 :\$P/",
	"http://\x{a0}127.0.0.1:\$P/", "http://127.0.0.1\x{2028}:\$P/", "http://127.0.0.1\x7f:\$P/",
	# slashes and backslashes
	'http:\\\\127.0.0.1:$P/', 'http:/\\127.0.0.1:$P/', 'http:/127.0.0.1:$P/', 'http:127.0.0.1:$P/',
	'http:///127.0.0.1:$P/', 'http:////127.0.0.1:$P/', 'http://///127.0.0.1:$P/', 'http://\\127.0.0.1:$P/',
	'http://example.test\\127.0.0.1:$P/', 'http://127.0.0.1:$P\\', '//127.0.0.1:$P/', '\\\\127.0.0.1:$P/',
	# schemes
	'HTTP://127.0.0.1:$P/', 'hTtP://127.0.0.1:$P/', 'https://127.0.0.1:$P/', 'HTTPS://[::1]:$P/', '127.0.0.1:$P',
	'127.0.0.1:$P/http://example.test/', 'ftp://127.0.0.1:$P/', 'ftps://127.0.0.1:$P/', 'gopher://127.0.0.1:$P/_x',
	'dict://127.0.0.1:$P/x', 'ldap://127.0.0.1:$P/', 'telnet://127.0.0.1:$P/', 'tftp://127.0.0.1:$P/x',
	'smb://127.0.0.1:$P/x', 'smtp://127.0.0.1:$P/', 'imap://127.0.0.1:$P/', 'pop3://127.0.0.1:$P/',
	'rtsp://127.0.0.1:$P/', 'mqtt://127.0.0.1:$P/x', 'ws://127.0.0.1:$P/', 'wss://127.0.0.1:$P/',
	'scp://127.0.0.1:$P/', 'sftp://127.0.0.1:$P/', 'file:///etc/passwd', 'file://127.0.0.1/etc/passwd',
	'jar:http://127.0.0.1:$P/!/', 'url:http://127.0.0.1:$P/', 'view-source:http://127.0.0.1:$P/',
	'http+unix://127.0.0.1:$P/', 'unix:/tmp/x', 'data:,x', 'javascript:x', 'httpx://127.0.0.1:$P/', 'h://127.0.0.1:$P/',
	'http://http://127.0.0.1:$P/', 'http//127.0.0.1:$P/',
	# ports
	'http://127.0.0.1:0$P/', 'http://127.0.0.1:+$P/', 'http://127.0.0.1:-$P/', 'http://127.0.0.1:$P.0/',
	'http://127.0.0.1:' . ($port + 65536) . '/', 'http://127.0.0.1:' . ($port + 4294967296) . '/',
	'http://127.0.0.1:0x' . sprintf('%x', $port) . '/', 'http://[::1]:$P:$P/', 'http://127.0.0.1:１２３/');

# What a URL comes to: an SQLSTATE at creation, else the id of its webhook.
sub create_all
{
	my ($urls) = @_;
	my @configs = map { {
			name => "corpus $_",
			url => $urls->[$_],
			max_retries => 0,
			timeout_seconds => 300,
			events => [ { table => 'item' } ] } } 0 .. $#$urls;

	$node->safe_psql('postgres', 'CREATE TABLE item (id integer PRIMARY KEY)');
	return map { $_->{result} } @{ query($node, 'SELECT try_webhook(config) AS result FROM jsonb_array_elements('
			. json_literal(\@configs) . ') WITH ORDINALITY AS c (config, n) ORDER BY n') };
}

# Insert a row and give, by webhook, the attempt that came of it.
sub deliver_all
{
	my ($row, $count) = @_;

	$node->safe_psql('postgres', "INSERT INTO item VALUES ($row)");
	wait_for_deliveries($node, "(record_key->>'id')::integer = $row AND status IN ('success', 'failed')", $count,
		seconds => 4 * $PostgreSQL::Test::Utils::timeout_default);
	return map { ($_->{webhook_id} => $_) } @{ query($node, <<"SQL") };
SELECT a.* FROM fluxhooks.attempts AS a JOIN fluxhooks.deliveries AS d ON d.id = a.delivery_id
WHERE (d.record_key->>'id')::integer = $row
SQL
}

sub sample
{
	my ($webhook) = @_;
	my $id = $node->safe_psql('postgres', "SELECT id FROM fluxhooks.test_webhook('$webhook')");
	my ($attempt) = @{ query($node, "SELECT * FROM fluxhooks.attempts WHERE delivery_id = '$id'") };

	return $attempt;
}

sub show
{
	return join '', map { my $c = ord; $c < 0x20 || $c > 0x7e ? sprintf('\x{%x}', $c) : chr $c } split //, $_[0];
}

# A webhook that takes samples alone.
sub create_sampler
{
	my ($name, $url) = @_;

	return create_webhook($node,
		{   name => $name,
			url => $url,
			enabled => JSON::PP::false,
			max_retries => 0,
			events => [ { table => 'item' } ] });
}

# Set the list, and wait until the worker lets the one webhook through and not
# the other.  Every reload forgets connections and names.
sub allow
{
	my ($networks, $open, $closed) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET fluxhooks.allowed_networks = '$networks'");
	$node->reload;
	wait_until(sub { sample($open)->{status_code} && sample($closed)->{error_code} },
		"the list $networks to be in force");
	return;
}

#
# Nothing is allowed
#
my @results = create_all(\@urls);
my %url_of;
my @refused;

foreach my $i (0 .. $#urls)
{
	if (length $results[$i] == 5)
	{
		push @refused, $urls[$i];
		like($results[$i], qr/^22/, show($urls[$i]) . ': no URL for a webhook');
	}
	else
	{
		$url_of{ $results[$i] } = $urls[$i];
	}
}
cmp_ok(scalar @refused, '>=', 60, 'URLs that are none were refused at once');
cmp_ok(scalar(keys %url_of), '>=', 80, 'and others left to the judgement of addresses');

my %attempts = deliver_all(1, scalar keys %url_of);
my %denied;

foreach my $id (sort { $url_of{$a} cmp $url_of{$b} } keys %url_of)
{
	my $attempt = $attempts{$id};

	like($attempt->{error_code}, qr/^(address_denied|dns|protocol)$/, show($url_of{$id}))
	  or diag($attempt->{error});
	is($attempt->{remote_address}, undef, '  reached nobody');
	$denied{ $url_of{$id} } = 1 if $attempt->{error_code} eq 'address_denied';
}
is(scalar(() = $listener->requests), 0, 'no connection was made to any address of this machine');
# libcurl 7.74 decodes no host names: those are refused at once
my %refused = map { $_ => 1 } grep { /%/ } @refused;
ok($denied{"http://$_:$port/"} || $refused{"http://$_:$port/"}, "$_: because of the address")
  foreach qw(127.1 2130706433 017700000001 0x7f000001 0.0.0.0 [::1] [::ffff:7f00:1] [64:ff9b::127.0.0.1]
  [2002:7f00:1::] localhost LocalHost loopback.test loopback6.test mapped.test any.test private.test
  metadata.test %31%32%37.0.0.1 loc%61lhost), own_addresses();

#
# A list opens what it lists
#
my %named = map { ($_ => create_sampler($_, "http://$_:$port/")) }
  qw(127.0.0.2 127.0.0.1 [::1] [::ffff:127.0.0.2] [::127.0.0.2] many.test rebind.test fails.test empty.test fails-later.test);

allow('127.0.0.0/8', $named{'127.0.0.1'}, $named{'[::1]'});
my $before = $listener->requests;
%attempts = deliver_all(2, scalar keys %url_of);
my %reached = map { $url_of{$_} => $attempts{$_} } grep { defined $attempts{$_}{remote_address} } keys %url_of;

foreach my $url (sort keys %reached)
{
	like($reached{$url}{remote_address}, qr/^(::ffff:)?127\./, show($url) . ': is IPv4 loopback');
}
ok($reached{"http://$_:$port/"}, "$_: is reached where 127.0.0.0/8 is listed")
  foreach qw(127.0.0.1 127.1 2130706433 0x7f000001 localhost loopback.test mapped.test [::ffff:127.0.0.1]);
is(scalar(grep { $_->{to} !~ /^127\./ } $listener->requests), 0, 'and no address but those');
cmp_ok(scalar(() = $listener->requests), '>', $before + 20, 'the listener does see who connects');

# list => [who is reached], [who is not]
foreach my $case (
	[ '127.0.0.2', [qw(127.0.0.2 [::ffff:127.0.0.2])], [qw(127.0.0.1 [::1] [::127.0.0.2])] ],
	[ '::ffff:127.0.0.2', [qw(127.0.0.2 [::ffff:127.0.0.2])], [qw(127.0.0.1 [::1] [::127.0.0.2])] ],
	[ '127.0.0.2/31', [qw(127.0.0.2 [::ffff:127.0.0.2])], [qw(127.0.0.1 [::1])] ],
	[ '0.0.0.0/0', [qw(127.0.0.2 127.0.0.1 [::ffff:127.0.0.2])], [qw([::1] [::127.0.0.2])] ],
	[ '::1', [qw([::1])], [qw(127.0.0.2 127.0.0.1 [::ffff:127.0.0.2])] ],
	[ '::/127', [qw([::1])], [qw(127.0.0.2 [::ffff:127.0.0.2] [::127.0.0.2])] ],
	[ '10.0.0.0/8, ::1/128,127.0.0.1', [qw(127.0.0.1 [::1])], [qw(127.0.0.2 [::ffff:127.0.0.2])] ])
{
	my ($list, $open, $closed) = @$case;

	$open = [ grep { $ipv6 || $_ ne '[::1]' } @$open ];
	next if !@$open;
	allow($list, $named{ $open->[0] }, $named{ $closed->[0] });
	is(sample($named{$_})->{status_code}, 200, "$list opens $_") foreach @$open;
	is(sample($named{$_})->{error_code}, 'address_denied', "$list does not open $_") foreach @$closed;
}

#
# Names
#
sub connections_to
{
	my ($address) = @_;

	return scalar grep { $_->{to} eq $address } $listener->requests('connection');
}

allow('127.0.0.2', $named{'127.0.0.2'}, $named{'[::1]'});
my @loopback = (connections_to('127.0.0.1'), connections_to('::1'));
my $attempt = sample($named{'many.test'});
is($attempt->{status_code}, 200, 'of a name with five addresses the one that is listed is called');
is($attempt->{remote_address}, '127.0.0.2', 'and no other');

is(sample($named{'rebind.test'})->{remote_address}, '127.0.0.2', 'a name that leads where it may');
$node->reload;
wait_until(sub { (sample($named{'rebind.test'})->{error_code} // '') eq 'address_denied' },
	'the name to be asked for again');
is(sample($named{'rebind.test'})->{error_code}, 'address_denied', 'and then leads to loopback is refused');
is(sample($named{'fails.test'})->{error_code}, 'dns', 'a name server that fails');
is(sample($named{'empty.test'})->{error_code}, 'dns', 'a name server that answers with nothing');
is(sample($named{'fails-later.test'})->{status_code}, 200, 'a name server that answers');
$node->reload;
wait_until(sub { (sample($named{'fails-later.test'})->{error_code} // '') eq 'dns' },
	'a name server that fails later to be asked again');

# the allowed address does not answer: the others are no way out
my $many = create_sampler('one refuses', 'http://many.test:' . $only_first->port . '/');
is(sample($many)->{error_code}, 'refused', 'of five addresses the one that is listed refuses');
is(scalar(() = $only_first->requests), 0, 'the others are not tried');
is_deeply([ connections_to('127.0.0.1'), connections_to('::1') ], \@loopback, 'in all this loopback was left alone');
is(scalar(grep { $_->{body} =~ /^(authorization|cookie|proxy-)/im } $listener->requests), 0,
	'no request carried credentials');
is(scalar(grep { $_->{path} eq 'request' && $_->{body} !~ m{^POST / HTTP/1\.1\r\n|^\x16\x03} } $listener->requests), 0,
	'nor anything but a POST to its own server, or the beginning of TLS');

#
# What the warning says to add lets the address through
#
sub warned_of
{
	my ($host) = @_;
	my ($status, $out, $err) = $node->psql('postgres',
		"BEGIN; SELECT fluxhooks.create_webhook('warned', 'https://$host/', fluxhooks.event('item'), secret => 's'); ROLLBACK");

	return $err =~ /for example fluxhooks\.allowed_networks = '(.*)'/ ? $1 : $err;
}

$node->safe_psql('postgres', "ALTER SYSTEM SET fluxhooks.allowed_networks = '203.0.113.7'");
$node->reload;
wait_until(sub { warned_of('127.0.0.2') ne '' }, 'a list without loopback to be in force');
foreach my $host (qw(localhost [::1] 127.0.0.1. 10.1.2.3. [::ffff:127.0.0.1] [::ffff:10.1.2.3] [64:ff9b::10.1.2.3] [fd12::1]))
{
	my $network = warned_of($host);

	is($node->psql('postgres', "ALTER SYSTEM SET fluxhooks.allowed_networks = '$network'"), 0, "$host: the hint, $network, is a network");
	$node->reload;
	ok(eval { wait_until(sub { warned_of($host) eq '' }, 'no warning', 20) }, "$host: and lets it through");
}

$node->stop;
done_testing();
