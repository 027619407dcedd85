# REINDEX CONCURRENTLY of the tables of fluxhooks, which puts another index in
# the old one's place, under a worker and sessions that go on.
#
# Would catch an index that is remembered by its OID: the worker and every view
# would fail on it for ever; and an index that writers do not fill while it is
# made: what they wrote would be in the log, and found by nobody.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('reindex');
my $rows = 0;

create_table_webhook($node, $receiver, 'item', '/ok');

sub insert_next
{
	$rows++;
	insert_rows($node, 'item', $rows, $rows);
	return;
}

my $session = $node->background_psql('postgres');
my $list = q{SELECT count(*) FROM fluxhooks.list_deliveries(fluxhooks.webhook_id('item'))};

insert_next();
$receiver->wait_for_requests($rows, '/ok');
is($session->query_safe($list), 1, 'a session has read by the indexes');
foreach my $table (qw(event_0 attempt_0 cursor_0 pending webhook subscription))
{
	$node->safe_psql('postgres', "REINDEX TABLE CONCURRENTLY fluxhooks_internal.$table");
	insert_next();
	$receiver->wait_for_requests($rows, '/ok');
	$session->query_safe("INSERT INTO item VALUES (" . ++$rows . ')');
	$receiver->wait_for_requests($rows, '/ok');
	is($session->query_safe($list), $rows, "$table: what comes after is delivered, and listed");
}
is($node->safe_psql('postgres', 'SELECT last_error FROM fluxhooks.status'), '', 'and the worker knows of no error');
$session->quit;

# an index that is filled already, and used only once an old snapshot has gone
$node->safe_psql('postgres', 'SELECT fluxhooks.pause()');
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $reindexer = $node->background_psql('postgres');
$reindexer->query_until(qr/begun/, "\\echo begun\nREINDEX INDEX CONCURRENTLY fluxhooks_internal.event_0_idx;\n");
wait_until(
	sub { $node->safe_psql('postgres', 'SELECT phase FROM pg_stat_progress_create_index') eq 'waiting for old snapshots' },
	'the new index to be filled');
insert_next();
$reader->query_safe('COMMIT');
$reader->quit;
$reindexer->quit;
$node->safe_psql('postgres', 'SELECT fluxhooks.resume()');
$receiver->wait_for_requests($rows, '/ok');
is(scalar $receiver->requests('/ok'), $rows, 'what was written while the index was made is delivered');

$node->stop;
done_testing();
