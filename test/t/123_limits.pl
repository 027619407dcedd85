# Limits: what is reached, which setting changes it, for whom, and that what was
# there before stays.  Sizes of bodies and answers have tests of their own
# (020_payload.pl, 011_endpoints.pl); here, that they are settings too.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('limits');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE, CREATE ON SCHEMA public TO app, other;
GRANT USAGE ON SCHEMA fluxhooks TO app, other;
GRANT SELECT ON ALL TABLES IN SCHEMA fluxhooks TO app, other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO app, other;
SQL

sub as
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		extra_params => [ '-U', $role ], on_error_stop => 0);

	return ($out, $err);
}

sub works
{
	my ($role, $sql, $name) = @_;
	my (undef, $err) = as($role, $sql);

	return is($err =~ /ERROR/ ? $err : '', '', $name);
}

sub limited
{
	my ($role, $sql, $setting, $what, $name) = @_;
	my (undef, $err) = as($role, $sql);

	like($err, qr/ERROR:  54000: .*$what/, "$name: 54000, and what is reached");
	return like($err, qr/HINT:  The limit is \Q$setting\E\b/, "$name: which setting");
}

sub create
{
	my ($name, $tables, $more) = @_;

	return "SELECT fluxhooks.create_webhook(jsonb_build_object('name', '$name', 'url', 'https://example.com/', 'secret', 's', 'events', "
	  . join(' || ', map { "fluxhooks.event('$_')" } @$tables) . ')' . ($more // '') . ')';
}

sub set
{
	my (%settings) = @_;

	$node->append_conf('postgresql.conf', join '', map { "fluxhooks.$_ = '$settings{$_}'\n" } keys %settings);
	$node->reload;
	foreach my $name (keys %settings)
	{
		wait_until(sub { $node->safe_psql('postgres', "SELECT current_setting('fluxhooks.$name')") eq $settings{$name} }, "$name to be set");
	}
	return;
}

as('app', 'CREATE TABLE item (id integer); CREATE TABLE second (id integer); CREATE TABLE third (id integer)');

# defaults, and that users cannot change them for themselves
my $settings = query($node, <<'SQL');
SELECT name, boot_val, context FROM pg_settings WHERE name LIKE 'fluxhooks.max%' AND name NOT LIKE '%in_flight%' ORDER BY name COLLATE "C"
SQL
my %default = map { $_->{name} => "$_->{boot_val} $_->{context}" } @$settings;
my %expected = (
	'fluxhooks.max_events_per_webhook' => '1000 superuser',
	'fluxhooks.max_headers' => '64 superuser',
	'fluxhooks.max_headers_size' => '65536 superuser',
	'fluxhooks.max_payload_size' => '1048576 sighup',
	'fluxhooks.max_response_size' => '8192 sighup',
	'fluxhooks.max_webhooks_per_role' => '1000 superuser',
	'fluxhooks.max_webhooks_per_table' => '100 superuser');
is($default{$_}, $expected{$_}, "$_: default and context") foreach sort keys %expected;
like((as('app', "SET $_ = 5"))[1], qr/ERROR:  42501/, "$_: not for users to set") foreach grep { $expected{$_} =~ /superuser/ } sort keys %expected;

# ------------------------------------------------------------ webhooks per role

set(max_webhooks_per_role => 3);
works('app', create("app $_", ['item']), "webhook $_ of 3") foreach 1 .. 3;
limited('app', create('app 4', ['item']), 'fluxhooks.max_webhooks_per_role', 'role "app" has as many webhooks', 'webhook 4 of 3');
limited('app', create('app 4', ['item']) =~ s/create_webhook/put_webhook/r, 'fluxhooks.max_webhooks_per_role', 'role "app"', 'put_webhook');
works('app', create('app 3', ['second']) =~ s/create_webhook/put_webhook/r, 'put_webhook of one that there is');
works('app', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('app 2'), '{\"enabled\": false}')", 'a disabled one counts ...');
limited('app', create('app 4', ['item']), 'fluxhooks.max_webhooks_per_role', 'role "app"', '... still');
works('app', "SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('app 2'))", 'a deleted one');
works('app', create('app 4', ['item']), '... does not');
as('other', 'CREATE TABLE others (id integer)');
works('other', create("other $_", ['others']), "another role has its own $_") foreach 1 .. 3;
works('postgres', create("super $_", ['others']), "superusers have $_") foreach 1 .. 3;
limited('postgres', create('super 4', ['others']), 'fluxhooks.max_webhooks_per_role', 'role "postgres"', 'superusers are bound as well');
works('postgres', 'SET fluxhooks.max_webhooks_per_role = 4;' . create('super 4', ['others']), 'a superuser raises it for a session');
$node->safe_psql('postgres', 'ALTER ROLE app SET fluxhooks.max_webhooks_per_role = 5');
works('app', create("app $_", ['item']), "and for a role: webhook $_") foreach 5 .. 6;
limited('app', create('app 7', ['item']), 'fluxhooks.max_webhooks_per_role', 'role "app"', 'up to there');
set(max_webhooks_per_role => 0);
limited('other', create('none', ['others']), 'fluxhooks.max_webhooks_per_role', 'role "other"', 'none at all');
is((as('other', 'SELECT count(*) FROM fluxhooks.webhooks'))[0], '3', 'those there are stay');
works('other', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('other 1'), '{\"description\": \"x\"}')", 'and can be changed');

# two at once do not pass the limit together
$node->safe_psql('postgres', 'ALTER ROLE app SET fluxhooks.max_webhooks_per_role = 6');
my ($first_out, $second_out, $first_err, $second_err) = ('', '', '', '');
my @command = ('psql', '-XAtq', '-d', $node->connstr('postgres'), '-U', 'app');
my $first = IPC::Run::start(\@command, '<', \my $first_in, '>', \$first_out, '2>', \$first_err);
$first_in = 'BEGIN; ' . create('first', ['third']) . "; SELECT 'holds';\n";
wait_until(sub { $first->pump_nb; $first_out =~ /holds/ }, 'the first to hold its webhook');
my $second = IPC::Run::start(\@command, '<', \my $second_in, '>', \$second_out, '2>', \$second_err);
$second_in = create('second', ['second']) . ";\n";
wait_until(sub { $second->pump_nb; $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'") eq '1' }, 'the second to wait');
$first_in .= "COMMIT;\n";
$first->finish;
$second->finish;
like($second_err, qr/role "app" has as many webhooks/, 'the second of two at once meets the limit');
$node->safe_psql('postgres', 'ALTER ROLE app RESET fluxhooks.max_webhooks_per_role');

# ----------------------------------------------------------- webhooks per table

set(max_webhooks_per_role => 1000, max_webhooks_per_table => 2);
as('app', "SELECT fluxhooks.delete_webhook(id) FROM fluxhooks.webhooks");
works('app', create("table $_", ['item']), "webhook $_ of 2 on a table") foreach 1 .. 2;
limited('app', create('table 3', ['item']), 'fluxhooks.max_webhooks_per_table', 'table public.item has as many webhooks', 'webhook 3 of 2 on a table');
limited('postgres', create('table 3', ['item']), 'fluxhooks.max_webhooks_per_table', 'table public.item', '... whoever makes it');
limited('app', create('table 3', [ 'second', 'item' ]), 'fluxhooks.max_webhooks_per_table', 'table public.item', '... with others');
works('app', create('table 3', [ 'second', 'second', 'second', 'third' ]), 'another table, named several times');
works('app', create('table 4', ['second']), '... is heard by one webhook so far');
limited('app', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('table 4'), jsonb_build_object('events', fluxhooks.event('item')))",
	'fluxhooks.max_webhooks_per_table', 'table public.item', 'update_webhook');
works('app', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('table 1'), jsonb_build_object('events', fluxhooks.event('item', 'INSERT')))", 'its own place does not count');
works('app', "SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('table 1'))", 'a deleted one');
works('app', create('table 5', ['item']), '... leaves its place');
is((as('app', 'SELECT count(*) FROM fluxhooks.webhooks'))[0], '4', 'what failed has left nothing');

# ----------------------------------------------------------- events and headers

set(max_events_per_webhook => 3);
works('app', create('events', [ ('third') x 3 ]), '3 of 3 events');
limited('app', create('events too many', [ ('third') x 4 ]), 'fluxhooks.max_events_per_webhook', 'more than 3 events', '4 of 3 events');
limited('app', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('events'), jsonb_build_object('events', "
	. join(' || ', ("fluxhooks.event('third')") x 4) . '))', 'fluxhooks.max_events_per_webhook', 'more than 3 events', 'update_webhook');

sub headers
{
	my ($count, $length) = @_;

	return "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('events'), jsonb_build_object('headers', "
	  . "(SELECT jsonb_object_agg('X-' || lpad(n::text, 4, '0'), repeat('x', $length)) FROM generate_series(1, $count) AS n)))";
}

works('app', headers(64, 100), '64 headers');
limited('app', headers(65, 1), 'fluxhooks.max_headers', 'more than 64 headers', '65 headers');
works('app', headers(7, 8192), 'seven long headers');
limited('app', headers(8, 8192), 'fluxhooks.max_headers_size', 'headers are longer than 65536 bytes together', 'eight long headers');
like((as('app', headers(1, 8193)))[1], qr/ERROR:  22023: header value is longer than 8192 bytes/, 'one that is too long is 22023');
set(max_headers => 2, max_headers_size => '100B');
works('app', headers(2, 44), '2 headers of 100 bytes');
limited('app', headers(2, 45), 'fluxhooks.max_headers_size', 'longer than 100 bytes', '2 headers of 102 bytes');
limited('app', headers(3, 1), 'fluxhooks.max_headers', 'more than 2 headers', '3 headers');
works('app', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('events'), '{\"description\": \"x\"}')", 'another change heeds no limit');
set(max_headers => 0);
limited('app', headers(1, 1), 'fluxhooks.max_headers', 'more than 0 headers', 'none');
works('app', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('events'), '{\"headers\": {}}')", 'no headers are none');
is($node->safe_psql('postgres', 'INSERT INTO item VALUES (1); SELECT count(*) FROM fluxhooks.deliveries'), '2', 'capture goes on');

done_testing();
