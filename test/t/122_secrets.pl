# Secrets: made and rotated so that no receiver breaks, and found nowhere but in
# a table that only superusers read - no view, statistics, log, error, nor the
# text of a statement of ours, with everything on that PostgreSQL can log.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_base64 hmac_sha256_hex);
use FluxhooksTest;
use MIME::Base64 qw(decode_base64 encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('secrets');
my $receiver = start_receiver();

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id integer PRIMARY KEY, note text);
CREATE TABLE quiet (id integer PRIMARY KEY);
SQL

sub escaped
{
	my ($text) = @_;

	$text =~ s/([^\w.~-])/sprintf '%%%02X', ord $1/ge;
	return $text;
}

sub webhook
{
	my ($name, $path, %more) = @_;

	return create_webhook($node,
		{ name => $name, url => $receiver->url($path), events => [ { table => 'item' } ],
			max_retries => 0, %more });
}

sub rotate
{
	my ($id, $more) = @_;

	return $node->safe_psql('postgres', "SELECT fluxhooks.rotate_secret('$id'" . ($more // '') . ')');
}

sub column
{
	my ($id, $column) = @_;

	return $node->safe_psql('postgres', "SELECT $column FROM fluxhooks.webhooks WHERE id = '$id'");
}

my $row = 0;

# Insert a row, and the request for it that came to a path.
sub request_for
{
	my ($path) = @_;
	my $id = ++$row;

	$node->safe_psql('postgres', "INSERT INTO item VALUES ($id)");
	return wait_until(
		sub { (grep { $_->{data}{record}{id} == $id } $receiver->requests($path))[0] },
		"row $id at $path");
}

sub standard_signature
{
	my ($request, $secret) = @_;
	my $key = $secret =~ /^whsec_(.*)/ ? decode_base64($1) : $secret;
	my $text = join '.', @{ $request->{headers} }{qw(webhook-id webhook-timestamp)}, $request->{body};
	my $digest = hmac_sha256_base64($text, $key);

	return 'v1,' . $digest . '=' x (-length($digest) % 4);
}

sub is_signed
{
	my ($request, $secret, $old, $name) = @_;
	my $headers = $request->{headers};

	is($headers->{'x-fluxbase-signature'}, hmac_sha256_hex($request->{body}, $secret), "$name: signature");
	is($headers->{'x-fluxbase-signature-previous'},
		defined $old ? hmac_sha256_hex($request->{body}, $old) : undef, "$name: signature with the former secret");
	is($headers->{'webhook-signature'},
		join(' ', map { standard_signature($request, $_) } grep { defined } $secret, $old),
		"$name: webhook-signature");
	return;
}

# ------------------------------------------------------------------ generated

my @made = split /\n/, $node->safe_psql('postgres', 'SELECT fluxhooks.generate_secret() FROM generate_series(1, 200)');
is(scalar(grep { m{^whsec_[A-Za-z0-9+/]{43}=$} } @made), 200, 'generated secrets are whsec_ and base64');
is(length decode_base64(substr $made[0], 6), 32, '32 bytes');
my %made = map { $_ => 1 } @made;
is(scalar keys %made, 200, 'each another one');
my @counts = (0) x 256;
$counts[$_]++ foreach map { unpack 'C*', decode_base64(substr $_, 6) } @made;
cmp_ok((sort { $b <=> $a } @counts)[0], '<', 80, 'of random bytes, each value as good as any other');

# ------------------------------------------------------------------- rotation

my $old = 'the old "secret" – ä';
utf8::encode($old);
my $plain = webhook('plain', '/ok/plain', secret => do { my $text = $old; utf8::decode($text); $text });
is_signed(request_for('/ok/plain'), $old, undef, 'before');
is(column($plain, 'old_secret_expires_at IS NULL'), 't', 'nothing expires before the first rotation');

my $new = rotate($plain);
like($new, qr{^whsec_[A-Za-z0-9+/]{43}=$}, 'the new secret is returned');
is_signed(request_for('/ok/plain'), $new, $old, 'during the overlap');
is(column($plain, "old_secret_expires_at BETWEEN now() + interval '23 hours 50 minutes' AND now() + interval '24 hours'"),
	't', 'an overlap lasts a day');
is($node->safe_psql('postgres', "SELECT headers ? 'x' FROM fluxhooks.webhooks WHERE id = '$plain'"), 'f', 'headers unchanged');

# test_webhook signs alike
$node->safe_psql('postgres', "SELECT fluxhooks.test_webhook('$plain')");
is_signed((grep { $_->{data}{event} eq 'TEST' } $receiver->requests('/ok/plain'))[0], $new, $old, 'test_webhook');

# every way that users verify, on either side of the change
my $first = $node->safe_psql('postgres', 'SELECT fluxhooks.generate_secret()');
my $second = $node->safe_psql('postgres', 'SELECT fluxhooks.generate_secret()');
my %verifier = (
	'standard, old secret' => [ 'standard', $first ],
	'standard, new secret' => [ 'standard', $second ],
	'raw, new secret' => [ 'raw', $second ],
	'express, new secret' => [ 'express', $second ],
	'previous, old secret' => [ 'previous', $first ]);
my %verified_by;
foreach my $name (sort keys %verifier)
{
	my ($way, $secret) = @{ $verifier{$name} };

	$verified_by{$name} = webhook($name, "/verify/$way?secret=" . escaped($secret), secret => $first);
	is(rotate($verified_by{$name}, ", '$second'"), $second, "$name: the given secret is returned");
}
my $stranger = webhook('stranger', '/verify/standard?secret=' . escaped($made[0]), secret => $first);
rotate($stranger, ", '$second'");
$node->safe_psql('postgres', 'INSERT INTO item VALUES (1000)');
foreach my $name (sort keys %verified_by)
{
	wait_for_deliveries($node, "webhook_id = '$verified_by{$name}' AND record_key->>'id' = '1000' AND status_code = 200", 1);
	pass("$name: verified");
}
wait_for_deliveries($node, "webhook_id = '$stranger' AND record_key->>'id' = '1000' AND status_code = 401", 1);
pass('another secret: refused');

# the overlap ends by itself
my $short = webhook('short', '/ok/short', secret => 'former');
my $short_new = rotate($short, ", NULL, interval '4 seconds'");
is_signed(request_for('/ok/short'), $short_new, 'former', 'a short overlap');
wait_until(sub { column($short, 'old_secret_expires_at IS NULL') eq 't' }, 'the overlap to end');
is_signed(request_for('/ok/short'), $short_new, undef, 'after the overlap');

# none, twice, the same again, by update_webhook
my $several = webhook('several', '/ok/several', secret => 'one');
rotate($several, ", 'two', interval '0'");
is_signed(request_for('/ok/several'), 'two', undef, 'no overlap');
is(column($several, 'old_secret_expires_at IS NULL'), 't', 'no overlap: nothing to expire');
rotate($several, ", 'three'");
my ($status, $out, $err) = $node->psql('postgres', "SELECT fluxhooks.rotate_secret('$several', 'four')");
like($err, qr/NOTICE:  an overlap of webhook "several" ends early/, 'rotated again: says whom that cuts off');
is_signed(request_for('/ok/several'), 'four', 'three', 'rotated again');
my $until = column($several, 'old_secret_expires_at');
is(rotate($several, ", 'four', interval '3 days'"), 'four', 'the present secret again');
is_signed(request_for('/ok/several'), 'four', 'three', 'the present secret again: its predecessor stays');
is(column($several, "old_secret_expires_at > '$until'"), 't', '... for as long as is said now');
rotate($several, ", 'four', interval '0'");
is_signed(request_for('/ok/several'), 'four', undef, '... or no longer');
rotate($several, ", 'five'");
$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$several', '{\"description\": \"x\", \"secret\": \"five\"}')");
is_signed(request_for('/ok/several'), 'five', 'four', 'another change leaves the overlap alone');
$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$several', '{\"secret\": \"six\"}')");
is_signed(request_for('/ok/several'), 'six', undef, 'update_webhook sets the only secret');
is(column($several, 'old_secret_expires_at IS NULL'), 't', 'update_webhook ends the overlap');
rotate($several);
$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$several', '{\"secret\": null}')");
my $unsigned = request_for('/ok/several');
is(scalar(grep { /signature/i } keys %{ $unsigned->{headers} }), 0, 'unsigned: no signature, nor the former one');
is(rotate($several, ", 'seven'"), 'seven', 'an unsigned webhook is given a secret');
is_signed(request_for('/ok/several'), 'seven', undef, 'an unsigned webhook has no former one');
is(column($several, 'signed'), 't', 'signed from then on');

# in a transaction that rolls back, nothing has happened
$node->safe_psql('postgres', "BEGIN; SELECT fluxhooks.rotate_secret('$several', 'eight'); ROLLBACK");
is_signed(request_for('/ok/several'), 'seven', undef, 'rolled back');

my %refused = (
	"'$several', ''" => '22023',
	"'$several', repeat('x', 1025)" => '54000',
	"'$several', 'x', interval '-1 second'" => '22023',
	"'$several', 'x', interval '367 days'" => '22023',
	"'$several', 'x', interval '178000000 years'" => '22023',
	"'$several', 'x', NULL" => '22023',
	"NULL, 'x'" => '22023',
	'gen_random_uuid()' => '42704');
is(sqlstate($node, "SELECT fluxhooks.rotate_secret($_)"), $refused{$_}, "rotate_secret($_)") foreach sort keys %refused;

# a dump has both, and a restore goes on with both
rotate($several, ", 'nine'");
$until = column($several, 'old_secret_expires_at');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'restored');
is($node->safe_psql('restored', "SELECT secret, old_secret, old_secret_expires_at FROM fluxhooks_internal.webhook WHERE id = '$several'"),
	"nine|seven|$until", 'both secrets are restored');
$node->safe_psql('postgres', 'DROP DATABASE restored');

# an old secret is not kept after it has expired, nor any after deletion
$node->append_conf('postgresql.conf', "fluxhooks.retention = '8s'");
$node->reload;
rotate($several, ", 'ten', interval '1 second'");
wait_until(sub { $node->safe_psql('postgres',
	"SELECT old_secret IS NULL AND old_secret_expires_at IS NULL FROM fluxhooks_internal.webhook WHERE id = '$several'") eq 't' },
	'the old secret to be forgotten');
pass('the old secret is forgotten');
rotate($several);
$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$several', '{\"headers\": {\"Authorization\": \"x\"}}')");
is($node->safe_psql('postgres', <<"SQL"), 't', 'a deleted webhook keeps no secret');
BEGIN;
DO \$\$BEGIN PERFORM fluxhooks.delete_webhook('$several'); END\$\$;
SELECT secret IS NULL AND old_secret IS NULL AND headers = '{}' FROM fluxhooks_internal.webhook WHERE id = '$several';
COMMIT;
SQL
$node->stop;

# ----------------------------------------------------- who reads the tables

my $shared = new_node('shared', conf => <<'CONF');
shared_preload_libraries = 'fluxhooks,pg_stat_statements,auto_explain'
CONF

# PostgreSQL 13 has no such roles yet, but grants
my ($reads_all, $writes_all) = qw(pg_read_all_data pg_write_all_data);
if (server_major() < 14)
{
	($reads_all, $writes_all) = qw(reads_all writes_all);
	$shared->safe_psql('postgres', "CREATE ROLE reads_all; CREATE ROLE writes_all");
	foreach my $schema (qw(public fluxhooks fluxhooks_internal))
	{
		$shared->safe_psql('postgres', <<"SQL");
GRANT USAGE ON SCHEMA $schema TO reads_all, writes_all;
GRANT SELECT ON ALL TABLES IN SCHEMA $schema TO reads_all;
ALTER DEFAULT PRIVILEGES IN SCHEMA $schema GRANT SELECT ON TABLES TO reads_all;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA $schema TO reads_all;
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA $schema TO writes_all;
SQL
	}
}
$shared->safe_psql('postgres', <<"SQL");
CREATE EXTENSION pg_stat_statements;
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN IN ROLE $reads_all, $writes_all, pg_monitor, pg_signal_backend;
CREATE TABLE item (id integer PRIMARY KEY, marker uuid DEFAULT gen_random_uuid());
ALTER TABLE item OWNER TO app;
GRANT USAGE ON SCHEMA fluxhooks TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA fluxhooks TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO app;
SQL

sub as
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $shared->psql('postgres', $sql, extra_params => [ '-U', $role ], on_error_stop => 0);

	return ($out, $err);
}

