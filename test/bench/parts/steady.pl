# How long after its commit a change arrives, at a steady rate of transactions: from the moment
# COMMIT has returned to pgbench, to the moment the endpoint has the whole request.  TPC-B with
# a webhook on every table (four events each; the row of pgbench_history, the last one, is the one
# that is timed), and transactions of a single INSERT.
use strict;
use warnings;

use Bench;
use Bench::Receiver;
use Bench::Server;
use Bench::Writers;

my $scale = form(1, 20, 50);
my %script = (
	'TPC-B' => <<"EOF",
\\set aid random(1, @{[ $scale * 100_000 ]})
\\set bid random(1, $scale)
\\set tid random(1, @{[ $scale * 10 ]})
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, tag) VALUES (:tid, :bid, :aid, :delta, now(), :tag);
END;
EOF
	'INSERT' => "INSERT INTO item (tag) VALUES (:tag);\n",
);
my %events = ('TPC-B' => 4, 'INSERT' => 1);

# transactions, per second, seconds measured
my @cases = (
	[ 'TPC-B', 100, form(2, 6, 60) ],
	[ 'TPC-B', 1000, form(1, 3, 30) ],
	[ 'TPC-B', 5000, form(1, 3, 30) ],
	[ 'INSERT', 100, form(1, 3, 30) ],
	[ 'INSERT', 1000, form(1, 3, 30) ],
	[ 'INSERT', 5000, form(1, 3, 30) ],
);
@cases = @cases[ 0, 4 ] if form(1, 0, 0);
@cases = grep { wanted("$_->[0] at $_->[1]/s") } @cases;
my %reach = ('TPC-B 100 p50' => '<= 2', 'TPC-B 100 p99' => '<= 10');
my @shares = ([ p50 => 0.5 ], [ p99 => 0.99 ], [ 'p99.9' => 0.999 ]);

my $receiver = Bench::Receiver->new(1);
my $server = Bench::Server->new;
my (%latency, %rate);

sub prepare
{
	$server->create_database('bench');
	system("pgbench -h $server->{dir} -i -q -s $scale bench >/dev/null 2>&1") == 0 or die "pgbench -i failed\n";
	$server->sql('bench', "ALTER TABLE pgbench_history ADD tag text;\n"
		  . "CREATE TABLE item (id bigserial PRIMARY KEY, tag text, note text DEFAULT 'as much text as is usual')");
	$server->webhook('bench', name => 'all', url => $receiver->url(0, 'ok'),
		tables => [ 'item', map { "pgbench_$_" } qw(accounts branches tellers history) ]);
	return;
}

# Write, wait until all has come, and take the times.  The first half second is left out.
sub run_once
{
	my ($kind, $rate, $seconds) = @_;

	$receiver->reset;
	my $written = Bench::Writers->run($server, 'bench', script => $script{$kind},
		clients => $rate > 100 ? 8 : 2, rate => $rate, seconds => $seconds);
	my $expected = keys(%{ $written->{committed} }) * $events{$kind};
	wait_until(sub { ($receiver->count)[0] >= $expected }, "$expected requests", pause_ms => 200);
	return ($written->{rate}, Bench::Writers->latencies($written, $receiver, skip => 0.5));
}

sub figures_of
{
	my ($kind, $rate) = @_;
	my $reached = median(@{ $rate{"$kind $rate"} });

	for my $share (@shares)
	{
		my ($name, $p) = @$share;
		figure("commit to receipt, $kind at $rate/s: $name", $latency{"$kind $rate"}{$name}, unit => 'ms',
			reach => $reach{"$kind $rate $name"},
			note => sprintf('%.0f transactions/s reached, events in each: %d', $reached, $events{$kind}));
	}
	return;
}

# The share of deliveries, all rounds together, that took longer than so many milliseconds.
sub write_curve
{
	my ($kind, $rate, @latencies) = @_;
	@latencies = sort { $a <=> $b } @latencies;

	for my $step (0 .. 60)
	{
		my $above = 10**(-$step / 20);
		my $index = int((1 - $above) * $#latencies);
		csv("steady_$kind\_$rate", above => $above, ms => $latencies[$index]) if $above * @latencies >= 1;
	}
	return;
}

prepare();
run_once(@{ $cases[0] });
my %all;
for my $round (1 .. rounds())
{
	for my $case (@cases)
	{
		my ($kind, $rate, $seconds) = @$case;
		progress("round $round, $kind at $rate/s");
		my ($reached, @latencies) = run_once($kind, $rate, $seconds);

		push @{ $rate{"$kind $rate"} }, $reached;
		push @{ $all{"$kind $rate"} }, @latencies;
		my %value = map { $_->[0] => percentile($_->[1], @latencies) } @shares;
		push @{ $latency{"$kind $rate"}{$_} }, $value{$_} for keys %value;
		csv('steady', transaction => $kind, rate => $rate, round => $round, reached => $reached,
			receipts => scalar @latencies,
			map { ("$_->[0]_ms" => $value{ $_->[0] }) } @shares);
	}
}
figures_of(@$_) for @cases;
write_curve(@$_[ 0, 1 ], @{ $all{"$_->[0] $_->[1]"} }) for @cases;
plot('steady', <<'EOF' . 'plot ' . join ', ',
set title 'Commit to receipt: share of changes that took longer'
set xlabel 'ms'
set logscale xy
EOF
	map { "'steady_$_->[0]_$_->[1].csv' using 2:1 with lines title '$_->[0] $_->[1]/s'" } @cases);
