# Objects that somebody plants wherever a name could be looked up: functions,
# operators, aggregates, casts, types, tables and views, before CREATE EXTENSION
# and after, in schemas that come first in every search_path and in pg_temp.
# Each says so in the server's log when it is used.  None is, by any function,
# view or command of the interface, for whomever calls it, nor by the worker.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('hostile', extension => 0);
my $receiver = start_receiver();

# Sessions of this test's own are not led astray; the worker is left to itself.
$ENV{PGOPTIONS} = '-c search_path=pg_catalog -c role=none';

my $HOSTILE = 'hostile, public, pg_temp, pg_catalog';

$node->safe_psql('postgres', <<"SQL");
CREATE ROLE mallory LOGIN;
CREATE ROLE victim LOGIN;
CREATE SCHEMA hostile AUTHORIZATION mallory;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
GRANT ALL ON SCHEMA public TO mallory, victim;
ALTER DATABASE postgres OWNER TO mallory;
SQL

sub as
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ], on_error_stop => 0);

	return ($out, $err);
}

# ------------------------------------------------------------------ planting

# Every function, aggregate and operator of PostgreSQL once more, and those that take
# any type once more for the types that fluxhooks uses, where they fit better.
my $plant = <<'SQL';
DO $plant$
DECLARE
  target text := 'SCHEMA';
  r record;
  body text;
  planted integer := 0;
