# A webhook is paused by itself: at once when its endpoint answers 410, and
# after pause_after_seconds without a success.  The reason stands in webhooks, a
# NOTIFY tells of it, the log has one line; nothing is lost, and
# update_webhook with "enabled": true lets it go on.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use IPC::Run ();
use JSON::PP ();
use Test::More;

my $receiver = start_receiver();
my $node = new_node('pause');
my $told_path = told_path();

sub webhook
{
	return create_table_webhook($node, $receiver, @_);
}

sub insert
{
	return insert_rows($node, @_);
}

sub change
{
	my ($id, $changes, $function) = @_;

	return $node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$id', " . json_literal($changes) . ')');
}

sub paused_reason
{
	my ($id) = @_;

	return $node->safe_psql('postgres', "SELECT paused_reason FROM fluxhooks.webhooks WHERE id = '$id' AND paused");
}

sub wait_for_pause
{
	my ($id) = @_;

	return wait_until(sub { paused_reason($id) }, "webhook $id to be paused");
}

sub log_count
{
	my ($pattern) = @_;
	my @found = slurp_file($node->logfile) =~ /$pattern/g;

	return scalar @found;
}

# a session that listens
my ($in, $out) = ('', '');
my $session = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>&1');
$in .= "LISTEN fluxhooks;\nSELECT 'listening';\n";
wait_until(sub { $session->pump_nb; $out =~ /listening/ }, 'a session to listen');

sub notified
{
	my ($id) = @_;

	return wait_until(
		sub {
			$in .= "SELECT 1;\n";
			$session->pump_nb;
			return $out =~ /Asynchronous notification "fluxhooks" with payload "(\{[^\n]*$id[^\n]*\})"/ ? $1 : '';
		},
		"a notification of $id");
}

# 1. 410
tell_status(410);
my $id = webhook('gone', $told_path, max_retries => 0);
insert('gone', 1, 20);
is(wait_for_pause($id), 'the endpoint answered 410 Gone', '410 pauses at once');
my $message = JSON::PP->new->decode(notified($id));
is_deeply($message, { event => 'paused', webhook_id => $id, reason => 'the endpoint answered 410 Gone' },
	'the notification says which and why');
wait_until(sub { $node->safe_psql('postgres', 'SELECT in_flight FROM fluxhooks.status') eq '0' }, 'requests to end');
insert('gone', 21, 30);
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'pending'", 30);
pass('all of its events stay, those that were answered 410 too');
my $requests = $receiver->requests("$told_path/gone");

# another webhook's traffic makes no difference
webhook('lively', '/ok');
insert('lively', 1, 100);
wait_for_deliveries($node, "table_name = 'lively' AND status = 'success'", 100);
is(scalar $receiver->requests("$told_path/gone"), $requests, 'nothing is sent while it is paused');
is(log_count("webhook $id paused: the endpoint answered 410 Gone"), 1, 'one line in the log');

# a change of something else leaves it paused; so does put_webhook
change($id, { description => 'moved?' });
$node->safe_psql('postgres', 'SELECT fluxhooks.put_webhook('
	. json_literal({ name => 'gone', url => $receiver->url("$told_path/gone"), enabled => JSON::PP::true }) . ')');
ok(paused_reason($id), 'any other change leaves it paused');

# a restart too
$node->restart;
ok(paused_reason($id), 'it stays paused across a restart');
wait_for_worker($node);
tell_status(200);
change($id, { enabled => JSON::PP::true });
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success'", 30);
is(paused_reason($id), '', 'update_webhook with enabled resumes it');
wait_until(sub { log_count("webhook $id resumed") == 1 }, 'the log to say so');
pass('and the log says so, once');
is($node->safe_psql('postgres',
		"SELECT count(DISTINCT delivery_id) FILTER (WHERE status_code = 200), count(*) FILTER (WHERE status_code = 200)"
		. " FROM fluxhooks.attempts WHERE webhook_id = '$id'"),
	'30|30', 'each arrives, once');

# 2. failing for pause_after_seconds
tell_status(500);
$id = webhook('failing', $told_path, max_retries => 100, retry_backoff_seconds => 1,
	pause_after_seconds => 2, circuit_breaker => { failures => 3, probe_seconds => 1 });
insert('failing', 1, 5);
like(wait_for_pause($id), qr/^no request has succeeded since .*, for longer than pause_after_seconds = 2$/,
	'failing for so long pauses');
like(log_count("webhook $id paused: no request"), qr/^[01]$/, 'one line at most');
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'pending'", 5);
tell_status(200);
change($id, { enabled => JSON::PP::true });
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success'", 5);
pass('what waited goes out');

# 3. while its row is locked by a transaction that stays open
tell_status(410);
$id = webhook('locked', $told_path);
my ($lock_in, $lock_out) = ('', '');
my $holder = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \$lock_in, '>', \$lock_out, '2>&1');
$lock_in .= "BEGIN; SELECT 'held' FROM fluxhooks.update_webhook('$id', '{\"description\": \"x\"}');\n";
wait_until(sub { $holder->pump_nb; $lock_out =~ /held/ }, 'the row to be locked');
insert('locked', 1, 5);
wait_until(sub { $receiver->requests("$told_path/locked") >= 1 }, 'a 410');
insert('lively', 101, 200);
wait_for_deliveries($node, "table_name = 'lively' AND status = 'success'", 200);
pass('the worker does not wait for the lock');
is(paused_reason($id), '', 'not paused yet');
$requests = $receiver->requests("$told_path/locked");
cmp_ok($requests, '<=', 5, 'and nothing more is sent');
$lock_in .= "COMMIT;\n";
$holder->finish;
is(wait_for_pause($id), 'the endpoint answered 410 Gone', 'paused once the lock is gone');
is(scalar $receiver->requests("$told_path/locked"), $requests, 'without another request');

# 4. an answer of the endpoint that it had before
$id = webhook('moved', '/late/3000/410', timeout_seconds => 60);
insert('moved', 1, 1);
$receiver->wait_for_requests(1, '/late/3000/410/moved');
change($id, { url => $receiver->url('/ok/moved') });
wait_for_deliveries($node, "webhook_id = '$id' AND status = 'success' AND attempts = 2", 1);
is(paused_reason($id), '', '410 of a former endpoint does not pause, and the delivery goes to the new one');

# 5. one that cannot be paused is nobody else's trouble
$node->safe_psql('postgres', 'ALTER TABLE fluxhooks_internal.webhook ADD CONSTRAINT hindrance CHECK (paused_reason IS NULL) NOT VALID');
$id = webhook('hindered', '/status/410');
insert('hindered', 1, 5);
wait_until(sub { $node->safe_psql('postgres', 'SELECT last_error FROM fluxhooks.status') =~ /hindrance/ }, 'a pause to fail');
insert('lively', 201, 300);
wait_for_deliveries($node, "table_name = 'lively' AND status = 'success'", 300);
is(paused_reason($id), '', 'others are served while a pause cannot be written');
$node->safe_psql('postgres', 'ALTER TABLE fluxhooks_internal.webhook DROP CONSTRAINT hindrance');
is(wait_for_pause($id), 'the endpoint answered 410 Gone', 'which it is in the end');

# 6. never by default
$id = webhook('patient', '/status/500', max_retries => 0);
insert('patient', 1, 30);
wait_until(sub { log_count("webhook $id: circuit breaker open") == 1 }, 'its breaker to open');
is(paused_reason($id), '', 'failing alone pauses nothing by default');

$in .= "\\q\n";
$session->finish;
done_testing();
