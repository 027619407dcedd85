# Connections that are kept for later: one that leads nowhere any more is not used
# again and again, and all of them leave room for those that are needed.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $authority = make_ca();
my $node = new_node('connections', conf => <<"CONF");
fluxhooks.ca_file = '@{[ $authority->ca_file ]}'
fluxhooks.max_in_flight_per_host = 128
max_files_per_process = 200
CONF
my %endpoint = (http => start_receiver(), https => start_receiver($authority->issue('127.0.0.1')));

foreach my $scheme (sort keys %endpoint)
{
	my $freeze = PostgreSQL::Test::Utils::tempdir() . "/freeze_$scheme";
	my $relay = start_relay(to => $endpoint{$scheme}->port, freeze => $freeze);

	create_table_webhook($node, $relay, $scheme, '/ok', url => "$scheme://127.0.0.1:" . $relay->port . '/ok',
		timeout_seconds => 1, retry_backoff_seconds => 1, max_retries => 20, circuit_breaker => JSON::PP::false);
	insert_rows($node, $scheme, 1, 20);
	wait_for_deliveries($node, "table_name = '$scheme' AND status = 'success'", 20);

	# whatever has been connected leads nowhere from now on
	my $before = $relay->requests;
	PostgreSQL::Test::Utils::append_to_file($freeze, '');
	insert_rows($node, $scheme, 21, 21);
	wait_for_deliveries($node, "table_name = '$scheme' AND status = 'success'", 21);
	my $attempts = query($node, "SELECT a.error_code FROM fluxhooks.attempts AS a JOIN fluxhooks.deliveries AS d ON d.id = a.delivery_id "
		. "WHERE d.table_name = '$scheme' AND d.record_key = '{\"id\":21}' ORDER BY a.attempt");
	is($attempts->[0]{error_code}, 'timeout', "$scheme: a connection that leads nowhere is found out by a timeout");
	# on a slow machine, new ones may take a second as well
	cmp_ok(scalar @$attempts, '<=', 4, "$scheme: and no other such one is used");
	cmp_ok(scalar(() = $relay->requests), '>', $before, "$scheme: but a new one");
}

# as many at once as more than a third of a process's descriptors
my $url = $endpoint{http}->url('/hang');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE item (id integer PRIMARY KEY);
SELECT fluxhooks.create_webhook('hanging ' || i, '$url', fluxhooks.event('item'), secret => 'a', timeout_seconds => 300)
FROM generate_series(1, 45) AS i;
INSERT INTO item VALUES (1), (2);
SQL
wait_until(sub { $node->safe_psql('postgres', 'SELECT in_flight FROM fluxhooks.status') == 90 }, '90 requests under way');
is(scalar(() = $endpoint{http}->wait_for_requests(90, '/hang')), 90, 'more connections than a third of the descriptors');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.attempts WHERE error_code = 'refused'"), 0, 'none was refused');

$node->stop;
done_testing();
