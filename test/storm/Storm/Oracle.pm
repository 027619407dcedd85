# Judges a storm once it is over: what writers and the database say was
# committed, against what endpoints noted.
#
# A change is told by event, table, row and revision; no two are alike, since
# a row's revision goes up with each.
package Storm::Oracle;

use strict;
use warnings;

use JSON::PP qw(decode_json);

our $REPORTED = 10;		# examples shown of each kind of mistake

# cluster, dir, webhooks (name => { id, tables }), retention (seconds): the shortest
# that was set, tolerance (ms) for what was answered and not yet on disk when a worker
# died
sub new
{
	my ($class, %option) = @_;

	return bless { recorded => {}, cancelled => {}, retention => 3 * 86400, tolerance => 1500, %option }, $class;
}

# Remember what is on record of attempts that failed or were not the first, and of
# what was cancelled, before the log that has them moves on.
sub harvest
{
	my ($self) = @_;

	$self->remember('error IS NOT NULL OR attempt > 1');
	$self->remember_cancelled;
	return;
}

sub ids
{
	my ($self) = @_;

	return map { $_->{id} } values %{ $self->{webhooks} };
}

# What was cancelled, by webhook and change: after how many seconds.  Payloads of what
# was cancelled long ago may be gone.
sub remember_cancelled
{
	my ($self) = @_;
	my $rows = $self->{cluster}->with(
		sub {
			$_[0]->selectall_arrayref(<<"SQL", undef, [ $self->ids ]);
SELECT webhook_id, delivery_id, extract(epoch FROM started_at) * 1000
FROM fluxhooks_internal.attempt WHERE outcome = 'c' AND webhook_id = ANY (?::uuid[])
SQL
		});

	foreach my $row (grep { !$self->{seen_cancelled}{ $_->[1] }++ } @$rows)
	{
		my ($webhook, $id, $at) = @$row;
		my $body = eval { $self->{cluster}->value('SELECT fluxhooks.delivery_payload(?)', $id) } // next;
		my $change = decode_json($body);

		# a UUIDv7 begins with its time in ms
		$self->{cancelled}{$webhook}{"$change->{event}:$change->{table}:$change->{record}{id}:$change->{record}{rev}"} =
		  ($at - hex(substr($id, 0, 8)) * 65536 - hex(substr($id, 9, 4))) / 1000;
	}
	return;
}

# Attempts by delivery and number: when they began (ms), how long they took, an error
# code or undef.
sub remember
{
	my ($self, $condition, @values) = @_;
	my $rows = $self->{cluster}->with(
		sub {
			$_[0]->selectall_arrayref(<<"SQL", undef, @values);
SELECT delivery_id, attempt, extract(epoch FROM started_at) * 1000, coalesce(response_time_ms, 0),
       CASE WHEN error IS NOT NULL THEN coalesce(error_code, 'unknown') END, status_code
FROM fluxhooks.attempts WHERE $condition
SQL
		});

	foreach my $row (@$rows)
	{
		my ($id, $attempt, $started, $took, $error, $status) = @$row;

		$self->{recorded}{$id}{$attempt} = { started => $started, took => $took, error => $error, status => $status };
	}
	return;
}

# When the first attempt of a delivery failed without an answer, if it did: what
# arrives later is a retry, which has no place in the order.
sub failed_first
{
	my ($self, $id) = @_;
	my $attempts = $self->{recorded}{$id} // return;
	my $first = $attempts->{1} // return;

	return defined $first->{error} && !defined $first->{status} ? $first->{started} : undef;
}

# What has been committed, as a hash of changes, and the names of the
# transactions that did.
sub read_truth
{
	my ($self) = @_;
	my (%change, %txn);

	$self->{cluster}->with(
		sub {
			my $rows = $_[0]->selectall_arrayref('SELECT txn, changes FROM truth');

			foreach my $row (@$rows)
			{
				$txn{ $row->[0] } = 1;
				foreach my $change (split ' ', $row->[1])
				{
					if ($change =~ /^B:(\w+):(\d+)-(\d+)$/)
					{
						$change{"INSERT:$1:$_:1"} = 1 foreach $2 .. $3;
					}
					else
					{
						$change{$change} = 1;
					}
				}
			}
		});
	return (\%change, \%txn);
}

# Transactions of which a writer knows the outcome and the database says
# something else.
sub check_writers
{
	my ($self, $txn) = @_;
	my @wrong;

	foreach my $file (glob "$self->{dir}/writer_*.log")
	{
		open my $log, '<', $file or die "$file: $!";
		while (defined(my $line = <$log>))
		{
			my ($what, $name) = split ' ', $line;

			push @wrong, "$name was committed, and is gone" if $what eq 'committed' && !$txn->{$name};
			push @wrong, "$name was rolled back, and is there" if $what eq 'rolled_back' && $txn->{$name};
		}
		close $log;
	}
	return @wrong;
}

