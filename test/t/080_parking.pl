# What is parked is sent in the end, and keeps no retry waiting: whatever had been
# loaded before, however many are due at the same moment, after a failed batch, after a slot of the log
# was emptied meanwhile, and under session_replication_role = replica.
use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('parking');

sub webhook
{
	my ($name, $path, %config) = @_;

	$node->safe_psql('postgres', "CREATE TABLE $name (id bigint PRIMARY KEY)");
	return create_webhook($node,
		{ name => $name, url => $receiver->url("$path/$name"), events => [ { table => $name } ], %config });
}

sub insert
{
	my ($name, $first, $last) = @_;

	$node->safe_psql('postgres', "INSERT INTO $name SELECT i FROM generate_series($first, $last) AS i");
	return;
}

sub update
{
	my ($webhook, $changes) = @_;

	$node->safe_psql('postgres',
		"SELECT fluxhooks.update_webhook('$webhook', " . json_literal($changes) . ')');
	return;
}

sub wait_in_flight
{
	my ($count) = @_;

	return wait_until(
		sub { $node->safe_psql('postgres', "SELECT in_flight >= $count FROM fluxhooks.status") eq 't' },
		"$count requests under way");
}

sub set_retention
{
	my ($value) = @_;

	$node->append_conf('postgresql.conf', "fluxhooks.retention = '$value'");
	$node->reload;
	return;
}

# --- a thousand and more that are due at the same moment
#
# Would catch a place in pending that several rows share, and that reading in
# pages passes over.

my $again = webhook('again', '/ok');
insert('again', 1, 1500);
wait_for_deliveries($node, "webhook_id = '$again' AND status = 'success'", 1500);
$node->safe_psql('postgres',
	"SELECT count(fluxhooks.redeliver(id)) FROM fluxhooks.deliveries WHERE webhook_id = '$again'");
wait_for_deliveries($node, "webhook_id = '$again' AND status = 'success' AND attempts = 2", 1500);
pass('what one statement redelivers is sent, all of it');

# --- events of many sizes
#
# Would catch an event that is read for a row of pending, and taken for its neighbour: large ones
# have a row of the log each, small ones share one, what was rolled back leaves gaps between
# them, and they are asked for forward with gaps, then from the beginning again.

$node->safe_psql('postgres', 'CREATE TABLE sizes (id bigint PRIMARY KEY, note text)');
my $sizes = create_webhook($node,
	{ name => 'sizes', url => $receiver->url('/ok/sizes'), events => [ { table => 'sizes' } ] });
my ($kept, $undone, $more) = map {
	'INSERT INTO sizes SELECT i, repeat(md5(i::text), (ARRAY[1, 100, 1, 1, 1000, 1, 1])[i % 7 + 1]) '
	  . "FROM generate_series($_->[0], $_->[1]) AS i"
} [ 1, 150 ], [ 151, 200 ], [ 201, 300 ];

$node->safe_psql('postgres', "BEGIN; $kept; SAVEPOINT s; $undone; ROLLBACK TO s; $more; COMMIT");
wait_for_deliveries($node, "webhook_id = '$sizes' AND status = 'success'", 250);
$node->safe_psql('postgres', <<"EOF");
SELECT count(fluxhooks.redeliver(id)) FROM (
	SELECT id FROM fluxhooks.deliveries WHERE webhook_id = '$sizes'
	ORDER BY (record_key ->> 'id')::bigint % 3, id) AS thrice
EOF
wait_for_deliveries($node, "webhook_id = '$sizes' AND status = 'success' AND attempts = 2", 250);
my @received = map { "$_->{data}{record}{id} $_->{headers}{'x-fluxbase-delivery'} " . md5_hex($_->{data}{record}{note}) }
  $receiver->requests('/ok/sizes');
is(join("\n", sort @received), join("\n", sort split /\n/, $node->safe_psql('postgres', <<"EOF")),
SELECT concat_ws(' ', s.id, d.id, md5(note)) FROM generate_series(1, 2), sizes AS s
JOIN fluxhooks.deliveries AS d ON d.webhook_id = '$sizes' AND (d.record_key ->> 'id')::bigint = s.id
EOF
	'each of many sizes is sent twice, with its own id and row');

# --- parking after a retry
#
# Would catch a lane that goes on reading pending behind its last retry, while
# what it parks, never attempted, stands before that.

my $slow = webhook('slow', '/slow/40');
insert('slow', 1, 1);
wait_for_deliveries($node, "webhook_id = '$slow' AND status = 'success'", 1);
$node->safe_psql('postgres',
	"SELECT fluxhooks.redeliver(id) FROM fluxhooks.deliveries WHERE webhook_id = '$slow'");
wait_for_deliveries($node, "webhook_id = '$slow' AND status = 'success' AND attempts = 2", 1);
insert('slow', 2, 2600);
wait_until(
	sub { $node->safe_psql('postgres',
		"SELECT EXISTS (SELECT FROM fluxhooks_internal.pending WHERE webhook_id = '$slow')") eq 't' },
	'deliveries to be parked');
wait_for_deliveries($node, "webhook_id = '$slow' AND status = 'success'", 2600);
pass('what is parked after a retry is sent');

# --- a retry that is due while ten thousand wait
#
# Would catch retries that have to wait until all that was parked, or all that is
# in the log, has been sent.  Judged by the order of requests, not by time.

sub wait_for_attempt
{
	my ($dbname, $id, $attempt) = @_;

	return wait_until(
		sub { $node->safe_psql($dbname,
			"SELECT EXISTS (SELECT FROM fluxhooks.attempts WHERE webhook_id = '$id' AND attempt = $attempt)") eq 't' },
		"attempt $attempt in $dbname");
}

