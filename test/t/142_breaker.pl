# The circuit breaker: after so many failures in a row one request at a time
# goes out, which spends no retry; the first success lets the rest go, each
# once, rows in order.  What waits for longer than the retention is cancelled.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('breaker');
my $told_path = told_path();

sub webhook
{
	return create_table_webhook($node, $receiver, @_);
}

sub insert
{
	my ($name, $count) = @_;

	return insert_rows($node, $name, 1, $count);
}

sub log_has
{
	my ($pattern, $count) = @_;

	return wait_until(
		sub {
			my @found = slurp_file($node->logfile) =~ /$pattern/g;
			return @found >= ($count // 1);
		},
		"the log to say $pattern");
}

# 1. opens, probes, closes
tell_status(500);
my $id = webhook('held', $told_path,
	max_retries => 0, circuit_breaker => { failures => 3, probe_seconds => 1 });
webhook('other', '/ok');
insert('held', 40);
insert('other', 40);
log_has("webhook $id: circuit breaker open after \\d+ failures in a row");
wait_for_deliveries($node, "table_name = 'other' AND status = 'success'", 40);
pass('another webhook is not held up');

my $failed = $node->safe_psql('postgres',
	"SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = '$id' AND status = 'failed'");
ok($failed >= 3 && $failed < 40, "those that failed before it opened have failed: $failed");
$receiver->wait_for_requests($failed + 3, "$told_path/held");
is($node->safe_psql('postgres',
		"SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = '$id' AND status = 'failed'"),
	$failed, 'probes that fail spend no retry');
is($node->safe_psql('postgres', 'SELECT in_flight <= 1 FROM fluxhooks.status'), 't', 'no more than one is under way');

my @probes = $receiver->requests("$told_path/held");
splice @probes, 0, $failed;
my @close = grep { $probes[$_]{time} - $probes[ $_ - 1 ]{time} < 500 } 1 .. $#probes;
is(scalar @close, 0, 'one probe at a time');
my %probed = map { $_->{headers}{'x-fluxbase-delivery'} => 1 } @probes[ 0 .. 2 ];
is(scalar keys %probed, 3, 'no single delivery is tried over and over');

# changes of one row while it is open
$node->safe_psql('postgres', "INSERT INTO held VALUES (100, 0)");
$node->safe_psql('postgres', "UPDATE held SET value = $_ WHERE id = 100") foreach 1 .. 5;
tell_status(200);
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success'", 46 - $failed);
log_has("webhook $id: circuit breaker closed");
is($node->safe_psql('postgres',
		"SELECT count(*), count(*) FILTER (WHERE status = 'failed') FROM fluxhooks.deliveries WHERE webhook_id = '$id'"),
	"46|$failed", 'nothing is lost, and nothing has failed since it opened');
is($node->safe_psql('postgres',
		"SELECT bool_and(n = last AND n = attempts) FROM (SELECT d.attempts, count(*) AS n, max(a.attempt) AS last"
		. " FROM fluxhooks.deliveries AS d JOIN fluxhooks.attempts AS a ON a.delivery_id = d.id"
		. " WHERE d.webhook_id = '$id' GROUP BY d.id, d.attempts) AS n"),
	't', 'attempts are numbered without a gap');
my %last;
my @values = map { $_->{data}{record}{value} }
  grep { $_->{data}{record}{id} == 100 && !$last{ $_->{headers}{'x-fluxbase-delivery'} }++ }
  $receiver->requests("$told_path/held");
is("@values", '0 1 2 3 4 5', 'first attempts of a row arrive in order');
wait_until(sub { $node->safe_psql('postgres', 'SELECT pending FROM fluxhooks.status') eq '0' }, 'nothing to be pending');
is($node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.pending'), '0', 'no row stays behind');

# 2. retries: what was spent before it opened counts, probes do not
tell_status(503);
$id = webhook('retried', $told_path, max_retries => 1, retry_backoff_seconds => 1,
	circuit_breaker => { failures => 2, probe_seconds => 1 });
insert('retried', 1);
log_has("webhook $id: circuit breaker open");
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'failed' AND attempts = 2", 1);
pass('a delivery whose retries are used up has failed');
$node->safe_psql('postgres', "INSERT INTO retried VALUES (2, 0)");
$receiver->wait_for_requests(6, "$told_path/retried");
is($node->safe_psql('postgres', "SELECT status FROM fluxhooks.deliveries WHERE webhook_id = '$id' AND record_key->>'id' = '2'"),
	'pending', 'a delivery alone is tried again and again');

# 3. off
$id = webhook('without', '/status/500', max_retries => 0, circuit_breaker => JSON::PP::false);
insert('without', 40);
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'failed'", 40);
unlike(slurp_file($node->logfile), qr/webhook $id: circuit breaker/, 'circuit_breaker false: none opens');

# 4. on by default, with ten failures
$id = webhook('usual', '/status/500', max_retries => 0);
insert('usual', 40);
log_has("webhook $id: circuit breaker open");
cmp_ok($node->safe_psql('postgres',
		"SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = '$id' AND status = 'failed'"),
	'>=', 10, 'ten failures are needed');

# a fresh start for who changes the endpoint
$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$id', "
	. json_literal({ url => $receiver->url('/ok/usual') }) . ')');
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'pending'", 0);
pass('another URL closes it');

# changed while it is open: it heeds what it is told now, and what was probed does
# not wait for the time that the former setting gave it
sub change_breaker
{
	my ($breaker) = @_;
	my $before = () = $receiver->requests("$told_path/changed");

	$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$id', " . json_literal({ circuit_breaker => $breaker }) . ')');
	return $before;
}

