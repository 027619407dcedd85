# The event log under the worker: what was committed arrives, what was not does
# not, each row's changes in their order, whatever commits late, is restarted,
# crashes or is rotated away meanwhile.
use strict;
use warnings;

use FluxhooksTest;
use IPC::Run ();
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# --- what has arrived: thousands of requests, so read once and by regex

my $receiver = start_receiver();
my $read_up_to = 0;
my %arrived;					# path => [ { id, row, body }, ... ], oldest first

# Requests to a path so far; row is the column "id" of the record.
sub arrivals
{
	my ($path) = @_;

	open my $in, '<', $receiver->{log} or die "$receiver->{log}: $!";
	seek $in, $read_up_to, 0 or die "$receiver->{log}: $!";
	while (defined(my $line = <$in>))
	{
		last unless $line =~ /\n\z/;
		$read_up_to += length $line;
		my ($to) = $line =~ /"path":"([^"]*)"/;
		my ($id) = $line =~ /"x-fluxbase-delivery":"([^"]*)"/;
		my ($body) = $line =~ /"body":"([^"]*)"/;
		$body = decode_base64($body);
		my ($row) = $body =~ /"record":\{"id":(\d+)/;
		push @{ $arrived{$to} }, { id => $id, row => $row, body => $body };
	}
	close $in;
	return @{ $arrived{$path} // [] };
}

# Those of them whose delivery had not arrived before: first attempts.
sub first_arrivals
{
	my ($path) = @_;
	my %seen;

	return grep { !$seen{ $_->{id} }++ } arrivals($path);
}

# Ids of deliveries that arrived more than once.
sub duplicates
{
	my ($path) = @_;
	my %seen;

	return grep { $seen{$_} == 2 } map { $seen{ $_->{id} }++; $_->{id} } arrivals($path);
}

sub wait_for_arrivals
{
	my ($path, $count) = @_;

	wait_until(sub { first_arrivals($path) >= $count }, "$count deliveries at $path, " . first_arrivals($path) . ' so far');
	return;
}

# Rows of a table against rows that arrived: neither lost nor invented.  For
# tables whose rows are inserted and left alone.
sub arrived_is_table
{
	my ($node, $path, $table, $name) = @_;
	my $count = $node->safe_psql('postgres', "SELECT count(*) FROM $table");
	my %row = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', "SELECT id FROM $table");
	my %found;

	eval { wait_for_arrivals($path, $count) };
	$found{ $_->{row} }++ foreach first_arrivals($path);
	my @lost = grep { !$found{$_} } sort { $a <=> $b } keys %row;
	my @invented = grep { !$row{$_} } sort { $a <=> $b } keys %found;
	my @twice = grep { $found{$_} > 1 } sort { $a <=> $b } keys %found;
	is(scalar @lost, 0, "$name: nothing is lost") or diag("lost: @lost[0 .. ($#lost > 9 ? 9 : $#lost)]");
	is(scalar @invented, 0, "$name: nothing is invented") or diag("invented: @invented[0 .. ($#invented > 9 ? 9 : $#invented)]");
	is(scalar @twice, 0, "$name: each change has one delivery");
	return;
}

# Each row's versions, as first attempts brought them, go up by one.
sub arrived_in_order
{
	my ($path, $name) = @_;
	my (%version, @wrong);

	foreach my $request (first_arrivals($path))
	{
		my ($version) = $request->{body} =~ /"record":\{"id":\d+,"version":(\d+)/;
		my $expected = ($version{ $request->{row} } // 0) + 1;

		push @wrong, "row $request->{row}: $version instead of $expected" if $version != $expected;
		$version{ $request->{row} } = $version;
	}
	is(scalar @wrong, 0, $name) or diag(join("\n", @wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)]));
	return;
}

# --- what the worker does

sub set_delivery
{
	my ($node, $value) = @_;

	$node->append_conf('postgresql.conf', "fluxhooks.delivery = $value");
	$node->reload;
	return;
}

