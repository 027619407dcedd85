# Where nothing happens the worker does nothing: no transaction, of whatever kind.
use strict;
use warnings;

use FluxhooksTest;
use Test::More;

my $receiver = FluxhooksTest::start_receiver();
my $node = FluxhooksTest::new_node('idle', conf => "autovacuum = off\n");

$node->safe_psql('postgres', 'CREATE TABLE item (id int PRIMARY KEY)');
FluxhooksTest::create_webhook($node, { name => 'idle', url => $receiver->url('/ok/idle'), events => [ { table => 'item' } ] });
$node->safe_psql('postgres', 'INSERT INTO item SELECT generate_series(1, 100)');
FluxhooksTest::wait_for_deliveries($node, q{status = 'success'}, 100);

# Asked from another database, so as not to count asking.
sub transactions
{
	return $node->safe_psql('template1',
		q{SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'});
}

# it looks after the log every five seconds while events come, and reports within ten
my ($count, $since) = (-1, time);
FluxhooksTest::wait_until(
	sub {
		my $now = transactions();

		($count, $since) = ($now, time) if $now != $count;
		return time - $since >= 20;
	},
	'twenty seconds without a transaction');
pass('no transaction for twenty seconds');

done_testing();
