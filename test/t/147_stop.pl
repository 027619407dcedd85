# A worker that is told to stop in the middle of a transaction records what has
# been answered, so that it is not sent again; and waits for a lock not for long.
use strict;
use warnings;

use FluxhooksTest;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('stop');

# each is answered once, and its retry is far away: what is received again was not recorded
create_table_webhook($node, $receiver, 'answered', '/status/503',
	retry_backoff_seconds => 86400, circuit_breaker => JSON::PP::false);

my $stopped; # pid of the worker that was told to stop last

sub wait_for_attempts
{
	my ($count) = @_;

	wait_until(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks.attempts') >= $count },
		"$count attempts to be recorded");
	return;
}

my $locker = $node->background_psql('postgres');

# Have the worker wait for a lock while it records, with answers it has not read
# yet besides, and tell it to stop.
sub stop_in_transaction
{
	my ($first, $last) = @_;
	my $pid = $stopped = wait_for_worker($node, 'postgres', $stopped);

	$locker->query_safe('BEGIN; LOCK TABLE fluxhooks_internal.pending IN SHARE MODE');
	insert_rows($node, 'answered', $first, $last);
	$locker->query_safe(<<"SQL");
DO \$\$
BEGIN
  WHILE NOT EXISTS (SELECT FROM pg_locks WHERE pid = $pid AND NOT granted) LOOP
    PERFORM pg_sleep(0.01);
  END LOOP;
  -- by then the endpoint has answered what it was sent
  PERFORM pg_sleep(0.5), pg_terminate_backend($pid);
END
\$\$
SQL
	return $pid;
}

stop_in_transaction(1, 40);
$locker->query_safe('COMMIT');
wait_for_attempts(40);
is(scalar(my @received = $receiver->requests('/status/503')), 40, 'what had been answered is recorded, and not sent again');

my $pid = stop_in_transaction(41, 44);
wait_until(
	sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0' },
	'the worker to end while the lock is held');
pass('a lock that is held keeps no worker from ending');
$locker->query_safe('COMMIT');
$locker->quit;
wait_for_attempts(44);
is($node->safe_psql('postgres', 'SELECT count(DISTINCT delivery_id) FROM fluxhooks.attempts'), '44', 'and nothing is lost');

done_testing();
