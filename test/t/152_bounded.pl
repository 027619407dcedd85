# What grows is bounded: the event log by a setting, the worker's memory
# whatever waits, the server's log whatever fails.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();

sub log_size
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT fluxhooks_internal.log_size()');
}

sub status
{
	my ($node, $column) = @_;

	return $node->safe_psql('postgres', "SELECT $column FROM fluxhooks.status");
}

# Rows of about 1 kB that pglz and lz4 make nothing of.
sub fill
{
	my ($node, $table, $first, $count) = @_;

	$node->safe_psql('postgres', <<"SQL");
INSERT INTO $table
SELECT i, (SELECT string_agg(md5((i * 100 + j)::text), '') FROM generate_series(1, 32) AS j)
FROM generate_series($first, $first + $count - 1) AS i
SQL
	return;
}

# kB of memory of a process that are its own.
sub memory_of
{
	my ($pid) = @_;
	my ($kb) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;

	return $kb;
}

# Lines of the server's log that a pattern matches, from an offset on.
sub lines
{
	my ($node, $pattern, $offset) = @_;

	return grep { /$pattern/ } split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset);
}

# --- the log over its size: the oldest part of a webhook that lags goes

my $node = new_node('drop', conf => <<'CONF');
fluxhooks.max_log_size = 8MB
fluxhooks.max_log_action = drop
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE lagging (id bigint PRIMARY KEY, note text);
CREATE TABLE lively (id bigint PRIMARY KEY, note text);
SQL
# enabled and paused: captured, and not sent; the other one is refused, and retried
my $held = create_webhook($node, { name => 'held', url => $receiver->url('/ok/held'), events => [ { table => 'lagging' } ] });
my $refused = create_webhook($node,
	{ name => 'refused', url => 'http://127.0.0.1:1/', events => [ { table => 'lagging' } ],
	  max_retries => 100, retry_backoff_seconds => 3600, circuit_breaker => JSON::PP::false });
my $lively = create_webhook($node, { name => 'lively', url => $receiver->url('/ok/lively'), events => [ { table => 'lively' } ] });
$node->safe_psql('postgres', "UPDATE fluxhooks_internal.webhook SET paused_reason = 'test' WHERE id = '$held'");

my $offset = -s $node->logfile;
my $written = 0;

foreach my $round (1 .. 40)
{
	fill($node, 'lagging', 1 + $written, 700);
	fill($node, 'lively', $round * 10, 1);
	$written += 700;
	# not much faster than the worker looks
	wait_until(sub { log_size($node) < 9 * 1024 * 1024 }, 'the log to be cut down');
}
cmp_ok($written * 1024, '>', 3 * 8 * 1024 * 1024, 'far more was written than the log may hold');
# until all that there is to send has been tried, and nothing is added to the log any more
wait_for_deliveries($node, "webhook_id = '$refused' AND status = 'pending' AND attempts = 0", 0);
wait_until(sub { log_size($node) <= 8 * 1024 * 1024 }, 'the log to keep to its size');
# what was written last may have gone with the rest by now, this may not
fill($node, 'lagging', ++$written, 1);
wait_until(sub { log_size($node) <= 8 * 1024 * 1024 }, 'the log to keep to its size');
pass('the log keeps to its size, and no writer was refused');

wait_for_deliveries($node, "webhook_id = '$lively' AND status = 'success'",
	$node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = '$lively'"));
my %seen;
$seen{ $_->{data}{record}{id} }++ foreach $receiver->wait_for_requests(40, '/ok/lively');
is(scalar keys %seen, 40, 'a webhook that does not lag loses nothing');

my %dropped = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres', 'SELECT webhook_id, deliveries FROM fluxhooks_internal.dropped');
ok(!exists $dropped{$lively}, 'nothing of it is counted as dropped');
cmp_ok($dropped{$_} // 0, '>', 10000, 'what lags is dropped, and counted') foreach $held, $refused;
is(status($node, 'dropped'), $dropped{$held} + $dropped{$refused}, 'status shows the sum');
is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM fluxhooks.deliveries WHERE webhook_id = '$held' AND status = 'cancelled' AND error LIKE 'dropped:%' AND record_key IS NOT NULL"),
	't', 'what was dropped last is shown as cancelled, with its key');
# an eighth of an eighth of the log for each slot that went, 384 bytes or more a record
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'cancelled'}),
	'<=', 10 * 8 * 1024 * 1024 / 64 / 384, 'and only a part of it, since it takes room from what is newer');
