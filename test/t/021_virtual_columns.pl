# Virtual generated columns, which PostgreSQL has from 18 on: in the body they are
# columns like the others, computed for the old row and the new one.
#
# Would catch a value that is missing or of the other row, an expression of another
# time, table or place, and a writer who fails since an expression does.
use strict;
use warnings;

use FluxhooksTest;
use PostgreSQL::Test::Utils;
use Test::More;

if (server_major() < 18)
{
	plan skip_all => 'PostgreSQL has no virtual generated columns before 18';
}

my $node = new_node('virtual', preload => 0);

sub listen_to
{
	my (@tables) = @_;

	create_webhook($node,
		{
			name => "for $tables[0]",
			url => 'https://example.com/',
			events => [ map { { table => $_ } } @tables ]
		});
	return;
}

# Bodies of deliveries that were not there the last time.
my %seen;

sub new_bodies
{
	my $rows = $node->safe_psql('postgres',
		'SELECT id, fluxhooks.delivery_payload(id) FROM fluxhooks.deliveries');

	return map { (split /\|/, $_, 2)[1] } grep { !$seen{ (split /\|/)[0] }++ } split /\n/, $rows;
}

# What statements make of the rows, in any order: [old, new] without timestamp and webhook.
sub changes_are
{
	my ($sql, $expected, $name) = @_;

	$node->safe_psql('postgres', $sql);
	my @changes = map { /"record":(.*),"old_record":(.*),"timestamp":[^,]*,"webhook_id":"[^"]*"(.*)\}$/ ? [ $2, "$1$3" ] : [ $_ ] } new_bodies();
	is_deeply([ sort map { "@$_" } @changes ], [ sort map { "@$_" } @$expected ], $name);
	return;
}

# Each body has in its record what a query says of that row of the table.
sub same_as_query
{
	my ($table, $sql, $count, $name) = @_;

	$node->safe_psql('postgres', $sql);
	my $told = $node->safe_psql('postgres', <<"SQL");
SELECT count(*), count(*) FILTER (WHERE body->'record' = to_jsonb(told))
FROM (SELECT fluxhooks.delivery_payload(id)::jsonb AS body FROM fluxhooks.deliveries WHERE event = 'INSERT') AS d,
  $table AS told
WHERE body->>'table' = '$table' AND (body->'record'->>'id')::integer = told.id
SQL
	is($told, "$count|$count", $name);
	new_bodies();
	return;
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE person (
  full_name text GENERATED ALWAYS AS (first || ' ' || last) VIRTUAL,
  id integer PRIMARY KEY, first text, gone integer, last text,
  "2" integer GENERATED ALWAYS AS (id * 2) VIRTUAL,
  stored integer GENERATED ALWAYS AS (id * 3) STORED,
  origin text GENERATED ALWAYS AS (CASE WHEN tableoid > 0 THEN 'here' END) VIRTUAL);
ALTER TABLE person DROP COLUMN gone;
SQL
listen_to('person');
changes_are(q{INSERT INTO person (id, first, last) VALUES (1, 'Ada', 'King'), (2, 'Bob', NULL)},
	[
		[ 'null', '{"2":2,"full_name":"Ada King","id":1,"first":"Ada","last":"King","stored":3,"origin":"here"}' ],
		[ 'null', '{"2":4,"full_name":null,"id":2,"first":"Bob","last":null,"stored":6,"origin":"here"}' ]
	],
	'INSERT');
changes_are(q{UPDATE person SET last = 'Lovelace' WHERE id = 1},
	[
		[
			'{"2":2,"full_name":"Ada King","id":1,"first":"Ada","last":"King","stored":3,"origin":"here"}',
			'{"2":2,"full_name":"Ada Lovelace","id":1,"first":"Ada","last":"Lovelace","stored":3,"origin":"here"}'
		]
	],
	'UPDATE: of each row its own');
changes_are(q{DELETE FROM person WHERE id = 1},
	[
		[
			('{"2":2,"full_name":"Ada Lovelace","id":1,"first":"Ada","last":"Lovelace","stored":3,"origin":"here"}') x 2
		]
	],
	'DELETE');

# A definition that changes in between, in one session.
changes_are(<<'SQL',
UPDATE person SET first = 'Bo';
ALTER TABLE person ALTER COLUMN full_name SET EXPRESSION AS (upper(first)), DROP COLUMN origin, DROP COLUMN stored;
UPDATE person SET last = 'Bee';
ALTER TABLE person ADD COLUMN late integer GENERATED ALWAYS AS (length(first)) VIRTUAL;
UPDATE person SET first = 'Bert';
SQL
	[
		[
			'{"2":4,"full_name":null,"id":2,"first":"Bob","last":null,"stored":6,"origin":"here"}',
			'{"2":4,"full_name":null,"id":2,"first":"Bo","last":null,"stored":6,"origin":"here"}'
		],
		[
			'{"2":4,"full_name":"BO","id":2,"first":"Bo","last":null}',
			'{"2":4,"full_name":"BO","id":2,"first":"Bo","last":"Bee"}'
		],
		[
			'{"2":4,"full_name":"BO","id":2,"first":"Bo","last":"Bee","late":2}',
			'{"2":4,"full_name":"BERT","id":2,"first":"Bert","last":"Bee","late":4}'
		]
	],
	'SET EXPRESSION and ADD COLUMN count from the next row on');

# Many types, from columns that are stored out of line as well.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE types (id integer PRIMARY KEY, n numeric, t text, at timestamp, j jsonb, a integer[],
  number numeric GENERATED ALWAYS AS (n * 1.5) VIRTUAL,
  double float8 GENERATED ALWAYS AS (n::float8 / 3) VIRTUAL,
  flag boolean GENERATED ALWAYS AS (n > 5) VIRTUAL,
  part text COLLATE "C" GENERATED ALWAYS AS (substr(t, 10000, 5)) VIRTUAL,
  whole text GENERATED ALWAYS AS (t) VIRTUAL,
  sum integer GENERATED ALWAYS AS (a[1] + coalesce(a[2], 0)) VIRTUAL,
  doubled integer[] GENERATED ALWAYS AS (a || a) VIRTUAL,
  member jsonb GENERATED ALWAYS AS (j->'k') VIRTUAL,
  words tsvector GENERATED ALWAYS AS (to_tsvector('english', left(t, 20))) VIRTUAL,
  span int4range GENERATED ALWAYS AS (int4range(0, n::integer)) VIRTUAL,
  name varchar(3) GENERATED ALWAYS AS (left(t, 3)) VIRTUAL);
