# The server is stopped, reloaded, full of connections, and run in single-user
# mode: no shutdown waits for an endpoint, every setting that claims it follows a
# reload, and no limit on connections keeps the worker out.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();
my $node = new_node('server', conf => "max_connections = 6\nsuperuser_reserved_connections = 2");
my $created = 0;

sub rows_at
{
	my ($path) = @_;

	return join ' ', map { $_->{data}{record}{id} } $receiver->requests($path);
}

# Change settings and have the server read them.
sub reload
{
	my (@settings) = @_;

	$node->safe_psql('postgres', join(';', map { "ALTER SYSTEM SET fluxhooks.$_" } @settings));
	$node->reload;
	return;
}

# A table with a webhook to a URL; both are called the same.
sub make_webhook
{
	my ($name, $url, %config) = @_;

	$node->safe_psql('postgres', "CREATE TABLE $name (id integer PRIMARY KEY, note text)");
	return create_webhook($node, {
		name => $name, url => $url, events => [ { table => $name } ], max_retries => 0, %config });
}

# Insert a row, and tell how its delivery ended.
sub outcome_of
{
	my ($name, $id, $note) = @_;
	my $delivery;

	$node->safe_psql('postgres', "INSERT INTO $name VALUES ($id, " . literal($note // '') . ')');
	wait_until(
		sub {
			$delivery = query($node, "SELECT d.*, a.error_code FROM fluxhooks.list_deliveries(fluxhooks.webhook_id('$name'), 1) AS d "
				. 'LEFT JOIN fluxhooks.attempts AS a ON a.delivery_id = d.id')->[0];
			return $delivery && $delivery->{record_key}{id} == $id && $delivery->{status} ne 'pending';
		},
		"the delivery of row $id of $name");
	return $delivery;
}

sub in_flight
{
	return $node->safe_psql('postgres', 'SELECT in_flight FROM fluxhooks.status');
}

# Insert until a delivery ends in the way that is wanted, since reloads take their time.
sub until_outcome
{
	my ($name, $wanted, $what) = @_;
	my $outcome;

	wait_until(
		sub {
			my $delivery = outcome_of($name, ++$created);
			$outcome = $delivery->{error_code} // $delivery->{status};
			return $outcome eq $wanted;
		},
		"$what, that is $wanted");
	is($outcome, $wanted, $what);
	return;
}

# --- pg_reload_conf()

make_webhook('item', $receiver->url('/ok/item'));
is(outcome_of('item', ++$created)->{status}, 'success', 'to begin with, deliveries arrive');

reload('delivery = off');
wait_until(sub { query($node, 'SELECT paused FROM fluxhooks.status')->[0]{paused} }, 'delivery to be off');
my $before = () = $receiver->requests('/ok/item');
$node->safe_psql('postgres', 'INSERT INTO item VALUES (' . ++$created . ')');
is($node->safe_psql('postgres', "SELECT status FROM fluxhooks.list_deliveries(fluxhooks.webhook_id('item'), 1)"),
	'pending', 'fluxhooks.delivery = off: captured and not sent');
reload('delivery = on');
is(scalar($receiver->wait_for_requests($before + 1, '/ok/item')), $before + 1, 'fluxhooks.delivery = on: sent');

reload("allowed_networks = ''");
until_outcome('item', 'address_denied', 'fluxhooks.allowed_networks emptied: refused');
reload("allowed_networks = '10.0.0.0/8, 127.0.0.1/32'");
until_outcome('item', 'success', 'fluxhooks.allowed_networks set: reached');
isnt(sqlstate($node, q{ALTER SYSTEM SET fluxhooks.allowed_networks = 'nonsense'}), '', 'what is no network is refused');

reload('allow_http = off');
wait_until(sub { my $delivery = outcome_of('item', ++$created); $delivery->{status} eq 'failed' }, 'plain http to be refused');
like(outcome_of('item', ++$created)->{error}, qr/http/, 'fluxhooks.allow_http = off: refused');
reload('allow_http = on');
until_outcome('item', 'success', 'fluxhooks.allow_http = on: reached');

my $authority = make_ca();
my $secure = start_receiver($authority->issue('127.0.0.1'));
make_webhook('safe', $secure->url('/ok/safe'));
is(outcome_of('safe', ++$created)->{error_code}, 'tls', 'an authority that nobody knows is refused');
my $ca_file = $authority->ca_file;
reload("ca_file = '$ca_file'");
until_outcome('safe', 'success', 'fluxhooks.ca_file set: trusted');
reload("ca_file = ''");
until_outcome('safe', 'tls', 'fluxhooks.ca_file taken away: refused');

my $proxy = start_receiver();
my $proxy_url = $proxy->url('');
reload("proxy = '$proxy_url'");
wait_until(sub { outcome_of('item', ++$created); scalar(my @requests = $proxy->requests('http://')) }, 'the proxy to be asked');
pass('fluxhooks.proxy set: it is asked');
foreach my $wrong ('ftp://user:hidden@127.0.0.1:1', 'http://user:hidden@127.0.0.1:99999')
{
	my (undef, undef, $error) = $node->psql('postgres', "ALTER SYSTEM SET fluxhooks.proxy = '$wrong'");

	like($error, qr/invalid value for parameter "fluxhooks.proxy"/, 'what is no proxy is refused');
	unlike($error, qr/hidden/, 'and its password not shown');
}
reload("proxy = ''");
my $through = 0;
wait_until(
	sub {
		$through = () = $proxy->requests('http://');
		outcome_of('item', ++$created);
		return $through == scalar(my @requests = $proxy->requests('http://'));
	},
	'the proxy to be left out');
pass('fluxhooks.proxy emptied: it is not');

# one webhook would have few requests under way until some are answered
make_webhook('hang', $receiver->url('/hang/1'), timeout_seconds => 300);
create_webhook($node, {
	name => "hang $_", url => $receiver->url("/hang/$_"), events => [ { table => 'hang' } ], timeout_seconds => 300 })
  foreach 2 .. 10;
reload('max_in_flight = 2');
$node->safe_psql('postgres', 'INSERT INTO hang VALUES (1)');
wait_until(sub { in_flight() == 2 }, 'two requests under way');
pass('fluxhooks.max_in_flight = 2: two requests');
reload('max_in_flight = 128', 'max_in_flight_per_host = 5');
wait_until(sub { in_flight() == 5 }, 'five requests under way');
pass('fluxhooks.max_in_flight_per_host = 5: five to a host');
reload('max_in_flight_per_host = 16');
wait_until(sub { in_flight() == 10 }, 'ten requests under way');
pass('fluxhooks.max_in_flight_per_host = 16: the rest');

reload(q{max_payload_size = '1kB'});
wait_until(
	sub {
		outcome_of('item', ++$created, 'x' x 2000);
		return $node->safe_psql('postgres', q{SELECT length(fluxhooks.delivery_payload(id)) < 1024
			FROM fluxhooks.list_deliveries(fluxhooks.webhook_id('item'), 1)}) eq 't';
	},
	'a body that was made to fit');
pass('fluxhooks.max_payload_size: a larger row is made to fit');

reload('max_response_size = 1');
wait_until(sub { length outcome_of('item', ++$created)->{response_body} == 1 }, 'a response that was cut');
pass('fluxhooks.max_response_size: the answer is cut');

reload(q{retention = '1s'});
wait_until(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM fluxhooks.deliveries WHERE status <> 'pending'}) eq '0' },
	'what has ended to go');