# Have one transaction insert rows first to last, six pages of a window, and
# stop sending as soon as some have arrived: then the cursor stands inside the
# window, part of which is settled, part in memory and most of it not read.
sub stop_inside_window
{
	my ($node, $path, $first, $last) = @_;
	my $before = () = first_arrivals($path);

	set_delivery($node, 'off');
	$node->safe_psql('postgres', "INSERT INTO item SELECT i FROM generate_series($first, $last) AS i");
	set_delivery($node, 'on');
	wait_for_arrivals($path, $before + 1);
	set_delivery($node, 'off');
	wait_until(
		sub {
			return $node->safe_psql('postgres', <<'SQL');
SELECT 1 FROM (SELECT * FROM fluxhooks_internal.cursor ORDER BY number DESC LIMIT 1) AS c
WHERE next_snapshot IS NOT NULL AND last_seq > 0
SQL
		},
		'a cursor inside a window');
	return;
}

# Ids of the deliveries that are recorded; what returns is durable as well,
# since the commit of the CREATE TABLE flushes all WAL before it.
my $sync_points = 0;

sub durably_recorded
{
	my ($node) = @_;
	my @ids = split /\n/, $node->safe_psql('postgres', 'SELECT DISTINCT delivery_id FROM fluxhooks.attempts');

	$node->safe_psql('postgres', 'SET synchronous_commit = on; CREATE TABLE sync_point_' . ++$sync_points . '()');
	return map { $_ => 1 } @ids;
}

my $node = new_node('log', conf => <<'CONF');
restart_after_crash = on
autovacuum = off
statement_timeout = 60s
CONF

# --- commits in reverse order around a window that is larger than a page (2048),
# and a worker that is restarted in its midst.
#
# Would catch a window that is resumed, after its first POST, with a newer
# snapshot: what has committed since, but drew its numbers before, lies
# behind the position and is skipped for ever.  "released" and "prepared" draw
# theirs early, at RELEASE and at PREPARE.

$node->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY, n text)');
create_webhook($node,
	{ name => 'page', url => $receiver->url('/ok/page'), events => [ { table => 'item' } ] });

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('SELECT pg_current_xact_id()');
my $released = $node->background_psql('postgres');
$released->query_safe('BEGIN');
$released->query_safe('SAVEPOINT a');
$released->query_safe('INSERT INTO item SELECT i FROM generate_series(1, 1000) AS i');
$released->query_safe('RELEASE a');
$node->safe_psql('postgres', "BEGIN; INSERT INTO item VALUES (1001); PREPARE TRANSACTION 'first'");
$node->safe_psql('postgres', "BEGIN; INSERT INTO item VALUES (1002); PREPARE TRANSACTION 'second'");
$node->safe_psql('postgres', "BEGIN; INSERT INTO item VALUES (1003); PREPARE TRANSACTION 'third'");
my $late = $node->background_psql('postgres');
$late->query_safe('BEGIN');
$late->query_safe('INSERT INTO item VALUES (1004)');

stop_inside_window($node, '/ok/page', 2001, 14000);
$released->query_safe('COMMIT');
$node->safe_psql('postgres', "COMMIT PREPARED 'first'");
my %recorded = durably_recorded($node);
my $pid = wait_for_worker($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for_worker($node, 'postgres', $pid);
set_delivery($node, 'on');
$late->query_safe('COMMIT');
arrived_is_table($node, '/ok/page', 'item', 'worker restarted inside a window');
my @twice = duplicates('/ok/page');
is(scalar(grep { $recorded{$_} } @twice), 0, 'a worker that is ended repeats nothing that was recorded');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL"),
	1, 'all the while a transaction with an xid was idle, and held nobody up');

# --- the same with a crash of the whole server, and prepared transactions across it

my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN');
$open->query_safe('INSERT INTO item SELECT i FROM generate_series(18001, 19500) AS i');
stop_inside_window($node, '/ok/page', 20001, 32000);
set_delivery($node, 'on');
my $so_far = () = first_arrivals('/ok/page');
wait_for_arrivals('/ok/page', $so_far + 100);
%recorded = durably_recorded($node);
$pid = wait_for_worker($node);
kill 'KILL', $pid;
wait_for_worker($node, 'postgres', $pid);
eval { $_->quit } foreach $open, $holder, $released, $late;
$node->safe_psql('postgres', "COMMIT PREPARED 'second'");
$node->safe_psql('postgres', "ROLLBACK PREPARED 'third'");
arrived_is_table($node, '/ok/page', 'item', 'crash inside a window');
my %before = map { $_ => 1 } @twice;
is(scalar(grep { $recorded{$_} && !$before{$_} } duplicates('/ok/page')), 0,
	'nothing that was durably recorded is repeated after the crash');

