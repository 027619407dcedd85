# Dump and restore: webhooks come back by the names that their owners and tables
# have at the time of the dump; what is missing pauses a webhook, and never
# stops the restore; a restored database sends nothing until it is told to.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/../lib';

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = new_node('source');
my $target = new_node('target', extension => 0);

$source->safe_psql('postgres', 'CREATE DATABASE shop');
$target->safe_psql('postgres', 'CREATE ROLE keepers; CREATE ROLE owner_a IN ROLE keepers; CREATE ROLE owner_new');

# ---------------------------------------------------------------- the original

$source->safe_psql('shop', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION fluxhooks;
CREATE ROLE keepers;
CREATE ROLE owner_a IN ROLE keepers;
CREATE ROLE owner_old;
CREATE ROLE owner_lost IN ROLE keepers;
CREATE SCHEMA app;
CREATE TABLE users (id integer PRIMARY KEY, note text);
CREATE TABLE old_name (id integer);
CREATE TABLE excluded (id integer);
CREATE TABLE dropped (id integer);
CREATE TABLE tree (id integer, part integer) PARTITION BY LIST (part);
CREATE TABLE leaf PARTITION OF tree FOR VALUES IN (1);
CREATE FUNCTION hook(name text, VARIADIC tables text[]) RETURNS void LANGUAGE sql AS $$
  SELECT fluxhooks.create_webhook(jsonb_build_object('name', name, 'url', 'http://127.0.0.1:1/' || name,
    'secret', 'the ''secret''', 'headers', '{"Authorization": "Bearer \"x\""}'::jsonb, 'max_retries', 0,
    'events', (SELECT jsonb_agg(jsonb_build_object('table', t)) FROM unnest(tables) AS t)))
$$;
GRANT ALL ON SCHEMA public, fluxhooks TO owner_a, owner_old, owner_lost;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO owner_a, owner_old, owner_lost;

ALTER TABLE users OWNER TO keepers;
ALTER TABLE old_name OWNER TO owner_old;
SET ROLE owner_a;
SELECT hook('plain', 'users');
SET ROLE owner_old;
SELECT hook('renamed', 'old_name');
RESET ROLE;
SET ROLE owner_lost;
SELECT hook('ownerless', 'users');
RESET ROLE;
SELECT hook('incomplete', 'users', 'excluded');
SELECT hook('shortened', 'dropped', 'users');
SELECT hook('partitions', 'tree');
SELECT hook('deleted', 'users');
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('deleted'));

ALTER TABLE old_name RENAME TO "New Name";
ALTER TABLE "New Name" SET SCHEMA app;
ALTER ROLE owner_old RENAME TO owner_new;
DROP TABLE dropped;
DROP OWNED BY owner_lost;
INSERT INTO users SELECT n, 'original' FROM generate_series(1, 10) AS n;
INSERT INTO tree VALUES (1, 1);
SQL
wait_until(
	sub { $source->safe_psql('shop', 'SELECT count(*) FROM fluxhooks_internal.instance') eq '1' },
	'the worker to remember its database');

my $ids = query($source, 'SELECT id, name FROM fluxhooks.webhooks ORDER BY name', 'shop');
my $triggers = <<'SQL';
SELECT t.tgrelid::regclass || CASE WHEN t.tgparentid <> 0 THEN ' (clone)'
  WHEN EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
               AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x') THEN ' (goes with the extension)'
  ELSE '' END
FROM pg_trigger AS t WHERE t.tgname = 'fluxhooks_capture' ORDER BY t.tgrelid::regclass::text COLLATE "C"
SQL

# ------------------------------------------------------------------- restoring

my $dir = PostgreSQL::Test::Utils::tempdir();
my @dump = ('pg_dump', '-d', $source->connstr('shop'), '--exclude-table=excluded');

command_ok([ @dump, '-f', "$dir/plain.sql" ], 'dump as SQL');
command_ok([ @dump, '-Fc', '-f', "$dir/custom.dump" ], 'dump in the custom format');
command_ok([ @dump, '-Fd', '-f', "$dir/directory.dump" ], 'dump as a directory');

my @events = ('INSERT', 'UPDATE', 'DELETE');
my %restore = (
	plain => sub {
		command_ok(
			[
				'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '--single-transaction',
				'-d', $target->connstr('plain'), '-f', "$dir/plain.sql"
			],
			'plain: restores without an error');
	},
	custom => sub {
		command_ok(
			[
				'pg_restore', '--exit-on-error', '--single-transaction',
				'-d', $target->connstr('custom'), "$dir/custom.dump"
			],
			'custom: restores without an error');
	},
	# in parallel, a partition may be filled after its root has got the trigger
	directory => sub {
		local $ENV{PGOPTIONS} = '-c fluxhooks.capture=off';
		command_ok(
			[
				'pg_restore', '--exit-on-error', '-j', '2',
				'-d', $target->connstr('directory'), "$dir/directory.dump"
			],
			'directory: restores without an error, in parallel');
	});

