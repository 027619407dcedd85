# Who may have webhooks, and what happens when that right is lost while they
# run: the README's GRANTs and no others, ownership, row security; what the writer's
# session runs, and with whose rights; triggers attached by hand; what others can
# find out.
use strict;
use warnings;

use File::Basename qw(dirname);
use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('privileges');
my $receiver = start_receiver();

# What a role gets to see of statements, and its errors.
sub as
{
	my ($role, $sql, %option) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		extra_params => [ '-U', $role ], on_error_stop => 0, %option);

	return ($out, $err);
}

sub state_as
{
	my ($role, $sql) = @_;
	my ($out, $err) = as($role, $sql);

	return $err =~ /ERROR:\s+(\w{5})\b/ ? $1 : '';
}

# ------------------------------------------------------------ the README's GRANTs

my $readme = slurp_file(dirname(__FILE__) . '/../../README.md');
my ($section) = $readme =~ /^## Rights\n(.*?)^## /ms;
my @grants = $section =~ /^(GRANT .* TO app;)$/mg;
is(scalar @grants, 3, 'the README has three GRANTs');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE writer LOGIN;
CREATE ROLE stranger LOGIN;
CREATE TABLE item (id integer PRIMARY KEY, note text);
ALTER TABLE item OWNER TO app;
GRANT INSERT, UPDATE, DELETE ON item TO writer, other;
CREATE TABLE theirs (id integer PRIMARY KEY);
ALTER TABLE theirs OWNER TO other;
SQL

my %needs = (
	"SELECT fluxhooks.create_webhook('x', 'https://example.com/', '[{\"table\": \"item\"}]')" => qr/USAGE|EXECUTE/,
	"SELECT fluxhooks.create_webhook('{\"name\": \"x\", \"url\": \"https://example.com/\", \"events\": [{\"table\": \"item\"}]}')" => qr/USAGE|EXECUTE/,
	"SELECT fluxhooks.put_webhook('{\"name\": \"x\", \"url\": \"https://example.com/\", \"events\": [{\"table\": \"item\"}]}')" => qr/USAGE|EXECUTE/,
	"SELECT fluxhooks.event('item')" => qr/USAGE|EXECUTE/,
	'SELECT fluxhooks.generate_secret()' => qr/USAGE|EXECUTE/,
	map { ("SELECT * FROM fluxhooks.$_" => qr/USAGE|SELECT/) } qw(webhooks deliveries attempts status webhook_stats));
