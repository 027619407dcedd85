# One endpoint's trouble is nobody else's: ten webhooks share a host, one hangs,
# one is slow, one fails; the others' deliveries arrive while those still wait.
use strict;
use warnings;

use FluxhooksTest;
use JSON::PP ();
use Test::More;

use constant EVENTS => 200;

my $receiver = FluxhooksTest::start_receiver();
my $node = FluxhooksTest::new_node('isolation',
	conf => "fluxhooks.max_in_flight_per_host = 8\nfluxhooks.max_in_flight = 8\n");
my %path = (hanging => '/hang', slow => '/slow/2000', failing => '/status/500', map { ("good_$_" => "/ok/$_") } 1 .. 7);

$node->safe_psql('postgres', 'CREATE TABLE item (id int PRIMARY KEY, version int)');
foreach my $name (sort keys %path)
{
	FluxhooksTest::create_webhook($node,
		{ name => $name, url => $receiver->url($path{$name}), events => [ { table => 'item' } ],
		  timeout_seconds => 300, max_retries => 100, retry_backoff_seconds => 3600,
		  circuit_breaker => JSON::PP::false });
}
my $events = EVENTS;
$node->safe_psql('postgres', "INSERT INTO item SELECT i, 0 FROM generate_series(1, $events) AS i");

# the hanging endpoint's requests are under way all the time: its timeout is
# longer than this test may take
foreach my $n (1 .. 7)
{
	my @requests = $receiver->wait_for_requests(EVENTS, "/ok/$n");
	my %rows = map { $_->{data}{record}{id} => 1 } @requests;

	is(scalar keys %rows, EVENTS, "webhook $n got every event");
}

sub count_of
{
	my ($name, $condition) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = fluxhooks.webhook_id('$name') AND $condition");
}

is(count_of('hanging', 'attempts = 0'), EVENTS, 'the hanging one has answered nothing');
is(count_of('hanging', q{status = 'pending'}), EVENTS, 'all of it is pending');
FluxhooksTest::wait_for_deliveries($node, q{webhook_id = fluxhooks.webhook_id('failing') AND attempts = 1 AND status = 'pending'}, EVENTS);
is(count_of('failing', q{next_attempt_at > now() + interval '50 minutes'}), EVENTS, 'the failing one waits for its retries');
cmp_ok($node->safe_psql('postgres', 'SELECT in_flight FROM fluxhooks.status'), '<=', 8, 'the limit holds');

# a webhook's statements are not held up either, and a disabled one gives way
$node->safe_psql('postgres', q{SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('slow'), '{"enabled": false}')});
$node->safe_psql('postgres', 'UPDATE item SET version = 1 WHERE id <= 50');
foreach my $n (1 .. 7)
{
	$receiver->wait_for_requests(EVENTS + 50, "/ok/$n");
}
pass('later events go out as well');
my $left = count_of('slow', q{status = 'pending'});
cmp_ok($left, '>', 0, 'what the disabled webhook had waits');
$node->safe_psql('postgres',
	q{SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('slow'), jsonb_build_object('enabled', true, 'url', '} . $receiver->url('/ok/enabled') . q{'))});
FluxhooksTest::wait_for_deliveries($node, q{webhook_id = fluxhooks.webhook_id('slow') AND status = 'pending'}, 0);
is(count_of('slow', q{status = 'success'}), EVENTS, 'and goes out once it is enabled again; the updates meanwhile were not captured');

# a deleted one's are cancelled
$node->safe_psql('postgres', q{SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('failing'))});
FluxhooksTest::wait_for_deliveries($node, q{status = 'cancelled'}, EVENTS + 50);
pass('deliveries of a deleted webhook are cancelled');

# a worker that starts anew takes up what was parked or under way
my $pid = $node->safe_psql('postgres', 'SELECT worker_pid FROM fluxhooks.status');
$node->safe_psql('postgres',
	q{SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('hanging'), jsonb_build_object('url', '} . $receiver->url('/ok/hanging') . q{'))});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
FluxhooksTest::wait_for_deliveries($node, q{webhook_id = fluxhooks.webhook_id('hanging') AND status = 'success'}, EVENTS + 50);
my %last;
my $disorder = 0;

foreach my $request ($receiver->requests('/ok/hanging'))
{
	my ($row, $version) = @{ $request->{data}{record} }{qw(id version)};

	$disorder++ if defined $last{$row} && $version < $last{$row};
	$last{$row} = $version;
}
is($disorder, 0, 'in the order of the changes of each row');

# each answer while more waits is room for one request more, also where answers
# come together; of a host's eight slots two are others'
$node->safe_psql('postgres', 'CREATE TABLE many (id int PRIMARY KEY)');
FluxhooksTest::create_webhook($node,
	{ name => 'growing', url => $receiver->url('/pairs/4'), events => [ { table => 'many' } ], timeout_seconds => 300 });
$node->safe_psql('postgres', 'INSERT INTO many SELECT generate_series(1, 20)');
FluxhooksTest::wait_until(sub { $node->safe_psql('postgres', 'SELECT in_flight FROM fluxhooks.status') == 6 },
	'two requests, and one more for each answer');
pass('concurrency grows with each answer');

done_testing();
