# The storm: writers, endpoints, faults one after the other, and the verdict.
# Started by test/storm/run, which says what the options mean.
use strict;
use warnings;

use File::Basename qw(dirname);
use FindBin;
use Getopt::Long;
use POSIX ();
use Time::HiRes qw(time usleep);

use lib $FindBin::Bin;
use Storm::Cluster;
use Storm::Endpoint;
use Storm::Faults;
use Storm::Oracle;
use Storm::Points;
use Storm::Process qw(end_process wait_until);
use Storm::Writer;

my %option = (seed => 1, duration => 300, writers => 4, rate => 15, rounds => 20);
my @wanted;

GetOptions(\%option, 'seed=i', 'duration=i', 'fault=s' => \@wanted, 'short', 'list', 'writers=i', 'rate=f',
	'points=s', 'library=s', 'rounds=i', 'dir=s', 'bindir=s', 'small-disk=s', 'preload=s', 'clock=s')
  or exit 2;
@wanted = map { split /,/ } @wanted;
$| = 1;

if ($option{list})
{
	printf "%-20s %s%s\n", $_, $Storm::Faults::fault{$_}{title}, $Storm::Faults::fault{$_}{heavy} ? ' (not in short storms)' : ''
	  foreach @Storm::Faults::names;
	exit 0;
}
foreach my $name ($option{points} ? () : @wanted)
{
	next if $Storm::Faults::fault{$name};
	print STDERR "no fault is called $name; --list shows them all\n";
	exit 2;
}

# ------------------------------------------------------ what faults call

package Storm;

use Storm::Process qw(end_process wait_until);
use Time::HiRes qw(time usleep);

sub flag
{
	my ($self, $name, $on) = @_;

	if ($on)
	{
		open my $file, '>', "$self->{dir}/$name" or die "$name: $!";
		close $file;
	}
	else
	{
		unlink "$self->{dir}/$name";
	}
	return;
}

sub set_resolver
{
	my ($self, $mode) = @_;

	open my $file, '>', "$self->{dir}/resolver.new" or die "resolver: $!";
	print $file "$mode\n";
	close $file;
	rename "$self->{dir}/resolver.new", "$self->{dir}/resolver";
	return;
}

# Have the endpoint that is given trouble be known by another name, below storm.test.
sub move_trouble
{
	my ($self, $host) = @_;

	$self->{cluster}->value(q{SELECT fluxhooks.update_webhook(?, jsonb_build_object('url', ?::text))},
		$self->{oracle}{webhooks}{trouble}{id}, sprintf('http://%s:%d/', $host, $self->{endpoints}{trouble}->port));
	return;
}

sub start_writer
{
	my ($self, $number) = @_;

	$self->{writers}[$number] = Storm::Writer::start(
		cluster => $self->{cluster}, dir => $self->{dir}, number => $number, rate => $self->{rate},
		seed => $self->{seed} * 1000 + $number * 100 + ++$self->{writer_starts}[$number]);
	return;
}

sub restart_writer
{
	my ($self, $number, $signal) = @_;

	end_process($self->{writers}[$number], $signal);
	$self->start_writer($number);
	return;
}

# Run a transaction by hand: code gets the connection, and a function that runs
# an expression that tells its change, which counts where it is kept.
sub transaction
{
	my ($self, $code) = @_;
	my @changes;

	$self->{cluster}->with(
		sub {
			my ($dbh) = @_;

			$dbh->do('BEGIN');
			$code->($dbh, sub {
				my ($change) = $dbh->selectrow_array("SELECT $_[1]");

				push @changes, $change if $_[0];
			});
			$self->note_truth($dbh, @changes);
			$dbh->do('COMMIT');
		});
	return;
}

sub note_truth
{
	my ($self, $dbh, @changes) = @_;
	my $name = 'fault ' . ++$self->{n_transactions};

	$dbh->do('INSERT INTO truth VALUES (?, ?)', undef, $name, join ' ', @changes);
	return $name;
}

# Leave a transaction prepared; its name.
sub prepare
{
	my ($self, $expression) = @_;

	return $self->{cluster}->with(
		sub {
			my ($dbh) = @_;

			$dbh->do('BEGIN');
			my ($change) = $dbh->selectrow_array("SELECT $expression");
			my $name = $self->note_truth($dbh, $change);
			$dbh->do("PREPARE TRANSACTION '$name'");
			return $name;
		});
}

