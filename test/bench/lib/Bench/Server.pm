# A throw-away cluster with the library preloaded, and sessions in it.
package Bench::Server;

use strict;
use warnings;

use Bench;
use Bench::Session;
use File::Temp qw(tempdir);

my @started;

# conf: further settings, of which the last counts.
sub new
{
	my ($class, %option) = @_;
	my $dir = tempdir('clusterXXXXXX', DIR => $ENV{TMPDIR} // '/tmp', CLEANUP => 1);
	my $self = bless { dir => $dir, data => "$dir/data", sessions => {} }, $class;

	run("initdb -D $self->{data} -A trust -E UTF8 --locale=C -N >$dir/initdb.log");
	$self->configure(<<"EOF" . ($option{conf} // ''));
shared_preload_libraries = 'fluxhooks'
fluxhooks.allowed_networks = '127.0.0.0/8'
listen_addresses = ''
unix_socket_directories = '$dir'
port = 5432
shared_buffers = 512MB
max_wal_size = 16GB
checkpoint_timeout = 1h
max_worker_processes = 16
autovacuum = off
client_min_messages = error
EOF
	run("pg_ctl -s -w -D $self->{data} -l $dir/server.log start >/dev/null");
	push @started, $self;
	return $self;
}

sub run
{
	my ($command) = @_;

	system("$command </dev/null") == 0 or die "failed: $command\n";
	return;
}

sub configure
{
	my ($self, $lines) = @_;

	open my $conf, '>>', "$self->{data}/postgresql.conf" or die "postgresql.conf: $!\n";
	print $conf $lines;
	close $conf or die "postgresql.conf: $!\n";
	return;
}

sub stop
{
	my ($self) = @_;

	return unless -e "$self->{data}/postmaster.pid";
	$_->close for values %{ $self->{sessions} };
	system("pg_ctl -s -w -m immediate -D $self->{data} stop </dev/null >/dev/null");
	return;
}

END
{
	my $status = $?;
	$_->stop for @started;
	$? = $status;
}

# A session of its own, for whoever holds something open.
sub session
{
	my ($self, $database) = @_;

	return Bench::Session->new($self->{dir}, $database);
}

# Rows as lines, columns with | between, of statements in the session that is kept
# for this database.
sub sql
{
	my ($self, $database, $statements) = @_;

	$self->{sessions}{$database} //= $self->session($database);
	return $self->{sessions}{$database}->sql($statements);
}

# Milliseconds that a statement takes, by psql's clock.
sub milliseconds
{
	my ($self, $database, $statement) = @_;

	$self->sql($database, 'SELECT 1');
	return $self->{sessions}{$database}->milliseconds($statement);
}

# A database with the extension, whose worker runs.
sub create_database
{
	my ($self, $database) = @_;

	$self->sql('postgres', "CREATE DATABASE $database");
	$self->sql($database, 'CREATE EXTENSION fluxhooks');
	wait_until(sub { $self->worker($database) }, "the worker of $database");
	return;
}

sub drop_database
{
	my ($self, $database) = @_;
	my $session = delete $self->{sessions}{$database};

	$session->close if $session;
	$self->sql('postgres', "DROP DATABASE $database");
	return;
}

# Process id of a database's worker, empty when none runs.
sub worker
{
	my ($self, $database) = @_;

	return $self->sql($database, 'SELECT worker_pid FROM fluxhooks.status');
}

# Deliveries that wait.
sub pending
{
	my ($self, $database) = @_;

	return $self->sql($database, 'SELECT pending FROM fluxhooks.status');
}

# Switch delivery for the whole server: 'on' or 'off'.  Returns the server's time just before.
sub delivery
{
	my ($self, $value) = @_;

	$self->sql('postgres', "ALTER SYSTEM SET fluxhooks.delivery = $value");
	my $now = $self->sql('postgres', 'SELECT clock_timestamp()');
	$self->sql('postgres', 'SELECT pg_reload_conf()');
	return $now;
}

# Make a signed webhook and return its id.  tables: names; operations: a list, all when
# not given.
sub webhook
{
	my ($self, $database, %option) = @_;
	my $operations = join '', map { ", '$_'" } @{ $option{operations} // [] };
	my $events = join ' || ', map { "fluxhooks.event('$_'$operations)" } @{ $option{tables} };

	return $self->sql($database, <<"EOF");
SELECT fluxhooks.create_webhook('$option{name}', '$option{url}', $events, secret => 'the secret of the benchmark',
	timeout_seconds => @{[ $option{timeout} // 30 ]}, max_retries => @{[ $option{retries} // 3 ]},
	retry_backoff_seconds => 1);
EOF
}

# What the kernel says of a process: a field of /proc/PID/status, in kB where it is a size.
sub process_status
{
	my ($self, $pid, $field) = @_;

	open my $file, '<', "/proc/$pid/status" or die "process $pid is gone\n";
	while (my $line = <$file>)
	{
		return $1 if $line =~ /^\Q$field\E:\s+(\d+)/;
	}
	die "/proc/$pid/status has no $field\n";
}

# Seconds of CPU time that a process has used.
sub process_cpu
{
	my ($self, $pid) = @_;

	open my $file, '<', "/proc/$pid/schedstat" or die "process $pid is gone\n";
	my ($nanoseconds) = split ' ', <$file>;
	return $nanoseconds / 1e9;
}

1;