# One endpoint's log: what it received first, how often, and mistakes in it.
sub read_received
{
	my ($self, $file, $wrong) = @_;
	my (%id_of, %delivery, %place);
	my $excluded = 0;

	open my $log, '<', $file or die "$file: $!";
	while (defined(my $line = <$log>))
	{
		my ($time, $id, $event, $table, $row, $rev, $hash, $good) = split ' ', $line;
		my $key = "$event:$table:$row:$rev";
		my $delivery = $delivery{$id};

		if ($delivery)
		{
			push @{ $wrong->{bodies} }, "$key has several bodies" if $delivery->{hash} ne $hash;
			push @{ $delivery->{times} }, $time;
			$delivery->{after_good}++ if $delivery->{good};
			$delivery->{good} ||= $good;
			next;
		}
		push @{ $wrong->{ids} }, "$key has several deliveries" if exists $id_of{$key};
		$id_of{$key} = $id;
		$delivery{$id} = { key => $key, hash => $hash, good => $good, after_good => 0, times => [$time] };
		my $failed = $self->failed_first($id);
		if (defined $failed && $time > $failed + 500)
		{
			$excluded++;
			next;
		}
		my $rank = 2 * $rev + ($event eq 'DELETE' ? 1 : 0);
		my $before = $place{"$table:$row"};
		push @{ $wrong->{order} }, "$key arrived after $before->[1]" if $before && $before->[0] > $rank;
		$place{"$table:$row"} = [ $rank, $key ];
	}
	close $log;
	return (\%id_of, \%delivery, $excluded);
}

# Deliveries that were sent again although their success is on record, and
# how many arrivals have no attempt on record: those are the duplicates.
sub count_duplicates
{
	my ($self, $webhook, $delivery, $wrong) = @_;
	my @several = grep { @{ $delivery->{$_}{times} } > 1 } keys %$delivery;
	my $duplicates = 0;

	$self->remember('webhook_id = ? AND delivery_id = ANY (?::uuid[])', $webhook, \@several);
	foreach my $id (@several)
	{
		my @times = @{ $delivery->{$id}{times} };
		my @attempts = values %{ $self->{recorded}{$id} // {} };
		my $arrived = grep { ($_->{error} // '') !~ /^(?:dns|refused)$/ } @attempts;
		my ($success) = grep { !defined $_->{error} } @attempts;

		# at least one is on record, or was before the log moved on
		$arrived ||= 1;
		$duplicates += @times - $arrived if @times > $arrived;
		next if !$success || $self->{clock_was_set};
		push @{ $wrong->{repeated} }, "$delivery->{$id}{key} was sent again after its success was on record"
		  if $times[-1] > $success->{started} + $success->{took} + 1000;
	}
	return $duplicates;
}

# What invariant 3 allows: at each death of a worker, what may be in flight and
# what had been answered too shortly before to be on disk.
sub allowed_duplicates
{
	my ($self, $delivery) = @_;
	my @deaths = @{ $self->{cluster}{deaths} };
	my $allowed = 16 * @deaths;
	my %near;

	# by tenths of a second
	foreach my $death (@deaths)
	{
		$near{$_} = 1 foreach int(($death - $self->{tolerance}) / 100) .. int(($death + 500) / 100);
	}
	$allowed += grep { $near{ int($_->{times}[0] / 100) } } values %$delivery;
	return $allowed;
}

sub judge_webhook
{
	my ($self, $name, $truth) = @_;
	my %wrong;
	my ($id_of, $delivery, $excluded) = $self->read_received("$self->{dir}/$name.received", \%wrong);
	my $tables = $self->{webhooks}{$name}{tables};
	my @missing = grep { !exists $id_of->{$_} || !$delivery->{ $id_of->{$_} }{good} }
	  grep { /^\w+:(\w+):/ && $tables->{$1} } keys %$truth;
	my $cancelled = $self->{cancelled}{ $self->{webhooks}{$name}{id} } // {};
	my @cancelled = grep { exists $cancelled->{$_} } @missing;
	my @early = grep { $cancelled->{$_} < $self->{retention} } @cancelled;
	my @invented = grep { !exists $truth->{$_} } keys %$id_of;

	return {
		name => $name,
		received => scalar keys %$delivery,
		excluded => $excluded,
		lost => [ grep { !exists $cancelled->{$_} } @missing ],
		cancelled => \@cancelled,
		early => [ map { sprintf '%s was cancelled after %.1f s', $_, $cancelled->{$_} } @early ],
		invented => \@invented,
		duplicates => $self->count_duplicates($self->{webhooks}{$name}{id}, $delivery, \%wrong),
		allowed => $self->allowed_duplicates($delivery),
		order => $wrong{order} // [],
		repeated => $wrong{repeated} // [],
		ids => $wrong{ids} // [],
		bodies => $wrong{bodies} // [],
	};
}

# Deliveries that are not done, although all that is pending was waited for.
sub unsettled
{
	my ($self) = @_;
	my $rows = $self->{cluster}->with(
		sub {
			$_[0]->selectall_arrayref(<<"SQL", undef, [ $self->ids ]);
SELECT id, status, event, table_name, record_key, attempts, coalesce(error, '-'), created_at, last_attempt_at
FROM fluxhooks.deliveries WHERE status NOT IN ('success', 'cancelled') AND webhook_id = ANY (?::uuid[])
SQL
		});

	return map { join ' ', 'left over:', map { $_ // '' } @$_ } @$rows;
}

# The whole verdict: one hash per webhook, and what is wrong besides.
sub judge
{
	my ($self) = @_;
	my ($truth, $txn) = $self->read_truth;
	my @wrong = $self->check_writers($txn);

	$self->harvest;
	push @wrong, $self->unsettled;
	return {
		changes => scalar keys %$truth,
		transactions => scalar keys %$txn,
		wrong => \@wrong,
		webhooks => [ map { $self->judge_webhook($_, $truth) } sort keys %{ $self->{webhooks} } ],
	};
}

1;