# --- order within a transaction, under other people's triggers
#
# Would catch an order by time of capture: triggers named to fire before ours
# write by themselves, and the events of what they write are captured first.

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE doc (id bigint PRIMARY KEY, version bigint NOT NULL);
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE doc SET version = version + 1 WHERE id = NEW.id;
	END IF;
	RETURN NEW;
END $$;
CREATE FUNCTION sibling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE doc SET version = version + 1 WHERE id IN (NEW.id + 1, NEW.id - 1);
	END IF;
	RETURN NEW;
END $$;
CREATE FUNCTION earlier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		INSERT INTO doc VALUES (NEW.id + 1000, 1);
		UPDATE doc SET version = version + 1 WHERE id = NEW.id + 1000;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER a_again AFTER INSERT ON doc FOR EACH ROW EXECUTE FUNCTION again();
CREATE TRIGGER a_sibling AFTER UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION sibling();
CREATE TRIGGER a_earlier BEFORE INSERT ON doc FOR EACH ROW EXECUTE FUNCTION earlier();
SQL
create_webhook($node, { name => 'triggers', url => $receiver->url('/ok/triggers'), events => [ { table => 'doc' } ] });
$node->safe_psql('postgres', <<'SQL');
INSERT INTO doc SELECT i, 1 FROM generate_series(1, 50) AS i;
UPDATE doc SET version = version + 1 WHERE id <= 50;
BEGIN;
UPDATE doc SET version = version + 1 WHERE id = 7;
SAVEPOINT a;
UPDATE doc SET version = version + 1 WHERE id = 8;
ROLLBACK TO a;
UPDATE doc SET version = version + 1 WHERE id = 9;
COMMIT;
SQL
wait_for_arrivals('/ok/triggers', $node->safe_psql('postgres', 'SELECT sum(version) FROM doc'));
arrived_in_order('/ok/triggers', 'changes arrive in their order under triggers that write');
is_deeply(
	[ map { $_->{body} =~ /"event":"(\w+)"/ } grep { $_->{row} == 1 } first_arrivals('/ok/triggers') ],
	[ 'INSERT', ('UPDATE') x 3 ],
	'INSERT comes before UPDATE');

# --- order of transactions in one window
#
# Would catch an order by the first number that a transaction has drawn: the
# large one draws early, for rows that nobody else touches, and changes row
# 2000 only after the small one has committed.

set_delivery($node, 'off');
$node->safe_psql('postgres', 'INSERT INTO doc VALUES (2000, 1)');
my $large = $node->background_psql('postgres');
$large->query_safe('BEGIN');
$large->query_safe('SAVEPOINT a');
$large->query_safe('INSERT INTO item SELECT i FROM generate_series(40001, 41000) AS i');
$large->query_safe('RELEASE a');
$node->safe_psql('postgres', 'UPDATE doc SET version = version + 1 WHERE id = 2000');
$large->query_safe('UPDATE doc SET version = version + 1 WHERE id = 2000');
$large->query_safe('COMMIT');
$large->quit;
set_delivery($node, 'on');
wait_for_arrivals('/ok/triggers', $node->safe_psql('postgres', 'SELECT sum(version) FROM doc'));
arrived_in_order('/ok/triggers', 'a transaction comes after those it has waited for');

# --- order of a row's changes under concurrent writers, with an endpoint that
# is too slow for them, so that its deliveries are parked, and a worker that
# is restarted meanwhile
#
# Would catch an order by commit time or by the smallest number drawn;
# deliveries that overtake parked ones; a restart that sends what is in the log
# before what was parked; retries that count as first attempts; and a slow
# endpoint that holds up the other one.

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counter (id bigint PRIMARY KEY, version bigint NOT NULL);
INSERT INTO counter SELECT i, 0 FROM generate_series(1, 8) AS i;
SQL
create_webhook($node, { name => 'quick', url => $receiver->url('/ok/order'), events => [ { table => 'counter' } ] });
my $slow = create_webhook($node, { name => 'slow', url => $receiver->url('/slow/10/order'), events => [ { table => 'counter' } ] });
create_webhook($node, {
	name => 'failing', url => $receiver->url('/fail/1/503/order'), events => [ { table => 'counter' } ],
	retry_backoff_seconds => 1, circuit_breaker => JSON::PP::false });
