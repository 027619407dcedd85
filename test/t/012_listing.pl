# list_deliveries, delivery_payload and redeliver find deliveries by themselves, the
# view by SQL: both say the same of deliveries in every place and state.
#
# Would catch a place that one of them forgets (ended, pending, unread), another row
# of several taken for the last one, and bounds that are off by one.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('listing', conf => 'autovacuum = off');
my $rows = 0;

$node->safe_psql('postgres', 'CREATE TABLE item (id integer PRIMARY KEY, n integer DEFAULT 0)');

sub webhook
{
	my ($name, $path, %config) = @_;

	return create_webhook($node,
		{ name => $name, url => $receiver->url($path), events => [ { table => 'item' } ],
		  circuit_breaker => JSON::PP::false, %config });
}

sub insert
{
	my ($n) = @_;

	$node->safe_psql('postgres',
		'INSERT INTO item SELECT i FROM generate_series(' . ($rows + 1) . ', ' . ($rows + $n) . ') AS i');
	$rows += $n;
	return;
}

# Rows that one of two queries has and the other has not.
sub difference
{
	my ($one, $other) = @_;

	return $node->safe_psql('postgres', "(($one) EXCEPT ALL ($other)) UNION ALL (($other) EXCEPT ALL ($one))");
}

sub same
{
	my ($webhook, $what, $arguments, $condition) = @_;
	my $listed = "SELECT * FROM fluxhooks.list_deliveries('$webhook', 1000$arguments)";
	my $viewed = "SELECT * FROM fluxhooks.deliveries WHERE webhook_id = '$webhook'$condition";

	is(difference($listed, $viewed), '', $what);
	return $node->safe_psql('postgres', "SELECT count(*) FROM ($listed) AS l");
}

my $good = webhook('good', '/ok/good');
my $flaky = webhook('flaky', '/fail/1/503', retry_backoff_seconds => 1);
my $waiting = webhook('waiting', '/status/500', retry_backoff_seconds => 86400);
my $failed = webhook('failed', '/status/500', max_retries => 0);
my $gone = webhook('gone', '/hang', timeout_seconds => 300);
my @all = ($good, $flaky, $waiting, $failed, $gone);

insert(30);
wait_for_deliveries($node, "webhook_id = '$good' AND status = 'success'", 30);
wait_for_deliveries($node, "webhook_id = '$waiting' AND status = 'pending' AND attempts = 1", 30);
wait_for_deliveries($node, "webhook_id = '$failed' AND status = 'failed'", 30);
wait_for_deliveries($node, "webhook_id = '$flaky' AND status = 'success' AND attempts = 2", 30);
$node->safe_psql('postgres', "SELECT fluxhooks.test_webhook('$good')");
$node->safe_psql('postgres', "SELECT fluxhooks.redeliver(id) FROM fluxhooks.list_deliveries('$failed', 3)");
wait_for_deliveries($node, "webhook_id = '$failed' AND status = 'failed' AND attempts = 2", 3);

# some that nobody has come to
$node->safe_psql('postgres', q{SELECT fluxhooks.pause('to look at what waits')});
wait_until(sub { $node->safe_psql('postgres', 'SELECT paused FROM fluxhooks.status') eq 't' }, 'the pause');
insert(7);
$node->safe_psql('postgres', "SELECT fluxhooks.delete_webhook('$gone')");

my %count;
$count{$_} = same($_, "all of $_", '', '') foreach @all;
is_deeply([ map { $count{$_} } $good, $flaky, $waiting, $failed ], [ 38, 37, 37, 37 ], 'and none is missing');
foreach my $status (qw(pending success failed cancelled))
{
	same($_, "$status ones of $_", ", '$status'", " AND status = '$status'") foreach @all;
}

# ten in the middle, by time and by page
my ($from, $to) = split /\|/, $node->safe_psql('postgres', <<"SQL");
SELECT min(created_at), max(created_at)
FROM (SELECT created_at FROM fluxhooks.deliveries WHERE webhook_id = '$good' ORDER BY id OFFSET 10 LIMIT 11) AS d
SQL
cmp_ok(same($good, 'those of a time, whose end is not part of it', ", since => '$from', until => '$to'",
		" AND created_at >= '$from' AND created_at < '$to'"), '>', 0, 'some of them');
is($node->safe_psql('postgres', <<"SQL"),
WITH RECURSIVE page AS (
  (SELECT id, 1 AS page FROM fluxhooks.list_deliveries('$good', 1))
  UNION ALL
  SELECT d.id, p.page + 1 FROM page AS p
  CROSS JOIN LATERAL fluxhooks.list_deliveries('$good', 1, before => p.id) AS d
)
SELECT array_agg(id ORDER BY page) = (SELECT array_agg(id ORDER BY id DESC) FROM fluxhooks.deliveries WHERE webhook_id = '$good')
FROM page
SQL
	't', 'pages of one make the whole, newest first');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.list_deliveries('$good', 5)"), 5, 'as many as asked for');

$node->stop;
done_testing();
