# A writer of the storm: transactions of all kinds, whose intent and outcome
# are on disk before and after.
#
# What a transaction changes it also writes down in the table truth, which is
# not captured: so the database itself tells afterwards which of those whose outcome
# the writer never learnt have come about.
package Storm::Writer;

use strict;
use warnings;

use IO::Handle;
use POSIX ();
use Time::HiRes qw(time usleep);

use Storm::Process;

our $ROWS = 200;		# that all writers share
our $OWN_ROWS = 20;		# of one writer's prepared transactions

# Fork one.  cluster, dir, number, seed, rate (transactions a second).
sub start
{
	my (%option) = @_;
	my $pid = fork // die "fork: $!";

	return $pid if $pid;
	$SIG{TERM} = $SIG{INT} = sub { POSIX::_exit(0) };
	my $self = bless { %option, n => 0, prepared => [] }, __PACKAGE__;
	eval { $self->loop; 1 } or print STDERR "writer $option{number}: $@";
	POSIX::_exit(1);
}

# One line, on disk when this returns.
sub note
{
	my ($self, $what, $txn) = @_;

	syswrite $self->{log}, "$what $txn\n";
	$self->{log}->sync;
	return;
}

sub loop
{
	my ($self) = @_;

	srand($self->{seed});
	open $self->{log}, '>>', "$self->{dir}/writer_$self->{number}.log" or die "log: $!";
	while (!-e "$self->{dir}/stop_writing")
	{
		my $started = time;

		eval { $self->connected; $self->transaction; 1 } or $self->broken($@);
		my $left = 1 / $self->{rate} - (time - $started);
		usleep($left * 1e6) if $left > 0;
	}
	$self->finish_prepared($_) foreach splice @{ $self->{prepared} };
	POSIX::_exit(0);
}

# After an error: a connection that still works only needs a rollback.
sub broken
{
	my ($self) = @_;
	my $dbh = $self->{dbh};

	if ($dbh && eval { $dbh->ping && $dbh->do('ROLLBACK') })
	{
		return;
	}
	eval { $dbh->disconnect } if $dbh;
	$self->{dbh} = undef;
	usleep(50_000);
	return;
}

sub connected
{
	my ($self) = @_;

	return if $self->{dbh};
	$self->{dbh} = $self->{cluster}->connect;
	$self->{dbh}->do("SET application_name = 'writer'");
	$self->{dbh}->do("SET lock_timeout = '3s'");
	$self->adopt_prepared;
	return;
}

# What is prepared, by this writer or by one of its number that was killed, is
# looked up after each loss of a connection.
sub adopt_prepared
{
	my ($self) = @_;

	$self->{prepared} = $self->{dbh}->selectcol_arrayref(
		q{SELECT gid FROM pg_prepared_xacts WHERE gid ~ ('^w[0-9]+[.]' || ?::text || '[.]')}, undef, $self->{number});
	return;
}

# Change some rows, in an order that lets writers wait but never in circles.
sub change
{
	my ($self, $changes, $count, $first) = @_;
	my %row = map { ($first // 0) + 1 + int(rand($first ? $OWN_ROWS : $ROWS)) => 1 } 1 .. $count;

	foreach my $row (sort { $a <=> $b } keys %row)
	{
		my ($change) = $self->{dbh}->selectrow_array('SELECT storm_change(?, ?, ?)', undef, $row, int(rand(5)) ? 'f' : 't', 'x' x rand(400));

		push @$changes, $change;
	}
	return;
}

my %kind = (
	plain => sub { $_[0]->change($_[1], 1 + rand(4)); },
	savepoints => sub {
		my ($self, $changes) = @_;
		my $dbh = $self->{dbh};

		$self->change($changes, 1);
		$dbh->do('SAVEPOINT a');
		$self->change([], 3);
		$dbh->do('ROLLBACK TO a');
		$dbh->do('SAVEPOINT b');
		$self->change($changes, 2);
		$dbh->do('SAVEPOINT c');
		$self->change([], 1);
		$dbh->do('ROLLBACK TO c');
		$dbh->do('RELEASE b');
		$self->change($changes, 1);
	},
	subtransactions => sub {
		my ($self, $changes) = @_;

		foreach my $i (1 .. 80)
		{
			my $kept = $i % 3;

			$self->{dbh}->do('SAVEPOINT s');
			$self->change($kept ? $changes : [], 1);
			$self->{dbh}->do($kept ? 'RELEASE s' : 'ROLLBACK TO s');
		}
	},
	bulk => sub {
		my ($self, $changes) = @_;

		push @$changes, $self->{dbh}->selectrow_array('SELECT storm_bulk(?)', undef, 20 + int(rand(1200)));
	},
	slow => sub {
		my ($self, $changes) = @_;

		$self->change($changes, 1);
		usleep(rand(400_000));
		$self->change($changes, 1);
	});

sub pick_kind
{
	my $at = rand(100);

	return $at < 70 ? 'plain' : $at < 90 ? 'savepoints' : $at < 97 ? 'slow' : $at < 98 ? 'bulk' : 'subtransactions';
}

sub transaction
{
	my ($self) = @_;
	my $dbh = $self->{dbh};
	my $txn = "w$self->{seed}.$self->{number}." . ++$self->{n} . ".$$";
	my $async = -e "$self->{dir}/all_async" || int(rand(3)) == 0;
	my $prepare = int(rand(25)) == 0;
	my $rollback = int(rand(8)) == 0;
	my @changes;

	$self->finish_prepared(shift @{ $self->{prepared} }) if @{ $self->{prepared} } > int(rand(4));
	$self->note('intends', $txn);
	$dbh->do('BEGIN');
	$dbh->do('SET LOCAL synchronous_commit = off') if $async;
	if ($prepare)
	{
		# rows of its own: they stay locked
		return $self->broken if @{ $self->{prepared} };
		$self->change(\@changes, 3, 10_000 + 100 * $self->{number});
	}
	else
	{
		$kind{ pick_kind() }->($self, \@changes);
	}
	$dbh->do('INSERT INTO truth VALUES (?, ?)', undef, $txn, join ' ', @changes);
	if ($rollback)
	{
		$dbh->do('ROLLBACK');
		$self->note('rolled_back', $txn);
		return;
	}
	return $self->prepare($txn) if $prepare;
	$self->note('commits', $txn);
	$dbh->do('COMMIT');
	$self->note($async ? 'committed_async' : 'committed', $txn);
	return;
}

sub prepare
{
	my ($self, $txn) = @_;

	$self->note('prepares', $txn);
	$self->{dbh}->do("PREPARE TRANSACTION '$txn'");
	push @{ $self->{prepared} }, $txn;
	return;
}

# Commits it, or rolls it back; whatever fails is left to whoever clears up.
sub finish_prepared
{
	my ($self, $txn) = @_;
	my $how = int(rand(3)) == 0 ? 'ROLLBACK' : 'COMMIT';

	eval {
		$self->connected;
		$self->note($how eq 'COMMIT' ? 'commits' : 'rolls_back', $txn);
		$self->{dbh}->do("$how PREPARED '$txn'");
		$self->note($how eq 'COMMIT' ? 'committed' : 'rolled_back', $txn);
	};
	return;
}

1;
