# webhook_stats: what became of each webhook's deliveries, how long answers
# took, how it fails; kept across restarts, and a breaker that was open with it.
use strict;
use warnings;

use FluxhooksTest;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('stats');

sub webhook
{
	return create_table_webhook($node, $receiver, @_);
}

sub insert
{
	return insert_rows($node, @_);
}

sub stats
{
	my ($name, $columns) = @_;

	return $node->safe_psql('postgres', "SELECT $columns FROM fluxhooks.webhook_stats WHERE name = '$name'");
}

sub is_soon
{
	my ($name, $columns, $expected, $what) = @_;

	eval { wait_until(sub { stats($name, $columns) eq $expected }, $what) };
	is(stats($name, $columns), $expected, $what);
	return;
}

# 1. nothing yet
webhook('plain', '/ok');
is_soon('plain', "sent, failed, retried, pending, p50_ms, last_success_at, last_failure_at, consecutive_failures, failing_since, circuit_breaker",
	'0|0|0|0||||0||closed', 'a new webhook');

# 2. successes
insert('plain', 1, 300);
is_soon('plain', 'sent, failed, retried, pending, consecutive_failures', '300|0|0|0|0', 'deliveries that succeeded');
is(stats('plain', 'p50_ms > 0 AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND last_success_at > since AND last_failure_at IS NULL'),
	't', 'response times in order');
cmp_ok(stats('plain', 'delivered_per_second'), '>', 3, 'per second of the last minute');
webhook('slow', '/slow/200');
insert('slow', 1, 10);
is_soon('slow', 'sent', '10', 'slow ones');
cmp_ok(stats('slow', 'p50_ms'), '>=', 180, 'how slow they are, within nine percent');
my $id = webhook('hang', '/hang', timeout_seconds => 1, max_retries => 0);
insert('hang', 1, 2);
is_soon('hang', 'failed, p50_ms', '2|', 'without an answer there is no response time');
is(stats('hang', 'last_error'), $node->safe_psql('postgres', "SELECT max(error) FROM fluxhooks.attempts WHERE webhook_id = '$id'"),
	'the last error');

# 3. failures
webhook('retried', '/fail/2/500', retry_backoff_seconds => 1);
insert('retried', 1, 5);
is_soon('retried', 'sent, failed, retried, consecutive_failures, failing_since', '5|0|10|0|', 'retries that led to success');
webhook('failing', '/status/503', max_retries => 0);
insert('failing', 1, 5);
is_soon('failing', 'sent, failed, retried, consecutive_failures', '0|5|0|5', 'failures in a row');
is(stats('failing', 'failing_since <= last_failure_at AND last_error LIKE \'%503%\' AND failed_per_second > 0'), 't', 'since when, and why');
webhook('off', '/ok', circuit_breaker => JSON::PP::false);
is_soon('off', 'circuit_breaker', 'off', 'a webhook without breaker');

# 4. across a restart
my $columns = 'name, since, sent, failed, retried, p50_ms, p99_ms, last_success_at, last_failure_at, last_error, consecutive_failures, failing_since';
my $all = "SELECT $columns FROM fluxhooks.webhook_stats WHERE sent + failed > 0 ORDER BY name";
my $before = $node->safe_psql('postgres', $all);
$node->restart;
wait_until(sub { $node->safe_psql('postgres', 'SELECT bool_and(circuit_breaker IS NOT NULL) FROM fluxhooks.webhook_stats') eq 't' },
	'a worker that has started');
is($node->safe_psql('postgres', $all), $before, 'the same after a restart');
insert('plain', 301, 310);
is_soon('plain', 'sent', '310', 'and counting goes on');

# 5. a breaker that was open is open after a crash
$id = webhook('broken', '/status/500', max_retries => 0, circuit_breaker => { failures => 3, probe_seconds => 3600 });
insert('broken', 1, 20);
is_soon('broken', 'circuit_breaker, circuit_breaker_open_since IS NOT NULL', 'open|t', 'an open breaker');
wait_until(sub { $node->safe_psql('postgres',
		"SELECT consecutive_failures >= 3 FROM fluxhooks_internal.webhook_stat WHERE webhook_id = '$id'") eq 't' },
	'it to be written down');
# a statement that waits for the disk, since the worker's own do not
$node->safe_psql('postgres', 'CREATE TABLE durable ()');
my $requests = () = $receiver->requests('/status/500/broken');
$node->stop('immediate');
$node->start;
wait_until(sub { stats('broken', 'circuit_breaker') }, 'a worker that has started');
is(stats('broken', 'circuit_breaker'), 'open', 'open after a crash');
insert('plain', 311, 330);
wait_for_deliveries($node, "table_name = 'plain' AND status = 'success'", 330);
my $later = () = $receiver->requests('/status/500/broken');
cmp_ok($later, '<=', $requests + 1, 'one request at most goes out');

# 6. no worker: what was written down; deleted: nothing
$node->safe_psql('postgres', "SELECT fluxhooks.delete_webhook('$id')");
is(stats('broken', 'count(*)'), '0', 'a deleted webhook has none');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
is(stats('plain', 'sent, circuit_breaker'), '330|', 'without a worker: as it left them');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks_internal.webhook_stat WHERE webhook_id = '$id'"), '0',
	'what was counted of a deleted one is gone');

# 7. percentiles: the bucket's middle
is($node->safe_psql('postgres', 'SELECT fluxhooks_internal.response_time(array_fill(0, ARRAY[96]), 0.5)'), '', 'no answers');
is($node->safe_psql('postgres', <<'SQL'), 't', 'the fraction that took no longer');
WITH times AS (SELECT array_agg(CASE i WHEN 9 THEN 90 WHEN 41 THEN 9 WHEN 90 THEN 1 ELSE 0 END ORDER BY i) AS times FROM generate_series(1, 96) AS i)
SELECT abs(fluxhooks_internal.response_time(times, 0.5) / (0.05 * 2 ^ (8.5 / 4)) - 1) < 1e-9
   AND abs(fluxhooks_internal.response_time(times, 0.95) / (0.05 * 2 ^ (40.5 / 4)) - 1) < 1e-9
   AND abs(fluxhooks_internal.response_time(times, 1) / (0.05 * 2 ^ (89.5 / 4)) - 1) < 1e-9
FROM times
SQL

done_testing();