# What a role gets to see of a statement with each of these relations.
sub seen
{
	my ($role, $format, @relations) = @_;

	return join "\n", as($role, join '', map { sprintf "$format;\n", $_ } @relations);
}

my $created = $shared->safe_psql('postgres', <<"SQL");
SET ROLE app;
SELECT fluxhooks.create_webhook(jsonb_build_object('name', 'app', 'url', '${\ $receiver->url('/ok/app') }', 'max_retries', 0,
  'headers', '{"X-Token": "header-marker-7391"}'::jsonb, 'events', fluxhooks.event('item')));
SELECT fluxhooks.rotate_secret(fluxhooks.webhook_id('app'), 'secret-marker-5521');
INSERT INTO item SELECT n FROM generate_series(1, 20) AS n;
RESET ROLE;
SELECT fluxhooks.create_webhook('w' || n, 'https://example.com/', fluxhooks.event('item'),
  secret => 'secret-marker-5521', headers => '{"X-Token": "header-marker-7391"}', enabled => false)
FROM generate_series(1, 30) AS n;
ANALYZE;
SQL
wait_for_deliveries($shared, "status = 'success'", 20);

my @tables = split /\n/, $shared->safe_psql('postgres', <<'SQL');
SELECT c.oid::regclass FROM pg_class AS c
WHERE c.relnamespace = 'fluxhooks_internal'::regnamespace AND c.relkind = 'r' ORDER BY 1
SQL
my @views = split /\n/, $shared->safe_psql('postgres', <<'SQL');
SELECT c.oid::regclass FROM pg_class AS c
WHERE c.relnamespace = 'fluxhooks_internal'::regnamespace AND c.relkind NOT IN ('r', 'i', 'S', 'c') ORDER BY 1
SQL
cmp_ok(scalar @tables, '>', 30, 'tables to look at');
foreach my $role (qw(app auditor))
{
	my $seen = seen($role, 'SELECT * FROM %s', @tables);
	my $copied = seen($role, 'COPY %s TO STDOUT', @tables);

	unlike($seen, qr/marker|^[^p].*\|/m, "$role reads no row of any table");
	unlike($copied, qr/marker|\t/, "$role copies no row of any table");
}
my $viewed = seen('app', 'SELECT * FROM %s', @views);
unlike($viewed, qr/marker|^[^p].*\|/m, 'app reads no row of any view of ours inside');
$viewed = seen('auditor', 'SELECT * FROM %s', @views);
unlike($viewed, qr/marker/m, 'no view inside has a secret, whoever reads it');

