# A session that stays open: psql behind two pipes.
package Bench::Session;

use strict;
use warnings;

use IPC::Open2;

sub new
{
	my ($class, $host, $database) = @_;
	my $self = bless {}, $class;

	$self->{pid} = open2($self->{from}, $self->{to},
		'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-h', $host, '-d', $database);
	$self->{to}->autoflush(1);
	return $self;
}

# What the statements return, without the last line's end.  An error ends psql, and the
# benchmark, with the message on stderr.
sub sql
{
	my ($self, $statements) = @_;
	my $result = '';

	$statements =~ s/;?\s*$/;/;
	print { $self->{to} } "$statements\n\\echo --end--\n";
	while (defined(my $line = readline $self->{from}))
	{
		if ($line eq "--end--\n")
		{
			chomp $result;
			return $result;
		}
		$result .= $line;
	}
	die "psql ended at: $statements\n";
}

sub milliseconds
{
	my ($self, $statement) = @_;

	$self->sql("\\timing on\n$statement") =~ /^Time: ([\d.]+) ms/m or die "no time for $statement\n";
	my $milliseconds = $1;
	$self->sql("\\timing off\nSELECT 1");
	return $milliseconds;
}

sub close
{
	my ($self) = @_;

	return unless $self->{pid};
	CORE::close $self->{to};
	CORE::close $self->{from};
	waitpid $self->{pid}, 0;
	$self->{pid} = undef;
	return;
}

1;
