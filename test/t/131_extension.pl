# DROP EXTENSION while a delivery is under way, in every way that drops it;
# CREATE EXTENSION rolled back and made again: nothing of the former is sent,
# nothing of the new is lost.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $patience = 150;	# half of what a delivery hangs

my $receiver = start_receiver();
my $node = new_node('extension');

sub rows_at
{
	my ($path) = @_;

	return join ' ', map { $_->{data}{record}{id} } $receiver->requests($path);
}

# Webhooks that succeed, fail and hang, with a delivery in each state.
sub fill
{
	my ($name, $first) = @_;

	$node->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS item (id integer PRIMARY KEY)');
	create_webhook($node, { name => 'ok', url => $receiver->url("/ok/$name"), events => [ { table => 'item' } ] });
	create_webhook($node, {
		name => 'retry', url => $receiver->url("/status/500/$name"), events => [ { table => 'item' } ],
		retry_backoff_seconds => 1, max_retries => 100 });
	create_webhook($node, {
		name => 'hang', url => $receiver->url("/hang/$name"), events => [ { table => 'item' } ],
		timeout_seconds => 300 });
	$node->safe_psql('postgres', "INSERT INTO item VALUES ($first)");
	$receiver->wait_for_requests(1, "/$_/$name") foreach qw(ok status/500 hang);
	return;
}

sub has_worker
{
	return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'fluxhooks worker'});
}

# Drop it by a statement, write, make it again: what arrives then.
sub check_dropped
{
	my ($name, $sql, $first) = @_;

	fill($name, $first);
	my $timed_out = 0;
	my $err = '';
	my $status = $node->psql('postgres', $sql, stderr => \$err, timeout => $patience, timed_out => \$timed_out);
	ok($status == 0 && !$timed_out, "$name: dropped while a delivery hangs") or diag($err);
	wait_until(sub { !has_worker() }, 'the worker to leave');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_trigger WHERE tgname = 'fluxhooks_capture'}), 0,
		"$name: no trigger is left");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'fluxhooks%'}), 0,
		"$name: no schema is left");
	$node->safe_psql('postgres', "INSERT INTO item VALUES ($first + 1)");
	my %before = map { $_ => scalar(my @requests = $receiver->requests("/$_/$name")) } qw(ok status/500 hang);

	$node->safe_psql('postgres', 'CREATE EXTENSION fluxhooks');
	fill("new-$name", $first + 2);
	is(rows_at("/ok/new-$name"), $first + 2, "$name: the new extension sends what is its own");
	is_deeply({ map { $_ => scalar(my @requests = $receiver->requests("/$_/$name")) } qw(ok status/500 hang) }, \%before,
		"$name: and nothing of the former");
	$node->safe_psql('postgres', 'DROP EXTENSION fluxhooks; CREATE EXTENSION fluxhooks');
	return;
}

check_dropped('plain', 'DROP EXTENSION fluxhooks', 10);
check_dropped('cascade', 'DROP EXTENSION fluxhooks CASCADE', 20);

# a view of the user's stands in the way, and goes with CASCADE
fill('view', 30);
$node->safe_psql('postgres', 'CREATE VIEW mine AS SELECT id, status FROM fluxhooks.deliveries');
is(sqlstate($node, 'DROP EXTENSION fluxhooks'), '2BP01', 'DROP EXTENSION is refused while something depends on it');
is(has_worker(), 1, 'and the worker stays');
$node->safe_psql('postgres', 'INSERT INTO item VALUES (31)');
$receiver->wait_for_requests(2, '/ok/view');
is(rows_at('/ok/view'), '30 31', 'and sends');
$node->safe_psql('postgres', 'SET client_min_messages = warning; DROP EXTENSION fluxhooks CASCADE');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'mine'}), 0, 'CASCADE takes it along');
$node->safe_psql('postgres', 'CREATE EXTENSION fluxhooks');
is(sqlstate($node, "DROP SCHEMA $_ CASCADE"), '2BP01', "DROP SCHEMA $_ is refused: it is the extension's")
  foreach qw(fluxhooks fluxhooks_internal);

# rolled back, in a subtransaction too
fill('rollback', 40);
$node->safe_psql('postgres', <<'SQL');
BEGIN;
DROP EXTENSION fluxhooks;
INSERT INTO item VALUES (41);
ROLLBACK;
BEGIN;
INSERT INTO item VALUES (42);
SAVEPOINT s;
DROP EXTENSION fluxhooks;
ROLLBACK TO s;
INSERT INTO item VALUES (43);
COMMIT;
SQL
$receiver->wait_for_requests(3, '/ok/rollback');
is(rows_at('/ok/rollback'), '40 42 43', 'DROP EXTENSION rolled back: everything goes on');

# captured, and gone before it commits
$node->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO item VALUES (44);
DROP EXTENSION fluxhooks;
INSERT INTO item VALUES (45);
COMMIT;
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM item WHERE id IN (44, 45)'), 2,
	'a transaction that wrote events and drops the extension commits');
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION fluxhooks; INSERT INTO item VALUES (46); ROLLBACK; CREATE EXTENSION fluxhooks');
fill('after', 47);
is(rows_at('/ok/after'), 47, 'CREATE EXTENSION rolled back, then made again: it sends its own');
is(rows_at('/ok/rollback'), '40 42 43', 'and nothing of the former');