# who may use every schema can call what views run, and learns nothing by it
$shared->safe_psql('postgres', "CREATE ROLE scribe LOGIN IN ROLE $writes_all");
foreach my $place (split /\n/, $shared->safe_psql('postgres',
	q{SELECT concat_ws(', ', quote_literal(d.xid), d.cid, d.seq) FROM fluxhooks_internal.delivery AS d LIMIT 3}))
{
	is((as($_, "SELECT count(e.id) FROM fluxhooks_internal.event_at($place) AS e"))[0], '0', "$_ reads no event by its place") foreach qw(auditor scribe);
	is((as('postgres', "SELECT count(e.id) FROM fluxhooks_internal.event_at($place) AS e"))[0], '1', 'though there is one');
}
foreach my $function (qw(backlog counted))
{
	is((as($_, "SELECT count(*) FROM fluxhooks_internal.$function()"))[0], '0', "$_ learns nothing by $function") foreach qw(auditor scribe);
}
is((as('scribe', 'SELECT in_flight IS NULL AND last_error IS NULL FROM fluxhooks_internal.worker_status()'))[0], 't', 'nor by worker_status');
foreach my $chunk ('ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)', "ROW('1', 1, now(), 1, 5, 'I', gen_random_uuid(), 'a', 'b', '{NULL,NULL}', '\\x00')",
	"ROW('1', 1, now(), 1, 5, 'I', gen_random_uuid(), 'a', 'b', '{}', '\\x')", "ROW('1', 1, now(), 1, 2147483647, 'I', gen_random_uuid(), 'a', 'b', '{}', '\\xff00000000ffffffffffffffff')",
	"ROW('1', 1, now(), 1, 1, 'X', gen_random_uuid(), repeat('a', 100000), '', '{}', decode(repeat('ff', 100), 'hex'))")
{
	my ($out, $err) = as('scribe', "SELECT * FROM fluxhooks_internal.chunk_events($chunk\::fluxhooks_internal.event_chunk)");

	like($err, qr/ERROR:  (a chunk of events has no nulls|an event in the log cannot be read)/, 'a chunk that is none is an error');
}
like((as('scribe', "SELECT fluxhooks_internal.response_time('{{1,2},{3,4}}', f) FROM unnest('{0.5,-1,NaN,Infinity,1e308}'::float8[]) AS f; SELECT fluxhooks_internal.response_time('{}', 0.5), 'alive'"))[0],
	qr/alive/, 'numbers that make no sense');
