# DROP EXTENSION while the worker, or a writer, is in the middle of a transaction: it
# waits for that, holding nothing they may want next, so that there is no deadlock.
use strict;
use warnings;

use FluxhooksTest;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('drop');

$node->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY)');
create_webhook($node, { name => 'w', url => $receiver->url('/status/500'), secret => 'a', events => [ { table => 'item' } ],
	max_retries => 100, retry_backoff_seconds => 1, circuit_breaker => JSON::PP::false });

sub wait_for_waiter
{
	my ($condition, $what) = @_;

	return wait_until(
		sub {
			$node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)'
				. " WHERE NOT l.granted AND $condition") > 0;
		},
		$what);
}

# the worker is about to load a retry, and to look for its event after that
my $holder = $node->background_psql('postgres');
$node->safe_psql('postgres', 'INSERT INTO item VALUES (1)');
wait_for_deliveries($node, 'attempts > 0', 1);
$holder->query_safe('BEGIN; LOCK TABLE fluxhooks_internal.pending');
wait_for_waiter(q{a.backend_type = 'fluxhooks worker'}, 'the worker to wait for the lock');
my $dropper = $node->background_psql('postgres', on_error_stop => 0);
$dropper->query_until(qr/begun/, "\\echo begun\nDROP EXTENSION fluxhooks;\n\\echo ended\n");
wait_for_waiter(q{a.query LIKE 'DROP EXTENSION%'}, 'DROP EXTENSION to wait, too');
$holder->query_safe('COMMIT');
$holder->quit;
wait_until(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'fluxhooks'}) eq '0' },
	'the extension to be dropped');
pass('the extension is dropped');
$dropper->quit;

# a transaction that has written to a table with a webhook writes its event when it
# commits: that is waited for as well
$node->safe_psql('postgres', 'CREATE EXTENSION fluxhooks; CREATE TABLE other (id bigint)');
create_webhook($node, { name => 'w', url => $receiver->url('/'), secret => 'a', events => [ { table => 'item' }, { table => 'other' } ] });
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe('BEGIN; INSERT INTO other VALUES (1)');
$dropper = $node->background_psql('postgres', on_error_stop => 0);
$dropper->query_until(qr/begun/, "\\echo begun\nDROP EXTENSION fluxhooks;\n\\echo ended\n");
wait_for_waiter(q{a.query LIKE 'DROP EXTENSION%'}, 'DROP EXTENSION to wait for the writer');
is($writer->query("INSERT INTO item VALUES (2); COMMIT; SELECT 'committed'"), 'committed', 'a writer commits while it is waited for');
$writer->quit;
wait_until(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'fluxhooks'}) eq '0' },
	'the extension to be dropped');
is($node->safe_psql('postgres', 'SELECT count(*) FROM item AS i, other'), 2, 'and what it wrote is there');
$dropper->quit;
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'without a deadlock');

# who may not drop it waits for nothing and keeps nobody off
$node->safe_psql('postgres', 'CREATE EXTENSION fluxhooks; CREATE ROLE stranger');
is(sqlstate($node, 'SET lock_timeout = 1; SET ROLE stranger; DROP EXTENSION fluxhooks'), '42501', 'a stranger is refused');
$node->safe_psql('postgres', 'DROP EXTENSION fluxhooks');

done_testing();