is($node->safe_psql('postgres', "SELECT count(*) + $dropped{$held} FROM fluxhooks.deliveries WHERE webhook_id = '$held' AND status = 'pending'"),
	$written, 'each delivery is either pending or counted');
# a worker that had to wait for the machine may have found all of it in one slot
my $grown = lines($node, 'has grown to .* over fluxhooks.max_log_size', $offset);
my $shrunk = lines($node, 'event log of fluxhooks has come down to', $offset);
cmp_ok($grown, '>=', 1, 'the server\'s log says so');
cmp_ok($grown - $shrunk, '<=', 1, 'and again only after it had come down to the half');

# what is left arrives once it may, and the rest is counted
$node->safe_psql('postgres', "UPDATE fluxhooks_internal.webhook SET paused_reason = NULL WHERE id = '$held'");
wait_for_deliveries($node, "webhook_id = '$held' AND status = 'pending'", 0);
my %arrived = map { $_->{data}{record}{id} => 1 } $receiver->requests('/ok/held');
is(scalar(keys %arrived) + $node->safe_psql('postgres', "SELECT deliveries FROM fluxhooks_internal.dropped WHERE webhook_id = '$held'"),
	$written, 'each delivery has either been sent or is counted');
ok($arrived{$written}, 'the newest has been sent');
is( $node->safe_psql('postgres', <<"SQL"),
SELECT count(*) FROM fluxhooks.deliveries
WHERE webhook_id = '$held' AND status = 'cancelled' AND (record_key->>'id')::bigint IN (@{[ join ',', sort { $a <=> $b } keys %arrived ]})
SQL
	0, 'and nothing that was dropped has been');
$node->stop('fast');

# --- the log over its size: warn

my $warn = new_node('warn', conf => "fluxhooks.max_log_size = 8MB\n");
$warn->safe_psql('postgres', 'CREATE TABLE lagging (id bigint PRIMARY KEY, note text)');
my $waiting = create_webhook($warn, { name => 'waiting', url => 'http://127.0.0.1:1/', events => [ { table => 'lagging' } ],
	max_retries => 100, retry_backoff_seconds => 3600, circuit_breaker => JSON::PP::false });
is(status($warn, 'log_full'), 'f', 'status: the log is not full');
$offset = -s $warn->logfile;
fill($warn, 'lagging', 1, 15000);
is(status($warn, 'log_full'), 't', 'status: the log is full');
wait_until(sub { lines($warn, 'has grown to .* over fluxhooks.max_log_size', $offset) }, 'a warning');
my $loaded = log_size($warn);
fill($warn, 'lagging', 20001, 100);
# it looks again: every second while events come
foreach my $i (1 .. 5)
{
	fill($warn, 'lagging', 30000 + $i, 1);
	$warn->safe_psql('postgres', 'SELECT pg_sleep(1)');
}
cmp_ok(log_size($warn), '>=', $loaded, 'nothing is given up');
is(status($warn, 'dropped'), 0, 'nothing is dropped');
is(scalar(lines($warn, 'has grown to .* over fluxhooks.max_log_size', $offset)), 1, 'one line says so');

# --- the server's log in an outage: a line per change of state, none per event

is(scalar(lines($warn, '(?:LOG|WARNING|ERROR|FATAL): .*fluxhooks', $offset)), 1, '15,000 deliveries that fail add no line');

# --- and drop after all

