# Rules of the design that no other test isolates: each of these fails when its
# rule alone is broken.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();

# --- the event log is not decoded
#
# Would catch events, attempts or the cursor written as rows that logical
# decoding sees: whatever drops them on a subscriber, every decoder pays for them.

my $decoded = new_node('decoded', init => [ allows_streaming => 'logical' ]);
$decoded->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id bigint PRIMARY KEY);
SELECT pg_create_logical_replication_slot('test', 'test_decoding');
SQL
my $webhook = create_webhook($decoded, { name => 'item', url => $receiver->url('/ok/decoded'), events => [ { table => 'item' } ] });
# by one command, and by many
$decoded->safe_psql('postgres', "INSERT INTO item SELECT i FROM generate_series(1, 3000) AS i");
$decoded->safe_psql('postgres', join '', map { "INSERT INTO item VALUES ($_);\n" } 3001 .. 3020);
wait_for_deliveries($decoded, "status = 'success'", 3020);
# the cursor follows within a second or so
wait_until(sub { $decoded->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.cursor') > 1 }, 'the cursor to move');
my %rows;
$rows{ /^table (\S+):/ ? $1 : 'none' }++
  foreach split /\n/, $decoded->safe_psql('postgres', "SELECT data FROM pg_logical_slot_get_changes('test', NULL, NULL)");
is($rows{'public.item'}, 3020, 'the rows of a table are decoded');
is_deeply([ grep { /^fluxhooks_internal\.(?:event|attempt|cursor)/ } sort keys %rows ], [], 'those of the event log are not');
$decoded->stop('fast');

# --- COMMIT PREPARED wakes the worker
#
# The worker looks for news once a second by itself, which hides a latch that is
# not set.  So the server's clock is stopped: then a second never passes.

SKIP:
{
	skip 'a sanitizer is preloaded instead', 2 if $ENV{FLUXHOOKS_CHECK_MEMORY};
	my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';
	my $stopped = new_node('stopped', start => 0);

	set_clock($clock, '+0');
	{
		local $ENV{LD_PRELOAD} = build_preload('clock');
		local $ENV{TEST_CLOCK} = $clock;

		$stopped->start;
	}
	$stopped->safe_psql('postgres', 'CREATE EXTENSION fluxhooks; CREATE TABLE item (id bigint PRIMARY KEY)');
	create_webhook($stopped, { name => 'item', url => $receiver->url('/ok/prepared'), events => [ { table => 'item' } ] });
	$stopped->safe_psql('postgres', 'INSERT INTO item VALUES (1)');
	$receiver->wait_for_requests(1, '/ok/prepared');
	$stopped->safe_psql('postgres', "BEGIN; INSERT INTO item VALUES (2); PREPARE TRANSACTION 'late'");
	# whatever the worker was still to do it does
	wait_until(
		sub { $stopped->safe_psql('postgres', "SELECT clock_timestamp() > max(started_at) + interval '3 s' FROM fluxhooks.attempts") eq 't' },
		'the worker to be idle');
	set_clock($clock, '=' . $stopped->safe_psql('postgres', 'SELECT ceil(extract(epoch FROM clock_timestamp()))::bigint'));
	my $frozen = $stopped->safe_psql('postgres', 'SELECT clock_timestamp()');
	my $pid = $stopped->safe_psql('postgres', 'SELECT worker_pid FROM fluxhooks.status');
	$stopped->safe_psql('postgres', "COMMIT PREPARED 'late'");
	ok(eval { $receiver->wait_for_requests(2, '/ok/prepared') }, 'COMMIT PREPARED wakes the worker');
	is($stopped->safe_psql('postgres', "SELECT clock_timestamp() || ' ' || worker_pid FROM fluxhooks.status"), "$frozen $pid",
		'while no time passed, and no worker was started');
	set_clock($clock, '+0');
	$stopped->stop('fast');
}

done_testing();
