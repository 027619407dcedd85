# What fluxhooks does while nothing happens: transactions in the database, wake-ups and CPU time
# of worker and launcher.  The database has a webhook and deliveries behind it.
use strict;
use warnings;

use Bench;
use Bench::Receiver;
use Bench::Server;
use Time::HiRes qw(time sleep);

my $seconds = form(2, 12, 60);
my $receiver = Bench::Receiver->new(1);
my $server = Bench::Server->new;
my (@statements, %wakeups, %cpu);

# Transactions that ended in the database; asked from another, so as not to count asking.
sub transactions
{
	return $server->sql('postgres', "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'bench'");
}

sub wakeups
{
	my ($pid) = @_;

	return $server->process_status($pid, 'voluntary_ctxt_switches');
}

$server->create_database('bench');
$server->sql('bench', 'CREATE TABLE item (id int PRIMARY KEY)');
$server->webhook('bench', name => 'idle', tables => ['item'], url => $receiver->url(0, 'ok'));
$server->sql('bench', 'INSERT INTO item SELECT generate_series(1, 1000)');
wait_until(sub { $server->pending('bench') == 0 }, 'deliveries');
my %pid = (
	worker => $server->worker('bench'),
	launcher => $server->sql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'fluxhooks launcher'"),
);
die "there is no launcher\n" unless $pid{launcher};
delete($server->{sessions}{bench})->close;

# what it does once the last delivery is recorded, statistics of the sessions above included
sleep form(3, 6, 12);
for my $round (1 .. rounds())
{
	progress("round $round, $seconds s");
	my $statements = transactions();
	my %before = map { $_ => [ wakeups($pid{$_}), $server->process_cpu($pid{$_}) ] } keys %pid;
	my $begin = time;
	sleep $seconds;
	my $minutes = (time - $begin) / 60;

	for my $process (keys %pid)
	{
		push @{ $wakeups{$process} }, (wakeups($pid{$process}) - $before{$process}[0]) / $minutes;
		push @{ $cpu{$process} }, ($server->process_cpu($pid{$process}) - $before{$process}[1]) * 1000 / $minutes;
	}
	push @statements, (transactions() - $statements) / $minutes;
	csv('idle', round => $round, seconds => $seconds, transactions_per_minute => $statements[-1],
		map { ("${_}_wakeups_per_minute" => $wakeups{$_}[-1], "${_}_cpu_ms_per_minute" => $cpu{$_}[-1]) }
		  qw(worker launcher));
}
figure('idle: transactions in the database', \@statements, unit => 'a minute', reach => '<= 0');
for my $process (qw(worker launcher))
{
	figure("idle: wake-ups of the $process", $wakeups{$process}, unit => 'a minute', reach => '<= 60');
	figure("idle: CPU time of the $process", $cpu{$process}, unit => 'ms/min');
}
