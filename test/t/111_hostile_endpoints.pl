# Endpoints that mean harm: whatever they send, the attempt ends in time, the
# worker lives, stays small and serves others, and nothing of it is obeyed,
# remembered, unpacked or logged.
use strict;
use warnings;

use Encode ();
use FluxhooksTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $authority = make_ca();
my $ca_file = PostgreSQL::Test::Utils::tempdir() . '/trusted.crt';
PostgreSQL::Test::Utils::append_to_file($ca_file, PostgreSQL::Test::Utils::slurp_file($authority->ca_file));

my $node = new_node('hostile', conf => "fluxhooks.ca_file = '$ca_file'");
my $receiver = start_receiver();

$node->safe_psql('postgres', 'CREATE TABLE item (id integer PRIMARY KEY); CREATE TABLE flood (id integer PRIMARY KEY)');

my %webhook;

sub webhook
{
	my ($name, $url, %more) = @_;

	$webhook{$name} = create_webhook($node,
		{   name => $name,
			url => $url,
			# those that flood may cost others their connections
			events => [ { table => $name =~ /^h2 / ? 'flood' : 'item', operations => ['INSERT'] } ],
			max_retries => 0,
			timeout_seconds => 60,
			%more });
	return;
}

sub attempts
{
	my ($name) = @_;

	return @{ query($node, <<"SQL") };
SELECT *, extract(epoch FROM started_at - lag(started_at) OVER (ORDER BY attempt)) AS gap
FROM fluxhooks.attempts WHERE webhook_id = '$webhook{$name}' ORDER BY attempt
SQL
}

sub sample
{
	my ($name) = @_;
	my $id = $node->safe_psql('postgres', "SELECT id FROM fluxhooks.test_webhook('$webhook{$name}')");

	return query($node, "SELECT * FROM fluxhooks.attempts WHERE delivery_id = '$id'")->[0];
}

sub worker_pid
{
	return $node->safe_psql('postgres', 'SELECT worker_pid FROM fluxhooks.status');
}

# The most memory that the worker ever had, in kB.
sub worker_peak
{
	return PostgreSQL::Test::Utils::slurp_file('/proc/' . worker_pid() . '/status') =~ /^VmHWM:\s+(\d+)/m ? $1 : die;
}

my %certificate = $authority->issue('127.0.0.1');
my %tls = (
	'tls 1.1' => start_secure(%certificate, mode => 'tls1.1'),
	'tls 1.2' => start_secure(%certificate, mode => 'tls1.2'),
	'not yet valid' => start_receiver($authority->issue('127.0.0.1', future => 1)),
	'for clients' => start_receiver($authority->issue('127.0.0.1', usage => 'clientAuth')),
	'name in part' => start_receiver($authority->issue('27.0.0.1')),
	map { ("h2 $_" => start_secure(%certificate, mode => $_)) }
	  qw(garbage goaway reset huge-frame wrong-stream bad-hpack header-flood settings-flood ping-flood answer-flood endless-body push));

