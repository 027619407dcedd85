# Endpoints that misbehave, and what fluxhooks makes of each: error_code and
# status, retries and their times, exhaustion, redelivery; https; the policy of
# addresses.
use strict;
use warnings;

use FluxhooksTest;
use Test::More;

my $authority = make_ca();
my $node = new_node('endpoints', conf => "fluxhooks.ca_file = '" . $authority->ca_file . "'");
my $receiver = start_receiver(secret => 'tops3cret');

$node->safe_psql('postgres', 'CREATE TABLE item (id integer PRIMARY KEY, note text)');

# One webhook on item for each endpoint under test, then one row for all.
my %webhook;

sub webhook
{
	my ($name, $url, %more) = @_;

	$webhook{$name} = create_webhook($node,
		{   name => $name,
			url => $url,
			secret => 'tops3cret',
			events => [ { table => 'item', operations => ['INSERT'] } ],
			max_retries => 0,
			retry_backoff_seconds => 1,
			timeout_seconds => 20,
			%more });
	return;
}

# The one delivery of a webhook, and its attempts in order.
sub delivery
{
	my ($name) = @_;
	my $found = query($node, "SELECT * FROM fluxhooks.deliveries WHERE webhook_id = '$webhook{$name}'");

	is(scalar @$found, 1, "$name: one delivery");
	return $found->[0] // {};
}

sub attempts
{
	my ($name) = @_;

	return @{ query($node, <<"SQL") };
SELECT *, extract(epoch FROM started_at - lag(started_at) OVER (ORDER BY attempt)) AS gap
FROM fluxhooks.attempts WHERE webhook_id = '$webhook{$name}' ORDER BY attempt
SQL
}

# Nobody listens on a port that was free a moment ago.
my $nobody = start_receiver();
my $closed_url = $nobody->url('/ok');
$nobody->stop;

my $https = start_receiver($authority->issue('127.0.0.1'));
my $https_name = start_receiver($authority->issue('other.example'));
my $https_expired = start_receiver($authority->issue('127.0.0.1', expired => 1));
my $https_stranger = start_receiver(make_ca('somebody else')->issue('127.0.0.1'));

# name => [url, status, status_code, error_code, what else]
my %failing = (
	'status 500' => [ $receiver->url('/status/500'), 500, 'status' ],
	'status 404' => [ $receiver->url('/status/404'), 404, 'status' ],
	'status 304' => [ $receiver->url('/status/304'), 304, 'status' ],
	redirect => [ $receiver->url('/redirect'), 302, 'status' ],
	hang => [ $receiver->url('/hang'), undef, 'timeout', timeout_seconds => 1 ],
	drip => [ $receiver->url('/drip'), undef, 'timeout', timeout_seconds => 1 ],
	slow => [ $receiver->url('/slow/15000'), undef, 'timeout', timeout_seconds => 1 ],
	reset => [ $receiver->url('/reset'), undef, 'reset' ],
	close => [ $receiver->url('/close'), undef, 'reset' ],
	garbage => [ $receiver->url('/garbage'), undef, 'protocol' ],
	'huge headers' => [ $receiver->url('/headers-huge'), undef, 'protocol' ],
	refused => [ $closed_url, undef, 'refused' ],
	'no such name' => [ 'http://no-such-name.invalid/', undef, 'dns', timeout_seconds => 60 ],
	'private address' => [ 'http://10.1.2.3/', undef, 'address_denied' ],
	'IPv6 loopback' => [ 'http://[::1]:9/', undef, 'address_denied' ],
	'cut short' => [ $receiver->url('/cut'), undef, qr/^(reset|protocol)$/ ],
	'wrong name' => [ $https_name->url('/ok'), undef, 'tls' ],
	expired => [ $https_expired->url('/ok'), undef, 'tls' ],
	'unknown authority' => [ $https_stranger->url('/ok'), undef, 'tls' ],
	'https to http' => [ $receiver->url('/ok') =~ s/^http:/https:/r, undef, 'tls' ]);