sub retry_among
{
	my ($dbname) = @_;

	$node->safe_psql($dbname, "CREATE TABLE $dbname (id bigint PRIMARY KEY)");
	my $id = create_webhook($node,
		{ name => $dbname, url => $receiver->url("/status/503/$dbname"), events => [ { table => $dbname } ],
			retry_backoff_seconds => 2 }, $dbname);

	$node->safe_psql($dbname, "INSERT INTO $dbname VALUES (0)");
	wait_for_attempt($dbname, $id, 1);
	$node->safe_psql($dbname, "SELECT fluxhooks.update_webhook('$id', "
		. json_literal({ url => $receiver->url("/slow/40/$dbname") }) . ')');
	$node->safe_psql($dbname, "INSERT INTO $dbname SELECT i FROM generate_series(1, 10000) AS i");
	return $id;
}

sub place_of_retry
{
	my ($dbname, $id) = @_;
	my $place = 0;

	wait_for_attempt($dbname, $id, 2);
	foreach my $request ($receiver->requests("/slow/40/$dbname"))
	{
		return $place if $request->{data}{record}{id} == 0;
		$place++;
	}
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE alone');
$node->safe_psql('alone', 'CREATE EXTENSION fluxhooks');
my %retried = map { $_ => retry_among($_) } 'postgres', 'alone';
wait_until(
	sub { $node->safe_psql('postgres',
		"SELECT count(*) > 5000 FROM fluxhooks_internal.pending WHERE webhook_id = '$retried{postgres}'") eq 't' },
	'the backlog to be parked');
cmp_ok(place_of_retry('postgres', $retried{postgres}), '<', 5000,
	'a retry that is due is sent long before all that was parked');
cmp_ok(place_of_retry('alone', $retried{alone}), '<', 5000,
	'a retry that is due is sent long before all that is in the log');
$node->safe_psql('postgres', "SELECT fluxhooks.delete_webhook('$retried{postgres}')");
$node->safe_psql('postgres', 'DROP DATABASE alone WITH (FORCE)');

# --- disabled after a batch that failed
#
# Would catch a lane that takes what it holds in memory for parked.

my $failed = webhook('failed', '/hang', timeout_seconds => 10);
insert('failed', 1, 50);
wait_in_flight(2);
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE fluxhooks_internal.pending IN SHARE MODE');
update($failed, { enabled => JSON::PP::false });
wait_until(
	sub { $node->safe_psql('postgres', <<'SQL') eq 't' },
SELECT pg_cancel_backend(l.pid) FROM pg_locks AS l
WHERE NOT l.granted AND l.relation = 'fluxhooks_internal.pending'::regclass
SQL
	'a batch to wait, and to be cancelled');
wait_until(
	sub { $node->safe_psql('postgres', 'SELECT last_error IS NOT NULL FROM fluxhooks.status') eq 't' },
	'the error to be shown');
$locker->query_safe('COMMIT');
$locker->quit;
wait_until(
	sub { $node->safe_psql('postgres',
		"SELECT count(*) >= 48 FROM fluxhooks_internal.pending WHERE webhook_id = '$failed'") eq 't' },
	'what is in memory to be parked');
update($failed, { enabled => JSON::PP::true, url => $receiver->url('/ok/failed') });
$receiver->wait_for_requests(48, '/ok/failed');
pass('what was in memory when a batch failed is parked by the next one');

# --- disabled after a slot of the log was emptied
#
# Would catch deliveries that count as rescued although their events are in
# another slot.

insert('again', 2001, 2001);
wait_for_deliveries($node, "webhook_id = '$again' AND status = 'success' AND attempts = 1", 1);
my $file = q{SELECT pg_relation_filenode('fluxhooks_internal.event_0')};
my $before = $node->safe_psql('postgres', $file);
set_retention('8s');
wait_until(
	sub { $node->safe_psql('postgres', 'SELECT closed_at IS NOT NULL FROM fluxhooks_internal.ring WHERE slot = 0') eq 't' },
	'slot 0 to be left');
my $emptied = webhook('emptied', '/hang', timeout_seconds => 10);
insert('emptied', 1, 50);
wait_in_flight(2);
wait_until(sub { $node->safe_psql('postgres', $file) ne $before }, 'slot 0 to be emptied');
set_retention('3d');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks_internal.event WHERE table_name = 'emptied'"),
	50, 'the events are in another slot');
update($emptied, { enabled => JSON::PP::false });
wait_until(
	sub { $node->safe_psql('postgres',
		"SELECT count(*) >= 48 FROM fluxhooks_internal.pending WHERE webhook_id = '$emptied'") eq 't' },
	'what is in memory to be parked');
update($emptied, { enabled => JSON::PP::true, url => $receiver->url('/ok/emptied') });
$receiver->wait_for_requests(48, '/ok/emptied');
pass('what was in memory when another slot was emptied is parked');

$node->stop;

# --- a server whose sessions are replicas' by default
#
# Would catch a worker whose own writes are dropped as replicated ones.

$node = new_node('replica', conf => 'session_replication_role = replica');
{
	local $ENV{PGOPTIONS} = '-c session_replication_role=origin';
	my $retried = webhook('retried', '/fail/1/503', retry_backoff_seconds => 1);

	insert('retried', 1, 1);
	wait_for_deliveries($node, "webhook_id = '$retried' AND status = 'success' AND attempts = 2", 1);
	pass('a worker writes whatever session_replication_role says');
}

done_testing();