BEGIN
  FOR r IN
    SELECT p.proname, p.proretset, pg_catalog.format_type(p.prorettype, NULL) AS result,
           (SELECT pg_catalog.string_agg(pg_catalog.format_type(a.type, NULL), ', ' ORDER BY a.n)
            FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a(type, n)) AS arguments
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.prokind = 'f' AND p.prorettype NOT IN
      ('internal'::pg_catalog.regtype, 'cstring'::pg_catalog.regtype, 'trigger'::pg_catalog.regtype, 'event_trigger'::pg_catalog.regtype)
    UNION ALL VALUES
      ('unnest', true, 'uuid', 'uuid[]'), ('unnest', true, 'text', 'text[]'), ('unnest', true, 'oid', 'oid[]'),
      ('convert_from', false, 'text', 'bytea, text'), ('format', false, 'text', 'text, text'),
      ('format', false, 'text', 'text, text, integer'), ('format', false, 'text', 'text, integer'),
      ('concat', false, 'text', 'text, text, text, text'), ('concat', false, 'text', 'bigint, text, bigint, text'),
      ('array_to_string', false, 'text', 'text[], text'), ('cardinality', false, 'integer', 'text[]'),
      ('jsonb_build_object', false, 'jsonb', 'text, text, text, text, text, text[]'),
      ('jsonb_build_object', false, 'jsonb', 'text, anyelement, text, anyelement, text, anyarray'),
      ('to_jsonb', false, 'jsonb', 'text'), ('pg_has_role', false, 'boolean', 'oid, text'),
      ('generate_series', true, 'integer', 'integer, integer'), ('parse_ident', false, 'text[]', 'text, boolean')
  LOOP
    body := pg_catalog.format('BEGIN RAISE LOG %L; RETURN%s; END', 'HIJACKED function ' || r.proname,
                              CASE WHEN r.proretset OR r.result = 'void' THEN '' ELSE ' NULL' END);
    BEGIN
      EXECUTE pg_catalog.format('CREATE FUNCTION %s.%I(%s) RETURNS %s%s LANGUAGE plpgsql COST 0.0001 AS %L',
        target, r.proname, r.arguments, CASE WHEN r.proretset THEN 'SETOF ' END, r.result, body);
      planted := planted + 1;
    EXCEPTION WHEN OTHERS THEN
      NULL;     -- of a type that plpgsql does not take
    END;
  END LOOP;

  FOR r IN SELECT o.oid, o.oprname, pg_catalog.format_type(NULLIF(o.oprleft, 0), NULL) AS l, pg_catalog.format_type(o.oprright, NULL) AS r,
                  pg_catalog.format_type(o.oprresult, NULL) AS result
           FROM pg_catalog.pg_operator AS o WHERE o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND o.oprright <> 0 LOOP
    BEGIN
      EXECUTE pg_catalog.format('CREATE FUNCTION %s.hijack_operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L',
        target, r.oid, pg_catalog.concat_ws(', ', r.l, r.r), r.result,
        pg_catalog.format('BEGIN RAISE LOG %L; RETURN NULL; END', 'HIJACKED operator ' || r.oprname));
      EXECUTE pg_catalog.format('CREATE OPERATOR %s.%s (%s RIGHTARG = %s, FUNCTION = %s.hijack_operator_%s)',
        target, r.oprname, CASE WHEN r.l <> '-' THEN 'LEFTARG = ' || r.l || ',' END, r.r, target, r.oid);
      planted := planted + 1;
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;

  EXECUTE pg_catalog.format('CREATE FUNCTION %s.hijack_step(bigint, anyelement) RETURNS bigint LANGUAGE plpgsql AS %L',
    target, 'BEGIN RAISE LOG ''HIJACKED aggregate''; RETURN 0; END');
  EXECUTE pg_catalog.format('CREATE FUNCTION %s.hijack_count(bigint) RETURNS bigint LANGUAGE plpgsql AS %L',
    target, 'BEGIN RAISE LOG ''HIJACKED aggregate''; RETURN 0; END');
  EXECUTE pg_catalog.format('CREATE AGGREGATE %s.count(*) (SFUNC = %1$s.hijack_count, STYPE = bigint)', target);
  FOR r IN SELECT * FROM (VALUES ('count', 'uuid'), ('max', 'bigint'), ('max', 'timestamptz'), ('min', 'timestamptz'), ('min', 'text'),
      ('bool_and', 'boolean'), ('bool_or', 'boolean'), ('jsonb_agg', 'jsonb'), ('array_agg', 'text'), ('array_agg', 'uuid'), ('sum', 'bigint')) AS v(name, type) LOOP
    EXECUTE pg_catalog.format('CREATE AGGREGATE %s.%I(%s) (SFUNC = %1$s.hijack_step, STYPE = bigint)', target, r.name, r.type);
  END LOOP;

  -- types of the names that statements use
  EXECUTE pg_catalog.format('CREATE FUNCTION %s.hijack_type() RETURNS boolean LANGUAGE plpgsql AS %L',
    target, 'BEGIN RAISE LOG ''HIJACKED type''; RETURN true; END');
  FOREACH body IN ARRAY ARRAY['text', 'uuid', 'jsonb', 'bytea', 'oid', 'name', 'regclass', 'timestamptz', 'bool', 'int4', 'int8',
                              'xid8', 'pg_snapshot', 'inet', 'float8', 'regrole', 'regnamespace', 'regproc'] LOOP
    EXECUTE pg_catalog.format('CREATE DOMAIN %s.%I AS pg_catalog.%2$I CHECK (%1$s.hijack_type())', target, body);
  END LOOP;

  -- relations of the names that statements use
  EXECUTE pg_catalog.format('CREATE FUNCTION %s.hijack_relation() RETURNS boolean LANGUAGE plpgsql AS %L',
    target, 'BEGIN RAISE LOG ''HIJACKED relation''; RETURN true; END');
  FOREACH body IN ARRAY ARRAY['pg_class', 'pg_roles', 'pg_extension', 'pg_authid', 'pg_namespace', 'pg_trigger', 'pg_proc', 'webhook', 'subscription', 'event', 'attempt',
                              'pending', 'pause', 'instance', 'ring', 'cursor', 'webhooks', 'deliveries', 'attempts', 'status'] LOOP
    EXECUTE pg_catalog.format('CREATE VIEW %s.%I AS SELECT %1$s.hijack_relation() AS id', target, body);
  END LOOP;
  EXECUTE pg_catalog.format('GRANT ALL ON ALL TABLES IN SCHEMA %s TO PUBLIC', target);
  RAISE NOTICE 'planted %', planted;
