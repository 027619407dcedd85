# The way of an event that meets no trouble: each change arrives once, verified
# in each of the ways that users verify, with the headers of the contract, and
# views and functions tell the same story.
use strict;
use warnings;

use FluxhooksTest;
use Test::More;

my $secret = 'your-webhook-secret';
my $uuid = qr/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
my $uuid_v7 = qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
my @ways = qw(express nextjs timing-safe raw standard);

my $receiver = start_receiver(secret => $secret);
my $node = new_node('delivery');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE users (
  id uuid PRIMARY KEY,
  email text NOT NULL,
  created_at timestamptz NOT NULL
);
SQL

my %webhook;
foreach my $way (@ways)
{
	$webhook{$way} = create_webhook($node, {
		name => "User Events, $way",
		description => 'Notify external system of user changes',
		url => $receiver->url("/verify/$way"),
		secret => $secret,
		enabled => JSON::PP::true,
		events => [ { table => 'users', operations => [ 'INSERT', 'UPDATE', 'DELETE' ] } ],
		headers => { 'X-Tenant' => 'acme' },
		max_retries => 0,
		timeout_seconds => 30,
		retry_backoff_seconds => 5,
	});
	like($webhook{$way}, qr/^$uuid$/, "create_webhook returns an id for $way");
}

# three changes, each to five webhooks
$node->safe_psql('postgres', <<'SQL');
INSERT INTO users VALUES
  ('550e8400-e29b-41d4-a716-446655440000', 'user@example.com', '2025-11-02 10:30:00+00');
UPDATE users SET email = 'neue@bücher.example';
DELETE FROM users;
SQL
wait_for_deliveries($node, "status = 'success'", 3 * @ways);