# Leave a transaction open: what commits it, and the process that has it.
sub open_transaction
{
	my ($self, $expression) = @_;
	my $dbh = $self->{cluster}->session;

	$dbh->do('BEGIN');
	my ($change) = $dbh->selectrow_array("SELECT $expression");
	$self->note_truth($dbh, $change);
	return (sub { $dbh->do('COMMIT'); $dbh->disconnect; }, $dbh->{pg_pid});
}

sub big_row
{
	my ($self, $megabytes) = @_;

	$self->{cluster}->with(sub { $_[0]->do('SELECT storm_big(?, ?)', undef, ++$self->{n_big}, $megabytes); });
	return;
}

sub backlog
{
	my ($self) = @_;

	return $self->{cluster}->value('SELECT pending FROM fluxhooks.status');
}

sub wait_for_backlog
{
	my ($self, $few) = @_;

	if ($few == 0)
	{
		# writers go on: a moment without is enough
		$self->pause_writers(1);
	}
	# however long it takes, as long as it goes down
	my ($least, $since) = (undef, time);
	wait_until(
		sub {
			my $n = $self->backlog // return 0;

			($least, $since) = ($n, time) if !defined $least || $n < $least;
			die "the backlog stays at $n, and has been no less than $least for 300 s\n" if time - $since > 300;
			return $n <= $few;
		},
		"the backlog to go down to $few", 3600);
	$self->pause_writers(0) if $few == 0;
	return;
}

sub pause_writers
{
	my ($self, $on) = @_;

	kill $on ? 'STOP' : 'CONT', grep { $_ } @{ $self->{writers} };
	return;
}

# ----------------------------------------------------------------- the course

sub set_up
{
	my ($class, %option) = @_;
	my $self = bless { %option, n_writers => $option{writers}, writers => [], n_transactions => 0,
		marks => 0, rows => {}, small_disk => $option{'small-disk'} }, $class;

	$self->{endpoints} = { map { $_ => Storm::Endpoint->new($self->{dir}, $_) } qw(steady trouble) };
	$self->{cluster} = Storm::Cluster->new(
		dir => $self->{dir}, data => $self->{small_disk} // $self->{dir}, bindir => $self->{bindir}, port => 5432,
		env => { LD_PRELOAD => $self->{preload}, STORM_RESOLVER => "$self->{dir}/resolver" }, conf => <<"CONF");
shared_preload_libraries = 'fluxhooks'
fluxhooks.allowed_networks = '127.0.0.0/8'
listen_addresses = ''
unix_socket_directories = '$self->{dir}'
max_prepared_transactions = 30
max_worker_processes = 16
shared_buffers = 32MB
max_wal_size = 128MB
checkpoint_timeout = 30s
log_line_prefix = '%m [%p] %b '
log_min_messages = info
CONF
	$self->set_resolver('ok');
	$self->{cluster}->start or die "the server does not start, see $self->{dir}/server.log\n";
	$self->make_webhooks;
	$self->load_test_build if $self->{library};
	return $self;
}

sub make_webhooks
{
	my ($self) = @_;
	my %tables = (steady => [qw(item bulk mark big)], trouble => [qw(item bulk mark)]);
	my %webhook;

	open my $in, '<', "$FindBin::Bin/schema.sql" or die "schema.sql: $!";
	$self->{cluster}->execute('CREATE EXTENSION fluxhooks', join '', <$in>);
	close $in;
	foreach my $name (keys %tables)
	{
		my $port = $self->{endpoints}{$name}->port;
		my $host = $name eq 'trouble' ? 'trouble.storm.test' : '127.0.0.1';
		my $events = join ' || ', map { "fluxhooks.event('$_')" } @{ $tables{$name} };
		my $id = $self->{cluster}->value(
			"SELECT fluxhooks.create_webhook(?, ?, $events, timeout_seconds => ?, max_retries => 100, retry_backoff_seconds => 1,"
			. " options => '{\"circuit_breaker\": {\"failures\": 10, \"probe_seconds\": 1}}')",
			$name, "http://$host:$port/", $name eq 'trouble' ? 2 : 60);

		$webhook{$name} = { id => $id, tables => { map { $_ => 1 } @{ $tables{$name} } } };
	}
	$self->{oracle} = Storm::Oracle->new(cluster => $self->{cluster}, dir => $self->{dir}, webhooks => \%webhook);
	return;
}

