# status: what is pending, wherever it is; rates, lag, sizes, pauses; and to
# each role only what is its own.
use strict;
use warnings;

use FluxhooksTest;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('status', conf => 'fluxhooks.max_in_flight = 5');

sub webhook
{
	return create_table_webhook($node, $receiver, @_);
}

sub insert
{
	return insert_rows($node, @_);
}

sub status
{
	my ($column, $role) = @_;

	return $node->safe_psql('postgres',
		($role ? "SET ROLE $role; " : '') . "SELECT $column FROM fluxhooks.status");
}

sub wait_status
{
	my ($condition) = @_;

	my $reached = eval { wait_until(sub { status("coalesce($condition, false)") eq 't' }, "status to have $condition") };
	diag(explain(query($node, 'SELECT * FROM fluxhooks.status'))) unless $reached;
	return $reached;
}

is($node->safe_psql('postgres', <<'SQL'), 'worker_pid,running_since,paused,paused_reason,webhooks,pending,in_flight,oldest_pending_at,last_error', 'the contract\'s columns come first');
SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = 'fluxhooks.status'::regclass AND attnum BETWEEN 1 AND 9
SQL
is($node->safe_psql('postgres', <<'SQL'), '0', 'every column of both views has a comment');
SELECT count(*) FROM pg_attribute
WHERE attrelid IN ('fluxhooks.status'::regclass, 'fluxhooks.webhook_stats'::regclass)
  AND attnum > 0 AND col_description(attrelid, attnum) IS NULL
SQL

# 1. nothing going on
wait_status('worker_pid IS NOT NULL');
is(status('webhooks, pending, in_flight, oldest_pending_at, oldest_pending_age, failure_rate, lag_events, lag_seconds, paused_webhooks, open_breakers'),
	'0|0|0||||0|0|0|0', 'an idle database');
ok(status('log_bytes') > 0, 'size of the log');
ok(status('last_rotation_at IS NOT NULL') eq 't', 'and when it last moved on');

# 2. delivered: pending falls to nothing within a moment, and rates show it
my $id = webhook('ok', '/ok');
insert('ok', 1, 500);
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success'", 500);
ok(wait_status('pending = 0 AND lag_events = 0'), 'all delivered, nothing pending');
cmp_ok(status('delivered_per_second'), '>', 5, 'deliveries per second of the last minute');
is(status('failed_per_second, failure_rate'), '0|0', 'none failed');

# 3. paused: what nobody has read counts, exactly, and the lag too
$node->safe_psql('postgres', 'SELECT fluxhooks.pause()');
insert('ok', 501, 1700);
is(status('pending, lag_events'), '1200|1200', 'what is not read is counted at once');
$node->safe_psql('postgres', 'BEGIN; INSERT INTO ok VALUES (5000); SAVEPOINT a; INSERT INTO ok VALUES (5001); ROLLBACK TO a; INSERT INTO ok VALUES (5002); COMMIT');
is(status('pending'), '1202', 'without what was rolled back');
ok(wait_status('lag_seconds > 1 AND oldest_pending_age > interval \'1 second\''), 'how long it has been waiting');
$node->restart;
wait_status('worker_pid IS NOT NULL');
is(status('pending, lag_events'), '1202|1202', 'after a restart, with a worker that has only just begun');
$node->safe_psql('postgres', 'SELECT fluxhooks.resume()');
ok(wait_status('pending = 0'), 'resumed, it goes out');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'success'"), '1702', 'all of it');

# 4. in memory, in flight, parked, to be retried: the sum stays exact
my $slow = webhook('hanging', '/hang', timeout_seconds => 300);
insert('hanging', 1, 7000);
my $failing = webhook('failing', '/status/500', retry_backoff_seconds => 86400, circuit_breaker => JSON::PP::false);
insert('failing', 1, 20);
ok(wait_status('pending = 7020 AND in_flight > 0'), 'pending wherever it is');
wait_for_deliveries($node, "webhook_id = '$failing' AND attempts = 1", 20);
ok(wait_status('pending = 7020'), 'a retry to come is pending');

# Would catch what moves just then from the worker's memory into pending, and is
# counted in both.  Where the machine stands still for long enough it may be.
insert('failing', 21, 1020);
my @seen = split /,/, $node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION pg_temp.seen() RETURNS SETOF bigint LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. 200 LOOP
    RETURN QUERY SELECT pending FROM fluxhooks.status;
    PERFORM pg_sleep(0.002);
  END LOOP;
END
$$;
SELECT string_agg(seen::text, ',') FROM pg_temp.seen()
SQL
is(scalar @seen, 200, 'looked at again and again');
cmp_ok(scalar(grep { $_ != 8020 } @seen), '<', 10, 'while retries move into the table, each is counted once')
  or diag("@seen");
wait_for_deliveries($node, "webhook_id = '$failing' AND attempts = 1", 1020);
ok(wait_status('failed_per_second > 0'), 'failures per second');
ok(wait_status('failure_rate > 0 AND failure_rate < 1'), 'and their share');
$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$slow', '{\"enabled\": false}')");
ok(wait_status('pending = 8020'), 'a disabled webhook\'s too');

# 5. killed: the next worker's memory is empty, the number is the same
$node->stop('immediate');
$node->start;
wait_status('worker_pid IS NOT NULL');
ok(wait_status('pending = 8020'), 'the same after a crash');
is(status('pending'), $node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'pending'"),
	'as many as deliveries shows');

# 6. counted for each role by itself
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE nobody_special LOGIN;
GRANT USAGE ON SCHEMA fluxhooks TO app, nobody_special;
GRANT SELECT ON ALL TABLES IN SCHEMA fluxhooks TO app, nobody_special;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO app, nobody_special;
CREATE TABLE own (id bigint PRIMARY KEY);
ALTER TABLE own OWNER TO app;
SQL
$node->safe_psql('postgres', "SET ROLE app; SELECT fluxhooks.create_webhook('own', '"
	. $receiver->url('/ok/own') . "', fluxhooks.event('own'), secret => 'a', enabled => true)");
is(status('webhooks, pending, in_flight, lag_events, log_bytes, last_rotation_at, last_error_at', 'app'), '1|0||0|||', 'a role sees its own');
is(status('webhooks, pending', 'nobody_special'), '0|0', 'who has none sees none');
is($node->safe_psql('postgres', 'SET ROLE app; SELECT string_agg(name, \',\') FROM fluxhooks.webhook_stats'), 'own',
	'webhook_stats too');
is(sqlstate($node, 'SET ROLE app; SELECT * FROM fluxhooks_internal.backlog()'), '42501', 'the function below is out of reach');

# 7. pauses, breakers, deleted webhooks
$node->safe_psql('postgres', "SELECT fluxhooks.delete_webhook('$slow')");
ok(wait_status('pending = 1020'), 'deliveries of a deleted webhook are pending no more');
my $gone = webhook('gone', '/status/410');
insert('gone', 1, 3);
ok(wait_status('paused_webhooks = 1 AND pending = 1023'), 'a webhook that was paused');
my $broken = webhook('broken', '/status/500', circuit_breaker => { failures => 2, probe_seconds => 3600 });
insert('broken', 1, 10);
ok(wait_status('open_breakers = 1 AND pending = 1033'), 'an open circuit breaker');

# 8. without a worker it counts from what is stored
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(status('worker_pid, pending, lag_events'), '|1033|0', 'no worker: from the tables');
insert('ok', 6000, 6009);
is(status('pending, lag_events'), '1043|10', 'and from the log');
is(status('last_error LIKE \'%shared_preload_libraries%\''), 't', 'saying what to do');

done_testing();