$warn->append_conf('postgresql.conf', 'fluxhooks.max_log_action = drop');
$warn->reload;
wait_until(sub { status($warn, 'log_full') eq 'f' }, 'the log to come down');
cmp_ok(status($warn, 'dropped'), '>', 0, 'max_log_action = drop takes effect with a reload');
is($warn->safe_psql('postgres', <<"SQL"), 15105, 'each delivery is either pending or counted');
SELECT count(*) + (SELECT dropped FROM fluxhooks.status)
FROM fluxhooks.deliveries WHERE webhook_id = '$waiting' AND status = 'pending'
SQL
$warn->stop('fast');

# --- memory of the worker

my $large = new_node('memory', conf => "fluxhooks.retention = 1h\n");
$large->safe_psql('postgres', <<'SQL');
CREATE TABLE many (id bigint PRIMARY KEY, note text);
CREATE TABLE wide (id bigint PRIMARY KEY, note text);
SQL
create_webhook($large, { name => $_, url => $receiver->url("/hang/$_", host => 'localhost'), timeout_seconds => 300,
	events => [ { table => 'many' }, { table => 'wide' } ] }) foreach qw(one two three);
create_webhook($large, { name => 'lively', url => $receiver->url('/ok/wide'), events => [ { table => 'wide' } ] });
my $pid = wait_for_worker($large);
$large->safe_psql('postgres', "INSERT INTO wide VALUES (0, 'warm')");
$receiver->wait_for_requests(1, '/ok/wide');
my $idle = memory_of($pid);
my $most = 0;

$large->safe_psql('postgres', "INSERT INTO many SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) AS i");
$large->safe_psql('postgres', "INSERT INTO wide SELECT i, repeat(md5(i::text), 25000) FROM generate_series(1, 60) AS i");
wait_until(
	sub {
		my $now = memory_of($pid);

		$most = $now if $now > $most;
		# of 800 kB each, behind all the others
		return (() = PostgreSQL::Test::Utils::slurp_file($receiver->{log}) =~ m{"path":"/ok/wide"}g) >= 61;
	},
	'large bodies to arrive beside endpoints that hang');
note("worker: $idle kB idle, at most $most kB with 150,000 deliveries, and three times 48 MB of large bodies behind them, waiting");
# a sanitizer keeps what was freed for a while
cmp_ok($most - $idle, '<', ($ENV{FLUXHOOKS_CHECK_MEMORY} ? 640 : 64) * 1024, 'the memory of the worker is bounded');
is(status($large, 'worker_pid'), $pid, 'it is the same worker');
$large->stop('fast');

# --- a body larger than all that may be queued waits in memory, rather than being
# put away and loaded again without an end

sub cpu_seconds
{
	my @stat = split / /, PostgreSQL::Test::Utils::slurp_file("/proc/$_[0]/stat");

	return ($stat[13] + $stat[14]) / 100;
}

my $vast = new_node('vast', conf => "fluxhooks.max_payload_size = 64MB\n");
$vast->safe_psql('postgres', 'CREATE TABLE vast (id bigint PRIMARY KEY, note text)');
create_webhook($vast, { name => $_, url => $receiver->url('/hang/vast'), timeout_seconds => 300, events => [ { table => 'vast' } ] })
  foreach qw(one two);
$vast->safe_psql('postgres', "INSERT INTO vast SELECT i, repeat(md5(i::text), 1100000) FROM generate_series(1, 2) AS i");
wait_until(sub { PostgreSQL::Test::Utils::slurp_file($receiver->{log}) =~ m{"path":"/hang/vast"} }, 'the first of them to arrive');
$pid = status($vast, 'worker_pid');
wait_until(
	sub {
		my $used = cpu_seconds($pid);

		# how much of a time it works is the matter
		$vast->safe_psql('postgres', 'SELECT pg_sleep(1)');
		return cpu_seconds($pid) - $used < 0.1;
	},
	'the worker to wait');
is(status($vast, 'in_flight || $$ $$ || pending'), '1 4', 'with one request under way');
$vast->stop('fast');

done_testing();