append_to_file($node->basedir . '/counter.sql', <<'SQL');
\set id random(1, 8)
UPDATE counter SET version = version + 1 WHERE id = :id;
SQL
my @pgbench = ('pgbench', '-n', '-c', 4, '-f', $node->basedir . '/counter.sql', '-h', $node->host, '-p', $node->port, 'postgres');
my $out = '';
my $writers;
{
	local $ENV{PGOPTIONS} = '-c synchronous_commit=off';
	$writers = IPC::Run::start([ @pgbench, '-t', 1500, '-R', 1500 ], '<', '/dev/null', '>', \$out, '2>', \$out);
}
wait_until(
	sub { $node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks_internal.pending WHERE webhook_id = '$slow'") > 1500 },
	'deliveries to be parked');
$pid = wait_for_worker($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for_worker($node, 'postgres', $pid);
$writers->finish;
is($writers->result(0), 0, 'writers have written') or diag($out);
wait_for_arrivals('/ok/order', 6000);
cmp_ok(scalar(first_arrivals('/slow/10/order')), '<', 6000, 'the quick endpoint has everything before the slow one');
wait_for_arrivals('/slow/10/order', 6000);
arrived_in_order('/ok/order', 'concurrent writers, quick endpoint: each row in order');
arrived_in_order('/slow/10/order', 'concurrent writers, parked deliveries and a restart: each row in order');
wait_for_arrivals('/fail/1/503/order', 6000);
arrived_in_order('/fail/1/503/order', 'retries in between: first attempts in order');
is($node->safe_psql('postgres', 'SELECT sum(version) FROM counter'), scalar(first_arrivals($_)), "$_: and completely")
  foreach qw(/ok/order /slow/10/order /fail/1/503/order);

# --- an endpoint that answers nobody delays nobody

$node->safe_psql('postgres', 'CREATE TABLE stuck (id bigint PRIMARY KEY); CREATE TABLE lively (id bigint PRIMARY KEY)');
create_webhook($node, {
	name => 'stuck', url => $receiver->url('/hang/stuck', host => 'localhost'),
	events => [ { table => 'stuck' } ], timeout_seconds => 300 });
create_webhook($node, { name => 'lively', url => $receiver->url('/ok/lively'), events => [ { table => 'lively' } ] });
$node->safe_psql('postgres', <<'SQL');
INSERT INTO stuck SELECT i FROM generate_series(1, 3000) AS i;
INSERT INTO lively SELECT i FROM generate_series(1, 10) AS i;
INSERT INTO stuck SELECT i FROM generate_series(3001, 6000) AS i;
INSERT INTO lively SELECT i FROM generate_series(11, 20) AS i;
SQL
arrived_is_table($node, '/ok/lively', 'lively', 'beside an endpoint that hangs');
$node->stop('fast');

# --- sent means durably committed
#
# Would catch a worker that sends what a writer with synchronous_commit = off
# has made visible but not durable: with the WAL writer kept from its work,
# nobody else flushes it before the server dies.

my $async = new_node('async', conf => <<'CONF');
autovacuum = off
statement_timeout = 60s
wal_writer_delay = 10s
wal_writer_flush_after = 1GB
CONF
$async->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY)');
create_webhook($async, { name => 'async', url => $receiver->url('/ok/async'), events => [ { table => 'item' } ] });
foreach my $round (1 .. 5)
{
	my $first = 100 * $round;

	wait_for_worker($async);
	$async->safe_psql('postgres',
		"SET synchronous_commit = off;\n" . join '', map { "INSERT INTO item VALUES ($_);\n" } $first .. $first + 19);
	wait_until(sub { grep { $_->{row} == $first + 19 } arrivals('/ok/async') }, 'the last row of the round');
	$async->stop('immediate');
	$async->start;
}
arrived_is_table($async, '/ok/async', 'item', 'asynchronous commits and a server that dies');
$async->stop('fast');

# --- a ring that turns every quarter of a second
#
# Would catch a slot that is emptied on the word of a snapshot taken before its
# lock: it destroyed what a late committer had written; a lock that is not
# looked for at all; rows of unsettled deliveries that go with their slot, or
# that count as too old the moment their transaction commits; and a slot that is
# never emptied.  What waits for longer than the retention is cancelled, so there are no more
# events than a slow machine sends in that time; what they say is long, so that a writer writes
# to the log (1 MB) before it commits.

my $ring = new_node('ring', conf => <<'CONF');
autovacuum = off
statement_timeout = 60s
fluxhooks.retention = 5s
CONF
$ring->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 1, note text DEFAULT repeat('x', 1200));
CREATE TABLE tick (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer);
CREATE TABLE patient (id bigint PRIMARY KEY, n text);
SQL
create_webhook($ring, { name => 'item', url => $receiver->url('/ok/ring'), events => [ { table => 'item' } ] });
create_webhook($ring, { name => 'tick', url => $receiver->url('/ok/tick'), events => [ { table => 'tick' } ] });
my $patient = create_webhook($ring,
	{ name => 'patient', url => $receiver->url('/slow/12000/ring'), events => [ { table => 'patient' } ] });

