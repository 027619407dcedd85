# Commands that need a database without sessions succeed at once while its
# worker has a delivery under way that nobody answers, and what was under way
# is sent again by the next worker.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

# A delivery hangs for longer than any of these commands may take.
my $hang_seconds = 300;
my $patience = $hang_seconds / 2;

my $receiver = start_receiver();
my $node = new_node('databases', extension => 0, conf => 'fluxhooks.max_in_flight = 1');

sub hanging_requests
{
	my ($name) = @_;

	return scalar(my @requests = $receiver->requests("/hang/$name"));
}

# Until the worker of the database has sent a request that is not answered.
sub wait_until_hanging
{
	my ($name, $count) = @_;

	wait_until(sub { hanging_requests($name) >= $count }, "request $count to hang in $name");
	return;
}

# A database whose worker has a request under way, and another change behind it.
sub make_hanging
{
	my ($name) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION fluxhooks; CREATE TABLE item (id integer PRIMARY KEY)');
	create_webhook($node, {
		name => 'hang', url => $receiver->url("/hang/$name"), events => [ { table => 'item' } ],
		timeout_seconds => $hang_seconds }, $name);
	$node->safe_psql($name, 'INSERT INTO item VALUES (1), (2)');
	wait_until_hanging($name, 1);
	return;
}

# Run a command to its end, which comes long before that of the delivery.
sub ends_well
{
	my ($sql, $name) = @_;
	my $timed_out = 0;
	my $err = '';
	my $status = $node->psql('postgres', $sql, stderr => \$err, timeout => $patience, timed_out => \$timed_out);

	ok($status == 0 && !$timed_out, $name) or diag($timed_out ? 'timed out' : $err);
	return;
}

# The first delivery once more, by another worker.
sub sent_again
{
	my ($path, $count, $name) = @_;

	wait_until_hanging($path, $count);
	my @requests = $receiver->requests("/hang/$path");
	my %ids = map { $_->{headers}{'x-fluxbase-delivery'} => 1 } @requests;
	is(scalar keys %ids, 1, $name);
	return;
}

sub has_worker
{
	my ($dbname) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'fluxhooks worker' AND datname = '$dbname'");
}

make_hanging('original');
ends_well('ALTER DATABASE original RENAME TO renamed', 'ALTER DATABASE RENAME');
sent_again('original', 2, 'the delivery is sent again under the new name');

my $directory = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$directory'");
ends_well('ALTER DATABASE renamed SET TABLESPACE elsewhere', 'ALTER DATABASE SET TABLESPACE');
sent_again('original', 3, 'and in the new tablespace');

ends_well('CREATE DATABASE copied TEMPLATE renamed', 'CREATE DATABASE TEMPLATE');
sent_again('original', 4, 'and by the template itself');
wait_until(sub { query($node, 'SELECT paused FROM fluxhooks.status', 'copied')->[0]{paused} }, 'the copy to be paused');
is($node->safe_psql('copied', q{SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'pending'}), 2,
	'the copy has inherited both deliveries');

# two at once
my @sessions = map { $node->background_psql('postgres', timeout => $patience) } 1 .. 2;
$sessions[$_]->query_until(qr/^$/, "CREATE DATABASE twin_$_ TEMPLATE renamed;\n") foreach 0 .. 1;
$_->quit foreach @sessions;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_database WHERE datname LIKE 'twin%'}), 2,
	'a template used by two at once');
wait_until(sub { has_worker('renamed') }, 'the template to have a worker again');

# one that fails, for there is somebody else in the database
my $before = hanging_requests('original');
my $session = $node->background_psql('renamed');
$session->query_safe('SELECT 1');
my ($status, undef, $err) = $node->psql('postgres', 'ALTER DATABASE renamed RENAME TO original', timeout => $patience);
like($err, qr/being accessed by other users/, 'a command that fails for somebody else\'s session fails');
sent_again('original', $before + 1, 'and the worker is back');
($status, undef, $err) = $node->psql('postgres', 'DROP DATABASE renamed', timeout => $patience);
like($err, qr/There is 1 other session/, 'of which the worker is none');
wait_until(sub { has_worker('renamed') }, 'the worker to be back once more');
ends_well('DROP DATABASE renamed WITH (FORCE)', 'DROP DATABASE WITH (FORCE)');
eval { $session->quit };

make_hanging('dropped');
ends_well('DROP DATABASE dropped', 'DROP DATABASE');

make_hanging('closed');
ends_well('ALTER DATABASE closed ALLOW_CONNECTIONS false', 'ALTER DATABASE ALLOW_CONNECTIONS');
wait_until(sub { !has_worker('closed') }, 'the worker to leave');
ends_well('ALTER DATABASE closed ALLOW_CONNECTIONS true', 'and true again');
sent_again('closed', 2, 'the delivery is sent again once connections are allowed');
ends_well('ALTER DATABASE closed IS_TEMPLATE true', 'ALTER DATABASE IS_TEMPLATE');
wait_until(sub { !has_worker('closed') }, 'the worker to leave the template');
pass('a database that became a template has no worker');

unlike(slurp_file($node->logfile), qr/did not end in time/, 'every worker left in time');
$node->stop('fast');

done_testing();
