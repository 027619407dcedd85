# In a network of its own: an endpoint with a public address, the server with
# another.  Shows what a machine without the Internet cannot: that public
# addresses are reached, and that a name which is public first and private
# then does not lead inside.
use strict;
use warnings;

use Test::More;

# The whole test runs in there, from before anything takes its output over.
BEGIN
{
	my @unshare =
	  ('unshare', '--user', '--net', '--keep-caps', "--map-user=$<", '--map-group=' . (split ' ', $()[0]);

	if (!$ENV{FLUXHOOKS_TEST_NETWORK})
	{
		plan skip_all => 'no network namespace can be made here'
		  if system("@unshare sh -c 'ip link set lo up' >/dev/null 2>&1") != 0;
		$ENV{FLUXHOOKS_TEST_NETWORK} = 1;
		exec @unshare, $^X, (map { "-I$_" } @INC), $0 or die "unshare: $!";
	}
}

use FluxhooksTest;
use PostgreSQL::Test::Utils ();

# The addresses are not in use anywhere, and nothing leads out of here.
my %address = (server => '192.0.1.1', routed => '192.0.3.7', endpoint => '192.0.1.2', private => '10.0.0.2');
my $port = 8480;

sub ip
{
	system('ip', @_) == 0 or die "ip @_ failed";
	return;
}

# the endpoint's machine: another namespace at the other end of a cable
my $there = open(my $pipe, '-|', 'unshare', '--net', 'sh', '-c', 'echo ready; exec sleep 600') // die $!;
<$pipe>;
ip(qw(link set lo up));
ip(qw(link add here type veth peer name there netns), $there);
ip('address', 'add', "$address{server}/29", 'dev', 'here');
ip('address', 'add', '10.0.0.1/29', 'dev', 'here');
ip(qw(link set here up));
# leads to this machine though no interface has it
ip('route', 'add', 'local', "$address{routed}/32", qw(dev lo));
my @inside = ('nsenter', "--net=/proc/$there/ns/net");
system(@inside, 'sh', '-c',
	"ip address add $address{endpoint}/29 dev there && ip address add $address{private}/29 dev there"
	  . ' && ip link set there up && ip link set lo up') == 0
  or die 'no address for the endpoint';

my $here = start_listener(port => $port);
my $endpoint = start_listener(port => $port, within => \@inside);
my $hosts = PostgreSQL::Test::Utils::tempdir() . '/hosts';
PostgreSQL::Test::Utils::append_to_file($hosts, <<"HOSTS");
public.test $address{endpoint}
private.test $address{private}
rebind-loopback.test $address{endpoint} 127.0.0.1
rebind-private.test $address{endpoint} $address{private}
rebind-own.test $address{endpoint} $address{server}
mixed.test 127.0.0.1,$address{private},$address{server},$address{endpoint}
HOSTS

my $node = new_node('network', start => 0);
{
	local $ENV{LD_PRELOAD} = build_preload('resolver');
	local $ENV{FLUXHOOKS_TEST_HOSTS} = $hosts;
	$node->append_conf('postgresql.conf', "fluxhooks.allowed_networks = ''");
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION fluxhooks; CREATE TABLE item (id integer PRIMARY KEY)');

sub sampler
{
	my ($host) = @_;

	return create_webhook($node,
		{   name => $host,
			url => "http://$host:$port/",
			enabled => JSON::PP::false,
			events => [ { table => 'item' } ] });
}

sub sample
{
	my ($webhook) = @_;
	my $id = $node->safe_psql('postgres', "SELECT id FROM fluxhooks.test_webhook('$webhook')");

	return query($node, "SELECT * FROM fluxhooks.attempts WHERE delivery_id = '$id'")->[0];
}

foreach my $host ($address{endpoint}, 'public.test', "[64:ff9b::$address{private}]", 'mixed.test')
{
	my $attempt = sample(sampler($host));
	my $public = $host !~ /^\[/;

	is($attempt->{status_code}, $public ? 200 : undef, "$host: " . ($public ? 'is reached' : 'is not'))
	  or diag($attempt->{error});
	is($attempt->{remote_address}, $public ? $address{endpoint} : undef, '  at its public address');
}
my $reached = $endpoint->requests('request');
is($reached, 3, 'the endpoint was asked three times');

foreach my $host ($address{private}, 'private.test', $address{server}, '10.0.0.1', '127.0.0.1', '[::1]')
{
	is(sample(sampler($host))->{error_code}, 'address_denied', "$host: is refused");
}
is(scalar(() = $endpoint->requests('request')), $reached, 'and not called');
is(scalar(() = $here->requests), 0, 'nor is anything on the server itself');

# Here a connection comes about, since no interface tells; nothing is sent over it.
my $routed = sample(sampler($address{routed}));
is($routed->{error_code}, 'address_denied', 'an address that the server takes for its own: is refused');
like($routed->{error}, qr/this server itself/, 'and the error says so');
is(scalar(() = $here->requests('request')), 0, 'and nothing is sent');

foreach my $name (qw(rebind-loopback rebind-private rebind-own))
{
	my $webhook = sampler("$name.test");

	is(sample($webhook)->{remote_address}, $address{endpoint}, "$name: public at first");
	$node->reload;				# forgets what the name was
	my $attempt = wait_until(
		sub {
			my $next = sample($webhook);
			return $next->{error_code} ? $next : undef;
		},
		'the name to be asked for again');
	is($attempt->{error_code}, 'address_denied', "$name: refused then");
}
is(scalar(() = $here->requests('request')), 0, 'nothing on the server was ever called');
is(scalar(grep { $_->{to} ne $address{endpoint} } $endpoint->requests), 0, 'nor a private address of the endpoint');

$node->stop;
$_->stop foreach $here, $endpoint;
kill 'TERM', $there;
close $pipe;
done_testing();