# path or server => [status_code, error_code, what else]; regular expressions where libcurls differ
my $broken = qr/^(protocol|reset)$/;
my %expected = (
	'/raw/empty' => [ undef, 'reset' ],
	'/raw/no-status-line' => [ undef, 'protocol' ],
	'/raw/status-huge' => [ qr/^$|^999$/, qr/^(protocol|status)$/ ],
	'/raw/status-negative' => [ undef, 'protocol' ],
	'/raw/status-zero' => [ undef, 'protocol' ],
	'/raw/status-word' => [ undef, 'protocol' ],
	'/raw/version-9' => [ qr/^$|^200$/, qr/^$|^protocol$/ ],
	'/raw/other-protocol' => [ undef, 'protocol' ],
	'/raw/switching' => [ qr/^$|^101$/, qr/^(protocol|reset|status)$/ ],
	'/raw/length-negative' => [ undef, 'protocol' ],
	'/raw/length-huge' => [ qr/^$|^200$/, qr/^$|^protocol$/ ],
	'/raw/length-int64' => [ undef, 'reset' ],
	'/raw/length-word' => [ undef, 'protocol' ],
	'/raw/length-twice' => [ undef, $broken ],
	'/raw/chunk-huge' => [ undef, $broken ],
	'/raw/chunk-huger' => [ undef, $broken ],
	'/raw/chunk-negative' => [ undef, $broken ],
	'/raw/chunk-cut' => [ undef, $broken ],
	'/raw/header-nul' => [ qr/^$|^200$/, qr/^$|^protocol$/ ],
	'/raw/header-none' => [ qr/^$|^200$/, qr/^$|^protocol$/ ],
	'/raw/cut-in-header' => [ qr/^$|^200$/, qr/^$|^(protocol|reset)$/ ],
	'/raw/gzip-transfer' => [ undef, 'protocol' ],
	'/raw/gzip-five-times' => [ undef, 'protocol' ],
	'/raw/gzip-own-line' => [ undef, 'protocol' ],
	'/raw/deflate-transfer' => [ undef, 'protocol' ],
	'/raw/two-answers' => [ 200, undef ],
	'/endless/headers' => [ undef, 'protocol' ],
	'/endless/short-headers' => [ undef, 'protocol' ],
	'/endless/one-header' => [ undef, 'protocol' ],
	'/endless/interim' => [ undef, 'protocol' ],
	'/endless/status-line' => [ undef, 'protocol' ],
	'/endless/no-status-line' => [ undef, 'protocol' ],
	'/endless/body' => [ 200, undef ],
	'/endless/chunks' => [ 500, 'status' ],
	'/endless/trailers' => [ undef, 'protocol' ],
	'/trickle/status' => [ undef, 'timeout', timeout_seconds => 1 ],
	'/trickle/headers' => [ undef, 'timeout', timeout_seconds => 1 ],
	'/trickle/body' => [ undef, 'timeout', timeout_seconds => 1 ],
	'/trickle/chunks' => [ undef, 'timeout', timeout_seconds => 1 ],
	'/trickle/chunk-extension' => [ undef, 'timeout', timeout_seconds => 1 ],
	'/redirect-out' => [ 301, 'status' ],
	'/all-bytes' => [ 200, undef ],
	'/text' => [ 200, undef ],
	'/gzip' => [ 200, undef ],
	'tls 1.1' => [ undef, 'tls' ],
	'tls 1.2' => [ 200, undef ],
	'not yet valid' => [ undef, 'tls' ],
	'for clients' => [ undef, 'tls' ],
	'name in part' => [ undef, 'tls' ],
	'h2 settings-flood' => [ undef, qr/^(protocol|reset|timeout)$/, timeout_seconds => 2 ],
	'h2 ping-flood' => [ undef, qr/^(protocol|reset|timeout)$/, timeout_seconds => 2 ],
	'h2 answer-flood' => [ undef, qr/^(protocol|reset|timeout)$/, timeout_seconds => 5 ],
	'h2 push' => [ undef, $broken ],
	'h2 endless-body' => [ qr/^$|^200$/, qr/^$|^(protocol|reset)$/ ],
	map { ("h2 $_" => [ undef, $broken ]) } qw(garbage goaway reset huge-frame wrong-stream bad-hpack header-flood));

webhook('good', $receiver->url('/ok'));
foreach my $name (sort keys %expected)
{
	my (undef, undef, @more) = @{ $expected{$name} };

	webhook($name, $tls{$name} ? $tls{$name}->url('/') : $receiver->url($name), @more);
}
webhook('named', $receiver->url('/redirect-out?named', host => 'localhost'));
my $pid = worker_pid();
my $peak = worker_peak();

foreach my $table (qw(item flood))
{
	$node->safe_psql('postgres', "INSERT INTO $table VALUES (1)");
	wait_for_deliveries($node, "status = 'pending'", 0);
}

