# One sender: a logical subscriber does not send what was changed elsewhere, a
# standby is silent until it is promoted, and a copy, of a server or of a
# database, is paused until somebody says otherwise.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $item = 'CREATE TABLE item (id integer PRIMARY KEY, n text)';
my $receiver = start_receiver();

# Column "id" of the records that arrived at a path, in order of arrival.
sub rows_at
{
	my ($path) = @_;

	return map { $_->{data}{record}{id} } $receiver->requests($path);
}

# --- logical replication, fluxhooks on both sides, FOR ALL TABLES
#
# Would catch a log that replicates: the subscriber would apply the publisher's
# events and webhooks and send everything a second time.  And tables of ours that
# the publisher cannot update or delete from, for want of a replica identity.

my $publisher = new_node('publisher', init => [ allows_streaming => 'logical' ], conf => <<'CONF');
fluxhooks.retention = 2s
CONF
my $subscriber = new_node('subscriber');

$publisher->safe_psql('postgres', "$item; CREATE PUBLICATION everything FOR ALL TABLES");
$subscriber->safe_psql('postgres', $item);
create_webhook($publisher,
	{ name => 'publisher', url => $receiver->url('/ok/publisher'), events => [ { table => 'item' } ] });
create_webhook($subscriber,
	{ name => 'subscriber', url => $receiver->url('/ok/subscriber'), events => [ { table => 'item' } ] });
$publisher->safe_psql('postgres', 'INSERT INTO item SELECT i FROM generate_series(1, 5) AS i');
$receiver->wait_for_requests(5, '/ok/publisher');

$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION everything CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM item'), 5, 'the initial copy has arrived');
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO item SELECT i FROM generate_series(6, 10) AS i;
UPDATE item SET n = 'changed' WHERE id <= 3;
UPDATE item SET id = 100 WHERE id = 10;
DELETE FROM item WHERE id = 9;
SQL

# everything that writes to tables of ours, on the publisher
my $failing = create_webhook($publisher, {
	name => 'failing', url => $receiver->url('/fail/1'), events => [ { table => 'item' } ],
	retry_backoff_seconds => 1 });
my $dead = create_webhook($publisher, {
	name => 'dead', url => $receiver->url('/status/500'), events => [ { table => 'item' } ],
	retry_backoff_seconds => 86400 });
$publisher->safe_psql('postgres', 'INSERT INTO item VALUES (11)');
wait_for_deliveries($publisher, "webhook_id = '$failing' AND status = 'success' AND attempts = 2", 1);
$publisher->safe_psql('postgres', <<"SQL");
SELECT fluxhooks.redeliver(id) FROM fluxhooks.deliveries WHERE webhook_id = '$failing';
SELECT fluxhooks.update_webhook('$failing', '{"description": "changed", "enabled": false}');
SELECT fluxhooks.update_webhook('$dead', '{"events": [{"table": "item", "operations": ["DELETE"]}]}');
SELECT fluxhooks.delete_webhook('$dead');
SELECT fluxhooks.pause('a while');
SELECT fluxhooks.resume();
INSERT INTO item VALUES (12);
SQL
$publisher->poll_query_until('postgres', 'SELECT count(*) = 0 FROM fluxhooks_internal.event');
is(status_of($publisher)->{last_error}, undef, 'the worker of the publisher meets no error');
unlike(slurp_file($publisher->logfile), qr/replica identity/, 'no table of ours lacks a replica identity');

$publisher->wait_for_catchup('everything');
is( $subscriber->safe_psql('postgres', 'SELECT id, n FROM item ORDER BY id'),
	$publisher->safe_psql('postgres', 'SELECT id, n FROM item ORDER BY id'),
	'the table is replicated');
foreach my $table (qw(event attempt pending))
{
	is($subscriber->safe_psql('postgres', "SELECT count(*) FROM fluxhooks_internal.$table"), 0,
		"$table: nothing of it arrives at the subscriber, and nothing is made there");
}
is($subscriber->safe_psql('postgres', 'SELECT string_agg(name, NULL) FROM fluxhooks_internal.webhook'), 'subscriber',
	'the subscriber keeps its own webhooks');
