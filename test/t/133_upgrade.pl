# ALTER EXTENSION UPDATE with a queue that is not empty, in both orders: the
# library is replaced first, or the script is.  Until both are of one version the
# worker sends nothing and says what is to be done, and writers go on capturing;
# afterwards everything arrives.
#
# Scripts of other versions are test/upgrade; they are put beside the real one in
# an installation of this test's own.  Version 0.9 is 1.0 without what
# fluxhooks--0.9--1.0.sql adds.
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(mkpath);

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $scripts = dirname(__FILE__) . '/../upgrade';
my $receiver = start_receiver();

sub configured
{
	my ($what) = @_;

	chomp(my $value = `pg_config --$what`);
	return $value;
}

# PostgreSQL finds its files by where its programs are: a tree of links, with
# programs and extension scripts of its own.  Returns the directory of programs.
sub make_installation
{
	my $root = PostgreSQL::Test::Utils::tempdir();
	my ($bindir, $sharedir, @others) = map { configured($_) } qw(bindir sharedir pkglibdir libdir);

	mkpath("$root$_") foreach $bindir, "$sharedir/extension";
	foreach my $file (glob "$bindir/*")
	{
		next unless -f $file;
		copy($file, "$root$file") or die "$file: $!";
		chmod 0755, "$root$file";
	}
	foreach my $file (glob("$sharedir/*"), glob "$sharedir/extension/*")
	{
		symlink $file, "$root$file" unless $file eq "$sharedir/extension";
	}
	foreach my $directory (@others)
	{
		next if -e "$root$directory";
		mkpath(dirname("$root$directory"));
		symlink $directory, "$root$directory" or die "$directory: $!";
	}
	copy($_, "$root$sharedir/extension/") or die "$_: $!" foreach glob "$scripts/*.sql";
	append_to_file("$root$sharedir/extension/fluxhooks--0.9.sql",
		former_script(slurp_file("$sharedir/extension/fluxhooks--1.0.sql")));
	return "$root$bindir";
}

sub former_script
{
	my ($script) = @_;

	$script =~ s/,\s*closed_snapshot pg_snapshot\s*\)/)/ == 1 or die 'the script has no closed_snapshot';
	return $script;
}

$ENV{PATH} = make_installation() . ":$ENV{PATH}";
my $node = new_node('upgrade', extension => 0);
my $mismatch = qr/not of the version .* restart needed/;

sub rows_at
{
	my ($path) = @_;

	return join ' ', map { $_->{data}{record}{id} } $receiver->requests($path);
}

# By a complaint in the log beyond those that there have been.
sub wait_until_idle
{
	my ($known) = @_;

	wait_until(sub { n_complaints() > $known }, 'the worker to find another version');
	like(status_of($node)->{last_error}, $mismatch, 'status says what is to be done');
	return;
}

sub n_complaints
{
	my @lines = slurp_file($node->logfile) =~ /$mismatch/g;

	return scalar @lines;
}

# --- the library first

$node->safe_psql('postgres', q{CREATE EXTENSION fluxhooks VERSION '0.9'; CREATE TABLE item (id integer PRIMARY KEY, note text)});
wait_until_idle(0);
pass('a script of a former version: the worker says so');
my $session = $node->background_psql('postgres');
create_webhook($node, { name => 'ok', url => $receiver->url('/ok/item'), events => [ { table => 'item' } ] });
$session->query_safe('INSERT INTO item VALUES (1)');
$node->safe_psql('postgres', 'INSERT INTO item VALUES (2); BEGIN; INSERT INTO item VALUES (0); ROLLBACK');
is(status_of($node)->{pending}, 2, 'rows are captured');
is(n_complaints(), 1, 'the log has it once');
$session->quit;
$node->stop('immediate');
$node->start;
wait_until_idle(1);
is(rows_at('/ok/item'), '', 'and nothing is sent, after a restart neither');
$session = $node->background_psql('postgres');
$session->query_safe("INSERT INTO item SELECT i, repeat('x', 10) FROM generate_series(3, 1300) AS i");
$node->safe_psql('postgres', 'ALTER EXTENSION fluxhooks UPDATE');
$session->query_safe('INSERT INTO item VALUES (1301)');
wait_for_deliveries($node, "status = 'success'", 1301);
is_deeply([ sort { $a <=> $b } split ' ', rows_at('/ok/item') ], [ 1 .. 1301 ], 'updated, everything arrives, once');
is($node->safe_psql('postgres', q{SELECT extversion FROM pg_extension WHERE extname = 'fluxhooks'}), '1.0', 'it is of version 1.0');

# --- the script first, while a delivery is under way and others wait

create_webhook($node, { name => 'slow', url => $receiver->url('/slow/3000/item'), events => [ { table => 'item' } ] });
create_webhook($node, { name => 'retry', url => $receiver->url('/fail/1/500/item'), events => [ { table => 'item' } ],
	retry_backoff_seconds => 1 });
$session->query_safe('INSERT INTO item VALUES (4001), (4002), (4003)');
$receiver->wait_for_requests(1, '/slow/3000/item');
$node->safe_psql('postgres', q{ALTER EXTENSION fluxhooks UPDATE TO '1.1'});
wait_until_idle(2);
pass('a script of a later version: the worker says so');
my $before = () = $receiver->requests('/');
$session->query_safe(q{INSERT INTO item SELECT 4004, string_agg(md5(i::text), '') FROM generate_series(1, 2000) AS i});
$node->safe_psql('postgres', "INSERT INTO item SELECT i, repeat('x', 10) FROM generate_series(4005, 5200) AS i");
is($node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.event WHERE table_name = $$item$$') >= 1197, 1,
	'rows are captured, by a session that knew the former tables as well');
$node->restart;
wait_until_idle(3);
is(scalar(my @requests = $receiver->requests('/')), $before, 'and nothing is sent');
$node->safe_psql('postgres', 'INSERT INTO item VALUES (5201)');
$node->safe_psql('postgres', q{ALTER EXTENSION fluxhooks UPDATE TO '1.0'});
wait_for_deliveries($node, "webhook_id = fluxhooks.webhook_id('ok') AND status = 'success'", 1301 + 1201, seconds => 180);
my %arrived = map { $_ => 1 } split ' ', rows_at('/ok/item');
is_deeply([ sort { $a <=> $b } keys %arrived ], [ 1 .. 1301, 4001 .. 5201 ], 'once the versions are the same, everything arrives');
wait_until(sub { $receiver->requests('/slow/3000/item') >= 4 }, 'what was under way');
my %ids;
$ids{ $_->{data}{record}{id} }{ $_->{headers}{'x-fluxbase-delivery'} }++ foreach $receiver->requests('/');
is(scalar(grep { keys %$_ > 3 } values %ids), 0, 'what is sent again has the same id');
$session->quit if eval { $session->query_safe('SELECT 1'); 1 };
$node->stop('fast');

done_testing();