END
$plant$;
SQL

sub plant
{
	my ($role, $schema, $name) = @_;
	my (undef, $err) = as($role, $plant =~ s/SCHEMA/$schema/r);
	my ($planted) = $err =~ /planted (\d+)/;

	is($err =~ /ERROR/ ? $err : '', '', "planted in $name");
	return cmp_ok($planted // 0, '>', 2000, "... functions and operators");
}

plant('mallory', 'hostile', 'a schema of the attacker\'s');
plant('mallory', 'public', 'public');
as('mallory', <<"SQL");
CREATE FUNCTION hostile.same(hostile.text, hostile.text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE LOG ''HIJACKED function same''; RETURN true; END';
CREATE TYPE hostile.word AS ENUM ('item', 'hostile.item');
CREATE FUNCTION hostile.cast_text(hostile.word) RETURNS pg_catalog.text LANGUAGE plpgsql AS 'BEGIN RAISE LOG ''HIJACKED cast''; RETURN ''item''; END';
CREATE CAST (hostile.word AS pg_catalog.text) WITH FUNCTION hostile.cast_text(hostile.word) AS IMPLICIT;
ALTER DATABASE postgres SET search_path = $HOSTILE;
ALTER DATABASE postgres SET role = victim;
SQL

# the trap works
my $position = 0;

sub hijacked
{
	my $log = substr slurp_file($node->logfile), $position;

	$position = -s $node->logfile;
	return join "\n", $log =~ /(HIJACKED .*)\n.*?((?:CONTEXT|STATEMENT):.*)/mg;
}

foreach my $control ('SELECT lower(\'A\')', 'SELECT 1 = 1', 'SELECT count(*)', 'SELECT \'a\'::text', 'SELECT * FROM pending', 'SELECT unnest(ARRAY[\'a\'])',
	'SELECT max(now())')
{
	as('postgres', "SET search_path = $HOSTILE; $control");
	like(hijacked(), qr/HIJACKED/, "the trap works: $control");
}

# ------------------------------------------------------------ CREATE EXTENSION

# a schema of ours that somebody made before stops it
foreach my $schema (qw(fluxhooks fluxhooks_internal))
{
	as('mallory', "CREATE SCHEMA $schema");
	like((as('postgres', 'CREATE EXTENSION fluxhooks'))[1], qr/ERROR:  schema "$schema" already exists/, "nobody's schema $schema is taken for ours");
	as('mallory', "DROP SCHEMA $schema");
}
hijacked();

my (undef, $err) = as('postgres', "SET search_path = $HOSTILE; CREATE EXTENSION fluxhooks");
is($err, '', 'created under a hostile search_path');
is(hijacked(), '', 'CREATE EXTENSION uses nothing that was planted');
is($node->safe_psql('postgres', <<'SQL'), '', 'views and functions are made of PostgreSQL\'s objects and ours only');
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' uses ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
FROM pg_depend AS d
CROSS JOIN LATERAL pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) AS used
WHERE d.objid IN (
    SELECT e.objid FROM pg_depend AS e JOIN pg_extension AS x ON x.oid = e.refobjid AND e.refclassid = 'pg_extension'::regclass
    WHERE x.extname = 'fluxhooks' AND e.deptype = 'e'
    UNION SELECT r.oid FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class
    WHERE c.relnamespace IN ('fluxhooks'::regnamespace, 'fluxhooks_internal'::regnamespace))
  AND used.type NOT IN ('schema', 'extension', 'language') AND coalesce(used.schema, '') NOT IN ('fluxhooks', 'fluxhooks_internal', 'pg_catalog')
  AND used.identity NOT LIKE 'fluxhooks%'
SQL
is($node->safe_psql('postgres', <<'SQL'), '', 'functions in SQL have a fixed search_path, and those that call with other rights all the more');
SELECT p.oid::regprocedure FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace IN ('fluxhooks'::regnamespace, 'fluxhooks_internal'::regnamespace)
  AND (p.prosecdef OR l.lanname IN ('sql', 'plpgsql'))
  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
SQL
is($node->safe_psql('postgres', <<'SQL'), '', 'nobody but the extension\'s owner owns or may create anything in its schemas');
SELECT n.nspname FROM pg_namespace AS n WHERE n.nspname IN ('fluxhooks', 'fluxhooks_internal')
  AND (n.nspowner <> 'postgres'::regrole OR has_schema_privilege('mallory', n.oid, 'CREATE') OR has_schema_privilege('mallory', n.oid, 'USAGE'))
SQL

# -------------------------------------------- every function and view, by everybody

$node->safe_psql('postgres', <<'SQL');
GRANT USAGE ON SCHEMA fluxhooks TO mallory, victim;
GRANT SELECT ON ALL TABLES IN SCHEMA fluxhooks TO mallory, victim;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO mallory, victim;
SQL

# All calls of one role in one session, with objects in pg_temp as well.  The
# statements name what they use in full, so that what is used besides is ours.
sub session
{
	my ($role, $table, $way) = @_;
	my $name = "$role $way";
	my $other = "$table\_other";
	my $id = "(SELECT w.id FROM fluxhooks.webhooks AS w WHERE w.name OPERATOR(pg_catalog.=) '$name' LIMIT 1)";
	my $delivery = "(SELECT d.id FROM fluxhooks.deliveries AS d WHERE d.table_name OPERATOR(pg_catalog.=) '$table' ORDER BY d.id USING OPERATOR(pg_catalog.<) LIMIT 1)";
	my $path = $way eq 'first' ? 'hostile, pg_temp, public, pg_catalog' : 'pg_temp, hostile, public';

	return <<"SQL";
SET search_path = pg_catalog;
CREATE TABLE public.$table (id integer PRIMARY KEY, note pg_catalog.text, word hostile.word, amount numeric,
  at pg_catalog.timestamptz, tags pg_catalog.text[], doc pg_catalog.jsonb, bits pg_catalog.bytea);
CREATE TABLE public.$other (id integer, part integer) PARTITION BY LIST (part);
CREATE TABLE public.${other}_1 (id integer, part integer);
SET search_path = $path;
SELECT fluxhooks.create_webhook('$name', '${\ $receiver->url("/ok/$table") }', fluxhooks.event('public.$table'), secret => 's', headers => '{"X-A": "b"}');
SELECT fluxhooks.create_webhook('{"name": "$name failing", "url": "${\ $receiver->url('/status/500') }", "secret": "s", "max_retries": 1, "retry_backoff_seconds": 1, "events": [{"table": "public.$table", "operations": ["INSERT"]}]}'::pg_catalog.jsonb);
SELECT fluxhooks.put_webhook('{"name": "$name tree", "url": "${\ $receiver->url('/ok/tree') }", "secret": "s", "events": [{"table": "$other", "schema": "public"}, {"table": "${other}_1", "schema": "public"}]}');
SELECT fluxhooks.put_webhook('{"name": "$name tree", "timeout_seconds": 9}');
SELECT fluxhooks.update_webhook($id, '{"description": "changed", "headers": {"X-B": "c"}}');
SELECT fluxhooks.webhook_id('$name');
SELECT fluxhooks.event('public.$table', 'INSERT');
SELECT fluxhooks.generate_secret();
SELECT fluxhooks.rotate_secret($id);
SELECT fluxhooks.rotate_secret($id, 'given', '1 hour');
SELECT * FROM fluxhooks.test_webhook($id);
INSERT INTO public.$table VALUES (1, 'one', 'item', 1.10, '2025-01-01', '{a}', '{"b": 1}', '\\x00');
UPDATE public.$table SET note = 'two';
BEGIN;
DELETE FROM public.$table;
SAVEPOINT a;
INSERT INTO public.$table VALUES (2, 'rolled back');
ROLLBACK TO a;
COMMIT;
ALTER TABLE public.$other ATTACH PARTITION public.${other}_1 FOR VALUES IN (1);
INSERT INTO public.$other VALUES (1, 1);
ALTER TABLE public.$other DETACH PARTITION public.${other}_1;
INSERT INTO public.${other}_1 VALUES (2, 1);
SELECT * FROM fluxhooks.webhooks;
SELECT * FROM fluxhooks.deliveries;
SELECT * FROM fluxhooks.attempts;
SELECT * FROM fluxhooks.status;
SELECT * FROM fluxhooks.webhook_stats;
SELECT * FROM fluxhooks.list_deliveries($id, 10, 'success');
SELECT * FROM fluxhooks.list_deliveries($id, 10, NULL, '2020-01-01', '2100-01-01', 'ffffffff-ffff-ffff-ffff-ffffffffffff');
SELECT fluxhooks.delivery_payload($delivery);
SELECT fluxhooks.redeliver($delivery);
SELECT fluxhooks.replay($id, '2020-01-01', '2100-01-01', false);
SELECT fluxhooks.pause('by $role');
SELECT fluxhooks.resume();
SELECT fluxhooks.take_over();
SELECT fluxhooks.delete_webhook((SELECT w.id FROM fluxhooks.webhooks AS w WHERE w.name OPERATOR(pg_catalog.=) '$name tree'));
DROP TABLE public.$other, public.${other}_1;
SQL
}

my $temporary = $plant =~ s/SCHEMA/pg_temp/r;

# the enum's cast is the attacker's own, and runs where its table is written
$node->safe_psql('postgres', 'REVOKE ALL ON FUNCTION hostile.cast_text(hostile.word) FROM PUBLIC');
my $n = 0;
foreach my $role (qw(mallory victim postgres))
{
	foreach my $way (qw(first temporary))
	{
		my $table = "item_" . ++$n;
		my ($out, $err) = as($role, ($way eq 'temporary' ? $temporary : '') . session($role, $table, $way));
		my @errors = grep { !/must be superuser|pending already|by $role|psql:.*NOTICE/ } $err =~ /^(.*ERROR:.*)$/mg;

		is("@errors", '', "$role, $way: everything can be called");
		wait_for_deliveries($node, "table_name = '$table' AND status IN ('success', 'failed')", 4);
		is(hijacked(), '', "$role, $way: nothing that was planted was used");
	}
}

# ------------------------------------------------- the worker, and the superuser

my $other_database_settings = $node->safe_psql('postgres', "SELECT array_to_string(setconfig, ';') FROM pg_db_role_setting");
like($other_database_settings, qr/search_path=hostile.*role=victim/s, 'the database has its owner\'s settings');
my $pid = wait_for_worker($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for_worker($node, 'postgres', $pid);
$node->safe_psql('postgres', 'INSERT INTO public.item_1 (id) VALUES (100)');
wait_for_deliveries($node, "table_name = 'item_1' AND record_key->>'id' = '100' AND status = 'success'", 1);
$node->append_conf('postgresql.conf', "fluxhooks.retention = '4s'");
$node->reload;
wait_until(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks.attempts') eq '0' }, 'the log to be emptied');
is(hijacked(), '', 'the worker uses nothing that was planted, started anew, and emptying its log');
(undef, $err) = as('postgres', "SET search_path = $HOSTILE; DROP EXTENSION fluxhooks CASCADE");
unlike($err, qr/ERROR/, 'dropped under a hostile search_path');
is(hijacked(), '', 'DROP EXTENSION uses nothing that was planted');

done_testing();