is(status_of($subscriber)->{paused}, JSON::PP::false, 'and is not paused');
is($subscriber->safe_psql('postgres', "SELECT count(*) FROM fluxhooks_internal.ring WHERE slot = 0 AND closed_at IS NULL"), 1,
	'and its ring has not moved');

# on both sides a session that replicates, which makes no event, then one that does not
foreach my $node ($publisher, $subscriber)
{
	$node->safe_psql('postgres', <<'SQL');
SET session_replication_role = replica;
INSERT INTO item VALUES (200);
UPDATE item SET n = 'silent' WHERE id = 200;
DELETE FROM item WHERE id = 200;
RESET session_replication_role;
INSERT INTO item VALUES (201);
SQL
	last if $node == $subscriber;
	$publisher->wait_for_catchup('everything');
	$subscriber->safe_psql('postgres', 'DELETE FROM item WHERE id = 201');
}
$receiver->wait_for_requests(2, '/ok/subscriber');
is_deeply([ map { [ $_->{data}{event}, $_->{data}{record}{id} ] } $receiver->requests('/ok/subscriber') ],
	[ [ 'DELETE', 201 ], [ 'INSERT', 201 ] ], 'the subscriber sends its own changes and nothing else');
wait_until(sub { grep { $_ == 201 } rows_at('/ok/publisher') }, 'the last change at the publisher');
is(scalar(grep { $_ == 200 } rows_at('/ok/publisher')), 0, 'session_replication_role = replica makes no events');
$subscriber->stop('fast');
$publisher->stop('fast');

# --- a standby, and a server restored from a backup

my $primary = new_node('primary', init => [ allows_streaming => 1 ]);
$primary->safe_psql('postgres', $item);
create_webhook($primary,
	{ name => 'ok', url => $receiver->url('/ok/failover'), events => [ { table => 'item' } ] });
create_webhook($primary, {
	name => 'broken', url => $receiver->url('/status/500/failover'), events => [ { table => 'item' } ],
	retry_backoff_seconds => 86400 });
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', 'INSERT INTO item VALUES (1), (2)');
wait_for_deliveries($primary, 'attempts = 1', 4);
# from here on nothing is sent by the primary, and recorded outcomes are on their way
$primary->safe_psql('postgres', 'ALTER SYSTEM SET fluxhooks.delivery = off');
$primary->reload;
wait_until(sub { status_of($primary)->{paused} }, 'fluxhooks.delivery to be off');
$primary->safe_psql('postgres', 'INSERT INTO item VALUES (3), (4)');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM item'), 4, 'the standby has the rows');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'fluxhooks%'"), 0,
	'a standby has no worker');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks.deliveries'), 8, 'its views can be read');
is(status_of($standby)->{pending}, 6, 'and its status');

# with what is pending inside: two that failed, four that nobody has read
$primary->backup('late');
$primary->stop('immediate');
is_deeply([ sort { $a <=> $b } rows_at('/ok/failover') ], [ 1, 2 ], 'a standby sends nothing');
$standby->promote;
$receiver->wait_for_requests(4, '/ok/failover');
$standby->safe_psql('postgres', 'INSERT INTO item VALUES (5)');
$receiver->wait_for_requests(5, '/ok/failover');
is_deeply([ sort { $a <=> $b } rows_at('/ok/failover') ], [ 1 .. 5 ],
	'promoted, it sends what is left and what is new, and nothing again');
is(status_of($standby)->{paused}, JSON::PP::false, 'and needs nobody to resume it');
$standby->stop('fast');