# a webhook and its first event in the transaction of CREATE EXTENSION
$node->safe_psql('postgres', 'DROP EXTENSION fluxhooks');
my $url = $receiver->url('/ok/same');
$node->safe_psql('postgres', <<"SQL");
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION fluxhooks;
SELECT fluxhooks.create_webhook('same', '$url', fluxhooks.event('item'));
INSERT INTO item VALUES (50);
COMMIT;
SQL
$receiver->wait_for_requests(1, '/ok/same');
is(rows_at('/ok/same'), 50, 'the transaction that creates it may send at once');
$node->safe_psql('postgres', 'SET client_min_messages = warning; BEGIN; DROP EXTENSION fluxhooks; CREATE EXTENSION fluxhooks; COMMIT');
fill('exchanged', 51);
is(rows_at('/ok/exchanged'), 51, 'dropped and created in one transaction: the new one sends');
is(rows_at('/ok/same'), 50, 'and nothing of the former');

# a session that knew the former extension
my $session = $node->background_psql('postgres');
$session->query_safe('INSERT INTO item VALUES (52)');
$node->safe_psql('postgres', 'DROP EXTENSION fluxhooks; CREATE EXTENSION fluxhooks');
fill('session', 53);
$session->query_safe('INSERT INTO item VALUES (54)');
$session->quit;
$receiver->wait_for_requests(2, '/ok/session');
is(rows_at('/ok/session'), '53 54', 'a session that outlives the extension captures for the new one');

# --- roles: webhooks and tables change hands, or lose their owner

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE ann;
CREATE ROLE bob;
GRANT USAGE ON SCHEMA fluxhooks TO ann, bob;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO ann, bob;
GRANT SELECT ON ALL TABLES IN SCHEMA fluxhooks TO ann, bob;
CREATE TABLE anns (id integer PRIMARY KEY);
ALTER TABLE anns OWNER TO ann;
SQL
my $config = json_literal({ name => 'anns', url => $receiver->url('/ok/anns'), events => [ { table => 'anns' } ] });
$node->safe_psql('postgres', "SET ROLE ann; SELECT fluxhooks.create_webhook($config); INSERT INTO anns VALUES (1)");
$receiver->wait_for_requests(1, '/ok/anns');
$node->safe_psql('postgres', 'DROP OWNED BY bob; REASSIGN OWNED BY bob TO ann; INSERT INTO anns VALUES (2)');
$receiver->wait_for_requests(2, '/ok/anns');
is(rows_at('/ok/anns'), '1 2', 'DROP OWNED and REASSIGN OWNED of somebody else change nothing');
$node->safe_psql('postgres', 'DROP OWNED BY ann; INSERT INTO item VALUES (60)');
wait_until(sub { rows_at('/ok/session') =~ / 60$/ }, 'other webhooks to go on');
is($node->safe_psql('postgres', q{SELECT events::text FROM fluxhooks.webhooks WHERE name = 'anns'}), '[]',
	'DROP OWNED takes the table, and the webhook is left without one');
is($node->safe_psql('postgres', 'SELECT last_error IS NULL FROM fluxhooks.status'), 't', 'the worker minds nothing of it');
$node->safe_psql('postgres', 'DROP ROLE ann');
is($node->safe_psql('postgres', q{SELECT paused_reason FROM fluxhooks.webhooks WHERE name = 'anns'}),
	'owner "ann" does not exist', 'DROP ROLE of its owner pauses the webhook');
$node->safe_psql('postgres', q{SELECT fluxhooks.delete_webhook(id) FROM fluxhooks.webhooks WHERE name = 'anns'});
is($node->safe_psql('postgres', q{SELECT count(*) FROM fluxhooks.webhooks WHERE name = 'anns'}), 0, 'and a superuser deletes it');

# the owner of the extension itself
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE chief SUPERUSER;
CREATE ROLE successor SUPERUSER;
CREATE DATABASE owned;
SQL
$node->safe_psql('owned', 'SET ROLE chief; CREATE EXTENSION fluxhooks; CREATE TABLE item (id integer PRIMARY KEY)');
my $owned = json_literal({ name => 'ok', url => $receiver->url('/ok/owned'), events => [ { table => 'item' } ] });
$node->safe_psql('owned', "SET ROLE chief; SELECT fluxhooks.create_webhook($owned); INSERT INTO item VALUES (1)");
$receiver->wait_for_requests(1, '/ok/owned');
$node->safe_psql('owned', 'REASSIGN OWNED BY chief TO successor');
$node->safe_psql('owned', 'INSERT INTO item VALUES (2)');
$receiver->wait_for_requests(2, '/ok/owned');
is(rows_at('/ok/owned'), '1 2', 'REASSIGN OWNED of the extension\'s owner: it goes on');
my ($status, undef, $err) = $node->psql('owned', 'DROP OWNED BY successor CASCADE', timeout => $patience);
is($status, 0, 'DROP OWNED of the extension\'s owner drops it') or diag($err);
is($node->safe_psql('owned', q{SELECT count(*) FROM pg_extension WHERE extname = 'fluxhooks'}), 0, 'it is gone');
wait_until(sub { has_worker() == 1 }, 'its worker to leave');
pass('and so is its worker');
unlike(slurp_file($node->logfile), qr/restart needed/, 'no worker took a dropped extension for one of another version');
$node->stop('fast');

done_testing();