# Poll, with an event each time, so that there is something to rotate.
sub tick_until
{
	my ($sql, $what) = @_;

	wait_until(
		sub {
			$ring->safe_psql('postgres', 'INSERT INTO tick (n) VALUES (1)');
			return $ring->safe_psql('postgres', $sql) eq 't';
		},
		$what);
	return;
}

$ring->safe_psql('postgres', "INSERT INTO patient VALUES (1, 'answered after its event has left the log')");
tick_until("SELECT count(*) = 0 FROM fluxhooks_internal.event WHERE table_name = 'patient'",
	'the event of a delivery in flight to be emptied away');
wait_for_deliveries($ring, "webhook_id = '$patient' AND status = 'success'", 1);
is( $ring->safe_psql('postgres',
		"SELECT fluxhooks.delivery_payload(id) || record_key::text FROM fluxhooks.deliveries WHERE webhook_id = '$patient'"),
	(arrivals('/slow/12000/ring'))[0]{body} . '{"id": 1}',
	'a delivery whose event has been emptied away keeps payload and key');
is( $ring->safe_psql('postgres',
		"SELECT d = l FROM fluxhooks.deliveries AS d, fluxhooks.list_deliveries('$patient') AS l WHERE d.webhook_id = '$patient'"),
	't', 'and list_deliveries shows it as the view does');
is(scalar(arrivals('/slow/12000/ring')), 1, 'and is not sent again');

my $writer = $ring->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe('INSERT INTO item SELECT i FROM generate_series(1, 1000) AS i');
$ring->safe_psql('postgres',
	"BEGIN; INSERT INTO item SELECT i FROM generate_series(10001, 11200) AS i; PREPARE TRANSACTION 'late'");
my $waiting = q{SELECT count(*) > 0 FROM fluxhooks_internal.ring WHERE closed_at < clock_timestamp() - interval '%s'};
tick_until(sprintf($waiting, '6 s'), 'a slot that has been due for a second');
$writer->query_safe('UPDATE item SET version = 2 WHERE id <= 300');
$writer->query_safe('INSERT INTO item SELECT i FROM generate_series(1001, 1010) AS i');
$writer->query_safe('COMMIT');
$writer->quit;
wait_for_arrivals('/ok/ring', 1310);
is(scalar(first_arrivals('/ok/ring')), 1310, 'a writer open across rotations loses nothing');
arrived_in_order('/ok/ring', 'and its changes arrive in order, though they lie in several slots');

$ring->restart;
tick_until(sprintf($waiting, '8 s'), 'slots held up by the prepared transaction');
$ring->safe_psql('postgres', "COMMIT PREPARED 'late'");
wait_for_arrivals('/ok/ring', 2510);
is(scalar(grep { $_->{row} > 10000 } first_arrivals('/ok/ring')), 1200,
	'a prepared transaction across rotations and a restart loses nothing');
is(scalar(first_arrivals('/ok/ring')), 2510, 'and nothing else has come');
is(scalar(first_arrivals('/ok/tick')), $ring->safe_psql('postgres', 'SELECT count(*) FROM tick'),
	'events that flow meanwhile all arrive');

$ring->poll_query_until('postgres', <<'SQL');
SELECT sum(pg_relation_size(c.oid)) = 0 FROM pg_class AS c
WHERE c.oid IN (SELECT unnest(ARRAY[oid, reltoastrelid]) FROM pg_class
                WHERE relnamespace = 'fluxhooks_internal'::regnamespace
                  AND relname ~ '^(event|attempt)_\d$')
SQL
pass('the log is empty once everything in it is older than the retention');
is($ring->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.pending'), 0, 'and so is pending');
cmp_ok($ring->safe_psql('postgres', "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname ~ '^(event|attempt|cursor)_\\d\$'"),
	'<', 1024 * 1024, 'what remains on disk is small');
$ring->stop('fast');

done_testing();
