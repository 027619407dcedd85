# A copy never sends by itself, however it came about: it is paused, says why in
# status and once in the log, and after resume() sends its own changes and nothing
# that it inherited.  The copies of t/051_replication.pl and t/030_dump.pl are not
# repeated here.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $item = 'CREATE TABLE item (id integer PRIMARY KEY)';

sub n_complaints
{
	my ($node, $reason) = @_;
	my @lines = slurp_file($node->logfile) =~ /fluxhooks paused all webhooks of database "\w+": .*$reason/g;

	return scalar @lines;
}

# Ids of the rows that arrived at a path, as a sorted list.
sub rows_at
{
	my ($path) = @_;

	return join ' ', sort { $a <=> $b } map { $_->{data}{record}{id} } $receiver->requests($path);
}

# With a webhook, one delivery that has arrived, and one that waits for a retry.
sub fill
{
	my ($node, $name, $dbname) = @_;

	$node->safe_psql($dbname // 'postgres', $item);
	create_webhook($node,
		{ name => 'ok', url => $receiver->url("/ok/$name"), events => [ { table => 'item' } ] }, $dbname);
	create_webhook($node, {
		name => 'retry', url => $receiver->url("/status/500/$name"), events => [ { table => 'item' } ],
		retry_backoff_seconds => 86400 }, $dbname);
	$node->safe_psql($dbname // 'postgres', 'INSERT INTO item VALUES (1)');
	wait_for_deliveries($node, 'attempts = 1', 2, dbname => $dbname);
	return;
}

# Paused for a reason, restarted, resumed: what it sends after all that.  Rows
# from first on are its own; what came before it has inherited.
sub check_copy
{
	my ($node, $name, $reason, $first, $cancelled) = @_;

	like(wait_until_paused($node), $reason, "$name: paused, and status says why");
	$node->safe_psql('postgres', "INSERT INTO item VALUES ($first)");
	$node->restart;
	like(wait_until_paused($node), $reason, "$name: a restart does not change that");
	is(n_complaints($node, $reason), 1, "$name: the log has said so once");
	$node->safe_psql('postgres', 'SELECT fluxhooks.resume()');
	wait_for_worker($node);
	$node->safe_psql('postgres', "INSERT INTO item VALUES ($first + 1)");
	wait_until(sub { rows_at("/ok/$name") =~ / \Q@{[$first + 1]}\E$/ }, "$name: its own change");
	is(rows_at("/ok/$name"), join(' ', 1, $first, $first + 1), "$name: resumed, it sends its own changes and nothing else");
	is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'cancelled'"),
		$cancelled, "$name: what it inherited is cancelled");
	$node->restart;
	wait_for_worker($node);
	is(status_of($node)->{paused}, JSON::PP::false, "$name: and it stays resumed");
	return;
}

# --- another system identifier

my $node = new_node('identifier');
fill($node, 'identifier');
$node->safe_psql('postgres', "SELECT fluxhooks.pause('nobody reads'); INSERT INTO item VALUES (2)");
$node->stop('fast');
my $original = PostgreSQL::Test::Cluster->new('identifier_original');
$original->init;
# initdb gives each cluster its own; a copy of files under another one's control file
{
	my $control = '/global/pg_control';
	my ($other, $own) = map { slurp_file($_->data_dir . $control) } $original, $node;

	# system identifier: the first eight bytes; pg_resetwal mends the checksum
	substr($own, 0, 8) = substr($other, 0, 8);
	open my $out, '>:raw', $node->data_dir . $control or die "pg_control: $!";
	print $out $own;
	close $out or die "pg_control: $!";
	command_ok([ 'pg_resetwal', '-f', $node->data_dir ], 'the cluster gets another system identifier');
}
$node->start;
check_copy($node, 'identifier', qr/copy of another one/, 10, 3);
$node->stop('fast');

# --- fluxhooks.instance

$node = new_node('instance', conf => "fluxhooks.instance = 'blue'");
fill($node, 'instance');
is(status_of($node)->{paused}, JSON::PP::false, 'a database created under a name is of that name');
$node->restart;
wait_for_worker($node);
is(status_of($node)->{paused}, JSON::PP::false, 'and stays so');
$node->safe_psql('postgres', "SELECT fluxhooks.pause('nobody reads'); INSERT INTO item VALUES (2)");
$node->append_conf('postgresql.conf', "fluxhooks.instance = 'green'");
$node->reload;
wait_until(sub { status_of($node)->{paused_reason} =~ /instance/ }, 'the other name to be noticed');
check_copy($node, 'instance', qr/fluxhooks.instance is "green", and was "blue"/, 10, 3);

# nobody has looked yet when it is resumed
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\nfluxhooks.instance = 'red'");
$node->safe_psql('postgres', "SELECT fluxhooks.pause('for a moment'); INSERT INTO item VALUES (20)");
$node->restart;
$node->safe_psql('postgres', "LOAD 'fluxhooks'; SELECT fluxhooks.resume()");
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'fluxhooks'");
$node->restart;
wait_for_worker($node);
$node->safe_psql('postgres', 'INSERT INTO item VALUES (21)');
wait_until(sub { rows_at('/ok/instance') =~ / 21$/ }, 'a change after resume()');
is(rows_at('/ok/instance'), '1 10 11 21', 'resume() finds out by itself that it is a copy');

# the server has got another name, and is the same
$node->safe_psql('postgres', "SELECT fluxhooks.pause('for a moment'); INSERT INTO item VALUES (22)");
$node->append_conf('postgresql.conf', "fluxhooks.instance = 'violet'");
$node->reload;
wait_until(sub { status_of($node)->{paused_reason} =~ /violet/ }, 'the third name to be noticed');
$node->safe_psql('postgres', 'INSERT INTO item VALUES (23)');
$node->safe_psql('postgres', 'SELECT fluxhooks.take_over(); INSERT INTO item VALUES (24)');
wait_until(sub { rows_at('/ok/instance') eq '1 10 11 21 22 23 24' }, 'changes before and after take_over()');
pass('take_over() sends what was inherited as well');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'cancelled' AND record_key->>'id' IN ('22', '23', '24')"),
	'0', 'and cancels nothing');
