# What it costs that something holds back the server's xmin, so that no dead row is removed: a
# REPEATABLE READ reader, an idle transaction with an xid, an idle logical slot.
#
# Two equal servers take turns: on one xmin is held, on the other not.  A turn is a number
# of cycles, each of which commits 2,000 rows and waits until all have been delivered.  Rows have two
# webhooks; the endpoint of one refuses every 20th request, so that the table of pending
# deliveries is always at work.  Autovacuum is on, since it is what a hold takes away.
#
# A hold lasts 15 seconds here, of which the last ten count, and ten minutes in xmin-long, of which
# the last two count.
use strict;
use warnings;

use Bench;
use Bench::Receiver;
use Bench::Server;
use Time::HiRes qw(time);

our $long;
my $hold_seconds = $long ? form(2, 600, 600) : form(1, 15, 60);
my $turn_seconds = $long ? form(0.2, 12, 12) : form(0.2, 0.5, 3);
my $turns = $long ? form(2, 5, 5) : form(2, 10, 10);
my $name = $long ? 'xmin-long' : 'xmin';
my @holds = (
	[ 'a REPEATABLE READ reader', 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM item', 'COMMIT' ],
	[ 'an idle transaction with an xid', 'BEGIN; SELECT pg_current_xact_id()', 'COMMIT' ],
	[   'an idle replication slot', "SELECT pg_create_logical_replication_slot('idle', 'test_decoding')",
		"SELECT pg_drop_replication_slot('idle')"
	],
);

my $cycle_rows = form(200, 2000, 2000);
my $began = time;

# A server with its two endpoints.
sub make_side
{
	my $side = { good => Bench::Receiver->new(1), flaky => Bench::Receiver->new(1), id => 0 };
	my $server = $side->{server} = Bench::Server->new(conf => <<'EOF');
wal_level = logical
autovacuum = on
autovacuum_naptime = 5s
EOF

	$server->create_database('bench');
	$server->sql('bench', "CREATE TABLE item (id bigint PRIMARY KEY, note text DEFAULT 'as much text as is usual')");
	$server->webhook('bench', name => 'good', tables => ['item'], url => $side->{good}->url(0, 'ok'));
	$server->webhook('bench', name => 'flaky', tables => ['item'], url => $side->{flaky}->url(0, 'flaky'), retries => 10);
	return $side;
}

# Commit rows, 100 at a time, and wait until each endpoint has had as many requests; the refused
# ones are sent again later.
sub cycle
{
	my ($side) = @_;
	my @endpoints = @{$side}{qw(good flaky)};
	my @before = map { ($_->count)[0] } @endpoints;

	for (1 .. $cycle_rows / 100)
	{
		$side->{server}->sql('bench', "INSERT INTO item (id) SELECT generate_series($side->{id} + 1, $side->{id} + 100)");
		$side->{id} += 100;
	}
	wait_until(
		sub {
			return !grep { ($endpoints[$_]->count)[0] - $before[$_] < $cycle_rows } 0 .. 1;
		}, 'a cycle', pause_ms => 5);
	return;
}

# Deliveries per second in one turn.
sub turn
{
	my ($side) = @_;
	my $begin = time;
	my $cycles = 0;

	do
	{
		cycle($side);
		$cycles++;
	} while (time < $begin + $turn_seconds);
	return $cycles * $cycle_rows * 2 / (time - $begin);
}

# Turns until the time is over; the rates of the last ones, held and free.
sub take_turns
{
	my ($what, $held, $free) = @_;
	my $end = time + $hold_seconds;
	my (@held, @free);

	while (time < $end || @held < $turns)
	{
		my %rate;

		$rate{$_} = turn($_ eq 'held' ? $held : $free) for rotate(scalar @held, qw(held free));
		push @held, $rate{held};
		push @free, $rate{free};
		csv($name, seconds => time - $began, holding => $what,
			held_per_second => $rate{held}, free_per_second => $rate{free});
	}
	return ([ @held[ -$turns .. -1 ] ], [ @free[ -$turns .. -1 ] ]);
}

my ($held, $free) = (make_side(), make_side());
turn($_) for $held, $free;
my $holder = $held->{server}->session('bench');
for my $hold (@holds)
{
	my ($what, $begin, $end) = @$hold;

	progress("holding xmin by $what, $hold_seconds s");
	$holder->sql($begin);
	my @rates = take_turns($what, $held, $free);
	$holder->sql($end);
	figure("throughput after $hold_seconds s of $what / without", [ ratio(@rates) ],
		reach => '>= 0.95', note => sprintf('%.0f / %.0f deliveries per second', map { median(@$_) } @rates));
}
plot($name, <<"EOF");
set title 'Deliveries per second while xmin is held, and where it is not'
set xlabel 'seconds'
set yrange [0:*]
plot '$name.csv' using 1:4 with points pt 6 ps 0.6 lc rgb 'gray' title 'not held', \\
	'' using 1:(strstrt(stringcolumn(2), 'reader') ? \$3 : NaN) with points pt 7 ps 0.6 title 'reader', \\
	'' using 1:(strstrt(stringcolumn(2), 'xid') ? \$3 : NaN) with points pt 7 ps 0.6 title 'idle xid', \\
	'' using 1:(strstrt(stringcolumn(2), 'slot') ? \$3 : NaN) with points pt 7 ps 0.6 title 'slot'
EOF

1;
