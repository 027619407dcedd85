# Which database has a worker, and when: it comes with CREATE EXTENSION and goes
# with DROP EXTENSION, makes way for commands that need a database without
# sessions, comes back after every kind of death, and obeys nobody without rights.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Worker's pid by database.
sub workers
{
	my ($node) = @_;
	my $rows = eval { query($node, <<'SQL') };
SELECT datname, pid FROM pg_stat_activity
WHERE backend_type = 'fluxhooks worker' AND datname IS NOT NULL
SQL

	return { map { $_->{datname} => $_->{pid} } @{ $rows // [] } };
}

# Until exactly these databases have one; their pids.
sub wait_for_workers
{
	my ($node, @expected) = @_;
	my $workers;

	wait_until(
		sub {
			$workers = workers($node);
			return join(' ', sort keys %$workers) eq join(' ', sort @expected);
		},
		"workers in exactly: @expected");
	return $workers;
}

# A worker that is another process than before.
sub wait_for_another
{
	my ($node, $dbname, $pid) = @_;

	return wait_until(
		sub {
			my $now = workers($node)->{$dbname};
			return defined $now && $now != $pid ? $now : 0;
		},
		"a new worker in $dbname");
}

sub succeeds
{
	my ($node, $sql, $name) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);

	is($status, 0, $name) or diag($err);
	return;
}

sub launcher_pid
{
	my ($node) = @_;

	return eval { $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'fluxhooks launcher'") } // '';
}

sub log_since
{
	my ($node, $offset) = @_;

	return substr(slurp_file($node->logfile), $offset);
}

my $node = new_node('launcher', extension => 0, conf => <<'CONF');
log_min_messages = debug1
restart_after_crash = on
CONF

# --- CREATE EXTENSION, rolled back, committed, prepared; DROP EXTENSION

$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(one two three four);
wait_until(sub { log_since($node, 0) =~ /starting fluxhooks worker for database "$_"/ },
	"database $_ to be looked at")
  foreach qw(postgres one two three four);
wait_for_workers($node);
pass('databases without the extension are looked at and left alone');

$node->safe_psql($_, 'CREATE EXTENSION fluxhooks') foreach qw(one two);
wait_for_workers($node, qw(one two));
pass('each database with the extension gets its worker');

my $offset = -s $node->logfile;
$node->safe_psql('three', 'BEGIN; CREATE EXTENSION fluxhooks; ROLLBACK');
$node->safe_psql('four', 'CREATE EXTENSION fluxhooks');
wait_for_workers($node, qw(one two four));
unlike(log_since($node, $offset), qr/starting fluxhooks worker for database "three"/,
	'CREATE EXTENSION rolled back starts no worker');

$node->safe_psql('three', "BEGIN; CREATE EXTENSION fluxhooks; PREPARE TRANSACTION 'extension'");
$node->safe_psql('three', "COMMIT PREPARED 'extension'");
my $before = wait_for_workers($node, qw(one two three four));
pass('COMMIT PREPARED of a CREATE EXTENSION starts one');

$node->safe_psql('three', 'DROP EXTENSION fluxhooks CASCADE');
wait_for_workers($node, qw(one two four));
pass('DROP EXTENSION ends the worker');

$node->safe_psql('three', 'CREATE EXTENSION fluxhooks');
wait_for_workers($node, qw(one two three four));
pass('CREATE EXTENSION brings it back');
is(workers($node)->{one}, $before->{one}, 'other databases kept theirs all the while');

# --- commands that need the database without sessions

my $pid = workers($node)->{one};
succeeds($node, 'ALTER DATABASE one RENAME TO uno', 'a database with a worker is renamed');
wait_for_workers($node, qw(uno two three four));
isnt(workers($node)->{uno}, $pid, 'and has a new worker under its new name');

$pid = workers($node)->{uno};
succeeds($node, 'BEGIN; ALTER DATABASE uno RENAME TO eins; ROLLBACK', 'renamed and rolled back');
wait_for_another($node, 'uno', $pid);
pass('the worker comes back after the rollback');

$pid = workers($node)->{uno};
succeeds($node, 'CREATE DATABASE copy TEMPLATE uno', 'a database with a worker is copied');
wait_for_another($node, 'uno', $pid);
wait_for_workers($node, qw(uno copy two three four));
pass('original and copy have workers');

my $directory = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$directory'");
$pid = workers($node)->{uno};
succeeds($node, 'ALTER DATABASE uno SET TABLESPACE elsewhere', 'it is moved to another tablespace');
wait_for_another($node, 'uno', $pid);
pass('the worker comes back after the move');

succeeds($node, 'DROP DATABASE copy', 'it is dropped');
wait_for_workers($node, qw(uno two three four));

my $session = $node->background_psql('three');
$session->query_safe('SELECT 1');
succeeds($node, 'DROP DATABASE three WITH (FORCE)', 'it is dropped by force');
wait_for_workers($node, qw(uno two four));
eval { $session->quit };
unlike(log_since($node, 0), qr/did not end in time/, 'every worker left in time');

# --- templates and databases that let nobody in

$node->safe_psql('postgres', 'ALTER DATABASE four IS_TEMPLATE true');
wait_for_workers($node, qw(uno two));
pass('a template has no worker');
succeeds($node, 'CREATE DATABASE five TEMPLATE four', 'a template is used');
wait_for_workers($node, qw(uno two five));
pass('what was made from it has one');

$node->safe_psql('postgres', 'ALTER DATABASE five ALLOW_CONNECTIONS false');
wait_for_workers($node, qw(uno two));
$node->safe_psql('postgres', 'ALTER DATABASE five ALLOW_CONNECTIONS true');
wait_for_workers($node, qw(uno two five));
pass('a database has a worker while it allows connections');

# --- rights

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE stranger;
CREATE ROLE creator CREATEDB;
CREATE ROLE proprietor;
ALTER DATABASE five OWNER TO proprietor;
SQL
$before = workers($node);
is(sqlstate($node, "SET ROLE stranger; $_"), '42501', "a stranger is refused: $_")
  foreach (
	'DROP DATABASE uno',
	'DROP DATABASE uno WITH (FORCE)',
	'ALTER DATABASE uno RENAME TO eins',
	'ALTER DATABASE uno SET TABLESPACE pg_default',
	'CREATE DATABASE copy TEMPLATE uno');
is(sqlstate($node, "SET ROLE creator; $_"), '42501', "CREATEDB does not suffice: $_")
  foreach ('DROP DATABASE uno', 'ALTER DATABASE uno RENAME TO eins', 'CREATE DATABASE copy TEMPLATE uno');
is(sqlstate($node, 'SET ROLE proprietor; ALTER DATABASE five RENAME TO six'),
	'42501', 'an owner without CREATEDB cannot rename');
is_deeply(workers($node), $before, 'no worker was stopped by what was refused');

succeeds($node, 'SET ROLE proprietor; DROP DATABASE five', 'an owner who is no superuser drops it');
wait_for_workers($node, qw(uno two));

# --- deaths

$pid = workers($node)->{uno};
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for_another($node, 'uno', $pid);
pass('a terminated worker is started again');

$before = workers($node);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($before->{uno}), pg_sleep(0.01) FROM generate_series(1, 50)");
$node->safe_psql('uno', "SELECT fluxhooks.pause('for a moment'); SELECT fluxhooks.resume()");
is_deeply(workers($node), $before, 'a worker that is cancelled at any time goes on');

$before = workers($node);
$pid = launcher_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_until(sub { my $now = launcher_pid($node); $now ne '' && $now != $pid }, 'a new launcher');
$node->safe_psql('postgres', 'CREATE DATABASE seven');
$node->safe_psql('seven', 'CREATE EXTENSION fluxhooks');
my $after = wait_for_workers($node, qw(uno two seven));
is_deeply([ @$after{qw(uno two)} ], [ @$before{qw(uno two)} ],
	'a new launcher goes on with the workers it finds');

$pid = workers($node)->{uno};
kill 'KILL', $pid;
wait_for_another($node, 'uno', $pid);
wait_for_workers($node, qw(uno two seven));
pass('after kill -9 and crash recovery all are back');

$node->restart;
wait_for_workers($node, qw(uno two seven));
pass('after a restart too');
$node->stop('fast');

# --- max_worker_processes used up: room for the launcher and one worker

my $narrow = new_node('narrow', extension => 0, conf => <<'CONF');
max_worker_processes = 2
max_logical_replication_workers = 0
CONF
$narrow->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(one two);
$narrow->safe_psql('one', 'CREATE EXTENSION fluxhooks');
wait_for_workers($narrow, 'one');
$offset = -s $narrow->logfile;
$narrow->safe_psql('two', 'CREATE EXTENSION fluxhooks');
my $complaint = qr/could not start the fluxhooks worker of database/;
wait_until(sub { log_since($narrow, $offset) =~ $complaint }, 'the complaint');
$narrow->safe_psql('one', 'DROP EXTENSION fluxhooks CASCADE');
wait_for_workers($narrow, 'two');
pass('a worker that found no room comes once there is some');
my @complaints = log_since($narrow, $offset) =~ /$complaint/g;
is(scalar @complaints, 1, 'the log says so once');
$narrow->stop('fast');

done_testing();
