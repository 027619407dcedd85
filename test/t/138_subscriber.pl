# Rows that a logical subscription applies are captured on the subscriber only
# where the administrator has asked for it: ENABLE ALWAYS TRIGGER.  The publisher
# sends its own all the while.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $publisher = new_node('publisher', init => [ allows_streaming => 'logical' ]);
my $subscriber = new_node('subscriber');

sub changes_at
{
	my ($path) = @_;

	return [ map { "$_->{data}{event} " . ($_->{data}{record}{id} // '') } $receiver->requests($path) ];
}

foreach my $node ($publisher, $subscriber)
{
	my $name = $node->name;

	$node->safe_psql('postgres', 'CREATE TABLE item (id integer PRIMARY KEY, n text); CREATE TABLE plain (id integer PRIMARY KEY)');
	create_webhook($node, { name => $name, url => $receiver->url("/ok/$name"),
		events => [ { table => 'item' }, { table => 'plain' } ] });
}
$publisher->safe_psql('postgres', 'INSERT INTO item VALUES (1); CREATE PUBLICATION all_tables FOR TABLE item, plain');
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION all_tables CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION all_tables");
$subscriber->wait_for_subscription_sync($publisher, 'all_tables');
$publisher->safe_psql('postgres', 'INSERT INTO item VALUES (2)');
$publisher->wait_for_catchup('all_tables');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.event'), 0,
	'what is copied and applied makes no events');

$subscriber->safe_psql('postgres', 'ALTER TABLE item ENABLE ALWAYS TRIGGER fluxhooks_capture');
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO item VALUES (3), (4);
UPDATE item SET n = 'changed' WHERE id = 3;
DELETE FROM item WHERE id = 4;
INSERT INTO plain VALUES (5);
BEGIN; INSERT INTO item VALUES (6); ROLLBACK;
SQL
$publisher->wait_for_catchup('all_tables');
$receiver->wait_for_requests(4, '/ok/subscriber');
is_deeply([ sort @{ changes_at('/ok/subscriber') } ], [ sort 'INSERT 3', 'INSERT 4', 'UPDATE 3', 'DELETE 4' ],
	'ENABLE ALWAYS: what is applied is sent, of this table alone');
is(scalar(grep { $_->{data}{event} eq 'UPDATE' && $_->{data}{record}{n} eq 'changed' } $receiver->requests('/ok/subscriber')), 1,
	'with its record');
$subscriber->safe_psql('postgres', 'INSERT INTO item VALUES (7); INSERT INTO plain VALUES (7)');
$receiver->wait_for_requests(6, '/ok/subscriber');
$subscriber->restart;
$publisher->safe_psql('postgres', 'INSERT INTO item VALUES (8)');
$receiver->wait_for_requests(7, '/ok/subscriber');
is((changes_at('/ok/subscriber'))->[-1], 'INSERT 8', 'after a restart too');

$subscriber->safe_psql('postgres', 'ALTER TABLE item ENABLE TRIGGER fluxhooks_capture');
$publisher->safe_psql('postgres', 'INSERT INTO item VALUES (9)');
$publisher->wait_for_catchup('all_tables');
$subscriber->safe_psql('postgres', 'INSERT INTO item VALUES (10)');
$receiver->wait_for_requests(8, '/ok/subscriber');
is((changes_at('/ok/subscriber'))->[-1], 'INSERT 10', 'ENABLE: what is applied is silent again');

$receiver->wait_for_requests(8, '/ok/publisher');
is_deeply([ sort @{ changes_at('/ok/publisher') } ],
	[ sort 'INSERT 1', 'INSERT 2', 'INSERT 3', 'INSERT 4', 'UPDATE 3', 'DELETE 4', 'INSERT 5', 'INSERT 8', 'INSERT 9' ],
	'the publisher has sent its own')
  if wait_until(sub { @{ changes_at('/ok/publisher') } >= 9 }, 'the changes of the publisher');
is($_->safe_psql('postgres', 'SELECT paused FROM fluxhooks.status'), 'f', $_->name . ' is no copy') foreach $publisher, $subscriber;
$_->stop('fast') foreach $subscriber, $publisher;

done_testing();