foreach my $db (sort keys %restore)
{
	$target->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
	$restore{$db}->();

	is_deeply(query($target, 'SELECT id, name FROM fluxhooks.webhooks ORDER BY name', $db),
		$ids, "$db: the same webhooks, less the deleted one");
	is_deeply(
		query($target, 'SELECT name, owner, events, paused_reason FROM fluxhooks.webhooks ORDER BY name', $db),
		[
			{
				name => 'incomplete',
				owner => 'postgres',
				events => [
					{ table => 'users', schema => 'public', operations => \@events },
					{ table => 'excluded', schema => 'public', operations => \@events }
				],
				paused_reason => 'table public.excluded does not exist'
			},
			{
				name => 'ownerless',
				owner => 'owner_lost',
				events => [ { table => 'users', schema => 'public', operations => \@events } ],
				paused_reason => 'owner "owner_lost" does not exist'
			},
			{
				name => 'partitions',
				owner => 'postgres',
				events => [ { table => 'tree', schema => 'public', operations => \@events } ],
				paused_reason => undef
			},
			{
				name => 'plain',
				owner => 'owner_a',
				events => [ { table => 'users', schema => 'public', operations => \@events } ],
				paused_reason => undef
			},
			{
				name => 'renamed',
				owner => 'owner_new',
				events => [ { table => 'New Name', schema => 'app', operations => \@events } ],
				paused_reason => undef
			},
			{
				name => 'shortened',
				owner => 'postgres',
				events => [ { table => 'users', schema => 'public', operations => \@events } ],
				paused_reason => undef
			},
		],
		"$db: names are those of the time of the dump, and what is missing pauses");
	is($target->safe_psql($db,
			q{SELECT bool_and(secret = 'the ''secret''' AND headers = '{"Authorization": "Bearer \"x\""}') FROM fluxhooks_internal.webhook}),
		't', "$db: secrets and headers came along");
	is($target->safe_psql($db, 'SELECT count(*) FROM fluxhooks.deliveries'),
		'0', "$db: rows that were restored are no events");
	is($target->safe_psql($db, $triggers), <<'EXPECTED' =~ s/\n\z//r, "$db: triggers");
app."New Name" (goes with the extension)
leaf (clone)
tree (goes with the extension)
users (goes with the extension)
EXPECTED
}

# ------------------------------------------- a copy sends nothing until it may

my $db = 'plain';

wait_until(
	sub { $target->safe_psql($db, 'SELECT paused FROM fluxhooks.status') eq 't' },
	'the copy to be paused');
pass('a restored database is paused');
like($target->safe_psql($db, 'SELECT paused_reason FROM fluxhooks.status'),
	qr/copy/, 'and says why');

$target->safe_psql($db, "UPDATE users SET note = 'changed here' WHERE id = 1");
is($target->safe_psql($db, "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'pending'"),
	'4', 'it captures: webhooks that are paused hold their deliveries as well');

my $pid = $target->safe_psql($db, 'SELECT worker_pid FROM fluxhooks.status');
$target->safe_psql($db, 'SELECT fluxhooks.resume()');
is($target->safe_psql($db, 'SELECT paused FROM fluxhooks.status'), 'f', 'resumed');
wait_for_deliveries($target, "status = 'failed'", 2, dbname => $db);
pass('what was captured here is sent, where the webhook itself is not paused');
is($target->safe_psql($db, "SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'pending'"),
	'2', 'and held where it is');
isnt($target->safe_psql($db, 'SELECT worker_pid FROM fluxhooks.status'), $pid,
	'by a worker that remembers nothing of the original');

# ------------------------------------------------------ what was missing is found

$target->safe_psql($db, <<'SQL');
CREATE ROLE owner_lost IN ROLE keepers;
GRANT USAGE ON SCHEMA fluxhooks TO owner_lost;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO owner_lost;
CREATE TABLE excluded (id integer);
SQL
is($target->safe_psql($db, 'SELECT count(*) FROM fluxhooks.webhooks WHERE paused'),
	'2', 'a role or table of the name does not go on by itself');
$target->safe_psql($db, "SELECT fluxhooks.update_webhook(id, '{}') FROM fluxhooks.webhooks WHERE paused");
is($target->safe_psql($db, 'SELECT count(*) FROM fluxhooks.webhooks WHERE paused'),
	'0', 'any change of the webhook finds it');
like($target->safe_psql($db, $triggers), qr/^excluded \(goes/m, 'with its trigger');
wait_for_deliveries($target, "status = 'failed'", 4, dbname => $db);
pass('and what was held goes out');

# --------------------------------------------------------------- no loose ends

foreach my $name (sort keys %restore)
{
	$target->safe_psql($name, 'DROP EXTENSION fluxhooks');
	is($target->safe_psql($name, $triggers), '', "$name: the extension took its triggers along");
}
$target->stop;
$source->stop;

done_testing();
