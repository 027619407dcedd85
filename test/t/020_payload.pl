# The body of a delivery: what JSON.stringify(JSON.parse(body)) gives back, the
# same bytes whatever the writer's session has set, nothing lost and nothing
# rounded, and made to fit.  receiver/payload_check.js makes rows and what must come
# of them from a seed (set FLUXHOOKS_SEED to repeat a run).
use strict;
use warnings;

use File::Basename qw(dirname);
use FluxhooksTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $checker = dirname(__FILE__) . '/../receiver/payload_check.js';
my $seed = $ENV{FLUXHOOKS_SEED} // int(rand(2**31));
note("seed $seed");

# Settings of a session that nothing in a body may follow.
my $odd_session = <<'SQL';
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = -10;
SET bytea_output = 'escape';
SET xmloption = 'document';
SET quote_all_identifiers = on;
SET search_path = pg_catalog;
SQL
my $other_session = <<'SQL';
SET TimeZone = 'UTC+5';
SET DateStyle = 'German';
SET IntervalStyle = 'postgres_verbose';
SET extra_float_digits = 3;
SET search_path = s, public;
SQL

# A type of each kind that users can make.
my $types = <<'SQL';
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE SCHEMA s;
CREATE TABLE s.own (i integer);
CREATE FUNCTION s.helper(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';
CREATE TYPE s.mood AS ENUM ('so "so"', 'fine');
CREATE DOMAIN s.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN s.stamp AS timestamptz;
CREATE TYPE s.hours AS RANGE (subtype = interval);
CREATE TYPE s.spans AS RANGE (subtype = s.stamp);
CREATE TYPE s.pair AS (x integer, "10" text);
CREATE DOMAIN s.pairs AS s.pair[];
CREATE TYPE s.nest AS (p s.pair, a timestamptz[], b bytea, "2" interval, m s.mood);
CREATE TYPE s.shown AS ENUM ('a', 'b');
CREATE FUNCTION s.digits() RETURNS integer[] LANGUAGE sql AS 'SELECT ARRAY[2, 3]';
CREATE FUNCTION s.show(s.shown) RETURNS json LANGUAGE plpgsql AS
  $$ BEGIN RETURN json_build_object('shown', $1::text, '1', digits(), 'at', (timestamptz '2025-01-01 00:00:00Z')::text); END $$;
CREATE CAST (s.shown AS json) WITH FUNCTION s.show(s.shown);
CREATE TYPE s.drawn AS (x integer, y integer);
CREATE FUNCTION s.draw(s.drawn, integer, boolean) RETURNS json LANGUAGE sql AS
  $$ SELECT json_build_object('at', ARRAY[($1).x, ($1).y]) $$;
CREATE CAST (s.drawn AS json) WITH FUNCTION s.draw(s.drawn, integer, boolean) AS IMPLICIT;
SQL

my $node = new_node('payload', preload => 0, extension => 0, conf => "max_stack_depth = 2MB\nautovacuum = off");

sub make_database
{
	my ($name, $encoding) = @_;

	$node->safe_psql('postgres',
		"CREATE DATABASE $name TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($name, 'CREATE EXTENSION fluxhooks');
	return;
}

# Bodies, in hex, of deliveries that were not there the last time.
my %seen;

sub new_bodies
{
	my ($dbname) = @_;
	my $rows = $node->safe_psql($dbname,
		q{SELECT id, encode(convert_to(fluxhooks.delivery_payload(id), 'UTF8'), 'hex') FROM fluxhooks.deliveries});

	return map { (split /\|/)[1] } grep { !$seen{ (split /\|/)[0] }++ } split /\n/, $rows;
}

sub checker
{
	my ($input, $name, @arguments) = @_;
	my ($out, $err) = ('', '');
	my $passed = IPC::Run::run([ 'node', $checker, @arguments ],
		'<', \$input, '>', \$out, '2>', \$err);

	ok($passed, $name) or diag("seed $seed\n$out$err");
	return;
}

sub generated
{
	my ($out, $err);

	IPC::Run::run([ 'node', $checker, @_ ], '>', \$out, '2>', \$err) or die $err;
	return $out;
}

# One row change, and the record that its body must hold, byte for byte.
sub record_is
{
	my ($dbname, $sql, $record, $name, $truncated) = @_;

	$node->safe_psql($dbname, $sql);
	my @bodies = new_bodies($dbname);
	is(scalar @bodies, 1, "$name: one body") or return;
	checker(join("\t", $bodies[0], $record, $truncated // '[]') . "\n", $name, 'lines', $seed);
	return;
}

sub listen_to
{
	my ($dbname, @tables) = @_;

	utf8::decode($_) foreach @tables;
	create_webhook($node,
		{
			name => "for $tables[0]",
			url => 'https://example.com/',
			events => [ map { { table => $_ } } @tables ]
		},
		$dbname);
	return;
}

#
# Every type, random values, three sessions
#
make_database('cases', 'UTF8');
$node->safe_psql('cases', $types);
my @options;
push @options, 'multirange' if server_major() >= 14;
push @options, 'xml' if $node->safe_psql('cases', q{SELECT 'libxml' FROM pg_config WHERE setting LIKE '%--with-libxml%' LIMIT 1}) ne '';
note("with @options");

$node->safe_psql('cases', "SET TimeZone = 'UTC';\n" . generated('sql', $seed, @options));
my $tables = $node->safe_psql('cases',
	q{SELECT string_agg(format('%s %I.%I', CASE n WHEN 1 THEN 'UPDATE' ELSE 'DELETE FROM' END, nspname, relname)
	    || CASE n WHEN 1 THEN ' SET v = v' ELSE '' END, ';' ORDER BY n, c.oid)
	  FROM pg_class c JOIN pg_namespace s ON s.oid = relnamespace, generate_series(1, 2) AS n
	  WHERE relname LIKE 'case\_%' AND relkind = 'r'});
my ($updates, $deletes) = $tables =~ /^(UPDATE.*?);(DELETE.*)$/s;
my @session = ('TimeZone', 'DateStyle', 'IntervalStyle', 'extra_float_digits', 'bytea_output',
	'xmloption', 'quote_all_identifiers', 'search_path', 'lc_monetary');
my $show = join("\n", map { "SHOW $_;" } @session);
my $shown = $node->safe_psql('cases', "$odd_session$show\n$updates;\n$show");
$node->safe_psql('cases', "$other_session$deletes");
my @shown = split /\n/, $shown;
is(scalar @shown, 2 * @session, 'settings before and after are known');
is(join("\n", @shown[ 0 .. $#session ]), join("\n", @shown[ @session .. $#shown ]),
	'the session keeps its settings');
checker(join("\n", new_bodies('cases')), 'every type, in three sessions', 'check', $seed, @options);

#
# Shapes of tables
#
make_database('shapes', 'UTF8');
$node->safe_psql('shapes', $types . <<'SQL');
CREATE TABLE shape (id integer, gone text, v integer, "2" text, g integer GENERATED ALWAYS AS (v * 2) STORED);
INSERT INTO shape VALUES (1, 'gone', 7, 'two');
ALTER TABLE shape DROP COLUMN gone;
ALTER TABLE shape ADD COLUMN late text DEFAULT 'x';
CREATE TABLE parent (id integer, k text, at timestamptz, PRIMARY KEY (k, id)) PARTITION BY LIST (k);
CREATE TABLE part (gone integer, at timestamptz, k text NOT NULL, id integer NOT NULL);
ALTER TABLE part DROP COLUMN gone;
ALTER TABLE parent ATTACH PARTITION part FOR VALUES IN ('a');
CREATE TABLE identity (c text, a integer NOT NULL, b integer NOT NULL);
CREATE UNIQUE INDEX identity_key ON identity (b, a) INCLUDE (c);
ALTER TABLE identity REPLICA IDENTITY USING INDEX identity_key;
CREATE TABLE kept (id integer PRIMARY KEY, n integer, t text);
ALTER TABLE kept ALTER COLUMN t SET STORAGE EXTERNAL;
CREATE TABLE huge (id integer PRIMARY KEY, t text, j jsonb, b bytea, last integer);
CREATE TABLE deep (j json);
CREATE TABLE shown (v s.shown);
CREATE TABLE pairs (v s.pair);
CREATE TABLE nothing ();
CREATE SCHEMA "sch""é";
CREATE TABLE "sch""é"."t\" ("c""\é" integer);
CREATE TYPE noisy AS ENUM ('loud', 'quiet');
CREATE TABLE noise (id integer, v noisy, t text);
CREATE FUNCTION shout(noisy) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  IF $1 = 'loud' THEN
    INSERT INTO public.noise VALUES (2, 'quiet', 'inner');
  END IF;
  RETURN to_json($1::text);
END $$;
CREATE CAST (noisy AS json) WITH FUNCTION shout(noisy);
SQL
listen_to('shapes', 'shape', 'parent', 'identity', 'kept', 'huge', 'deep', 'shown', 'pairs',
	'nothing', '"sch""é"."t\"', 'noise');

record_is('shapes', 'UPDATE shape SET v = 8', '{"2":"two","id":1,"v":8,"g":16,"late":"x"}',
	'dropped column absent, generated and added ones present, integer-like name first');
is($node->safe_psql('shapes', q{SELECT record_key IS NULL FROM fluxhooks.deliveries}), 't', 'no key');

record_is('shapes', q{INSERT INTO parent VALUES (1, 'a', '2025-01-01 00:00:00Z')},
	'{"id":1,"k":"a","at":"2025-01-01T00:00:00Z"}', 'a partition reports the columns of its parent');
is($node->safe_psql('shapes', q{SELECT record_key FROM fluxhooks.deliveries WHERE record_key ? 'k'}),
	'{"k": "a", "id": 1}', 'and its primary key');

record_is('shapes', q{INSERT INTO identity VALUES ('c', 1, 2)}, '{"c":"c","a":1,"b":2}', 'replica identity');
is($node->safe_psql('shapes', q{SELECT record_key FROM fluxhooks.deliveries WHERE record_key ? 'b'}),
	'{"a": 1, "b": 2}', 'is the key where there is no primary key');

my $long = 'x"é' x 60_000;
my $long_json = $long =~ s/"/\\"/gr;
record_is('shapes', 'INSERT INTO kept VALUES (1, 1, ' . literal($long) . ')',
	qq({"id":1,"n":1,"t":"$long_json"}), 'a toasted value');
record_is('shapes', 'UPDATE kept SET n = 2', qq({"id":1,"n":2,"t":"$long_json"},"old_record":{"id":1,"n":1,"t":"$long_json"}),
	'a toasted value that an UPDATE leaves alone');

record_is('shapes', q{INSERT INTO huge SELECT 1, repeat(E'\x01', 180000000), to_jsonb(repeat(E'\x02', 180000000)), decode(repeat('00', 700000), 'hex'), 3},
	'{"id":1,"last":3}', 'values whose JSON would exceed what memory holds', '["t","j","b"]');
record_is('shapes', 'UPDATE huge SET last = 4', '{"id":1,"last":4},"old_record":{"id":1,"last":3}',
	'and again', '["t","j","b"]');

my $deep = '[{"a":' x 1000 . '0' . '}]' x 1000;
record_is('shapes', "INSERT INTO deep VALUES ('$deep')", qq({"j":$deep}), 'a deeply nested value');
record_is('shapes', q{UPDATE deep SET j = '{"a": 1, "0": "\u0000\ud800\u0041\/", "a": 1e400}'},
	'{"j":{"0":"\u0000\ud800A/","a":1e400}}', 'json that jsonb refuses');

record_is('shapes', 'INSERT INTO nothing DEFAULT VALUES', '{}', 'a table without columns');
record_is('shapes', q{INSERT INTO "sch""é"."t\\" VALUES (1)}, '{"c\"\\\\é":1}', 'odd names');

# in one session: what was looked up for the first row must not outlive its definition
$node->safe_psql('shapes', <<'SQL');
INSERT INTO shown VALUES ('a');
INSERT INTO pairs VALUES (ROW(1, 'one'));
DROP CAST (s.shown AS json);
DROP FUNCTION s.show(s.shown);
ALTER TYPE s.pair ADD ATTRIBUTE "5" integer;
INSERT INTO shown VALUES ('b');
UPDATE pairs SET v = ROW(2, 'two', 3);
SQL
my @want = (
	'{"v":"b"}',
	'{"v":{"1":[2,3],"shown":"a","at":"2025-01-01 00:00:00+00"}}',
	'{"v":{"10":"one","x":1}}',
	'{"v":{"5":3,"10":"two","x":2}},"old_record":{"v":{"5":null,"10":"one","x":1}}');
# two bodies are of the same length: INSERT comes before UPDATE
my @changed = sort { length($a) <=> length($b) || $a cmp $b } new_bodies('shapes');
is(scalar @changed, @want, 'changes after changed types');
@want = sort { length($a) <=> length($b) } @want;
checker(join("\n", map { "$changed[$_]\t$want[$_]" } 0 .. $#want), 'follow the type as it is', 'lines', $seed);

$node->safe_psql('shapes', q{INSERT INTO noise VALUES (1, 'loud', 'outer')});
my @noise = sort { $a cmp $b } map { pack('H*', $_) =~ /"record":(.*?),"old_record"/ ? $1 : '' } new_bodies('shapes');
is_deeply(\@noise,
	[ '{"id":1,"v":"loud","t":"outer"}', '{"id":2,"v":"quiet","t":"inner"}' ],
	'a cast that writes to the same table');

# a row that moves into a foreign partition, whose tuples name no command
my ($host, $port) = ($node->host, $node->port);
$node->safe_psql('shapes', <<"SQL");
CREATE EXTENSION postgres_fdw;
CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'shapes');
CREATE USER MAPPING FOR CURRENT_USER SERVER here;
CREATE TABLE far (id integer, k integer);
CREATE TABLE routed (id integer, k integer) PARTITION BY LIST (k);
CREATE TABLE routed_1 PARTITION OF routed FOR VALUES IN (1);
CREATE FOREIGN TABLE routed_2 PARTITION OF routed FOR VALUES IN (2) SERVER here OPTIONS (table_name 'far');
SQL
listen_to('shapes', 'routed');
$node->safe_psql('shapes', 'BEGIN; INSERT INTO routed VALUES (1, 1); UPDATE routed SET k = 2 WHERE k = 1; COMMIT');
is($node->safe_psql('shapes', q{SELECT string_agg(operation::text, ' ' ORDER BY cid, seq)
	FROM fluxhooks_internal.event WHERE table_name = 'routed'}), 'I D I', 'is a DELETE, then an INSERT');
new_bodies('shapes');

# every new table brings a type: no reason to read the configuration again
is($node->safe_psql('shapes', <<'SQL'), '1', 'a new table does not have the configuration read again');
BEGIN;
INSERT INTO nothing DEFAULT VALUES;
CREATE TEMPORARY TABLE other (i integer);
INSERT INTO nothing DEFAULT VALUES;
SELECT pg_stat_get_xact_numscans('fluxhooks_internal.webhook'::regclass);
COMMIT;
SQL
new_bodies('shapes');

#
# Other encodings
#
my $invalid = "\xef\xbf\xbd";    # U+FFFD
foreach my $case (
	[ 'LATIN1', q{E'\xe9\xff\x01"'}, '"éÿ\u0001\""', 'é' ],
	[ 'WIN1252', q{E'\x80\xe9'}, '"€é"', '€' ],
	[ 'EUC_JP', q{E'\xb4\xc1\xbb\xfaa'}, '"漢字a"', '漢' ],
	[ 'SQL_ASCII', q{E'\xff\xe6\xbc\xa2\xe6\xbca\xed\xa0\x80'}, qq("${invalid}漢${invalid}a$invalid$invalid$invalid"), $invalid ])
{
	my ($encoding, $text, $want, $first) = @$case;
	my $dbname = lc $encoding;
	my $client = "SET client_encoding = '$encoding';\n";

	make_database($dbname, $encoding);
	$node->safe_psql($dbname, 'CREATE TABLE t (id integer PRIMARY KEY, v text, a text[], j json, b jsonb)');
	listen_to($dbname, 't');
	record_is($dbname, $client . <<"SQL",
INSERT INTO t
SELECT 1, v, ARRAY[v], ('["\\u0041' || substr(v, 1, 1) || '"]')::json, to_jsonb(substr(v, 1, 1))
FROM (SELECT $text) AS t (v)
SQL
		qq({"id":1,"v":$want,"a":[$want],"j":["A$first"],"b":"$first"}), "$encoding becomes UTF-8");
}

# a byte that is no character, in a key: U+FFFD, which the database cannot show
$node->safe_psql('win1252', <<'SQL');
SET client_encoding = 'WIN1252';
CREATE TABLE keyed (k text PRIMARY KEY);
SELECT fluxhooks.create_webhook('keyed', 'https://example.com/', '[{"table":"keyed"}]');
INSERT INTO keyed VALUES (E'a\x81'), (E'b\x80');
SQL
is( $node->safe_psql('win1252', q{SET client_encoding = 'UTF8'; SELECT string_agg(record_key->>'k', ' ' ORDER BY id)
		FROM fluxhooks.deliveries WHERE table_name = 'keyed'}),
	'a? b€', 'a key that the database\'s encoding lacks does not stop a view');

#
# Bodies that are made to fit
#
make_database('fit', 'UTF8');
$node->append_conf('postgresql.conf', 'fluxhooks.max_payload_size = 4096');
$node->reload;
wait_until(
	sub { $node->safe_psql('fit', q{LOAD 'fluxhooks'; SHOW fluxhooks.max_payload_size}) =~ /^4(096B|kB)$/ },
	'the new size');
$node->safe_psql('fit', generated('fit-sql', $seed));
checker(join("\n", new_bodies('fit')), 'the largest columns are left out', 'fit', $seed, 4096);

$node->safe_psql('fit', <<'SQL');
CREATE TABLE key (k text PRIMARY KEY, v text);
SELECT fluxhooks.create_webhook('key', 'https://example.com/', '[{"table":"key"}]');
SQL
my $key = 'k' x 5000;
record_is('fit', "INSERT INTO key VALUES ('$key', 'v')", qq({"k":"$key"}), 'a key is never left out', '["v"]');

$node->stop;
done_testing();
