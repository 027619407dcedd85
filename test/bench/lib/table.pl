# Prints the one table at the end of a run, from the figures that the parts named as
# arguments left, and the machine and versions they were taken with.
use strict;
use warnings;

my $out = $ENV{BENCH_OUT} // die "BENCH_OUT is not set: call test/bench/run\n";
my @columns = qw(part figure unit min median max reach reached note);

sub first_line
{
	my ($command) = @_;
	my ($line) = `exec 2>/dev/null; $command`;

	chomp($line //= 'unknown');
	return $line;
}

sub from_file
{
	my ($path, $pattern) = @_;

	open my $file, '<', $path or return 'unknown';
	while (my $line = <$file>)
	{
		return $1 if $line =~ $pattern;
	}
	return 'unknown';
}

sub machine
{
	my $model = from_file('/proc/cpuinfo', qr/^model name\s*:\s*(.*)/);
	my $ram = from_file('/proc/meminfo', qr/^MemTotal:\s+(\d+)/);
	my $load = from_file('/proc/loadavg', qr/^(\S+ \S+ \S+)/);

	return sprintf "%s, %d cores, %.0f GB RAM, %s, load now %s\n", $model, first_line('nproc'),
	  $ram =~ /\d/ ? $ram / 1024 / 1024 : 0, first_line('uname -sr'), $load;
}

sub versions
{
	my $nginx = first_line('PATH=$PATH:/usr/sbin nginx -v 2>&1') =~ s/.*: //r;

	return sprintf "commit %s, %s, libcurl %s, %s, %s\n", $ENV{BENCH_COMMIT} // 'unknown',
	  first_line('postgres --version') =~ s/^postgres \(PostgreSQL\)/PostgreSQL/r,
	  first_line('curl-config --version') =~ s/^libcurl //r, first_line('openssl version') =~ s/^(\S+ \S+).*/$1/r, $nginx;
}

# The rows of a part as hashes.
sub rows_of
{
	my ($part) = @_;
	my (@names, @rows);

	open my $file, '<', "$out/figures_$part.csv" or return;
	while (my $line = <$file>)
	{
		chomp $line;
		my @values = map { /^"/ ? s/^"|"$//gr =~ s/""/"/gr : $_ } $line =~ /(?:^|,)("(?:[^"]|"")*"|[^,]*)/g;
		if (@names)
		{
			my %row;
			@row{@names} = @values;
			push @rows, \%row;
		}
		else
		{
			@names = @values;
		}
	}
	return @rows;
}

my @rows = map { rows_of($_) } @ARGV;
my %width;
for my $row ({ map { $_ => $_ } @columns }, @rows)
{
	for my $column (@columns)
	{
		my $length = length($row->{$column} // '');
		$width{$column} = $length if $length > ($width{$column} // 0);
	}
}

sub print_row
{
	my ($row) = @_;
	my $line = join '  ', map {
		my $value = $row->{$_} // '';
		/^(min|median|max)$/ ? sprintf('%*s', $width{$_}, $value) : sprintf('%-*s', $width{$_}, $value)
	} @columns;

	print $line =~ s/\s+$//r, "\n";
	return;
}

print "\n", machine(), versions();
print "$ENV{BENCH_FORM} form", $ENV{BENCH_TOOK} // '', "\n\n";
print_row({ map { $_ => $_ } @columns });
print_row({ map { $_ => '-' x $width{$_} } @columns });
print_row($_) for @rows;