$node->safe_psql('postgres', 'CREATE DATABASE young');
$node->safe_psql('young', 'CREATE EXTENSION fluxhooks');
wait_for_worker($node, 'young');
is(status_of($node, 'young')->{paused}, JSON::PP::false, 'a database made under the new name is nobody\'s copy');
$node->stop('fast');

# --- fluxhooks.instance on a failover pair

my $primary = new_node('blue', init => [ allows_streaming => 1 ], conf => "fluxhooks.instance = 'shop'");
fill($primary, 'pair');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('blue_standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
my $stranger = PostgreSQL::Test::Cluster->new('blue_stranger');
$stranger->init_from_backup($primary, 'base', has_streaming => 1);
$stranger->append_conf('postgresql.conf', "fluxhooks.instance = 'other'");
$_->start foreach $standby, $stranger;
$primary->safe_psql('postgres', "SELECT fluxhooks.pause('nobody reads'); INSERT INTO item VALUES (2)");
$primary->wait_for_catchup($_, 'replay', $primary->lsn('insert')) foreach $standby, $stranger;
$primary->stop('immediate');
$_->promote foreach $standby, $stranger;
like(wait_until_paused($stranger), qr/fluxhooks.instance is "other", and was "shop"/,
	'a promoted standby of another name is a copy');
wait_for_worker($standby);
is(status_of($standby)->{paused_reason}, 'nobody reads', 'one of the same name is not');
$standby->safe_psql('postgres', 'SELECT fluxhooks.resume(); INSERT INTO item VALUES (3)');
wait_until(sub { rows_at('/ok/pair') =~ / 3$/ }, 'the promoted standby to send');
is(rows_at('/ok/pair'), '1 2 3', 'and goes on where the primary was');
$_->stop('fast') foreach $standby, $stranger;

# --- point-in-time recovery

$primary = new_node('pitr', init => [ allows_streaming => 1, has_archiving => 1 ]);
fill($primary, 'pitr');
$primary->safe_psql('postgres', 'CREATE DATABASE late; CREATE DATABASE shut');
$primary->safe_psql($_, "CREATE EXTENSION fluxhooks; $item") foreach qw(late shut);
wait_for_worker($primary, 'shut');
create_webhook($primary,
	{ name => 'ok', url => $receiver->url('/ok/shut'), events => [ { table => 'item' } ] }, 'shut');
$primary->safe_psql('postgres', 'ALTER DATABASE shut ALLOW_CONNECTIONS false');
$primary->backup('base');
$primary->safe_psql('postgres', "SELECT fluxhooks.pause('nobody reads'); INSERT INTO item VALUES (2)");
my $target = $primary->safe_psql('postgres', 'SELECT pg_create_restore_point($$here$$)');
$primary->safe_psql('postgres', 'SELECT fluxhooks.resume(); INSERT INTO item VALUES (3); SELECT pg_switch_wal()');
wait_until(sub { rows_at('/ok/pitr') eq '1 2 3' }, 'the original to go on');
$primary->stop('fast');

my $restored = PostgreSQL::Test::Cluster->new('pitr_restored');
$restored->init_from_backup($primary, 'base', has_restoring => 1, standby => 0);
$restored->append_conf('postgresql.conf', "recovery_target_name = 'here'\nrecovery_target_action = 'promote'");
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is($restored->safe_psql('postgres', 'SELECT string_agg(id::text, $$ $$) FROM item'), '1 2', 'recovered up to the point');
like(wait_until_paused($restored), qr/backup/, 'recovered: paused, and status says why');
$restored->safe_psql('postgres', 'INSERT INTO item VALUES (10)');

# a database made here, whose configuration changes later
$restored->safe_psql('postgres', 'CREATE DATABASE young');
$restored->safe_psql('young', "CREATE EXTENSION fluxhooks; $item");
wait_for_worker($restored, 'young');
create_webhook($restored,
	{ name => 'ok', url => $receiver->url('/ok/young'), events => [ { table => 'item' } ] }, 'young');
$restored->reload;
$restored->safe_psql('young', 'INSERT INTO item VALUES (1)');
wait_until(sub { rows_at('/ok/young') eq '1' }, 'the young database to send');
is(status_of($restored, 'young')->{paused}, JSON::PP::false, 'a database made after the restore is nobody\'s copy');

# one that no worker could look at before the next restarts, and one made while nothing was preloaded
$restored->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$restored->restart;
$restored->safe_psql('postgres', 'CREATE DATABASE quiet');
$restored->safe_psql('quiet', 'CREATE EXTENSION fluxhooks');
$restored->append_conf('postgresql.conf', "shared_preload_libraries = 'fluxhooks'");
$restored->restart;
$restored->safe_psql('postgres', 'ALTER DATABASE shut ALLOW_CONNECTIONS true');
like(wait_until_paused($restored, 'shut'), qr/backup/, 'a restart does not make anybody forget');
foreach my $dbname (qw(young quiet))
{
	wait_for_worker($restored, $dbname);
	is(status_of($restored, $dbname)->{paused}, JSON::PP::false, "nor does $dbname remember what it never was");
}
$restored->safe_psql('postgres', 'SELECT fluxhooks.resume()');
wait_for_worker($restored);
$restored->safe_psql('postgres', 'INSERT INTO item VALUES (11)');
wait_until(sub { rows_at('/ok/pitr') =~ / 11$/ }, 'the restored server to send');
is(rows_at('/ok/pitr'), '1 2 3 10 11', 'resumed, it sends its own changes and nothing that it inherited');
is(n_complaints($restored, qr/backup/), 3, 'the log has a line for each of the databases that were restored');
$restored->stop('fast');

done_testing();
