# The queries of docs/alerting.md are quiet when all is well, and each tells
# what it is for; those of docs/postgres_exporter.yml run and have exactly the columns that the
# file declares.
use strict;
use warnings;

use CPAN::Meta::YAML ();
use FindBin;

use FluxhooksTest;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $docs = "$FindBin::Bin/../../docs";
my $receiver = start_receiver();
my $node = new_node('alerting');
my @queries = grep { /AS problem/ } slurp_file("$docs/alerting.md") =~ /^```sql\n(.*?)^```$/msg;

sub problems
{
	return join("\n", map { $node->safe_psql('postgres', $_) } @queries);
}

sub webhook
{
	my ($name, $path, %config) = @_;

	$node->safe_psql('postgres', "CREATE TABLE $name (id bigint PRIMARY KEY)");
	return create_webhook($node,
		{ name => $name, url => $receiver->url("$path/$name"), secret => 'a', events => [ { table => $name } ], %config });
}

sub problem_is
{
	my ($pattern, $what) = @_;
	my $last = '';

	eval { wait_until(sub { $last = problems(); $last =~ $pattern }, $what) };
	like($last, $pattern, $what);
	return;
}

# 1. all is well
cmp_ok(scalar @queries, '>=', 12, 'the page has queries');
webhook('well', '/ok');
$node->safe_psql('postgres', 'INSERT INTO well SELECT generate_series(1, 50)');
wait_for_deliveries($node, "table_name = 'well' AND status = 'success'", 50);
wait_for_worker($node);
like(problems(), qr/\A\s*\z/, 'no problem when there is none');

# 2. each of those that a test can bring about
webhook('failing', '/status/500', max_retries => 0, circuit_breaker => { failures => 10, probe_seconds => 3600 });
$node->safe_psql('postgres', 'INSERT INTO failing SELECT generate_series(1, 20)');
problem_is(qr/circuit breaker of webhook "failing" open since/, 'an open circuit breaker');
problem_is(qr/\d+ % of attempts fail/, 'the failure rate');
problem_is(qr/webhook "failing": \d+ deliveries failed since yesterday, for example: \S/, 'what failed for good');
webhook('gone', '/status/410');
$node->safe_psql('postgres', 'INSERT INTO gone VALUES (1)');
problem_is(qr/webhook "gone" is paused: the endpoint answered 410 Gone/, 'a paused webhook');
$node->append_conf('postgresql.conf', "fluxhooks.retention = '20s'");
$node->reload;
problem_is(qr/webhook "gone" has 1 deliveries pending, the oldest since/, 'what has been waiting for long');
$node->append_conf('postgresql.conf', "fluxhooks.retention = '1h'");
$node->reload;
$node->safe_psql('postgres', "SELECT fluxhooks.pause('for maintenance')");
problem_is(qr/paused: for maintenance/, 'paused deliveries');

$node->append_conf('postgresql.conf', 'fluxhooks.max_log_size = 1MB');
$node->reload;
$node->safe_psql('postgres', q{INSERT INTO well SELECT generate_series(1001, 20000)});
problem_is(qr/event log of \d+ [kM]B, last moved on at \S.*, 0 deliveries dropped so far/, 'a full log');

# 3. the exporter's queries
my $file = CPAN::Meta::YAML->read("$docs/postgres_exporter.yml")->[0];
is(join(' ', sort keys %$file), 'fluxhooks fluxhooks_webhook', 'two queries');
foreach my $name (sort keys %$file)
{
	my $entry = $file->{$name};
	my @metrics = map { keys %$_ } @{ $entry->{metrics} };
	my @bad = grep { my ($m) = values %$_; $m->{usage} !~ /^(LABEL|GAUGE|COUNTER)$/ || !$m->{description} } @{ $entry->{metrics} };
	my $rows = query($node, $entry->{query});

	is(scalar @bad, 0, "$name: each metric has a usage and a description");
	cmp_ok(scalar @$rows, '>=', 1, "$name: rows");
	is(join(' ', sort keys %{ $rows->[0] }), join(' ', sort @metrics), "$name: the columns are the metrics");
	my %label = map { my ($m) = keys %$_; ($m => $_->{$m}{usage} eq 'LABEL') } @{ $entry->{metrics} };
	my @null = grep { !defined $rows->[0]{$_} } @metrics;
	is("@null", '', "$name: every metric has a value");
}

# 4. by a role that may see only its own
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE exporter LOGIN;
GRANT USAGE ON SCHEMA fluxhooks TO exporter;
GRANT SELECT ON fluxhooks.status, fluxhooks.webhook_stats TO exporter;
SQL
is($node->safe_psql('postgres', "SET ROLE exporter; SELECT count(*) FROM ($file->{fluxhooks}{query}) AS q"), '1', 'with the grants the file names');
is($node->safe_psql('postgres', "SET ROLE exporter; SELECT count(*) FROM ($file->{fluxhooks_webhook}{query}) AS q"), '0', 'and no one else\'s webhooks');

# 5. no worker
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
problem_is(qr/no worker in database postgres/, 'no worker');

done_testing();