pass('fluxhooks.retention: what is older goes');
reload(q{retention = '3d'}, q{max_response_size = '8kB'}, q{max_payload_size = '1MB'});

reload("ca_file = '/nowhere/ca.crt'");
until_outcome('safe', 'tls', 'a ca_file that is not there: every attempt fails');
like(outcome_of('safe', ++$created)->{error}, qr/fluxhooks\.ca_file/, 'and says why');
reload("ca_file = '$ca_file'");
until_outcome('safe', 'success', 'and mended, deliveries go on');
unlike(slurp_file($node->logfile), qr/PANIC|signal 11|signal 6/, 'nothing crashed');

# --- connections

is($node->safe_psql('postgres', 'ALTER DATABASE postgres CONNECTION LIMIT 0; SELECT 1'), 1, 'CONNECTION LIMIT 0');
my @sessions;
foreach (1 .. 6)
{
	my $session = eval { $node->background_psql('postgres', on_error_stop => 0) } or last;

	push @sessions, $session;
}
my ($status, undef, $err) = $node->psql('postgres', 'SELECT 1');
like($err, qr/too many clients|remaining connection slots/, 'every connection is in use');
my $first = $sessions[0];
my $pid = $first->query_safe('SELECT worker_pid FROM fluxhooks.status');
$first->query_safe("SELECT pg_terminate_backend($pid)");
wait_until(
	sub {
		my $now = $first->query_safe('SELECT worker_pid FROM fluxhooks.status');
		return $now ne '' && $now != $pid;
	},
	'a worker to come back');
