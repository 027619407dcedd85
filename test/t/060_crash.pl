# Nothing lost, nothing invented: writers commit while workers and the server
# are killed; afterwards every row of the table has been received, and
# everything received is in the table.
use strict;
use warnings;

use FluxhooksTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('crash', conf => "restart_after_crash = on\n");
my $script = PostgreSQL::Test::Utils::tempdir() . '/writer.sql';

# half of the transactions roll something back, some do not wait for the disk
PostgreSQL::Test::Utils::append_to_file($script, <<'SQL');
\set wait random(0, 1)
\if :wait
SET synchronous_commit = off;
\endif
BEGIN;
INSERT INTO ledger (note) VALUES ('kept');
SAVEPOINT a;
INSERT INTO ledger (note) VALUES ('rolled back');
ROLLBACK TO a;
INSERT INTO ledger (note) VALUES ('kept too');
COMMIT;
BEGIN;
INSERT INTO ledger (note) VALUES ('aborted');
ROLLBACK;
SQL

$node->safe_psql('postgres', 'CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)');
my $webhook = create_webhook($node,
	{ name => 'ledger', url => $receiver->url('/ok'), events => [ { table => 'ledger' } ],
	  max_retries => 10, retry_backoff_seconds => 1 });

# Lines of the receiver's log; parsing them all again and again would take longer
# than the test.
sub received
{
	my $lines = () = PostgreSQL::Test::Utils::slurp_file($receiver->{log}) =~ /\n/g;

	return $lines;
}

# Write for a while, do harm in the middle of it.
sub storm
{
	my ($harm) = @_;
	my $before = received();
	my ($out, $err) = ('', '');
	my $writer = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 4, '-R', 150, '-T', 60, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', '/dev/null', '>', \$out, '2>', \$err);

	wait_until(sub { received() > $before + 300 }, 'events to flow');
	$harm->();
	$writer->kill_kill(grace => 5);
	return;
}

sub up_again
{
	wait_until(
		sub { my $status = $node->psql('postgres', 'SELECT 1'); defined $status && $status == 0 },
		'the server to be up');
	wait_for_worker($node);
	return;
}


for my $round (1 .. 3)
{
	storm(sub {
		my $pid = wait_for_worker($node);
		kill 'TERM', $pid;
		wait_for_worker($node, 'postgres', $pid);
	});
}
for my $round (1 .. 2)
{
	storm(sub { kill 'KILL', wait_for_worker($node); });
	up_again();
}
storm(sub { $node->stop('immediate'); });
$node->start;
up_again();

wait_until(
	sub { $node->safe_psql('postgres', q{SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'pending'}) eq '0' },
	'everything to be delivered');

my %committed = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT id FROM ledger');
my (%received, %id_of, %body_of);
my ($several_ids, $several_bodies) = (0, 0);

foreach my $request ($receiver->requests)
{
	my $row = $request->{data}{record}{id};
	my $id = $request->{headers}{'x-fluxbase-delivery'};

	$received{$row}++;
	$several_ids++ if defined $id_of{$row} && $id_of{$row} ne $id;
	$several_bodies++ if defined $body_of{$id} && $body_of{$id} ne $request->{body};
	$id_of{$row} = $id;
	$body_of{$id} = $request->{body};
}
my @lost = grep { !$received{$_} } keys %committed;
my @invented = grep { !$committed{$_} } keys %received;
my $duplicates = 0;

$duplicates += $_ - 1 foreach values %received;
cmp_ok(scalar keys %committed, '>', 1000, 'rows were committed');
is(scalar @lost, 0, 'nothing is lost');
is(scalar @invented, 0, 'nothing is invented');
is($several_ids, 0, 'a change has one delivery id');
is($several_bodies, 0, 'a delivery has one body');
# six faults, each with at most max_in_flight_per_host under way, and what was
# answered within the delay of asynchronous recording
note("$duplicates duplicates of " . scalar(keys %committed));
is($node->safe_psql('postgres', q{SELECT count(*) FROM fluxhooks.deliveries WHERE status <> 'success'}),
	'0', 'every delivery is a success');
is($node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks.deliveries'), scalar keys %committed,
	'as many deliveries as rows');

done_testing();
