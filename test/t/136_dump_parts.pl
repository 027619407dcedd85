# Dumps of parts, and of everything: what comes back of webhooks, what makes
# events, and that nothing of it sends by itself.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('parts', extension => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();

sub rows_at
{
	my ($path) = @_;

	return join ' ', sort { $a <=> $b } map { $_->{data}{record}{id} } $receiver->requests($path);
}

sub make_database
{
	my ($name) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE template0");
	return;
}

sub restore
{
	my ($dbname, @options) = @_;
	my $out;
	my $done = IPC::Run::run([ 'pg_restore', '-d', $node->connstr($dbname), @options ], '>', \$out, '2>&1');

	return $done ? '' : $out;
}

sub events
{
	my ($dbname) = @_;

	return $node->safe_psql($dbname, 'SELECT count(*) FROM fluxhooks_internal.event');
}

make_database('shop');
$node->safe_psql('shop', 'CREATE EXTENSION fluxhooks; CREATE TABLE item (id integer PRIMARY KEY)');
create_webhook($node, { name => 'ok', url => $receiver->url('/ok/shop'), events => [ { table => 'item' } ] }, 'shop');
$node->safe_psql('shop', 'INSERT INTO item VALUES (1), (2)');
wait_for_deliveries($node, "status = 'success'", 2, dbname => 'shop');
command_ok([ 'pg_dump', '-Fc', '-f', "$dir/$_->[0]", @$_[ 1 .. $#$_ ], '-d', $node->connstr('shop') ], "dump: $_->[0]")
  foreach [ 'all' ], [ 'schema', '--schema-only' ], [ 'data', '--data-only' ], [ 'table', '-t', 'item' ];

# --- the schema alone: no webhooks, and nobody is in the way

make_database('schema_only');
is(restore('schema_only', '--exit-on-error', "$dir/schema"), '', 'schema: restored without an error');
is($node->safe_psql('schema_only', 'SELECT count(*) FROM fluxhooks.webhooks'), 0, 'schema: no webhooks');
$node->safe_psql('schema_only', 'INSERT INTO item VALUES (3)');
is(events('schema_only'), 0, 'schema: the trigger is there and captures nothing');
create_webhook($node, { name => 'new', url => $receiver->url('/ok/schema'), events => [ { table => 'item' } ] }, 'schema_only');
$node->safe_psql('schema_only', 'INSERT INTO item VALUES (4)');
$receiver->wait_for_requests(1, '/ok/schema');
is(rows_at('/ok/schema'), 4, 'schema: a new webhook sends, and nobody has to resume anything');

# --- then the data, into another one

make_database('data_later');
restore('data_later', '--exit-on-error', "$dir/schema");
{
	local $ENV{PGOPTIONS} = '-c fluxhooks.capture=off';
	is(restore('data_later', '--exit-on-error', "$dir/data"), '', 'data: restored without an error');
}
like(wait_until_paused($node, 'data_later'), qr/copy of another/, 'data_later is paused as a copy');
is($node->safe_psql('data_later', 'SELECT count(*) FROM fluxhooks.webhooks'), 1, 'data: the webhooks are there, and paused');
is(events('data_later'), 0, 'data: with fluxhooks.capture = off it makes no events');
$node->safe_psql('data_later', 'SELECT fluxhooks.resume(); INSERT INTO item VALUES (5)');
wait_until(sub { rows_at('/ok/shop') =~ / 5$/ }, 'the restored database to send');
is(rows_at('/ok/shop'), '1 2 5', 'data: resumed, it sends what is its own');

# --- the same with every trigger disabled meanwhile: enabled again, they are not as they were

make_database('triggers_off');
restore('triggers_off', '--exit-on-error', "$dir/schema");
is(restore('triggers_off', '--exit-on-error', '--disable-triggers', "$dir/data"), '', 'disable-triggers: restored without an error');
like(wait_until_paused($node, 'triggers_off'), qr/copy of another/, 'triggers_off is paused as a copy');
is(events('triggers_off'), 0, 'disable-triggers: it makes no events');
$node->safe_psql('triggers_off', q{SELECT fluxhooks.resume(); SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('ok'))});
create_webhook($node, { name => 'own', url => $receiver->url('/ok/off'), events => [ { table => 'item' } ] }, 'triggers_off');
$node->safe_psql('triggers_off', 'INSERT INTO item VALUES (9)');
$receiver->wait_for_requests(1, '/ok/off');
is(rows_at('/ok/off'), 9, 'disable-triggers: resumed, it stays so, and takes a new webhook');
is($node->safe_psql('triggers_off', q{SELECT string_agg(DISTINCT tgenabled::text, '') FROM pg_trigger WHERE tgname = 'refuse_replicated'}),
	'R', 'disable-triggers: what refuses replicated rows is as it was');
$node->safe_psql('triggers_off', 'DROP EXTENSION fluxhooks');

# --- one table

make_database('bare');
like(restore('bare', "$dir/table"), qr/fluxhooks/, 'table: without the extension, the trigger is complained of');
is($node->safe_psql('bare', 'SELECT count(*) FROM item'), 2, 'table: and the rest is restored');
is($node->safe_psql('bare', 'INSERT INTO item VALUES (6) RETURNING id'), 6, 'table: and can be written to');
make_database('another');
$node->safe_psql('another', 'CREATE EXTENSION fluxhooks');
is(restore('another', '--exit-on-error', "$dir/table"), '', 'table: with the extension, restored without an error');
$node->safe_psql('another', 'INSERT INTO item VALUES (6)');
is(events('another'), 0, 'table: nobody listens to it');
is($node->safe_psql('another', 'SELECT paused FROM fluxhooks.status'), 'f', 'table: and the database is no copy');
$node->safe_psql('another', 'DROP EXTENSION fluxhooks');
is($node->safe_psql('another', q{SELECT count(*) FROM pg_trigger WHERE tgname = 'fluxhooks_capture'}), 0,
	'table: its trigger goes with the extension');

# --- over itself

is(restore('shop', '--exit-on-error', '--clean', '--if-exists', "$dir/all"), '', 'clean: restored over itself without an error');
like(wait_until_paused($node, 'shop'), qr/copy of another/, 'clean: it is a copy of what it was');
$node->safe_psql('shop', 'SELECT fluxhooks.resume(); INSERT INTO item VALUES (7)');
wait_until(sub { rows_at('/ok/shop') =~ / 7$/ }, 'it to send');
is(rows_at('/ok/shop'), '1 2 5 7', 'clean: resumed, it sends what is its own');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_trigger WHERE tgname = 'fluxhooks_capture'}), 1, 'clean: with its trigger');

# --- everything, into another server

my $target = new_node('everything', extension => 0);
command_ok([ 'pg_dumpall', '-f', "$dir/everything.sql", '-d', $node->connstr('postgres') ], 'pg_dumpall');
$target->command_ok([ 'psql', '-X', '-q', '-f', "$dir/everything.sql", '-d', $target->connstr('postgres') ], 'restored');
like(wait_until_paused($target, $_), qr/copy of another/, "$_ is paused as a copy") foreach qw(shop data_later);
$target->safe_psql($_, 'INSERT INTO item VALUES (8)') foreach qw(shop data_later);
$target->safe_psql('shop', 'SELECT fluxhooks.resume()');
wait_until(sub { rows_at('/ok/shop') =~ / 8$/ }, 'the resumed one to send');
is(rows_at('/ok/shop'), '1 2 5 7 8', 'pg_dumpall: each database is a copy until it is resumed');
$target->stop('fast');
$node->stop('fast');

done_testing();