tell_status(500);
$id = webhook('changed', $told_path, max_retries => 0, circuit_breaker => { failures => 2, probe_seconds => 1 });
insert('changed', 1);
insert_rows($node, 'changed', 2, 2);
log_has("webhook $id: circuit breaker open");
insert_rows($node, 'changed', 3, 3);
my $before = change_breaker({ failures => 2, probe_seconds => 3600 });
$receiver->wait_for_requests($before + 1, "$told_path/changed");
$before = change_breaker({ failures => 2, probe_seconds => 1 });
$receiver->wait_for_requests($before + 1, "$told_path/changed");
pass('a shorter probe_seconds counts at once');
$before = change_breaker({ failures => 2, probe_seconds => 3600 });
$receiver->wait_for_requests($before + 1, "$told_path/changed");
tell_status(200);
change_breaker({ failures => 1000, probe_seconds => 3600 });
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success'", 1);
pass('more failures than there have been close it, and all goes out');

# 5. deleted while it is open
$id = webhook('deleted', '/status/500', circuit_breaker => { failures => 1, probe_seconds => 3600 });
insert('deleted', 30);
log_has("webhook $id: circuit breaker open");
$node->safe_psql('postgres', "SELECT fluxhooks.delete_webhook('$id')");
wait_until(sub { $node->safe_psql('postgres',
		"SELECT count(*) FROM fluxhooks_internal.pending WHERE webhook_id = '$id'") eq '0' },
	'what was pending to be cancelled');
pass('deleting it cancels what waits');

# 6. retention
$id = webhook('aged', '/status/500', circuit_breaker => { failures => 1, probe_seconds => 3600 });
insert('aged', 30);
log_has("webhook $id: circuit breaker open");
$node->append_conf('postgresql.conf', "fluxhooks.retention = '2s'");
$node->reload;
wait_until(sub { $node->safe_psql('postgres',
		"SELECT count(*) FROM fluxhooks_internal.pending WHERE webhook_id = '$id'") eq '0' },
	'what waits to be cancelled');
pass('what waits longer than the retention is cancelled');

done_testing();