pass('the worker needs none of them');
$before = () = $receiver->requests('/ok/item');
$first->query_safe('INSERT INTO item VALUES (' . ++$created . ')');
is(scalar($receiver->wait_for_requests($before + 1, '/ok/item')), $before + 1, 'and delivers');
$_->quit foreach @sessions;
wait_until(sub { eval { $node->safe_psql('postgres', 'ALTER DATABASE postgres CONNECTION LIMIT -1'); 1 } }, 'connections to be free');

# --- shutdowns, with ten requests that nobody answers

wait_until(sub { in_flight() == 10 }, 'ten requests to hang again');
my $session = $node->background_psql('postgres');
$session->query_safe('SELECT 1');
my $smart = IPC::Run::start([ 'pg_ctl', '-D', $node->data_dir, '-m', 'smart', '-t', '150', 'stop' ], '>', \my $smart_out, '2>&1');
wait_until(sub { slurp_file($node->logfile) =~ /received smart shutdown request/ }, 'the shutdown to begin');
$before = () = $receiver->requests('/ok/item');
$session->query_safe('INSERT INTO item VALUES (' . ++$created . ')');
is(scalar($receiver->wait_for_requests($before + 1, '/ok/item')), $before + 1,
	'smart shutdown: deliveries go on while there are sessions');
$session->quit;
ok($smart->finish, 'and once there are none, the server ends, whatever hangs') or diag($smart_out);
$node->_update_pid(0);

$node->start;
wait_until(sub { eval { in_flight() == 10 } }, 'ten requests to hang once more');
command_ok([ 'pg_ctl', '-D', $node->data_dir, '-m', 'fast', '-t', '150', 'stop' ], 'fast shutdown ends, whatever hangs');
$node->_update_pid(0);

# --- single-user mode

sub single_user
{
	my ($dbname, @statements) = @_;
	my $input = join('', map { "$_\n" } @statements);
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, $dbname ], '<', \$input, '>', \$out, '2>', \$err);
	return $out . $err;
}

my $row = ++$created;
unlike(single_user('postgres', 'CREATE DATABASE victim TEMPLATE template0', "INSERT INTO item VALUES ($row)",
		'DROP DATABASE victim', 'CREATE DATABASE twin TEMPLATE postgres'),
	qr/ERROR|FATAL|PANIC/, 'in single-user mode rows are written and databases dropped and copied');
$before = () = $receiver->requests('/ok/item');
$node->start;
$receiver->wait_for_requests($before + 1, '/ok/item');
is((split ' ', rows_at('/ok/item'))[-1], $row, 'and sent by the next server that runs');
$node->stop('fast');

done_testing();