ALTER TABLE types ALTER COLUMN t SET STORAGE EXTERNAL;
SQL
listen_to('types');
same_as_query('types', <<'SQL', 50, 'many types');
INSERT INTO types SELECT i, i, repeat(chr(64 + i % 26) || ' runs ', 2000), '2025-01-01',
  jsonb_build_object('k', i), ARRAY[i, NULLIF(i % 3, 0)]
FROM generate_series(1, 50) AS i
SQL

# What fails in a query does not fail the writer.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE odd (id integer PRIMARY KEY, n integer, t text,
  inverse integer GENERATED ALWAYS AS (100 / n) VIRTUAL,
  number integer GENERATED ALWAYS AS (t::integer) VIRTUAL,
  next integer GENERATED ALWAYS AS (n + 1) VIRTUAL);
SQL
listen_to('odd');
changes_are(<<'SQL',
BEGIN;
INSERT INTO odd VALUES (1, 4, '25'), (2, 0, '26'), (3, 2147483647, 'x');
SAVEPOINT a;
UPDATE odd SET n = 0 WHERE id = 1;
ROLLBACK TO a;
SAVEPOINT b;
UPDATE odd SET n = 2 WHERE id = 2;
RELEASE b;
DELETE FROM odd WHERE id = 3;
COMMIT;
SQL
	[
		[ 'null', '{"id":1,"n":4,"t":"25","inverse":25,"number":25,"next":5}' ],
		[ 'null', '{"id":2,"n":0,"t":"26","inverse":null,"number":26,"next":1}' ],
		[ 'null', '{"id":3,"n":2147483647,"t":"x","inverse":0,"number":null,"next":null}' ],
		[
			'{"id":2,"n":0,"t":"26","inverse":null,"number":26,"next":1}',
			'{"id":2,"n":2,"t":"26","inverse":50,"number":26,"next":3}'
		],
		[ ('{"id":3,"n":2147483647,"t":"x","inverse":0,"number":null,"next":null}') x 2 ]
	],
	'what cannot be computed is null, the rest is there');

# But a cancelled query is no failure of the expression, and whoever catches it
# is where he was.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE slow (id integer PRIMARY KEY, n bigint, total numeric GENERATED ALWAYS AS (factorial(n) + factorial(n - 1)) VIRTUAL);
SQL
listen_to('slow');
is($node->safe_psql('postgres', <<'SQL'), '0|t', 'a query that is cancelled meanwhile');
SET statement_timeout = '100ms';
DO $$
BEGIN
  INSERT INTO slow VALUES (1, 32000);
EXCEPTION WHEN query_canceled THEN
  NULL;
END $$;
RESET statement_timeout;
SELECT count(*), pg_current_xact_id_if_assigned() IS NULL FROM slow;
SQL
changes_are('INSERT INTO slow VALUES (2, 5)', [ [ 'null', '{"id":2,"n":5,"total":144}' ] ], 'the next one is not');

# As in a query, the expression is that of the table that is named.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE parent (id integer, k text, shown text GENERATED ALWAYS AS (k || id) VIRTUAL,
  place oid GENERATED ALWAYS AS (tableoid) VIRTUAL) PARTITION BY LIST (k);
CREATE TABLE part (gone text, shown text GENERATED ALWAYS AS ('part' || id) VIRTUAL, k text, id integer,
  place oid GENERATED ALWAYS AS (tableoid) VIRTUAL);
ALTER TABLE part DROP COLUMN gone;
ALTER TABLE parent ATTACH PARTITION part FOR VALUES IN ('a');
SQL
listen_to('parent');
same_as_query('parent', q{INSERT INTO parent VALUES (7, 'a')}, 1, 'a partition under the name of its parent');
$node->safe_psql('postgres', q{DELETE FROM parent; SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('for parent'))});
new_bodies();
listen_to('part');
same_as_query('part', q{INSERT INTO parent VALUES (8, 'a')}, 1, 'and under its own');

# A composite of a table's row type holds what was put into it.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE inner_row (a integer, b integer GENERATED ALWAYS AS (a * 2) VIRTUAL);
CREATE TABLE outer_row (id integer PRIMARY KEY, v inner_row);
SQL
listen_to('outer_row');
same_as_query('outer_row', 'INSERT INTO outer_row SELECT 1, i FROM (VALUES (ROW(1, 5)::inner_row)) AS x (i)', 1,
	'a composite');

# Too large for a body: left out like any other column.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE large (id integer PRIMARY KEY, n integer,
  filler text GENERATED ALWAYS AS (repeat('x', n)) VIRTUAL);
SQL
listen_to('large');
changes_are('INSERT INTO large VALUES (1, 2), (2, 1048576)',
	[ [ 'null', '{"id":1,"n":2,"filler":"xx"}' ], [ 'null', '{"id":2,"n":1048576},"truncated":["filler"]' ] ],
	'a value that is too large for the body');

$node->stop;
done_testing();