sub check
{
	my ($value, $wanted, $what) = @_;

	return ref $wanted ? like($value // '', $wanted, $what) : is($value, $wanted, $what);
}

foreach my $name (sort keys %expected)
{
	my ($status_code, $error_code) = @{ $expected{$name} };
	my @attempts = attempts($name);

	is(scalar @attempts, 1, "$name: one attempt");
	check($attempts[0]{status_code}, $status_code, "$name: status_code");
	check($attempts[0]{error_code}, $error_code, "$name: error_code")
	  or diag(explain($attempts[0]));
	unlike($attempts[0]{error} // '', qr/h0stile|[^ -~]/, "$name: nothing of the answer in the error");
}

# bodies
is((attempts('/all-bytes'))[0]{response_body},
	join('', map { chr } 1 .. 127) . "\x{fffd}" x 128, 'bytes that are no characters are made valid, NUL goes away');
is((attempts('/text'))[0]{response_body}, "e\x{e9}\x{20ac}\x{1f600}", 'characters stay');
like((attempts('/gzip'))[0]{response_body}, qr/^\x1f\x{fffd}\x08/, 'a compressed body is not unpacked');
is(length((attempts('/endless/body'))[0]{response_body}), 8192, 'of an endless one the beginning is kept');

# nothing is obeyed or remembered
$node->safe_psql('postgres', <<'SQL');
SELECT fluxhooks.update_webhook(id, '{"enabled": false}') FROM fluxhooks.webhooks
WHERE name NOT IN ('/redirect-out', 'named', 'good');
INSERT INTO item VALUES (2);
SQL
wait_for_deliveries($node, "status = 'pending'", 0);
foreach my $name ('/redirect-out', '/redirect-out?named')
{
	my @requests = grep { $_->{path} eq $name } $receiver->requests;

	is(scalar @requests, 2, "$name: two requests for two rows");
	is_deeply([ sort grep { !/^webhook-|^x-fluxbase/i } @{ $requests[1]{header_names} } ],
		[ sort grep { !/^webhook-|^x-fluxbase/i } @{ $requests[0]{header_names} } ],
		"$name: nothing is added to the second");
	is($requests[1]{method}, 'POST', "$name: by POST again");
	unlike(join(' ', @{ $requests[1]{header_names} }), qr/cookie|authorization|alt-used/i, "$name: no cookie, no credentials");
}
is(scalar(() = $receiver->requests('/ok')), 2, 'the good endpoint got what was its own, and nothing else');
is(scalar(grep { $_->{method} ne 'POST' } $receiver->requests), 0, 'nothing but POST');
is(scalar(() = $tls{$_}->requests), 0, "$_: nothing is sent") foreach 'tls 1.1', 'not yet valid', 'for clients', 'name in part';

# the worker
is(worker_pid(), $pid, 'the worker is the one it was');
# make check-memory: a sanitizer keeps what is freed for a while
cmp_ok(worker_peak() - $peak, '<', ($ENV{FLUXHOOKS_CHECK_MEMORY} ? 512 : 64) * 1024, 'and has not grown');
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/h0stile/, 'nothing of what endpoints said is in the log');
unlike($log, qr/WARNING|ERROR|FATAL|PANIC|terminated by signal/, 'nor any complaint');

# Retry-After that is nonsense does not count, one beyond an hour counts as an hour
$node->safe_psql('postgres', 'SELECT fluxhooks.delete_webhook(id) FROM fluxhooks.webhooks');
webhook("nonsense $_", $receiver->url("/nonsense/$_"), max_retries => 1, retry_backoff_seconds => 1) foreach 0 .. 17;
$node->safe_psql('postgres', 'INSERT INTO item VALUES (3)');
my $nonsense = join ', ', map { "'" . $webhook{"nonsense $_"} . "'" } 0 .. 14;
my $endless = join ', ', map { "'" . $webhook{"nonsense $_"} . "'" } 15 .. 17;
wait_for_deliveries($node, "status = 'success' AND webhook_id IN ($nonsense)", 15);
foreach my $n (0 .. 14)
{
	my @attempts = attempts("nonsense $n");

	is_deeply([ map { $_->{status_code} } @attempts ], [ 429, 200 ], "Retry-After, nonsense $n: tried again");
	cmp_ok($attempts[1]{gap}, '>=', 0.9, "Retry-After, nonsense $n: not at once");
}
wait_for_deliveries($node, "status = 'pending' AND attempts = 1 AND webhook_id IN ($endless)", 3);
is($node->safe_psql('postgres', <<"SQL"), 3, 'Retry-After beyond an hour: an hour');
SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id IN ($endless)
AND next_attempt_at - last_attempt_at BETWEEN interval '59 minutes' AND interval '61 minutes'
SQL

#
# Who is trusted is read anew
#
my $stranger = make_ca('somebody else');
my $https = start_receiver($stranger->issue('127.0.0.1'));
my %self = (key => "$ca_file.key", cert => "$ca_file.self");
PostgreSQL::Test::Utils::system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30',
	'-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', $self{key}, '-out', $self{cert});