unlike(seen('auditor', 'DELETE FROM %s RETURNING *', @tables), qr/marker/, 'a member of pg_write_all_data deletes no row');
is($shared->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.webhook'), '31', 'all webhooks are still there');
is($shared->safe_psql('postgres', 'SELECT count(*) > 19 FROM fluxhooks_internal.event'), 't', 'all events are still there');
(undef, $err) = as('auditor', "UPDATE fluxhooks_internal.webhook SET url = 'https://evil.example/'");
is($shared->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.webhooks WHERE url LIKE '%evil%'"), '0', '... nor changes any');
(undef, $err) = as('auditor', "INSERT INTO fluxhooks_internal.pause (copy, since) VALUES (false, now())");
like($err, qr/row-level security/, '... nor adds any');
is(join('', as($_, "SELECT count(*) FROM pg_stats WHERE schemaname = 'fluxhooks_internal'")), '0', "statistics tell $_ nothing")
  foreach qw(app auditor);
cmp_ok($shared->safe_psql('postgres', "SELECT count(*) FROM pg_stats WHERE tablename = 'webhook' AND attname = 'secret'"), '>', 0, 'though there are some');
command_fails_like(
	[ 'pg_dump', '-U', 'auditor', '-d', $shared->connstr('postgres') ],
	qr/row-level security policy/, 'a dump without the right to these rows fails and says why');
foreach my $view (qw(webhooks deliveries attempts status webhook_stats))
{
	my ($out, $err) = as('app', "SELECT to_jsonb(v) FROM fluxhooks.$view AS v");

	like($out, qr/^\{/, "the owner reads $view");
	unlike($out . $err, qr/marker-/, "no secret in $view, for its owner");
	unlike($shared->safe_psql('postgres', "SELECT to_jsonb(v) FROM fluxhooks.$view AS v"), qr/marker-/, "no secret in $view, for a superuser");
}

# ------------------------------------- everything on that PostgreSQL can log

my $quiet = -s $shared->logfile;
$shared->append_conf('postgresql.conf', <<'CONF');
log_min_messages = debug5
log_statement = all
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_analyze = on
auto_explain.log_verbose = on
pg_stat_statements.track = all
pg_stat_statements.save = off
CONF
$shared->restart;
$shared->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');

# as the README says: one that is made here, and one from a file
my $generated = (as('app', "SELECT fluxhooks.rotate_secret(fluxhooks.webhook_id('app'))"))[0];
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/secret.txt", "file-marker-8182\n");
append_to_file("$dir/bound.sql", '');
($out, $err) = as('app', <<"SQL");
BEGIN;
CREATE TEMPORARY TABLE new (secret text) ON COMMIT DROP;
\\copy new FROM '$dir/secret.txt'
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app'), to_jsonb(new)) FROM new;
COMMIT;
SQL
unlike($err, qr/ERROR/, 'a secret from a file');
my $made_here = (as('app', <<"SQL"))[0];
WITH new AS MATERIALIZED (SELECT fluxhooks.generate_secret() AS secret)
SELECT secret FROM (
  SELECT secret, fluxhooks.create_webhook('made', '${\ $receiver->url('/status/500') }', fluxhooks.event('item'),
    secret => secret, max_retries => 1, retry_backoff_seconds => 1, options => '{"circuit_breaker": false}') AS id FROM new) AS made
WHERE id IS NOT NULL
SQL
like($made_here, qr/^whsec_/, 'a secret made with its webhook');
# what changes it, or fails, with an old and a new secret at hand
as('app', $_) foreach (
	"SELECT fluxhooks.rotate_secret(fluxhooks.webhook_id('app'))",
	"SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app'), '{\"description\": \"changed\"}')",
	"SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app'), '{\"name\": \"made\"}')",
	"SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app'), '{\"events\": [{\"table\": \"nowhere\"}]}')",
	"SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app'), '{\"events\": [{\"table\": \"item\", \"operations\": [\"INSERT\"]}]}')",
	"SELECT fluxhooks.put_webhook('{\"name\": \"app\", \"enabled\": true}')",
	"SELECT fluxhooks.test_webhook(fluxhooks.webhook_id('app'))",
	'INSERT INTO item SELECT n FROM generate_series(100, 120) AS n');
wait_for_deliveries($shared, "status = 'failed' AND attempts = 2", 21);
as('app', "SELECT fluxhooks.redeliver(id) FROM fluxhooks.deliveries WHERE status = 'failed'");
as('app', "SELECT count(fluxhooks.delivery_payload(id)) FROM fluxhooks.deliveries");
wait_for_deliveries($shared, "status = 'failed' AND attempts = 4", 21);

# what the owner is told, having asked for all there is to tell
my ($told_out, $told) = as('app', <<'SQL');
SET client_min_messages = debug5;
SET debug_print_parse = on;
SET debug_print_rewritten = on;
SET debug_print_plan = on;
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app'), '{"description": "again"}');
SELECT fluxhooks.put_webhook('{"name": "app", "timeout_seconds": 7}');
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app'), '{"max_retries": 0}');
SELECT count(*) FROM fluxhooks.webhooks;
SQL
cmp_ok(length $told, '>', 10000, 'plans are shown to who asks for them');

my @secrets = split /\n/, $shared->safe_psql('postgres',
	"SELECT s FROM fluxhooks_internal.webhook, unnest(ARRAY[secret, old_secret]) AS s WHERE s IS NOT NULL AND name IN ('app', 'made')");
push @secrets, $generated, 'file-marker-8182', 'header-marker-7391';
cmp_ok(scalar @secrets, '>', 5, 'secrets to look for');
my @payload = split /\n/, $shared->safe_psql('postgres', 'SELECT marker FROM item WHERE id >= 100');
my $statements = $shared->safe_psql('postgres', 'SELECT query FROM pg_stat_statements');
my $activity = $shared->safe_psql('postgres', "SELECT query, application_name FROM pg_stat_activity WHERE backend_type LIKE 'fluxhooks%'");
$shared->stop;

my $log = substr slurp_file($shared->logfile), $quiet;
cmp_ok(length $log, '>', 1_000_000, 'PostgreSQL logged what it could');
like($log, qr/Query Text: .*fluxhooks_internal/, '... of our own statements too');
like($log, qr/fluxhooks batch|FROM fluxhooks_internal\.webhook AS w/, '... and of the worker\'s');

# as text, or as the bytes that a constant in a plan is printed as
sub pattern
{
	my ($text) = @_;
	my $bytes = join ' ', map { $_ > 127 ? $_ - 256 : $_ } unpack 'C*', $text;

	return qr/\Q$text\E|\Q$bytes\E/;
}

foreach my $secret (@secrets)
{
	my $found = pattern($secret);
	my $name = substr $secret, 0, 10;

	ok($log !~ $found, "$name...: not in the log");
	ok($statements !~ $found, "$name...: not in pg_stat_statements");
	ok($told !~ $found, "$name...: not in what its owner is told");
	ok($activity !~ $found, "$name...: not in pg_stat_activity");
}
is(scalar(grep { my $found = pattern($_); $log =~ $found } @payload), 0, 'no payload in the log');
like($statements, qr/fluxhooks_internal\.webhook/, 'pg_stat_statements has statements of ours');

done_testing();
