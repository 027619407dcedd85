# What every part of the benchmark shares: how much there is to do, single numbers as
# CSV, figures for the table, statistics, curves.
#
# A part is a Perl program of its own in parts/.  test/bench/run tells it by the
# environment: BENCH_OUT, where CSV and SVG go; BENCH_FORM, smoke, everyday or full;
# BENCH_ROUNDS, how often each comparison is made; BENCH_ONLY, which cases.
package Bench;

use strict;
use warnings;

use Exporter qw(import);
use IO::Socket::INET;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  form rounds wanted progress csv figure plot
  median percentile ratio wait_until free_ports rotate round_to
);

my $out = $ENV{BENCH_OUT} // die "BENCH_OUT is not set: call test/bench/run\n";
my ($part) = $0 =~ m{([\w-]+)\.pl$};
my %columns;

# Programs started by a part are stopped at its end, however it ends.
$SIG{INT} = sub { exit 130 };
$SIG{TERM} = $SIG{HUP} = sub { exit 143 };
$SIG{PIPE} = 'IGNORE';
$| = 1;

# The first, second or third of the arguments, by the form of this run.
sub form
{
	my %size;

	@size{qw(smoke everyday full)} = @_;
	return $size{ $ENV{BENCH_FORM} // 'everyday' };
}

sub rounds
{
	return $ENV{BENCH_ROUNDS} // form(1, 5, 5);
}

# Whether a case of this name is to be run: --only chooses.
sub wanted
{
	my ($name) = @_;

	return index($name, $ENV{BENCH_ONLY} // '') >= 0;
}

# Tell whoever waits what is being done.
sub progress
{
	printf STDERR "%8s  %s\n", $part, "@_";
	return;
}

# The list, begun at another place in each round, so that nobody always comes
# first or after the same one.
sub rotate
{
	my ($round, @list) = @_;
	my $shift = $round % @list;

	return (@list[ $shift .. $#list ], @list[ 0 .. $shift - 1 ]);
}

# Call code until it returns something true.  It sleeps for some milliseconds in
# between, and gives up after some seconds.
sub wait_until
{
	my ($code, $what, %option) = @_;
	my $end = time + ($option{seconds} // 120);

	while (1)
	{
		my $value = $code->();
		return $value if $value;
		die "waited in vain for $what\n" if time > $end;
		usleep(1000 * ($option{pause_ms} // 50));
	}
}

# The first of that many ports in a row that nobody listens on.
sub free_ports
{
	my ($count) = @_;

	for (1 .. 100)
	{
		my $first = 20000 + int rand 10000;
		my @sockets = grep { defined } map {
			IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $_, Listen => 1, ReuseAddr => 1)
		} $first .. $first + $count - 1;
		return $first if @sockets == $count;
	}
	die "no $count free ports in a row\n";
}

# ---------------------------------------------------------------- statistics

# With p between 0 and 1: the least value that this share of them does not exceed.
sub percentile
{
	my ($p, @values) = @_;
	@values = sort { $a <=> $b } @values;
	my $rank = int($p * @values + 0.999999) - 1;

	return $values[ $rank < 0 ? 0 : $rank ];
}

# The middle one, or between the two in the middle.
sub median
{
	my @values = sort { $a <=> $b } @_;
	my $half = int(@values / 2);

	return @values % 2 ? $values[$half] : ($values[ $half - 1 ] + $values[$half]) / 2;
}

# Pairs of two lists, divided.
sub ratio
{
	my ($above, $below) = @_;

	return map { $above->[$_] / $below->[$_] } 0 .. $#$below;
}

# A number with three significant digits, no more.
sub round_to
{
	my ($value) = @_;
	my $size = abs $value;

	return sprintf $size >= 100 ? '%.0f' : $size >= 10 ? '%.1f' : $size >= 0.1 ? '%.2f' : '%.3f', $value;
}

# -------------------------------------------------------------------- output

# Append a row of name => value pairs to a CSV file; the first one says the columns.
sub csv
{
	my ($name, @pairs) = @_;
	my (@names, @values);

	while (my ($column, $value) = splice @pairs, 0, 2)
	{
		push @names, $column;
		push @values, defined $value ? $value =~ /[",\n]/ ? '"' . $value =~ s/"/""/gr . '"' : $value : '';
	}
	my $first = !$columns{$name};
	$columns{$name} = "@names";
	open my $file, $first ? '>' : '>>', "$out/$name.csv" or die "$out/$name.csv: $!\n";
	print $file join(',', @names), "\n" if $first;
	print $file join(',', @values), "\n";
	close $file or die "$out/$name.csv: $!\n";
	return;
}

# A line of the table: what it is, one value per round, and as options
#   unit   x for a ratio (the default), ms, MB, ...
#   reach  what is wanted of the median, such as '<= 1.9'
#   ok     whether it is reached, where that is not for reach to tell
#   note   where the values come from
sub figure
{
	my ($what, $values, %option) = @_;
	my $median = median(@$values);
	my ($least, $greatest) = (sort { $a <=> $b } @$values)[ 0, -1 ];
	my $reach = $option{reach} // '';
	my $ok = $option{ok};

	if (!defined $ok && $reach =~ /^(<=|>=) ([\d.]+)/)
	{
		$ok = $1 eq '<=' ? $median <= $2 : $median >= $2;
	}
	my $verdict = $reach eq '' ? '' : $ok ? 'yes' : 'NO';
	csv("figures_$part", part => $part, figure => $what, unit => $option{unit} // 'x', rounds => scalar @$values,
		min => round_to($least), median => round_to($median), max => round_to($greatest),
		reach => $reach, reached => $verdict, note => $option{note} // '');
	return;
}

# Draw a curve: commands for gnuplot that read this run's CSV files.
sub plot
{
	my ($name, $commands) = @_;

	open my $gnuplot, '|-', 'gnuplot' or die "gnuplot: $!\n";
	print $gnuplot <<"EOF";
set terminal svg noenhanced size 800,500 dynamic background 'white' font 'sans-serif,13'
set output '$out/$name.svg'
set datafile separator ','
set key outside below autotitle columnhead
set grid
cd '$out'
$commands
EOF
	close $gnuplot or die "gnuplot could not draw $name\n";
	return;
}

1;
