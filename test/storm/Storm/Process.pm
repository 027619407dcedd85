# Programs that the storm starts, each ended by its own pid.
package Storm::Process;

use strict;
use warnings;

use Exporter qw(import);
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time usleep);

our @EXPORT_OK = qw(spawn gone end_process wait_until);

# Start a program; its standard input and output are files or handles.
# Returns its pid.
sub spawn
{
	my ($command, %option) = @_;
	my $pid = fork // die "fork: $!";

	return $pid if $pid;
	$ENV{$_} = $option{env}{$_} foreach keys %{ $option{env} // {} };
	open STDIN, '<', '/dev/null' unless $option{in};
	open STDIN, '<&', $option{in} if $option{in};
	open STDOUT, ref $option{out} ? '>&' : '>>', $option{out} // '/dev/null';
	open STDERR, '>>', $option{err} // '/dev/null';
	exec @$command or POSIX::_exit(127);
}

# Has this child ended?
sub gone
{
	my ($pid) = @_;

	return waitpid($pid, WNOHANG) != 0;
}

# End a child, whatever it takes.
sub end_process
{
	my ($pid, $signal) = @_;

	kill $signal // 'TERM', $pid;
	foreach (1 .. 50)
	{
		return if gone($pid);
		usleep(100_000);
	}
	kill 'KILL', $pid;
	waitpid $pid, 0;
	return;
}

# The first true value of code; dies when there is none in time.
sub wait_until
{
	my ($code, $what, $seconds) = @_;
	my $deadline = time + ($seconds // 180);

	while (1)
	{
		my $value = $code->();
		return $value if $value;
		die "waited in vain for $what\n" if time > $deadline;
		usleep(30_000);
	}
}

1;
