# Whether it matters how much waits: backlogs of several sizes are drained to nginx.  Time and
# worker CPU per event, memory of the worker meanwhile beyond what it takes when idle, disk per event;
# then a backlog whose ring moves on while it is drained.
use strict;
use warnings;

use Bench;
use Bench::Backlog;
use Bench::Nginx;
use Bench::Server;
use Time::HiRes qw(time);

my @sizes = @{ form([ 200, 1000 ], [ 10_000, 30_000, 100_000 ], [ 10_000, 100_000, 300_000, 1_000_000 ]) };
my $largest = $sizes[-1];
my $nginx = Bench::Nginx->new;
my $server = Bench::Server->new;
my (%us, %cpu, %memory, %disk, @ratio, @moves);

# Bytes of all relations of fluxhooks whose name begins so.
sub disk
{
	my ($kind) = @_;

	return $server->sql('bench', "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
		  . "WHERE relnamespace = 'fluxhooks_internal'::regnamespace AND relkind = 'r' AND relname LIKE '$kind%'");
}

# Private memory of the worker, in MB.
sub memory
{
	my ($worker) = @_;

	return $server->process_status($worker, 'RssAnon') / 1024;
}

# The backlog is made anew each time, since what is in the log already counts as well.
sub measure
{
	my ($size, $round) = @_;
	my $backlog = Bench::Backlog->new(server => $server, nginx => $nginx, events => $size);
	my $idle = memory($server->worker('bench'));
	my ($most, $events, $before, $before_all) = ($idle, undef, disk('event'), disk('event') + disk('attempt'));
	my ($seconds, $cpu) = $backlog->drain($size,
		sub {
			my ($worker) = @_;
			my $now = memory($worker);

			$events //= disk('event');
			$most = $now if $now > $most;
		});
	my $both = disk('event') + disk('attempt') - $before_all;

	push @{ $us{$size} }, $seconds * 1e6 / $size;
	push @{ $cpu{$size} }, $cpu * 1e6 / $size;
	push @{ $memory{$size} }, $most - $idle;
	push @{ $disk{waiting} }, ($events - $before) / $size if $size == $largest;
	push @{ $disk{delivered} }, $both / $size if $size == $largest;
	csv('scale', waiting => $size, round => $round, us_per_event => $seconds * 1e6 / $size,
		worker_cpu_us_per_event => $cpu * 1e6 / $size, idle_mb => $idle, more_mb => $most - $idle,
		log_bytes_per_event => ($events - $before) / $size, bytes_per_delivered_event => $both / $size);
	$backlog->drop;
	return;
}

# Seconds that a backlog takes, and how often the ring moved on meanwhile.
sub drain_with_retention
{
	my ($backlog, $retention) = @_;

	$server->sql('postgres', "ALTER SYSTEM SET fluxhooks.retention = '$retention'");
	$backlog->fill($largest);
	my $begin = time;
	my ($switched) = $backlog->release($largest);
	my $seconds = time - $begin;

	return ($seconds, $server->sql('bench',
			"SELECT count(*) FROM fluxhooks_internal.ring WHERE opened_at > '$switched'"));
}

# A slot of the ring is left after an eighth of the retention, which must outlast the drain.
sub rotation
{
	my ($retention) = map { int(3 + 3 * median(@$_) * $largest / 1e6) } $us{$largest};
	my $backlog = Bench::Backlog->new(server => $server, nginx => $nginx, events => $largest);

	for my $round (1 .. rounds())
	{
		progress("round $round, retention ${retention}s");
		my ($without) = drain_with_retention($backlog, '3d');
		my ($with, $moves) = drain_with_retention($backlog, "${retention}s");

		push @ratio, $with / $without;
		push @moves, $moves;
		csv('rotation', round => $round, waiting => $largest, seconds => $without,
			seconds_moving_on => $with, moves => $moves);
	}
	$backlog->drop;
	return;
}

for my $round (0 .. rounds() - 1)
{
	for my $size (rotate($round, @sizes))
	{
		progress('round ' . ($round + 1) . ", $size waiting");
		measure($size, $round);
	}
}
for my $size (@sizes[ 1 .. $#sizes ])
{
	figure("time per event, $size waiting / $sizes[0]", [ ratio($us{$size}, $us{ $sizes[0] }) ],
		note => round_to(median(@{ $us{$size} })) . ' / ' . round_to(median(@{ $us{ $sizes[0] } })) . ' us');
	figure("worker CPU per event, $size waiting / $sizes[0]", [ ratio($cpu{$size}, $cpu{ $sizes[0] }) ],
		note => round_to(median(@{ $cpu{$size} })) . ' / ' . round_to(median(@{ $cpu{ $sizes[0] } })) . ' us');
}
figure("worker memory beyond idle, $_ waiting", $memory{$_}, unit => 'MB', reach => '<= 64') for @sizes;
figure('disk per waiting event of 300 B', $disk{waiting}, unit => 'bytes', note => 'the log');
figure('disk per delivered event of 300 B', $disk{delivered}, unit => 'bytes', note => 'log and attempts');
rotation();
figure("drain of $largest while the ring moves on / does not", \@ratio, note => median(@moves) . ' moves');
csv('scale_by_size', waiting => $_, us => median(@{ $us{$_} }), cpu => median(@{ $cpu{$_} }),
	mb => median(@{ $memory{$_} })) for @sizes;
plot('scale', <<'EOF');
set title 'Cost of an event by the number that wait'
set xlabel 'events waiting'
set ylabel 'us per event'
set y2label 'worker memory beyond idle, MB'
set y2tics
set yrange [0:*]
set y2range [0:*]
set logscale x
plot 'scale_by_size.csv' using 1:2 with linespoints title 'time per event', \
	'' using 1:3 with linespoints title 'worker CPU per event', '' using 1:4 axes x1y2 with linespoints title 'memory'
EOF
