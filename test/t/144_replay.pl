# replay(): finished deliveries of a webhook go out again, by time and outcome,
# with the same id and body; also those whose event has left the log.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('replay');

sub webhook
{
	my ($name, $path, %config) = @_;

	return create_table_webhook($node, $receiver, $name, $path,
		max_retries => 0, circuit_breaker => JSON::PP::false, %config);
}

sub insert
{
	return insert_rows($node, @_);
}

sub replay
{
	my ($id, $rest) = @_;

	return $node->safe_psql('postgres', "SELECT fluxhooks.replay('$id', $rest)");
}

# deliveries as (id, body) pairs, in the order of arrival
sub seen
{
	my ($path) = @_;

	return map { [ $_->{headers}{'x-fluxbase-delivery'}, $_->{body} ] } $receiver->requests($path);
}

# 1. each failed once; replayed, each arrives once more, with the same body
my $id = webhook('mixed', '/fail/1/500');
insert('mixed', 1, 50);
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'failed'", 50);
is(replay($id, "now() - interval '1 hour'"), '50', 'all that failed are queued');
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success' AND attempts = 2", 50);
my %bodies;
push @{ $bodies{ $_->[0] } }, $_->[1] foreach seen('/fail/1/500/mixed');
is(scalar keys %bodies, 50, 'under the same ids');
is(scalar(grep { @$_ == 2 && $_->[0] eq $_->[1] } values %bodies), 50, 'with the same bodies, once');

# 2. those that succeeded only when asked for
is(replay($id, "now() - interval '1 hour'"), '0', 'only what failed, by default');
$node->safe_psql('postgres', 'SELECT fluxhooks.pause()');
is(replay($id, "'-infinity', 'infinity', false"), '50', 'or all');
is(replay($id, "'-infinity', 'infinity', false"), '0', 'what is pending is not queued twice');
$node->safe_psql('postgres', 'SELECT fluxhooks.resume()');
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success' AND attempts = 3", 50);
pass('attempt numbers go on');

# 3. by time of capture
my $other = webhook('timed', '/fail/1/500');
insert('timed', 1, 10);
my $between = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
insert('timed', 11, 30);
wait_for_deliveries($node, "webhook_id = '$other' AND status = 'failed'", 30);
is(replay($other, "'$between'"), '20', 'since');
is(replay($other, "'-infinity', '$between'"), '10', 'until');
wait_for_deliveries($node, "webhook_id = '$other' AND status = 'success'", 30);
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = '$id' AND attempts <> 3"),
	'0', 'another webhook is left alone');

# 4. fresh retries
my $retried = webhook('retried', '/status/500', max_retries => 1, retry_backoff_seconds => 1);
insert('retried', 1, 1);
wait_for_deliveries($node, "webhook_id = '$retried' AND status = 'failed' AND attempts = 2", 1);
is(replay($retried, "now() - interval '1 hour'"), '1', 'queued');
wait_for_deliveries($node, "webhook_id = '$retried' AND status = 'failed' AND attempts = 4", 1);
pass('a replayed delivery has its retries again');

# 5. cancelled ones; samples never
my $cancelled = webhook('held', '/ok', enabled => JSON::PP::true);
$node->safe_psql('postgres', "SELECT FROM fluxhooks.test_webhook('$cancelled')");
$node->safe_psql('postgres', 'SELECT fluxhooks.pause()');
insert('held', 1, 5);
$node->append_conf('postgresql.conf', "fluxhooks.retention = '1s'");
$node->reload;
# that pause is what keeps them pending, so they age out of the log, copied, and are cancelled
wait_until(sub { $node->safe_psql('postgres',
		"SELECT count(*) FROM fluxhooks_internal.attempt WHERE webhook_id = '$cancelled' AND outcome = 'c' AND body IS NOT NULL")
		  eq '5' }, 'five to be cancelled with copies');
$node->append_conf('postgresql.conf', "fluxhooks.retention = '1h'");
$node->reload;
$node->safe_psql('postgres', 'SELECT fluxhooks.resume()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.event'), '0', 'their events have left the log');
is(replay($cancelled, "'-infinity', 'infinity', false"), '5', 'cancelled ones are queued, from the copies; a sample is not');
wait_for_deliveries($node, "webhook_id = '$cancelled' AND status = 'success' AND event = 'INSERT'", 5);
is(scalar(grep { $_->{data}{event} eq 'INSERT' && $_->{data}{record}{id} } $receiver->requests('/ok/held')), 5, 'and arrive');

# 6. who may, and what is said
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE stranger;
GRANT USAGE ON SCHEMA fluxhooks TO stranger;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO stranger;
SQL
is(sqlstate($node, "SET ROLE stranger; SELECT fluxhooks.replay('$id', now())"), '42704', 'no webhook of others');
is(sqlstate($node, "SELECT fluxhooks.replay(gen_random_uuid(), now())"), '42704', 'nor one that does not exist');
is(sqlstate($node, "SELECT fluxhooks.replay('$id', NULL)"), '22023', 'since must be given');
is(sqlstate($node, "SELECT fluxhooks.replay('$id', now(), NULL)"), '22023', 'until must not be null');

# 7. rolled back: nothing is sent
my $count = $receiver->requests('/fail/1/500/timed');
$node->safe_psql('postgres', "BEGIN; SELECT fluxhooks.replay('$other', '-infinity', 'infinity', false); ROLLBACK");
insert('held', 6, 6);
wait_for_deliveries($node, "webhook_id = '$cancelled' AND status = 'success' AND event = 'INSERT'", 6);
is(scalar $receiver->requests('/fail/1/500/timed'), $count, 'a replay that is rolled back sends nothing');

done_testing();