# A server from the backup is paused; told to resume, it sends what is its own.
sub check_restored
{
	my ($node, $name, $first) = @_;
	my $before = () = $receiver->requests('/ok/failover');

	$node->append_conf('postgresql.auto.conf', 'fluxhooks.delivery = on');
	$node->start;
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	like(wait_until_paused($node), qr/backup/, "$name: comes up paused, and says why");
	like(slurp_file($node->logfile), qr/paused all webhooks.*backup/, "$name: the log says so too");
	$node->safe_psql('postgres', "INSERT INTO item VALUES ($first)");
	$node->restart;
	like(wait_until_paused($node), qr/backup/, "$name: a restart does not change that");
	$node->safe_psql('postgres', 'SELECT fluxhooks.resume()');
	wait_for_worker($node);
	$node->safe_psql('postgres', "INSERT INTO item VALUES ($first + 1)");
	my @requests = $receiver->wait_for_requests($before + 2, '/ok/failover');
	is_deeply([ map { $_->{data}{record}{id} } @requests[ $before .. $#requests ] ], [ $first, $first + 1 ],
		"$name: after resume() it sends its own changes and nothing that it inherited");
	is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'cancelled'"), 6,
		"$name: what it inherited is cancelled");
	$node->restart;
	wait_for_worker($node);
	is(status_of($node)->{paused}, JSON::PP::false, "$name: and it stays resumed");
	$node->stop('fast');
	return;
}

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'late');
$restored->append_conf('postgresql.conf', "restore_command = 'false'");
$restored->set_recovery_mode;
check_restored($restored, 'recovery.signal', 10);

my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init_from_backup($primary, 'late');
check_restored($plain, 'backup_label alone', 20);

# --- a copied database

my $node = new_node('template', extension => 0);
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', "CREATE EXTENSION fluxhooks; $item");
create_webhook($node,
	{ name => 'ok', url => $receiver->url('/ok/template'), events => [ { table => 'item' } ] }, 'original');
create_webhook($node, {
	name => 'once', url => $receiver->url('/fail/1/500/template'), events => [ { table => 'item' } ],
	retry_backoff_seconds => 86400 }, 'original');
$node->safe_psql('original', 'INSERT INTO item VALUES (1)');
wait_for_deliveries($node, 'attempts = 1', 2, dbname => 'original');
# what is pending when it is copied: one retry, and two deliveries that nobody has read
$node->safe_psql('original', "SELECT fluxhooks.pause('by hand'); INSERT INTO item VALUES (2)");
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE original');
like(wait_until_paused($node, 'copied'), qr/copy/, 'a copied database is paused, and says why');
wait_for_worker($node, 'original');
is(status_of($node, 'original')->{paused_reason}, 'by hand', 'the original is as it was');

# what the copy captures before it is resumed is its own, and no longer that of its copy
$node->safe_psql('copied', 'INSERT INTO item VALUES (3)');
$node->safe_psql('postgres', 'CREATE DATABASE again TEMPLATE copied');
like(wait_until_paused($node, 'again'), qr/copy/, 'so is a copy of the copy');
wait_for_worker($node, 'copied');
foreach my $dbname (qw(original copied again))
{
	$node->safe_psql($dbname, 'SELECT fluxhooks.resume()');
	wait_for_worker($node, $dbname);
}
$node->safe_psql('copied', 'INSERT INTO item VALUES (4)');
$node->safe_psql('original', 'INSERT INTO item VALUES (5)');
$node->safe_psql('again', 'INSERT INTO item VALUES (6)');
my @requests = $receiver->wait_for_requests(6, '/ok/template');
is_deeply([ sort { $a <=> $b } map { $_->{data}{record}{id} } @requests ], [ 1 .. 6 ],
	'after resume() each sends its own changes, and nothing is sent by two');
is_deeply(
	[ map { $node->safe_psql($_, "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'cancelled'") } qw(original copied again) ],
	[ 0, 3, 5 ],
	'what a copy inherited unsent is cancelled');
$receiver->wait_for_requests(6, '/fail/1/500/template');
foreach my $dbname (qw(original copied again))
{
	$node->restart if $dbname eq 'original';
	wait_for_worker($node, $dbname);
	is(status_of($node, $dbname)->{paused}, JSON::PP::false, "$dbname stays resumed after a restart");
}

# a database that is renamed is no copy
$node->safe_psql('postgres', 'ALTER DATABASE original RENAME TO renamed');
wait_for_worker($node, 'renamed');
$node->safe_psql('renamed', 'INSERT INTO item VALUES (7)');
$receiver->wait_for_requests(7, '/ok/template');
is(status_of($node, 'renamed')->{paused}, JSON::PP::false, 'a renamed database goes on');
$node->stop('fast');

done_testing();
