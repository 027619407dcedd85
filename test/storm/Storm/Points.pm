# Fault points: every place of the C code that FAULT_POINT names, made to fail by
# an error and by kill -9 of the process that comes by, while writers write.
# For a server that runs the build for tests; see src/fault.h.
package Storm::Points;

use strict;
use warnings;

use Time::HiRes qw(time usleep);

use Storm::Process qw(wait_until);

# What it takes for a point to be reached soon, and to undo that; nothing for most: writers write,
# and an endpoint fails now and then.
my @stimuli = (
	[ qr/^(?:retention_|ring_(?!appended_))/ => \&turn_log ],
	[ qr/^(?:worker_(?:take_over|attached|stop|stopped)|batch_started|launcher_(?:conclude|registered))$/ => \&end_worker ],
	[ qr/^launcher_pass$/ => \&end_worker ],
	[ qr/^worker_reload$/ => sub { $_[0]->{cluster}->execute('SELECT pg_reload_conf()'); } ],
	[ qr/^(?:worker_recover|batch_abort)$/ => sub { set_version($_[0], 'none'); }, sub { set_version($_[0], '1.0'); } ],
	[ qr/^(?:stats_|publish_segment_made$)/ => \&end_worker ],
	[ qr/^breaker_(?:opened|closed|probe)$/ => \&fail_by_turns, \&fail_no_more ],
	[ qr/^breaker_restored$/ => \&fail_and_end_worker, \&fail_no_more ],
	[ qr/^pausing_/ => sub { $_[0]->{endpoints}{trouble}->set('gone'); }, \&unpause ],
	[ qr/^copy_/ => \&make_copy, \&resume ],
	[ qr/^cap_(?:cancelled|dropped)$/ => sub { $_[0]->{cluster}->execute('SELECT storm_doom(200)'); } ],
	[ qr/^parking_begin$/ => sub { hold_webhook($_[0], 1); }, sub { hold_webhook($_[0], 0); } ]);

sub end_worker
{
	my ($storm) = @_;

	$storm->{cluster}->value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'fluxhooks worker'");
	return;
}

# A script of another version is an error in the worker's next transaction.
sub set_version
{
	my ($storm, $version) = @_;

	$storm->{cluster}->execute("UPDATE pg_extension SET extversion = '$version' WHERE extname = 'fluxhooks'",
		'SELECT pg_reload_conf()');
	return;
}

# The log moves on and its oldest slot is emptied only where we say so: were the
# retention a matter of seconds, what cannot be sent for that long would be cancelled.
sub turn_log
{
	my ($storm) = @_;

	$storm->{cluster}->execute('SELECT storm_turn_log(1)');
	return;
}

