# Programs in the background, which end with the part that started them.
package Bench::Process;

use strict;
use warnings;

use POSIX qw(_exit);

my %running;

# stdout: a file that takes it.
sub start
{
	my ($class, $command, %option) = @_;
	my $pid = fork // die "fork: $!\n";

	if ($pid == 0)
	{
		if ($option{stdout})
		{
			open STDOUT, '>', $option{stdout} or _exit(127);
		}
		exec @$command or _exit(127);
	}
	$running{$pid} = 1;
	return bless { pid => $pid, name => $command->[0] }, $class;
}

# Wait for its end, which must be a good one.
sub finish
{
	my ($self) = @_;

	waitpid $self->{pid}, 0;
	my $status = $?;
	delete $running{ $self->{pid} };
	die "$self->{name} ended with $status\n" if $status != 0;
	return;
}

sub stop
{
	my ($self) = @_;

	return unless delete $running{ $self->{pid} };
	kill TERM => $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

END
{
	my $status = $?;

	kill TERM => keys %running;
	waitpid $_, 0 for keys %running;
	$? = $status;
}

1;
