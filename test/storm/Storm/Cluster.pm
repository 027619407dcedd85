# The server under storm.
package Storm::Cluster;

use strict;
use warnings;

use DBI;
use Time::HiRes qw(time usleep);

use Storm::Process qw(wait_until);

# dir: scratch; data: where the data directory goes; bindir; env: of the server
sub new
{
	my ($class, %option) = @_;
	my $self = bless { env => {}, %option, data => "$option{data}/data", deaths => [] }, $class;

	$self->run('initdb', '-D', $self->{data}, '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N');
	$self->append_conf($option{conf});
	return $self;
}

# A program of PostgreSQL; its output goes to a file.
sub run
{
	my ($self, $program, @arguments) = @_;
	my $status = $self->try_run($program, @arguments);

	die "$program failed, see $self->{dir}/programs.log\n" if $status != 0;
	return;
}

sub try_run
{
	my ($self, $program, @arguments) = @_;
	my $pid = Storm::Process::spawn([ "$self->{bindir}/$program", @arguments ],
		env => $self->{env}, out => "$self->{dir}/programs.log", err => "$self->{dir}/programs.log");

	waitpid $pid, 0;
	return $?;
}

sub append_conf
{
	my ($self, $text) = @_;

	open my $conf, '>>', "$self->{data}/postgresql.conf" or die "postgresql.conf: $!";
	print $conf "$text\n";
	close $conf or die "postgresql.conf: $!";
	return;
}

# Set environment variables of the server from its next start on; undef: none.
sub set_env
{
	my ($self, %env) = @_;

	$self->{env}{$_} = $env{$_} // '' foreach keys %env;
	return;
}

sub start
{
	my ($self) = @_;

	return $self->try_run('pg_ctl', '-s', '-w', '-t', 120, '-D', $self->{data}, '-l', "$self->{dir}/server.log", 'start') == 0;
}

sub stop
{
	my ($self, $mode) = @_;

	$self->note_death;
	$self->try_run('pg_ctl', '-s', '-w', '-t', 120, '-m', $mode, '-D', $self->{data}, 'stop');
	return;
}

sub is_running
{
	my ($self) = @_;

	return $self->try_run('pg_ctl', '-D', $self->{data}, 'status') == 0;
}

# A worker, or the whole server, dies about now: what it had under way may be
# sent again.
sub note_death
{
	my ($self) = @_;

	push @{ $self->{deaths} }, int(time * 1000);
	return;
}

# Until it answers, started again if it has to be.
sub ensure_up
{
	my ($self) = @_;

	wait_until(
		sub {
			return 1 if eval { $self->connect->disconnect; 1 };
			$self->start unless $self->is_running;
			usleep(100_000);
			return 0;
		},
		'the server to be up');
	return;
}

# A connection of one's own; dies when there is none to be had.
sub connect    ## no critic
{
	my ($self) = @_;

	return DBI->connect("dbi:Pg:dbname=postgres;host=$self->{dir};port=$self->{port}", 'postgres', '',
		{ RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, AutoInactiveDestroy => 1 });
}

# The same, once the server is up.
sub session
{
	my ($self) = @_;

	return wait_until(sub { $self->ensure_up; eval { $self->connect } }, 'a connection');
}

# Run code with a connection, once the server is up; again where that is lost,
# which the code must bear.
sub with
{
	my ($self, $code) = @_;

	foreach my $left (reverse 0 .. 9)
	{
		my @result;

		$self->ensure_up;
		my $dbh = eval { $self->connect };
		if ($dbh && eval { @result = $code->($dbh); 1 })
		{
			$dbh->disconnect;
			return wantarray ? @result : $result[0];
		}
		my $error = $@;
		die $error if $left == 0 || $dbh && $dbh->ping > 0;
		usleep(100_000);
	}
}

# Run code that has a process killed, which takes all others with it, and wait until
# the server is up again: first for a session to be ended, for it may take
# a while before the server notices.  False: there was none to kill.
sub crash
{
	my ($self, $code) = @_;
	my $session = $self->session;

	# what it is told when it is ended
	local $SIG{__WARN__} = sub { };
	$self->note_death;
	return unless $code->();
	wait_until(sub { $session->ping <= 0 }, 'the server to notice that a process was killed');
	$self->note_death;
	$self->ensure_up;
	return;
}

sub execute
{
	my ($self, @statements) = @_;

	$self->with(sub { my ($dbh) = @_; $dbh->do($_) foreach @statements; });
	return;
}

sub value
{
	my ($self, $sql, @values) = @_;

	return $self->with(sub { ($_[0]->selectrow_array($sql, undef, @values))[0] });
}

sub worker_pid
{
	my ($self, $type) = @_;

	return $self->value('SELECT pid FROM pg_stat_activity WHERE backend_type = ?', $type // 'fluxhooks worker');
}

sub wait_for_worker
{
	my ($self, $type) = @_;

	return wait_until(sub { $self->worker_pid($type) }, $type // 'a worker');
}

# Change settings, those given as undef to their defaults, and have them read.
sub set
{
	my ($self, %setting) = @_;
	my @statements = map { defined $setting{$_} ? "ALTER SYSTEM SET $_ = '$setting{$_}'" : "ALTER SYSTEM RESET $_" } sort keys %setting;

	$self->execute(@statements, 'SELECT pg_reload_conf()');
	return;
}

1;