my $self_signed = start_receiver(%self);

webhook('stranger', $https->url('/ok'), enabled => JSON::PP::false);
webhook('self-signed', $self_signed->url('/ok'), enabled => JSON::PP::false);
webhook('friend', start_receiver(%certificate)->url('/ok'), enabled => JSON::PP::false);

sub trust
{
	my ($pem, $name, $code) = @_;

	unlink $ca_file;
	PostgreSQL::Test::Utils::append_to_file($ca_file, $pem);
	$node->reload;
	wait_until(sub { (sample($name)->{status_code} // 0) == $code }, 'the file to be read anew');
	return;
}

is(sample('friend')->{status_code}, 200, 'an authority in the file is trusted');
is(sample('stranger')->{error_code}, 'tls', 'another is not');
is(sample('self-signed')->{error_code}, 'tls', 'nor is who signs for himself');
my ($ours, $theirs, $own) =
  map { PostgreSQL::Test::Utils::slurp_file($_) } $authority->ca_file, $stranger->ca_file, $self{cert};
trust($ours . $theirs, 'stranger', 200);
is(sample('friend')->{status_code}, 200, 'both are in the file: both are trusted');
trust($theirs . $own, 'self-signed', 200);
is(sample('friend')->{error_code}, 'tls', 'who is no longer in the file is trusted no more');
is(sample('stranger')->{status_code}, 200, 'the others are');
trust("no certificate\n", 'friend', 0);
is(sample($_)->{error_code}, 'tls', "$_: a file without a certificate trusts nobody") foreach qw(friend stranger self-signed);
is(scalar(() = $self_signed->requests), scalar(grep { $_->{data}{event} eq 'TEST' } $self_signed->requests),
	'nothing but samples went anywhere');

#
# Answers in databases of other encodings
#
foreach my $case ([ 'latin1', 'LATIN1', "e\x{e9}??" ], [ 'win1252', 'WIN1252', "e\x{e9}\x{20ac}?" ], [ 'ascii', 'SQL_ASCII', "e\x{e9}\x{20ac}\x{1f600}" ])
{
	my ($dbname, $encoding, $text) = @$case;

	$node->safe_psql('postgres', "CREATE DATABASE $dbname TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($dbname, 'CREATE EXTENSION fluxhooks; CREATE TABLE item (id integer PRIMARY KEY)');
	my %id = map { ($_ => create_webhook($node,
				{ name => $_, url => $receiver->url($_), events => [ { table => 'item' } ] }, $dbname)) } '/text', '/all-bytes';
	# an e with an accent, in each encoding
	my $accent = $receiver->url('/ok?') . ($dbname eq 'ascii' ? '\303\251' : '\351');
	$node->safe_psql($dbname, "SELECT fluxhooks.create_webhook('accent', E'$accent', fluxhooks.event('item'), max_retries => 0)");

	$node->safe_psql($dbname, 'INSERT INTO item VALUES (1)');
	wait_for_deliveries($node, "status <> 'pending'", 3, dbname => $dbname);
	is($node->safe_psql($dbname, "SELECT count(*) FROM fluxhooks.attempts WHERE url = E'$accent'"), 1,
		"$encoding: a URL is told in the characters it was given in");
	my %body = map { ($_->{webhook_id} => $_->{body}) } @{ query($node, <<'SQL', $dbname) };
SELECT webhook_id, encode(convert_to(response_body, getdatabaseencoding()), 'hex') AS body FROM fluxhooks.attempts
SQL
	my $perl = { latin1 => 'iso-8859-1', win1252 => 'cp1252', ascii => 'utf-8' }->{$dbname};

	is(Encode::decode($perl, pack 'H*', $body{ $id{'/text'} }), $text, "$encoding: an answer's characters where it has them");
	is(Encode::decode($perl, pack 'H*', $body{ $id{'/all-bytes'} }),
		join('', map { chr } 1 .. 127) . ($dbname eq 'ascii' ? "\x{fffd}" : '?') x 128,
		"$encoding: bytes that are no characters are made valid");
}

$node->stop;
done_testing();