# Have a webhook that captures and may not send: what comes is parked.
sub hold_webhook
{
	my ($storm, $on, $name) = @_;

	$storm->{cluster}->execute('UPDATE fluxhooks_internal.webhook SET paused_reason = '
		  . ($on ? "'storm'" : 'NULL') . sprintf(" WHERE name = '%s' AND paused_reason IS %s NULL", $name // 'trouble', $on ? '' : 'NOT'));
	return;
}

# Enough failures in a row for the breaker, then some successes, and again.
sub fail_by_turns
{
	my ($storm) = @_;

	$storm->{endpoints}{trouble}->set(time % 4 < 2 ? 'error' : 'some');
	return;
}

# The breaker is to be open, and on record as such, when the next worker comes.
sub fail_and_end_worker
{
	my ($storm) = @_;
	my $recorded = q{SELECT count(*) FROM fluxhooks_internal.webhook_stat WHERE consecutive_failures >= 10};

	$storm->{endpoints}{trouble}->set('error');
	end_worker($storm) if $storm->{cluster}->value($recorded);
	return;
}

sub fail_no_more
{
	my ($storm) = @_;

	$storm->{endpoints}{trouble}->set('some');
	return;
}

# What was answered 410 before may still pause the webhook once more.
sub unpause
{
	my ($storm) = @_;

	fail_no_more($storm);
	$storm->recover(sub { hold_webhook($storm, 0); });
	return;
}

# Another name of this server makes the database a copy, for the worker that reads it.
sub make_copy
{
	my ($storm) = @_;

	$storm->{cluster}->set('fluxhooks.instance' => 'server ' . ++$storm->{n_names});
	return;
}

sub resume
{
	my ($storm) = @_;

	wait_until(sub { $storm->{cluster}->value('SELECT count(*) FROM fluxhooks_internal.pause WHERE copy') }, 'the copy to be paused');
	$storm->{cluster}->execute('SELECT fluxhooks.resume()');
	return;
}

# A webhook that may not send, and a log that may not grow: what the webhook has not sent is
# given up, and counted.
sub doom
{
	my ($storm) = @_;

	$storm->{cluster}->value("SELECT fluxhooks.create_webhook('doomed', 'http://127.0.0.1:9/', fluxhooks.event('doomed'))");
	hold_webhook($storm, 1, 'doomed');
	$storm->{cluster}->set('fluxhooks.max_log_action' => 'drop');
	return;
}

# Each of its deliveries was counted once, or is pending; dies where not.
sub check_doomed
{
	my ($storm) = @_;
	my $cluster = $storm->{cluster};

	$cluster->set('fluxhooks.max_log_action' => undef);
	my $captured = $cluster->value('SELECT count(*) FROM doomed');
	my $dropped = $cluster->value(q{SELECT sum(d.deliveries) FROM fluxhooks_internal.dropped AS d
		JOIN fluxhooks_internal.webhook AS w ON w.id = d.webhook_id WHERE w.name = 'doomed'}) // 0;
	my $pending = $cluster->value(q{SELECT count(*) FROM fluxhooks.deliveries AS d
		JOIN fluxhooks.webhooks AS w ON w.id = d.webhook_id WHERE w.name = 'doomed' AND d.status = 'pending'});
	die "of $captured deliveries $dropped were counted as dropped, and $pending are pending\n"
	  if $dropped == 0 || $captured != $dropped + $pending;
	return;
}

# Those that come last, when nobody writes any more: what is pending while a copy is
# paused is never sent, and what the log has no room for is given up.
sub is_last
{
	my ($name) = @_;

	return $name =~ /^(?:copy_|cap_(?:cancelled|dropped)$)/;
}

# All points of the sources, and whether an error may be raised there.
sub find
{
	my ($sources) = @_;
	my %point;

	foreach my $file (glob "$sources/*.c")
	{
		open my $in, '<', $file or die "$file: $!";
		while (defined(my $line = <$in>))
		{
			$point{$2} = !$1 if $line =~ /\bFAULT_POINT(_KILL)?\("(\w+)"\)/;
		}
		close $in;
	}
	die "no fault points in $sources\n" unless %point;
	return \%point;
}

sub arm
{
	my ($storm, $line) = @_;
	my $file = "$storm->{cluster}{data}/fluxhooks_fault";

	open my $out, '>', "$file.new" or die "$file: $!";
	print $out "$line\n";
	close $out;
	rename "$file.new", $file or die "$file: $!";
	return;
}

sub disarm
{
	my ($storm) = @_;

	unlink "$storm->{cluster}{data}/fluxhooks_fault";
	return;
}

# Have a point fail once: the first time that it is reached, or after some passes where
# nothing has to be done for it to be. Dies when it is not.
sub hit
{
	my ($storm, $name, $action, $passes) = @_;
	my ($stimulus, $undo) = map { @$_[ 1, 2 ] } grep { $name =~ $_->[0] } @stimuli;
	my $cluster = $storm->{cluster};

	$passes = 1 if $stimulus;
	if ($action eq 'kill')
	{
		$cluster->crash(sub { arm($storm, "$name kill $passes"); wait_for_hit($storm, $name, $stimulus); });
	}
	else
	{
		$cluster->note_death;
		arm($storm, "$name $action $passes");
		wait_for_hit($storm, $name, $stimulus);
		$cluster->note_death;
	}
	$undo->($storm) if $undo;
	return;
}

# Until some process has taken the file, and with it the action.
sub wait_for_hit
{
	my ($storm, $name, $stimulus) = @_;
	my $next = 0;

	return wait_until(
		sub {
			return 1 unless -e "$storm->{cluster}{data}/fluxhooks_fault";
			if ($stimulus && time > $next)
			{
				# the server may be going down this very moment
				eval { $stimulus->($storm) };
				$next = time + 0.3;
			}
			return 0;
		},
		"point $name to be reached", 180);
}

# A writer that commits between the worker's decision to empty a slot and its
# lock on it: what is looked at afterwards has to be looked at with a snapshot
# taken after the lock, or the slot goes with events that nobody has read.
sub late_committer
{
	my ($storm) = @_;
	my $cluster = $storm->{cluster};
	my $file = "$cluster->{data}/fluxhooks_fault";
	my ($slot, $commit) = open_in_slot($storm);
	my $closed = "SELECT count(*) FROM fluxhooks_internal.ring WHERE slot = $slot AND closed_at";
	my $due = "$closed < clock_timestamp() - interval '1 hour'";
	my $before = q{SELECT count(*) FROM fluxhooks_internal.ring WHERE closed_at < (SELECT closed_at}
	  . " FROM fluxhooks_internal.ring WHERE slot = $slot)";

	# the slot is left, then due, then the oldest one, and stays so for the writer's sake
	wait_until(sub { $cluster->execute('SELECT storm_turn_log(0)'); $cluster->value("$closed IS NOT NULL") }, "slot $slot to be left");
	wait_until(sub { $cluster->execute('SELECT storm_retire_slots(0)'); $cluster->value($due) }, "slot $slot to hold nothing unsettled");
	wait_until(sub { !$cluster->value($before) }, "slots before slot $slot to be emptied");
	open my $hold, '>', "$file.hold" or die "hold: $!";
	close $hold;
	arm($storm, 'retention_lock sleep 1');
	wait_for_hit($storm, 'retention_lock');
	die "slot $slot was emptied while a transaction that wrote to it was open\n" unless $cluster->value($due);
	$commit->();
	unlink "$file.hold";
	wait_until(sub { !$cluster->value($due) }, "slot $slot to be emptied");
	return;
}

# Leave a transaction open that has written to the log already, since it captured more
# than is kept in memory: the slot, and what commits the transaction.
sub open_in_slot
{
	my ($storm) = @_;
	my ($commit, $pid) = $storm->open_transaction("storm_bulk(1500, repeat('x', 1000))");
	my $slots = $storm->{cluster}->with(
		sub {
			$_[0]->selectcol_arrayref(<<'SQL', undef, $pid);
SELECT substring(relation::regclass::text FROM 'event_([0-9]+)$') FROM pg_locks
WHERE pid = ? AND mode = 'RowExclusiveLock' AND relation::regclass::text ~ 'event_[0-9]+$'
SQL
		});

	die 'the transaction has a lock on ' . scalar @$slots . " slots of the log, not on one\n" if @$slots != 1;
	return ($slots->[0], $commit);
}

# Errors and kills by turns: a killed process takes the server down, and
# with it the launcher's memory of workers that have failed.
sub run
{
	my ($storm, $name, $may_fail, $rounds) = @_;

	foreach my $round (1 .. $rounds)
	{
		foreach my $action ($may_fail ? 'error' : (), 'kill')
		{
			# a process that has just started is not all there is
			hit($storm, $name, $action, $round == 1 ? 1 : 1 + int(rand(6)));
			$storm->{hits}{$action}++;
			# what it has of attempts goes once the log has moved on far enough
			$storm->{oracle}->harvest;
			$storm->{cluster}->execute('SELECT storm_turn_log(3)');
		}
	}
	return;
}

1;