my @requests = $receiver->requests;
is(scalar @requests, 3 * @ways, 'every change arrives once at every webhook');
is(scalar(grep { !$_->{verified} } @requests), 0, 'every signature verifies')
  or diag(map { "$_->{path}: " . ($_->{problem} // 'wrong signature') . "\n" } grep { !$_->{verified} } @requests);

my %expected = (
	INSERT => [ 'user@example.com', undef ],
	UPDATE => [ "neue\@b\x{fc}cher.example", 'user@example.com' ],
	DELETE => [ "neue\@b\x{fc}cher.example", "neue\@b\x{fc}cher.example" ]);

foreach my $way (@ways)
{
	my @of_way = $receiver->requests("/verify/$way");

	is_deeply([ map { $_->{headers}{'x-fluxbase-event'} } @of_way ],
		[ 'INSERT', 'UPDATE', 'DELETE' ], "$way: changes of a row arrive in order");
	foreach my $request (@of_way)
	{
		my $headers = $request->{headers};
		my $data = $request->{data};
		my ($email, $old_email) = @{ $expected{ $data->{event} } };
		my $about = "$way, $data->{event}";

		is($request->{method}, 'POST', "$about: method");
		is($headers->{'content-type'}, 'application/json', "$about: Content-Type");
		is($headers->{'user-agent'}, 'fluxhooks/1.0', "$about: User-Agent");
		is($headers->{'x-tenant'}, 'acme', "$about: the webhook's own header");
		like($headers->{'x-fluxbase-signature'}, qr/^[0-9a-f]{64}$/, "$about: X-Fluxbase-Signature");
		is($headers->{'x-fluxbase-event'}, $data->{event}, "$about: X-Fluxbase-Event");
		like($headers->{'x-fluxbase-delivery'}, $uuid_v7, "$about: X-Fluxbase-Delivery is a UUIDv7");
		is($headers->{'webhook-id'}, $headers->{'x-fluxbase-delivery'}, "$about: webhook-id");
		like($headers->{'webhook-timestamp'}, qr/^\d{10}$/, "$about: webhook-timestamp");
		cmp_ok(abs($headers->{'webhook-timestamp'} - $request->{time} / 1000), '<=', 5,
			"$about: webhook-timestamp is the time of the attempt");
		like($headers->{'webhook-signature'}, qr{^v1,[A-Za-z0-9+/]{43}=$}, "$about: webhook-signature");

		is($data->{record}{email}, $email, "$about: record");
		is($data->{old_record} && $data->{old_record}{email}, $old_email, "$about: old_record");
		is($data->{webhook_id}, $webhook{$way}, "$about: webhook_id");
		like($data->{timestamp}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, "$about: timestamp");
	}
}

# the body of the page's example, byte for byte but for its own time and id
my ($insert) = $receiver->requests('/verify/raw');
my $body = $insert->{body};
$body =~ s/"timestamp":"[^"]*"/"timestamp":"T"/;
is( $body,
	'{"event":"INSERT","table":"users","schema":"public",'
	  . '"record":{"id":"550e8400-e29b-41d4-a716-446655440000","email":"user@example.com","created_at":"2025-11-02T10:30:00Z"},'
	  . '"old_record":null,"timestamp":"T","webhook_id":"' . $webhook{raw} . '"}',
	'the body is the canonical JSON of the contract');

# header names as the contract spells them; a client may compare them so
my %spelled = map { $_ => 1 } @{ $insert->{header_names} };
ok($spelled{$_}, "header $_ is spelled so")
  foreach qw(Content-Type User-Agent X-Fluxbase-Signature X-Fluxbase-Event X-Fluxbase-Delivery
  webhook-id webhook-timestamp webhook-signature X-Tenant);
ok(!exists $insert->{headers}{'transfer-encoding'}, 'the body has a Content-Length');
ok(!exists $insert->{headers}{expect}, 'no Expect: 100-continue');

# what the database says of them
my $deliveries = query($node, 'SELECT * FROM fluxhooks.deliveries');
my %delivery = map { $_->{id} => $_ } @$deliveries;
is(scalar keys %delivery, 3 * @ways, 'one delivery for each request');
foreach my $request (@requests)
{
	my $id = $request->{headers}{'x-fluxbase-delivery'};
	my $found = $delivery{$id};
	my $about = "delivery $request->{path}, $request->{data}{event}";

	is($found->{webhook_id}, $request->{data}{webhook_id}, "$about: webhook_id");
	is($found->{event}, $request->{data}{event}, "$about: event");
	is("$found->{table_schema}.$found->{table_name}", 'public.users', "$about: table");
	is_deeply($found->{record_key}, { id => '550e8400-e29b-41d4-a716-446655440000' }, "$about: record_key");
	is($found->{attempts}, 1, "$about: attempts");
	is($found->{status_code}, 200, "$about: status_code");
	cmp_ok($found->{response_time_ms}, '>', 0, "$about: response_time_ms");
	is($found->{error}, undef, "$about: no error");
	is($found->{next_attempt_at}, undef, "$about: no next attempt");
	is($node->safe_psql('postgres', "SELECT fluxhooks.delivery_payload('$id')"),
		$request->{body}, "$about: delivery_payload is what arrived");
}
is_deeply(
	[ sort { $a cmp $b } map { $_->{response_body} } @$deliveries ],
	[ ('OK') x 12, ('{"received":true}') x 3 ],
	'response bodies are recorded');
is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM fluxhooks.attempts AS a JOIN fluxhooks.deliveries AS d
  ON d.id = a.delivery_id AND d.webhook_id = a.webhook_id
  AND d.status_code = a.status_code AND d.last_attempt_at = a.started_at
  AND a.attempt = 1 AND a.error IS NULL AND a.error_code IS NULL
  AND a.remote_address = '127.0.0.1' AND a.url LIKE 'http://127.0.0.1:%/verify/%'
SQL
	3 * @ways, 'attempts agree with deliveries');
is( $node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.list_deliveries('$webhook{express}')"),
	3, 'list_deliveries lists those of one webhook');

# one event, several webhooks: an id of its own for each delivery
my %ids = map { $_->{headers}{'x-fluxbase-delivery'} => 1 } @requests;
is(scalar keys %ids, 3 * @ways, 'each delivery has an id of its own');

# without a secret there is no signature
my $unsigned = create_webhook($node,
	{ name => 'unsigned', url => $receiver->url('/ok'), events => [ { table => 'users', operations => ['INSERT'] } ] });
$node->safe_psql('postgres', "INSERT INTO users VALUES (gen_random_uuid(), 'a', now())");
my ($plain) = $receiver->wait_for_requests(1, '/ok');
ok(!exists $plain->{headers}{'x-fluxbase-signature'}, 'unsigned: no X-Fluxbase-Signature');
ok(!exists $plain->{headers}{'webhook-signature'}, 'unsigned: no webhook-signature');
like($plain->{headers}{'webhook-id'}, $uuid_v7, 'unsigned: webhook-id all the same');

# a key that Standard Webhooks decodes
my $whsec = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
create_webhook($node,
	{   name => 'whsec',
		url => $receiver->url("/verify/standard?secret=$whsec"),
		secret => $whsec,
		events => [ { table => 'users', operations => ['DELETE'] } ] });
$node->safe_psql('postgres', 'DELETE FROM users');
my ($decoded) = $receiver->wait_for_requests(1, '/verify/standard?');
ok($decoded->{verified}, 'a whsec_ secret verifies with the standardwebhooks library');

# what rolled back is never sent; connections are kept
my $before = () = $receiver->requests('/ok');
$node->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO users VALUES (gen_random_uuid(), 'rolled back', now());
ROLLBACK;
INSERT INTO users VALUES (gen_random_uuid(), 'committed', now());
SQL
my @after = $receiver->wait_for_requests($before + 1, '/ok');
is($after[-1]{data}{record}{email}, 'committed', 'what rolled back is not sent');
is(scalar @after, $before + 1, 'and nothing else is');

my %connections = map { $_->{connection} => 1 } $receiver->requests;
my $total = () = $receiver->requests;
cmp_ok(scalar keys %connections, '<', $total, 'connections are used again');

done_testing();