# Go on with the build that has fault points, in a directory of its own: it is
# found before the installed one by the name without a directory, which
# functions get here as well.
sub load_test_build
{
	my ($self) = @_;
	my $cluster = $self->{cluster};

	$cluster->execute(q{UPDATE pg_proc SET probin = 'fluxhooks' WHERE probin = '$libdir/fluxhooks'});
	$cluster->stop('fast');
	# looked at every second for the log's size, and for whether it is to move on, which
	# Points.pm decides
	$cluster->append_conf(<<"CONF");
dynamic_library_path = '$self->{library}:\$libdir'
fluxhooks.retention = 1h
fluxhooks.max_log_size = 1MB
CONF
	$self->{oracle}{retention} = 3600;
	$cluster->ensure_up;
	return;
}

# Seconds until a change that is committed now has arrived everywhere; code, if any, is
# run again and again meanwhile.
sub recover
{
	my ($self, $code) = @_;
	my $mark = ++$self->{marks};
	my $started = time;

	$self->{cluster}->with(sub { $_[0]->do('SELECT storm_mark(?)', undef, $mark); });
	wait_until(
		sub {
			$code->() if $code;
			!grep { !$_->has_mark($mark) } values %{ $self->{endpoints} };
		},
		"change $mark to arrive after the fault", 600);
	return time - $started;
}

sub run_fault
{
	my ($self, $name, $number) = @_;
	my $row = $self->{rows}{$name} //= { times => 0, worst => 0 };

	srand($self->{seed} * 1_000_003 + $number);
	my $started = time;
	$Storm::Faults::fault{$name}{run}->($self);
	my $took = time - $started;
	my $recovery = $self->recover;
	# trouble of the next fault is to be its own
	$self->wait_for_backlog(1000);
	$self->{oracle}->harvest;
	$row->{times}++;
	$row->{worst} = $recovery if $recovery > $row->{worst};
	printf "%s  %-20s %5.1f s, recovered after %4.1f s\n", POSIX::strftime('%H:%M:%S', localtime), $name, $took, $recovery;
	return;
}