foreach my $without (undef, 0 .. $#grants)
{
	my $left_out = defined $without ? $grants[$without] : 'nothing';

	$node->safe_psql('postgres', join "\n", 'DROP OWNED BY stranger; GRANT CREATE ON SCHEMA public TO stranger;',
		map { my $grant = $grants[$_]; $grant =~ s/TO app;/TO stranger;/; $grant }
		grep { !defined $without || $_ != $without } 0 .. $#grants);
	foreach my $sql (sort keys %needs)
	{
		my $expected = $left_out =~ $needs{$sql} ? '42501' : '';
		my ($what) = $sql =~ /(fluxhooks\.\w+)/;

		is(state_as('stranger', "BEGIN; CREATE TABLE public.stranger_item (); "
				. ($sql =~ s/\bitem\b/stranger_item/gr) . '; ROLLBACK'), $expected,
			"$what without $left_out: " . ($expected || 'works'));
	}
}
$node->safe_psql('postgres', join "\n", 'DROP OWNED BY stranger;', @grants, map { s/TO app;/TO other;/r } @grants);

# --------------------------------------------------- webhooks of different owners

my $role = 'app';
sub webhook
{
	my ($owner, $name, $table, %more) = @_;
	my $config = JSON::PP->new->encode({ name => $name, url => $receiver->url("/ok/$name"),
		events => [ { table => $table } ], max_retries => 0, secret => 's', %more });
	my ($out, $err) = as($owner, "SELECT fluxhooks.create_webhook('$config')");

	die $err unless $out =~ /^[0-9a-f-]{36}$/;
	return $out;
}

my $app = webhook('app', 'app', 'item');
my $control = create_webhook($node,
	{ name => 'control', url => $receiver->url('/ok/control'), events => [ { table => 'item' } ], secret => 's' });
my $row = 0;

# Have somebody insert a row; it has arrived at the control endpoint.
sub insert_as
{
	my ($role) = @_;
	my $id = ++$row;
	my ($out, $err) = as($role, "INSERT INTO item VALUES ($id, 'row $id')");

	is($err, '', "$role inserts row $id");
	wait_until(sub { grep { $_->{data}{record}{id} == $id } $receiver->requests('/ok/control') }, "row $id at the control endpoint");
	return $id;
}

sub arrived
{
	my ($id) = @_;

	return scalar grep { $_->{data}{record}{id} == $id } $receiver->requests('/ok/app');
}

sub arrives
{
	my ($id, $name) = @_;

	wait_until(sub { arrived($id) }, $name);
	return pass($name);
}

sub paused_reason
{
	return $node->safe_psql('postgres', "SELECT paused_reason FROM fluxhooks.webhooks WHERE id = '$app'");
}

arrives(insert_as('writer'), 'a writer needs no right on fluxhooks');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.attempts WHERE webhook_id = '$app'"), '1', 'delivered once');

# ------------------------------------------------- the right is lost, and had again

my %lost = (
	'USAGE' => [ 'REVOKE USAGE ON SCHEMA fluxhooks FROM app', 'GRANT USAGE ON SCHEMA fluxhooks TO app', qr/has no USAGE/ ],
	'EXECUTE' => [ 'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks FROM app',
		'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO app', qr/has no EXECUTE/ ],
	'row security' => [ 'ALTER TABLE item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
		'ALTER TABLE item NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY', qr/row security applies/ ],
);
foreach my $name (sort keys %lost)
{
	my ($lose, $regain, $reason) = @{ $lost{$name} };

	$node->safe_psql('postgres', $lose);
	like(paused_reason(), $reason, "$name lost: paused with the reason");
	# writers are subject to row security as well
	my $id = insert_as($name eq 'row security' ? 'postgres' : 'writer');
	is(arrived($id), 0, "$name lost: nothing is sent");
	is($node->safe_psql('postgres', "SELECT status FROM fluxhooks.deliveries WHERE webhook_id = '$app' AND record_key->>'id' = '$id'"),
		'pending', "$name lost: captured and held");
	$node->safe_psql('postgres', $regain);
	is(paused_reason(), '', "$name had again: not paused");
	arrives($id, "$name had again: what was held is sent");
}

# lost while deliveries wait for their endpoint: none goes out any more
my $waiting = webhook('app', 'waiting', 'item', url => $receiver->url('/status/503'), max_retries => 50, retry_backoff_seconds => 1);
insert_as('writer');
wait_for_deliveries($node, "webhook_id = '$waiting' AND attempts > 1", 1);
$node->safe_psql('postgres', 'ALTER TABLE item OWNER TO other');
insert_as('other');
my $before = scalar $receiver->requests('/status/503');
insert_as('other') foreach 1 .. 3;
wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = '$waiting' AND next_attempt_at < now() - interval '2 seconds'") eq '1' },
	'a retry to be overdue');
is(scalar $receiver->requests('/status/503'), $before, 'a retry is not made for an owner that lost its table');
is($node->safe_psql('postgres', "SELECT paused_reason FROM fluxhooks.webhooks WHERE id = '$waiting'"),
	'role "app" does not own table public.item', 'paused with the reason');

# rows of another owner's table are not the former one's to read, now or later
my @theirs = map { insert_as('other') } 1 .. 2;
my ($seen) = as('app', "SELECT record_key, fluxhooks.delivery_payload(id) FROM fluxhooks.deliveries WHERE webhook_id = '$app'");
unlike($seen, qr/"id":? ?$_\b/, "the former owner sees nothing of row $_") foreach @theirs;
is(state_as('app', "SELECT fluxhooks.create_webhook('again', 'https://example.com/', '[{\"table\": \"item\"}]')"), '42501', '... nor makes a webhook on it');
is(state_as('app', "SELECT fluxhooks.update_webhook('$app', '{\"events\": [{\"table\": \"theirs\"}]}')"), '42501', '... nor on another\'s');
$node->safe_psql('postgres', 'CREATE TABLE own (id integer); ALTER TABLE own OWNER TO app');
is(state_as('app', "SELECT fluxhooks.update_webhook('$app', '{\"events\": [{\"table\": \"own\"}]}')"), '', 'turned to its own table, the webhook goes on');
$node->safe_psql('postgres', 'INSERT INTO own VALUES (1000)');
wait_until(sub { arrived(1000) }, 'a row of its own table');
is(arrived($_), 0, "... without row $_") foreach @theirs;
is(state_as('app', "SELECT fluxhooks.delete_webhook('$waiting')"), '', 'a webhook whose right is lost can be deleted');
$node->safe_psql('postgres', 'ALTER TABLE item OWNER TO app');
$node->safe_psql('postgres', "SELECT fluxhooks.update_webhook('$app', '{\"events\": [{\"table\": \"item\"}]}')");
arrives(insert_as('writer'), 'owner again: it goes on');
is(arrived($_), 0, "owner again: row $_ is still not its to see") foreach @theirs;

# members: rights that come and go with membership
$node->safe_psql('postgres', 'ALTER TABLE item OWNER TO other; GRANT other TO app');
is(paused_reason(), '', 'a member of the owning role owns the table');
arrives(insert_as('other'), 'its webhook goes on');
$node->safe_psql('postgres', 'REVOKE other FROM app');
like(paused_reason(), qr/does not own/, 'no member any more: paused');
is(arrived(insert_as('other')), 0, 'no member any more: nothing is sent');

# a superuser needs nothing
$node->safe_psql('postgres', 'ALTER ROLE app SUPERUSER');
is(paused_reason(), '', 'a superuser\'s webhook is not paused');
arrives(insert_as('other'), 'a superuser\'s webhook goes on');
$node->safe_psql('postgres', 'ALTER ROLE app NOSUPERUSER');
is(arrived(insert_as('other')), 0, 'no superuser any more: nothing is sent');
$node->safe_psql('postgres', 'ALTER TABLE item OWNER TO app');
arrives(insert_as('writer'), 'owner again');

# ------------------------------------------------------ code in writers' sessions

$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA app AUTHORIZATION app;
GRANT USAGE ON SCHEMA app TO writer;
GRANT CREATE ON SCHEMA public TO app;
SQL
my (undef, $err) = as('app', <<'SQL');
CREATE TYPE app.pair AS (a integer, b integer);
CREATE TABLE app.seen (who name, session name, privileged boolean);
GRANT INSERT ON app.seen TO PUBLIC;
CREATE FUNCTION app.to_json(app.pair) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO app.seen VALUES (current_user, session_user,
    has_schema_privilege('fluxhooks_internal', 'USAGE') OR pg_has_role('postgres', 'MEMBER'));
  RETURN '{"cast": true}';
END
$$;
CREATE CAST (app.pair AS json) WITH FUNCTION app.to_json(app.pair);
CREATE TABLE app.cast (id integer PRIMARY KEY, pair app.pair);
GRANT INSERT, UPDATE, DELETE, SELECT ON app.cast TO writer;
CREATE FUNCTION app.insert_for(integer) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO app.cast VALUES ($1, (1, 2))';
SQL
is($err, '', 'a type with a cast of its owner\'s');
my $cast = webhook('app', 'cast', 'app.cast');
(undef, $err) = as('writer', "INSERT INTO app.cast VALUES (1, (1, 2)); UPDATE app.cast SET pair = (3, 4); DELETE FROM app.cast");
is($err, '', 'written');
wait_for_deliveries($node, "webhook_id = '$cast' AND status = 'success'", 3);
is_deeply((($receiver->requests('/ok/cast'))[0])->{data}{record}, { id => 1, pair => { cast => JSON::PP::true() } }, 'the cast was used');
is($node->safe_psql('postgres', 'SELECT DISTINCT who, session, privileged FROM app.seen'), 'writer|writer|f', 'casts run with the writer\'s rights');
$node->safe_psql('postgres', 'TRUNCATE app.seen');
(undef, $err) = as('writer', 'SELECT app.insert_for(2)');
is($err, '', 'written by a function of the table\'s owner');
is($node->safe_psql('postgres', 'SELECT DISTINCT who, session, privileged FROM app.seen'), 'app|writer|f', 'casts run with the rights that the row was written with');
$node->safe_psql('postgres', 'TRUNCATE app.seen');
$node->safe_psql('postgres', <<'SQL');
SELECT count(fluxhooks.delivery_payload(id)), count(record_key) FROM fluxhooks.deliveries;
SELECT fluxhooks.redeliver(id) FROM fluxhooks.deliveries WHERE table_name = 'cast';
SQL
wait_for_deliveries($node, "webhook_id = '$cast' AND status = 'success' AND attempts > 1", 4);
is($node->safe_psql('postgres', 'SELECT count(*) FROM app.seen'), '0', 'nobody runs them later: neither worker nor superuser');

# -------------------------------------------------------- triggers made by hand

$node->safe_psql('postgres', 'CREATE TABLE forged (id integer); ALTER TABLE forged OWNER TO other');
my $forge = 'AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.capture(%s)';
is(state_as('other', sprintf "CREATE TRIGGER fluxhooks_capture $forge", 'forged', ''), '42501', 'a table\'s owner cannot attach the trigger function');
is(state_as('other', "CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE c AS '\$libdir/fluxhooks', 'capture_trigger'"), '42501', '... nor make a function of its own of it');
$node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.event');
my $events = 'SELECT count(*) FROM fluxhooks.deliveries';
my $count = $node->safe_psql('postgres', $events);
my @arguments = ('', "'item'", "'public', 'item'", "'$app'", "'INSERT', 'item', '{\"id\": 1}'", "'x', '$app', 'public', 'item'");
foreach my $n (0 .. $#arguments)
{
	$node->safe_psql('postgres', sprintf("CREATE TRIGGER forged_$n $forge;", 'forged', $arguments[$n])
		. sprintf("CREATE TRIGGER twice_$n $forge;", 'item', $arguments[$n]));
}
$node->safe_psql('postgres', sprintf("CREATE TRIGGER fluxhooks_capture $forge;", 'forged', "'public', 'item'"));
is($node->safe_psql('postgres', "INSERT INTO forged VALUES (1); UPDATE forged SET id = 2; DELETE FROM forged; $events"), $count,
	'triggers attached by hand make no events, whatever their arguments');
my $forged = insert_as('writer');
arrives($forged, 'the one that create_webhook made does');
is($node->safe_psql('postgres', "SELECT count(*) FROM fluxhooks.deliveries WHERE webhook_id = '$app' AND record_key->>'id' = '$forged'"), '1', '... once');
like((as('postgres', 'CREATE TRIGGER a BEFORE INSERT ON forged FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.capture(); INSERT INTO forged VALUES (1)'))[1],
	qr/ERROR:  39P01: fluxhooks_internal.capture\(\) must be fired AFTER, FOR EACH ROW/, 'a BEFORE trigger is an error');

# --------------------------------------------------------- what others find out

# a locked webhook of somebody else's is no other than a missing one
my $locker = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-U', 'app' ],
	'<', \"BEGIN; SELECT fluxhooks.update_webhook('$app', '{\"description\": \"held\"}'); SELECT 'hash', objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid(); SELECT pg_sleep(600);\n",
	'>', \my $locked, '2>', \my $locked_err);
wait_until(sub { $locker->pump_nb; die $locked_err if $locked_err; $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'") eq '1' }, 'the webhook to be locked');
foreach my $call ("fluxhooks.update_webhook(%s, '{\"enabled\": false}')", 'fluxhooks.delete_webhook(%s)', 'fluxhooks.test_webhook(%s)',
	'fluxhooks.rotate_secret(%s)', 'fluxhooks.list_deliveries(%s)', "fluxhooks.replay(%s, '2020-01-01')")
{
	my ($missing, $foreign) = map {
		my $id = $_;
		my (undef, $err) = as('other', "SET statement_timeout = '30s'; SET lock_timeout = '20s'; SELECT " . sprintf($call, "'$id'"));
		$err =~ s/\Q$id\E/ID/gr
	} ('11111111-1111-4111-8111-111111111111', $app);

	like($foreign, qr/ERROR:  42704: webhook "ID" does not exist/, "$call: a foreign webhook does not exist, though it is locked");
	is($foreign, $missing, '... in the same words as one that does not');
}
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = " . hex('F10C') . ' AND objid <> 0'), '0', 'locks tell no name');
my ($activity) = as('other', "SELECT query, application_name, wait_event FROM pg_stat_activity WHERE backend_type LIKE 'fluxhooks%'");
unlike($activity, qr/item|control|\Q$app\E/, 'pg_stat_activity tells nothing');
$locker->kill_kill(grace => 5);
foreach my $delivery (split /\n/, $node->safe_psql('postgres', "SELECT id FROM fluxhooks.deliveries WHERE webhook_id = '$app' LIMIT 2"))
{
	foreach my $call ('redeliver', 'delivery_payload')
	{
		my (undef, $err) = as('other', "SELECT fluxhooks.$call('$delivery')");

		like($err, qr/ERROR:  42704: delivery "\Q$delivery\E" does not exist/, "$call: a foreign delivery does not exist");
	}
}
is((as('other', "SELECT count(*) FROM fluxhooks.$_"))[0], '0', "no $_ to see") foreach qw(webhooks deliveries attempts webhook_stats);
my $log = slurp_file($node->logfile);
unlike($log, qr{/ok/(app|control)}, 'no URL in the log');

done_testing();