# name => [url, status code, response body]
my %succeeding = (
	ok => [ $receiver->url('/ok'), 200, qr/^OK$/ ],
	'status 201' => [ $receiver->url('/status/201'), 201, qr/^status 201$/ ],
	'status 204' => [ $receiver->url('/status/204'), 204, qr/^$/ ],
	slowly => [ $receiver->url('/slow/300'), 200, qr/^OK$/ ],
	big => [ $receiver->url('/big'), 200, qr/^x{8192}$/ ],
	'invalid utf-8' => [ $receiver->url('/invalid-utf8'), 200, qr/^a.*\(b$/ ],
	https => [ $https->url('/ok'), 200, qr/^OK$/ ]);

webhook($_, $failing{$_}[0], @{ $failing{$_} }[ 3 .. $#{ $failing{$_} } ]) foreach sort keys %failing;
webhook($_, $succeeding{$_}[0]) foreach sort keys %succeeding;

# those that are tried again
webhook('fails twice', $receiver->url('/fail/2?twice'), max_retries => 3);
webhook('exhausted', $receiver->url('/fail/99?exhausted'), max_retries => 2);
webhook('429', $receiver->url('/retry-after/4?429'), max_retries => 1);
webhook('503', $receiver->url('/retry-after/4/503?503'), max_retries => 1);
webhook('500 with Retry-After', $receiver->url('/retry-after/3000/500?500'), max_retries => 1);
webhook('Retry-After with date', $receiver->url('/retry-after-date/6?date'), max_retries => 1);
webhook('shorter Retry-After', $receiver->url('/retry-after/0?shorter'), max_retries => 1);

$node->safe_psql('postgres', "INSERT INTO item VALUES (1, 'priv4te')");
wait_for_deliveries($node, "status = 'pending'", 0);

foreach my $name (sort keys %failing)
{
	my ($url, $status_code, $error_code) = @{ $failing{$name} };
	my $delivery = delivery($name);
	my @attempts = attempts($name);

	is($delivery->{status}, 'failed', "$name: failed");
	is($delivery->{attempts}, 1, "$name: one attempt");
	is(scalar @attempts, 1, "$name: one attempt recorded");
	is($attempts[0]{status_code}, $status_code, "$name: status_code");
	if (ref $error_code)
	{
		like($attempts[0]{error_code}, $error_code, "$name: error_code");
	}
	else
	{
		is($attempts[0]{error_code}, $error_code, "$name: error_code")
		  or diag($attempts[0]{error});
	}
	like($attempts[0]{error} // '', qr/\w/, "$name: an error in words");
	is($attempts[0]{url}, $url, "$name: url");
}
is(scalar(grep { $_->{method} ne 'POST' } $receiver->requests('/ok')), 0, 'a redirect is not followed');
is(scalar(() = $receiver->requests('/ok')), 1, 'nor is anything else sent to where it leads');
cmp_ok((attempts('hang'))[0]{response_time_ms}, '>=', 990, 'a timeout is not cut short');

foreach my $name (sort keys %succeeding)
{
	my ($url, $status_code, $body) = @{ $succeeding{$name} };
	my $delivery = delivery($name);

	is($delivery->{status}, 'success', "$name: success") or diag($delivery->{error});
	is($delivery->{status_code}, $status_code, "$name: status_code");
	like($delivery->{response_body} // '', $body, "$name: response_body");
}

my ($secure) = $https->requests('/ok');
is($secure->{http_version}, '2.0', 'https speaks HTTP/2');
is($secure->{body},
	$node->safe_psql('postgres',
		"SELECT fluxhooks.delivery_payload(id) FROM fluxhooks.deliveries WHERE webhook_id = '$webhook{https}'"),
	'the body is the same over HTTP/2');
ok(!$_->requests, 'nothing is sent where the certificate is wrong')
  foreach $https_name, $https_expired, $https_stranger;

# back-off: 1 s, 2 s, give or take a tenth (and never early)
my @twice = attempts('fails twice');
is(delivery('fails twice')->{status}, 'success', 'fails twice: succeeds in the end');
is_deeply([ map { $_->{status_code} } @twice ], [ 500, 500, 200 ], 'fails twice: three attempts');
is_deeply([ map { $_->{attempt} } @twice ], [ 1, 2, 3 ], 'fails twice: attempts are numbered');
cmp_ok($twice[1]{gap}, '>=', 0.9, 'fails twice: the first retry after a second');
cmp_ok($twice[2]{gap}, '>=', 1.8, 'fails twice: the second after two');

my @arrived = $receiver->requests('/fail/2?twice');
is(scalar @arrived, 3, 'fails twice: three requests');
is(scalar(grep { $_->{body} ne $arrived[0]{body} } @arrived), 0, 'fails twice: one body');
is( scalar(grep { $_->{headers}{'x-fluxbase-delivery'} ne $arrived[0]{headers}{'x-fluxbase-delivery'} } @arrived),
	0, 'fails twice: one id');
isnt($arrived[2]{headers}{'webhook-timestamp'}, $arrived[0]{headers}{'webhook-timestamp'},
	'fails twice: each attempt has its own timestamp');

is(delivery('exhausted')->{status}, 'failed', 'exhausted: failed');
is(delivery('exhausted')->{attempts}, 3, 'exhausted: the first and two retries');
is(delivery('exhausted')->{next_attempt_at}, undef, 'exhausted: nothing follows');

foreach my $name ('429', '503', 'Retry-After with date')
{
	my @attempts = attempts($name);

	is(delivery($name)->{status}, 'success', "$name: succeeds after Retry-After");
	is(scalar @attempts, 2, "$name: two attempts");
	cmp_ok($attempts[1]{gap}, '>=', 3.9, "$name: not before the time asked for");
}
is(delivery('500 with Retry-After')->{status}, 'success', 'Retry-After counts for 429 and 503 only');
is(delivery('shorter Retry-After')->{status}, 'success', 'shorter Retry-After: succeeds');
cmp_ok((attempts('shorter Retry-After'))[1]{gap}, '>=', 0.9,
	'a shorter Retry-After does not shorten the back-off');

# redelivery: same id, same bytes, fresh retries, attempt numbers go on
my $exhausted = delivery('exhausted')->{id};
$node->safe_psql('postgres', "SELECT fluxhooks.redeliver('$exhausted')");
wait_for_deliveries($node, "id = '$exhausted' AND status = 'failed' AND attempts = 6", 1);
my @again = $receiver->requests('/fail/99?exhausted');
is(scalar @again, 6, 'redeliver: fresh retries');
is_deeply([ map { $_->{attempt} } attempts('exhausted') ], [ 1 .. 6 ], 'redeliver: attempt numbers go on');
is(scalar(grep { $_->{body} ne $again[0]{body} } @again), 0, 'redeliver: same body');
is(scalar(grep { $_->{headers}{'x-fluxbase-delivery'} ne $exhausted } @again), 0, 'redeliver: same id');

# what has succeeded can be sent again as well
my $done = delivery('ok')->{id};
$node->safe_psql('postgres', "SELECT fluxhooks.redeliver('$done')");
wait_for_deliveries($node, "id = '$done' AND status = 'success' AND attempts = 2", 1);
my @ok = $receiver->requests('/ok');
is($ok[1]{body}, $ok[0]{body}, 'redeliver of a success: same body');

# samples
my ($sample) = @{ query($node, "SELECT * FROM fluxhooks.test_webhook('$webhook{ok}')") };
is($sample->{event}, 'TEST', 'test_webhook: event');
is($sample->{status}, 'success', 'test_webhook: status');
is($sample->{status_code}, 200, 'test_webhook: status_code');
is($sample->{attempts}, 1, 'test_webhook: one attempt');
my ($sent) = grep { $_->{headers}{'x-fluxbase-event'} eq 'TEST' } $receiver->requests('/ok');
is($sent->{headers}{'x-fluxbase-delivery'}, $sample->{id}, 'test_webhook: the id that was sent');
is_deeply(
	[ @{ $sent->{data} }{qw(event table schema record old_record webhook_id)} ],
	[ 'TEST', 'test', 'public', { test => JSON::PP::true }, undef, $webhook{ok} ],
	'test_webhook: the sample of the contract');
is($node->safe_psql('postgres', "SELECT fluxhooks.delivery_payload('$sample->{id}')"),
	$sent->{body}, 'test_webhook: delivery_payload is what was sent');
my ($bad_sample) = @{ query($node, "SELECT * FROM fluxhooks.test_webhook('$webhook{exhausted}')") };
is($bad_sample->{status}, 'failed', 'test_webhook: one attempt is all a sample gets');
is($bad_sample->{attempts}, 1, 'test_webhook: and no retry follows');

# the policy of addresses is read anew
$node->append_conf('postgresql.conf', "fluxhooks.allowed_networks = ''");
$node->reload;
my $denied = wait_until(
	sub {
		my ($row) = @{ query($node, "SELECT * FROM fluxhooks.test_webhook('$webhook{ok}')") };
		return $row->{status} eq 'failed' ? $row : undef;
	},
	'the policy to be read anew');
my ($refusal) = @{ query($node, "SELECT * FROM fluxhooks.attempts WHERE delivery_id = '$denied->{id}'") };
is($refusal->{error_code}, 'address_denied', 'loopback is refused where it is not allowed');
like($refusal->{error}, qr/127\.0\.0\.1|loopback/, 'and the error says what was refused');

# nothing of them in any line of the log
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile),
	qr/tops3cret|priv4te/, 'neither secret nor payload in the server log');

done_testing();