# Everything that is to be done is done.
sub quiesce
{
	my ($self) = @_;

	$self->{endpoints}{$_}->set('ok') foreach keys %{ $self->{endpoints} };
	$self->flag('stop_writing', 1);
	foreach my $pid (grep { $_ } @{ $self->{writers} })
	{
		waitpid $pid, 0;
	}
	$self->{writers} = [];
	my $prepared = $self->{cluster}->with(sub { $_[0]->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts'); });
	$self->{cluster}->execute(map { "COMMIT PREPARED '$_'" } @$prepared);
	$self->recover;
	$self->wait_for_backlog(0);
	return;
}

# What one would look at where something is waited for in vain.
sub diagnose
{
	my ($self) = @_;
	my %query = (
		ring => 'SELECT slot, opened_at, closed_at, closed_snapshot FROM fluxhooks_internal.ring ORDER BY slot',
		activity => 'SELECT pid, backend_type, application_name, state, wait_event_type, wait_event, xact_start, left(query, 80) FROM pg_stat_activity',
		locks => q{SELECT pid, relation::regclass, mode, granted FROM pg_locks WHERE relation::regclass::text ~ 'fluxhooks'},
		prepared => 'SELECT gid, prepared FROM pg_prepared_xacts',
		pending => q{SELECT w.name, count(*), min(p.due_at), min(p.pending_since), max(p.attempts)
			FROM fluxhooks_internal.pending AS p JOIN fluxhooks_internal.webhook AS w ON w.id = p.webhook_id GROUP BY 1},
		cursor => 'SELECT * FROM fluxhooks_internal.cursor ORDER BY number DESC LIMIT 1',
		status => 'SELECT clock_timestamp(), s.* FROM fluxhooks.status AS s');

	foreach my $name (sort keys %query)
	{
		my $rows = eval { $self->{cluster}->with(sub { $_[0]->do("SET statement_timeout = '20s'"); $_[0]->selectall_arrayref($query{$name}) }) }
		  // [ [$@] ];

		print join(' | ', "# $name", map { $_ // '' } @$_) =~ s/\n/ /gr, "\n" foreach @$rows;
	}
	open my $log, '<', "$self->{dir}/server.log" or return;
	my @lines = <$log>;
	print "# log | $_" foreach @lines[ (@lines > 40 ? @lines - 40 : 0) .. $#lines ];
	return;
}

# Run code, its error the return value; and show what there is to be seen after one.
sub attempt
{
	my ($self, $code) = @_;

	return undef if eval { $code->(); 1 };
	my $problem = $@ || 'unknown error';
	eval { $self->diagnose; 1 } or print "# $@";
	return $problem;
}

sub tear_down
{
	my ($self) = @_;

	end_process($_, 'KILL') foreach grep { $_ } @{ $self->{writers} // [] };
	$self->{cluster}->try_run('pg_ctl', '-s', '-w', '-m', 'immediate', '-D', $self->{cluster}{data}, 'stop') if $self->{cluster};
	$_->stop foreach values %{ $self->{endpoints} // {} };
	return;
}

package main;

# ---------------------------------------------------------------------- plan

# The order of faults for a seed: each once, shuffled, again and again.
sub make_plan
{
	my ($storm, @names) = @_;
	my (@plan, %why_not);

	@names = grep { !$Storm::Faults::fault{$_}{heavy} } @names if $option{short} || !@wanted && $option{duration} < 1200;
	foreach my $name (@names)
	{
		my $needs = $Storm::Faults::fault{$name}{needs};
		my $missing = $needs ? $needs->($storm) : undef;

		$why_not{$name} = $missing if defined $missing;
	}
	@names = grep { !exists $why_not{$_} } @names;
	srand($option{seed});
	foreach (1 .. ($option{short} ? 1 : 200))
	{
		my @left = @names;

		push @plan, splice @left, int(rand(@left)), 1 while @left;
	}
	return (\@plan, \%why_not);
}

# ------------------------------------------------------------------- verdict

my $failures = 0;

sub tap
{
	my ($good, $what, @examples) = @_;

	$failures++ unless $good;
	printf "%s %d - %s\n", $good ? 'ok' : 'not ok', ++$main::tap_number, $what;
	splice @examples, $Storm::Oracle::REPORTED if @examples > $Storm::Oracle::REPORTED;
	print "# $_\n" foreach $good ? () : @examples;
	return;
}

sub report_table
{
	my ($storm, $verdict, $why_not, $seconds) = @_;
	my %sum;

	foreach my $webhook (@{ $verdict->{webhooks} })
	{
		$sum{$_} += @{ $webhook->{$_} } foreach qw(lost cancelled invented order);
		$sum{$_} += $webhook->{$_} foreach qw(duplicates allowed received);
	}
	printf "\nseed %d, %d s, %d changes of %d transactions, %d deliveries\n\n", $option{seed}, $seconds,
	  $verdict->{changes}, $verdict->{transactions}, $sum{received};
	printf "%-20s %5s %15s  %s\n", 'fault', 'times', 'worst recovery', '';
	foreach my $name (grep { $storm->{rows}{$_} } $option{points} ? () : @Storm::Faults::names)
	{
		my $row = $storm->{rows}{$name};

		printf "%-20s %5d %13.1f s  %s\n", $name, $row->{times}, $row->{worst}, $Storm::Faults::fault{$name}{title};
	}
	printf "%-20s not injected: this needs %s\n", $_, $why_not->{$_} foreach sort keys %$why_not;
	printf "\nlost %d, cancelled by retention %d, invented %d, out of order %d, duplicates %d (allowed %d), worst recovery %.1f s\n\n",
	  @sum{qw(lost cancelled invented order duplicates allowed)},
	  (sort { $b <=> $a } map { $_->{worst} } values %{ $storm->{rows} })[0] // 0;
	return;
}

sub report
{
	my ($storm, $verdict, $why_not, $seconds) = @_;

	report_table($storm, $verdict, $why_not, $seconds);
	tap(!@{ $verdict->{wrong} }, 'writers and database agree', @{ $verdict->{wrong} });
	foreach my $webhook (@{ $verdict->{webhooks} })
	{
		my $name = $webhook->{name};

		tap(!@{ $webhook->{lost} }, "$name: nothing is lost", @{ $webhook->{lost} });
		tap(!@{ $webhook->{early} }, "$name: nothing is cancelled before its time", @{ $webhook->{early} });
		tap(!@{ $webhook->{invented} }, "$name: nothing is invented", @{ $webhook->{invented} });
		tap(!@{ $webhook->{order} }, "$name: each row's changes arrive in order ($webhook->{excluded} retries apart)", @{ $webhook->{order} });
		tap($webhook->{duplicates} <= $webhook->{allowed}, "$name: $webhook->{duplicates} duplicates, at most $webhook->{allowed}");
		tap(!@{ $webhook->{repeated} }, "$name: nothing that is on record is sent again", @{ $webhook->{repeated} });
		tap(!@{ $webhook->{ids} }, "$name: a change has one delivery", @{ $webhook->{ids} });
		tap(!@{ $webhook->{bodies} }, "$name: a delivery has one body", @{ $webhook->{bodies} });
	}
	return;
}

sub run_points
{
	my ($storm, $point, @names) = @_;

	foreach my $name (@names)
	{
		my $begun = time;
		my $problem = $storm->attempt(sub { Storm::Points::run($storm, $name, $point->{$name}, $option{rounds}); });
		Storm::Points::disarm($storm) if defined $problem;
		my $recovery = $storm->recover;

		tap(!defined $problem, sprintf('%s: %s, %.0f s, recovered after %.1f s', $name,
			$point->{$name} ? "$option{rounds} errors and kills" : "$option{rounds} kills", time - $begun, $recovery), $problem);
		$storm->{oracle}->harvest;
		$storm->{rows}{$name} = { times => $option{rounds}, worst => $recovery };
	}
	return;
}

sub storm_of_points
{
	my ($storm) = @_;
	my $point = Storm::Points::find($option{points});
	my @names = grep { my $one = $_; !@wanted || grep { $one eq $_ } @wanted } sort keys %$point;
	my @last = grep { Storm::Points::is_last($_) } @names;
	my $started = time;

	# less than can be sent anywhere
	$storm->{rate} = 5;
	srand($option{seed});
	printf "%d fault points, %d rounds\n", scalar keys %$point, $option{rounds};
	$storm->start_writer($_) foreach 0 .. $option{writers} - 1;
	$storm->{endpoints}{trouble}->set('some');
	$storm->recover;
	run_points($storm, $point, grep { !Storm::Points::is_last($_) } @names);
	my $problem = $storm->attempt(sub { Storm::Points::late_committer($storm); });
	tap(!defined $problem, 'a slot is emptied with a writer that commits at the last moment', $problem);
	$storm->quiesce;
	run_points($storm, $point, grep { /^copy_/ } @last);
	report($storm, $storm->{oracle}->judge, {}, time - $started);
	if (grep { /^cap_/ } @last)
	{
		Storm::Points::doom($storm);
		run_points($storm, $point, grep { /^cap_/ } @last);
		$problem = $storm->attempt(sub { Storm::Points::check_doomed($storm); });
		tap(!defined $problem, 'what the log had no room for is counted', $problem);
	}
	return;
}

sub storm
{
	my ($storm) = @_;
	my ($plan, $why_not) = make_plan($storm, @wanted ? @wanted : @Storm::Faults::names);
	my $started = time;
	my $number = 0;

	print "seed $option{seed}, ", ($option{short} ? 'each fault once' : "$option{duration} s"), "\n";
	$storm->start_writer($_) foreach 0 .. $option{writers} - 1;
	$storm->recover;
	foreach my $name (@$plan)
	{
		last if !$option{short} && time - $started > $option{duration};
		$storm->run_fault($name, ++$number);
	}
	$storm->quiesce;
	my $verdict = $storm->{oracle}->judge;
	tap($number > 0, "$number faults were injected and recovered from");
	report($storm, $verdict, $why_not, time - $started);
	return;
}

my $owner = $$;
my $storm = Storm->set_up(%option);

$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = $SIG{INT} = sub {
	$storm->tear_down if $$ == $owner;
	POSIX::_exit(1);
};
my $problem = $storm->attempt(sub { $option{points} ? storm_of_points($storm) : storm($storm); });
tap(0, 'the storm comes to its end', $problem) if defined $problem;
$storm->tear_down;
print "1..$main::tap_number\n";
exit($failures ? 1 : 0);
