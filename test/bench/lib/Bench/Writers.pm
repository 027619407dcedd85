# Writers that know when each of their transactions had committed: pgbench with a script
# that puts a tag into a row, client:transaction, and pgbench's own log, which has the time at
# which a transaction's COMMIT had returned.
package Bench::Writers;

use strict;
use warnings;

use Bench;
use Bench::Process;

my $number = 0;

# Run pgbench and return { rate => transactions per second, committed => { tag => microseconds } }.
#   script    with :tag where the tag goes
#   clients, seconds, rate (per second in all; without: as fast as it goes)
#   meanwhile code that is called after the writers have started
sub run
{
	my ($class, $server, $database, %option) = @_;
	my $dir = $server->{dir};
	my $prefix = "$dir/writers" . ++$number;
	my $threads = $option{clients} > 1 ? 2 : 1;

	open my $file, '>', "$prefix.sql" or die "$prefix.sql: $!\n";
	print $file "\\set n :n + 1\n", $option{script} =~ s/:tag/'' || :client_id || ':' || :n/gr;
	close $file or die "$prefix.sql: $!\n";
	my $writers = Bench::Process->start(
		[   'pgbench', '-h', $dir, '-n', '-D', 'n=0', '-f', "$prefix.sql", '-l', "--log-prefix=$prefix",
			'-c', $option{clients}, '-j', $threads, '-T', $option{seconds},
			$option{rate} ? "--rate=$option{rate}" : (), $database
		], stdout => "$prefix.out");
	$option{meanwhile}->() if $option{meanwhile};
	$writers->finish;
	my %committed;
	for my $log (glob "$prefix.[0-9]*")
	{
		read_log($log, \%committed);
		unlink $log;
	}
	die "pgbench has written nothing\n" unless %committed;
	my ($first, $last) = (sort { $a <=> $b } values %committed)[ 0, -1 ];
	return { committed => \%committed, rate => $last > $first ? (keys(%committed) - 1) / ($last - $first) * 1e6 : 0 };
}

# Lines: client, number of its transaction from 1 on, latency, script, seconds, microseconds.
sub read_log
{
	my ($path, $committed) = @_;

	open my $file, '<', $path or die "$path: $!\n";
	while (my $line = <$file>)
	{
		my ($client, $transaction, undef, undef, $seconds, $microseconds) = split ' ', $line;
		$committed->{"$client:$transaction"} = $seconds * 1_000_000 + $microseconds;
	}
	return;
}

# Milliseconds from commit to receipt, of what the receiver got at those endpoints.  skip: leaves
# out transactions of the first so many seconds.  Dies when something committed never came.
sub latencies
{
	my ($class, $written, $receiver, %option) = @_;
	my $committed = $written->{committed};
	my ($first) = sort { $a <=> $b } values %$committed;
	my (%seen, @latencies);

	for my $arrival ($receiver->arrivals)
	{
		my ($endpoint, $tag, $at) = @$arrival;
		next if $option{endpoints} && !grep { $_ == $endpoint } @{ $option{endpoints} };
		my $commit = $committed->{$tag} // die "$tag was received and not committed\n";
		next if $seen{"$endpoint $tag"}++;
		push @latencies, ($at - $commit) / 1000 if $commit >= $first + ($option{skip} // 0) * 1e6;
	}
	my $expected = keys(%$committed) * ($option{endpoints} ? @{ $option{endpoints} } : 1);
	die keys(%seen) . " of $expected came\n" if keys(%seen) != $expected;
	return @latencies;
}

1;
