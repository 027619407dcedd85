-- Creating, changing and deleting webhooks: what is stored, and every rule of
-- the configuration with the SQLSTATE, message, place and hint of its error.
SET client_min_messages = warning;
CREATE EXTENSION fluxhooks;
CREATE TABLE users (id integer PRIMARY KEY, email text);
CREATE SCHEMA app;
CREATE TABLE app.orders (id integer);
CREATE TABLE "Odd Name" (id integer);
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- How a command fails; one that does not is undone.
CREATE FUNCTION pg_temp.refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  message text;
  detail text;
  hint text;
BEGIN
  EXECUTE command;
  RAISE SQLSTATE 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
  RETURN 'accepted';
WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(' | ', SQLSTATE, message, nullif(detail, ''), nullif(hint, ''));
END
$$;
CREATE FUNCTION pg_temp.create_refused(config jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT pg_temp.refused(format('SELECT fluxhooks.create_webhook(%L::jsonb)',
    '{"name": "new", "url": "https://example.com/", "secret": "s", "events": [{"table": "users"}]}'::jsonb || config))
$$;

-- the request body of the product page
SELECT fluxhooks.create_webhook('{
  "name": "User Events",
  "description": "Notify external system of user changes",
  "url": "https://example.com/webhooks/fluxbase",
  "secret": "your-webhook-secret",
  "enabled": true,
  "events": [
    {
      "table": "users",
      "operations": ["INSERT", "UPDATE"]
    }
  ],
  "max_retries": 3,
  "timeout_seconds": 30,
  "retry_backoff_seconds": 5
}') IS NOT NULL;
\x on
SELECT name, description, url, signed, enabled, paused, paused_reason, events, headers, max_retries,
       timeout_seconds, retry_backoff_seconds, owner = current_user AS own, created_at = updated_at AS fresh, options
FROM fluxhooks.webhooks;

-- arguments, defaults, and headers that hold credentials
SELECT fluxhooks.create_webhook('minimal', 'https://example.com/', fluxhooks.event('users')) IS NOT NULL;
SELECT fluxhooks.create_webhook('all', 'https://example.com/',
  fluxhooks.event('users', 'INSERT') || fluxhooks.event('app.orders', 'DELETE', 'INSERT', 'DELETE') || fluxhooks.event('"Odd Name"'),
  description => 'd', secret => 's', enabled => false,
  headers => '{"Authorization": "Bearer x", "X-Api-Key": "x", "Cookie": "x", "X-Team": "blue", "My-Token": "x",
               "X-SECRET": "x", "x-password-2": "x", "Other-Signature": "x"}',
  max_retries => 0, timeout_seconds => 300, retry_backoff_seconds => 86400, options => '{}') IS NOT NULL;
SELECT fluxhooks.create_webhook('nulls', 'https://example.com/', '[{"table": "app.orders", "operations": null}]',
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) IS NOT NULL;
SELECT name, description, signed, enabled, events, headers, max_retries, timeout_seconds, retry_backoff_seconds
FROM fluxhooks.webhooks WHERE name <> 'User Events' ORDER BY name;
\x off

-- event() and ways to spell a table
SELECT fluxhooks.event('users');
SELECT fluxhooks.event('users', 'INSERT') || fluxhooks.event('app.orders');
SELECT fluxhooks.event('"Odd Name"', VARIADIC ARRAY['DELETE']);
SELECT pg_temp.refused($$SELECT fluxhooks.event('users', 'INSERT', 'insert')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.event('users', NULL)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.event(NULL)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.event('nowhere')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.event(1::regclass)$$);
SET search_path = app, public;
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('minimal'), '{"events": [
  {"table": "orders"}, {"table": "\"Odd Name\""}, {"table": "public.\"Odd Name\""}, {"table": "USERS"},
  {"table": "Odd Name", "schema": "public"}, {"table": "\"Odd Name\"", "schema": "PUBLIC"}]}');
RESET search_path;
SELECT e.value FROM fluxhooks.webhooks, jsonb_array_elements(events) AS e WHERE name = 'minimal';

-- what the view shows can be given back
SELECT fluxhooks.update_webhook(id, jsonb_build_object('events', events)) FROM fluxhooks.webhooks WHERE name = 'minimal';
SELECT events->1 FROM fluxhooks.webhooks WHERE name = 'minimal';

-- update: present keys only, null for the default, nothing touched when nothing changes
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('all'), '{"enabled": true, "max_retries": 7}');
SELECT description, signed, enabled, max_retries, timeout_seconds, jsonb_array_length(events), updated_at > created_at
FROM fluxhooks.webhooks WHERE name = 'all';
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('all'), '{"enabled": null, "max_retries": null, "description": null,
  "timeout_seconds": null, "retry_backoff_seconds": null, "headers": null, "secret": null}');
SELECT description, signed, enabled, max_retries, timeout_seconds, retry_backoff_seconds, headers, jsonb_array_length(events)
FROM fluxhooks.webhooks WHERE name = 'all';
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('all'), '{"headers": {"A": "1", "B": "2"}}');
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('all'), '{"headers": {"C": "3"}, "name": "everything"}');
SELECT name, headers FROM fluxhooks.webhooks WHERE name = 'everything';
SELECT updated_at AS before FROM fluxhooks.webhooks WHERE name = 'everything' \gset
SELECT fluxhooks.update_webhook(id, jsonb_build_object('events', events, 'enabled', enabled, 'name', name))
FROM fluxhooks.webhooks WHERE name = 'everything';
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('everything'), '{}');
SELECT updated_at = :'before' FROM fluxhooks.webhooks WHERE name = 'everything';

-- put: creates, then changes what is given, then nothing
SELECT fluxhooks.put_webhook('{"name": "put", "url": "https://example.com/", "secret": "s", "events": [{"table": "users"}]}') AS id \gset
SELECT fluxhooks.put_webhook('{"name": "put", "max_retries": 9}') = :'id';
SELECT max_retries, signed, events, updated_at AS before FROM fluxhooks.webhooks WHERE name = 'put' \gset
SELECT :max_retries, :'signed', :'events';
SELECT fluxhooks.put_webhook('{"name": "put", "max_retries": 9, "url": "https://example.com/", "events": [{"table": "users"}]}') = :'id';
SELECT count(*), bool_and(updated_at = :'before') FROM fluxhooks.webhooks WHERE name = 'put';
SELECT pg_temp.refused($$SELECT fluxhooks.put_webhook('{"name": "new"}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.put_webhook('{"url": "https://example.com/"}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.put_webhook(NULL)$$);

-- names
SELECT fluxhooks.webhook_id('put') = :'id';
SELECT pg_temp.refused($$SELECT fluxhooks.webhook_id('nobody')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.webhook_id(NULL)$$);
SELECT pg_temp.create_refused('{"name": "put"}');
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), '{"name": "minimal"}')$$);
SELECT pg_temp.create_refused('{"name": ""}');
SELECT pg_temp.create_refused('{"name": "  "}');
SELECT pg_temp.create_refused('{"name": null}');
SELECT pg_temp.create_refused('{"name": 5}');
SELECT pg_temp.create_refused('{"name": "a\nb"}');
SELECT pg_temp.create_refused(jsonb_build_object('name', repeat('x', 255)));
SELECT pg_temp.create_refused(jsonb_build_object('name', repeat('x', 256)));
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook(NULL, 'https://example.com/', fluxhooks.event('users'))$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('new', NULL, fluxhooks.event('users'))$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('new', 'https://example.com/', NULL)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook(NULL::jsonb)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('[]'::jsonb)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('"text"'::jsonb)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('{}'::jsonb)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('{"name": "new"}'::jsonb)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('{"name": "new", "url": "https://example.com/"}'::jsonb)$$);

-- URLs; none shows in an error, since it may hold credentials
SELECT u, pg_temp.create_refused(jsonb_build_object('url', u))
FROM unnest(ARRAY['ftp://example.com/', 'example.com', '', 'https://', 'http:///path', 'https://user@example.com/',
                  'https://user:password@example.com/', 'https://example.com:99999/', 'https://exa mple.com/',
                  E'https://example.com/\nHost: other', 'javascript:alert(1)', 'file:///etc/passwd',
                  'HTTPS://EXAMPLE.COM:8443/path?query=1#part', 'http://[::1]:80/']) AS u;
SELECT pg_temp.create_refused('{"url": 5}');
SELECT pg_temp.create_refused('{"url": null}');
SELECT pg_temp.create_refused(jsonb_build_object('url', 'https://example.com/' || repeat('x', 2029)));

-- numbers
SELECT k, v, pg_temp.create_refused(jsonb_build_object(k, v))
FROM (VALUES ('max_retries', '-1'::jsonb), ('max_retries', '0'), ('max_retries', '100'), ('max_retries', '101'),
             ('max_retries', '1.5'), ('max_retries', '3.0'), ('max_retries', '1e100'), ('max_retries', '"3"'), ('max_retries', '[]'),
             ('timeout_seconds', '0'), ('timeout_seconds', '1'), ('timeout_seconds', '300'), ('timeout_seconds', '301'),
             ('retry_backoff_seconds', '0'), ('retry_backoff_seconds', '1'), ('retry_backoff_seconds', '86400'),
             ('retry_backoff_seconds', '86401'), ('enabled', '"yes"'), ('enabled', '1'), ('enabled', '{}'),
             ('description', '1'), ('description', '""')) AS c(k, v);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('new', 'https://example.com/', fluxhooks.event('users'), max_retries => 101)$$);

-- secrets: whatever is wrong, the value never shows
SELECT pg_temp.create_refused('{"secret": ""}');
SELECT pg_temp.create_refused('{"secret": {"value": "hidden"}}');
SELECT pg_temp.create_refused(jsonb_build_object('secret', repeat('x', 1025)));

-- headers
SELECT h, pg_temp.create_refused(jsonb_build_object('headers', jsonb_build_object(h, 'hidden')))
FROM unnest(ARRAY['X-Team', '', 'a b', 'a:b', 'naïve', E'a\r\nb', '(x)', 'host', 'Content-Length', 'TRANSFER-ENCODING', 'Connection',
                  'Keep-Alive', 'TE', 'Trailer', 'Upgrade', 'Content-Type', 'User-Agent', 'Proxy-Authorization',
                  'X-Fluxbase-Signature', 'webhook-id', 'Webhook-Anything', 'X-Fluxbase', 'Hostname', 'Tea']) AS h;
SELECT pg_temp.create_refused(jsonb_build_object('headers', jsonb_build_object('X', v)))
FROM unnest(ARRAY[E'a\r\nb', E'a\tb', E'a\x7fb', repeat('x', 8193), repeat('x', 8192), '', 'Grüße']) AS v;
SELECT pg_temp.create_refused('{"headers": {"X": 1}}');
SELECT pg_temp.create_refused('{"headers": {"X": null}}');
SELECT pg_temp.create_refused('{"headers": ["X"]}');
SELECT pg_temp.create_refused('{"headers": "X"}');
SELECT pg_temp.create_refused('{"headers": {"X-Team": "1", "x-team": "2"}}');
SELECT pg_temp.create_refused(jsonb_build_object('headers', jsonb_object_agg('X-' || n, 'v'))) FROM generate_series(1, 65) AS n;
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('new', 'https://example.com/', fluxhooks.event('users'), headers => '[]')$$);

-- events
SELECT e, pg_temp.create_refused(jsonb_build_object('events', e))
FROM unnest(ARRAY['[]', '{}', '"users"', 'null', '["users"]', '[{}]', '[{"table": null}]', '[{"table": 5}]', '[{"table": ""}]',
                  '[{"table": "*"}]', '[{"table": "a.b.c"}]', '[{"table": "a b"}]', '[{"table": "nowhere"}]',
                  '[{"table": "users"}, {"table": "app.nowhere"}]', '[{"table": "nowhere.users"}]', '[{"table": "Odd Name"}]',
                  '[{"table": "OddName"}]', '[{"table": "\"Users\""}]', '[{"table": "users", "schema": "app"}]',
                  '[{"table": "app.orders", "schema": "app"}]', '[{"table": "orders", "schema": 5}]', '[{"table": "users", "filter": "$"}]',
                  '[{"table": "users", "columns": ["id"]}]', '[{"table": "users", "operations": []}]', '[{"table": "users", "operations": "INSERT"}]',
                  '[{"table": "users", "operations": ["INSERT", "UPSERT"]}]', '[{"table": "users", "operations": ["insert"]}]',
                  '[{"table": "users", "operations": [5]}]', '[{"table": "users", "operations": [null]}]']::jsonb[]) AS e;
SELECT pg_temp.create_refused(jsonb_build_object('events', jsonb_agg('{"table": "users"}'::jsonb))) FROM generate_series(1, 1001);

-- keys that there are not, or not yet
SELECT pg_temp.create_refused(jsonb_build_object(k, 1))
FROM unnest(ARRAY['nmae', 'options', 'ordering', 'max_in_flight', 'max_per_second',
                  'batch', 'payload', 'format', 'header_prefix', 'Name', '']) AS k;
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('new', 'https://example.com/', fluxhooks.event('users'), options => '{"name": "x"}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('new', 'https://example.com/', fluxhooks.event('users'), options => '{"ordering": "row"}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.create_webhook('new', 'https://example.com/', fluxhooks.event('users'), options => '[]')$$);

-- an update that fails changes nothing
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), '{"max_retries": 1, "timeout_seconds": 0}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), '{"name": null}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), '{"url": null}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), '{"events": null}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), '[]')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), NULL)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.update_webhook('00000000-0000-0000-0000-000000000000', '{}')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.delete_webhook('00000000-0000-0000-0000-000000000000')$$);
SELECT pg_temp.refused($$SELECT fluxhooks.delete_webhook(NULL)$$);
SELECT pg_temp.refused($$SELECT fluxhooks.list_deliveries('00000000-0000-0000-0000-000000000000')$$);
SELECT max_retries, timeout_seconds, updated_at = :'before' FROM fluxhooks.webhooks WHERE name = 'put';
SELECT count(*) FROM fluxhooks.webhooks WHERE name = 'new';

-- remarks: unsigned, and addresses that policy refuses
SELECT fluxhooks.create_webhook('remark 1', 'http://10.1.2.3:8080/', fluxhooks.event('users')) IS NOT NULL;
SELECT fluxhooks.create_webhook('remark 2', 'https://[::1]/', fluxhooks.event('users'), secret => 's') IS NOT NULL;
SELECT fluxhooks.create_webhook('remark 3', 'http://127.0.0.1/', fluxhooks.event('users'), secret => 's') IS NOT NULL;
SELECT fluxhooks.create_webhook('remark 4', 'https://192.168.0.1/', fluxhooks.event('users'), secret => 's') IS NOT NULL;
SELECT fluxhooks.create_webhook('remark 5', 'https://10.nowhere.example/', fluxhooks.event('users'), secret => 's') IS NOT NULL;
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('remark 5'), '{"url": "http://169.254.169.254/latest/"}');
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('remark 5'), '{"secret": null, "url": "https://example.com/"}');
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('remark 5'), '{"max_retries": 1}');

-- a deleted webhook frees its name
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('put'));
SELECT replace(pg_temp.refused(format('SELECT fluxhooks.delete_webhook(%L)', :'id')), :'id', 'ID');
SELECT replace(pg_temp.refused(format('SELECT fluxhooks.update_webhook(%L, ''{}'')', :'id')), :'id', 'ID');
SELECT replace(pg_temp.refused(format('SELECT fluxhooks.test_webhook(%L)', :'id')), :'id', 'ID');
SELECT pg_temp.refused($$SELECT fluxhooks.webhook_id('put')$$);
SELECT fluxhooks.put_webhook('{"name": "put", "url": "https://example.com/", "secret": "s", "events": [{"table": "users"}]}') <> :'id';
SELECT secret IS NULL FROM fluxhooks_internal.webhook WHERE id = :'id';

-- transactions: what is rolled back leaves nothing
BEGIN;
SELECT fluxhooks.create_webhook('gone', 'https://example.com/', fluxhooks.event('app.orders'), secret => 's') IS NOT NULL;
SELECT count(*) FROM fluxhooks.webhooks WHERE name = 'gone';
ROLLBACK;
SELECT count(*) FROM fluxhooks.webhooks WHERE name = 'gone';
BEGIN;
SAVEPOINT a;
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('put'), '{"name": "renamed"}');
ROLLBACK TO a;
SELECT fluxhooks.create_webhook('renamed', 'https://example.com/', fluxhooks.event('users'), secret => 's') IS NOT NULL;
COMMIT;
SELECT count(*) FROM fluxhooks.webhooks WHERE name IN ('put', 'renamed');

-- a snapshot that is too old to see a name does not let it be used twice
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM fluxhooks.webhooks WHERE name = 'again';
SELECT fluxhooks.create_webhook('again', 'https://example.com/', fluxhooks.event('users'), secret => 's') IS NOT NULL;
SELECT pg_temp.create_refused('{"name": "again"}');
COMMIT;
BEGIN READ ONLY;
SELECT pg_temp.create_refused('{}');
ROLLBACK;

-- a session that replays for a replica configures webhooks like any other
SET session_replication_role = replica;
SELECT fluxhooks.create_webhook('replica', 'https://example.com/', fluxhooks.event('users'), secret => 's') IS NOT NULL;
RESET session_replication_role;
SELECT name, jsonb_array_length(events) FROM fluxhooks.webhooks WHERE name = 'replica';

-- every function, view and column is described
SELECT p.oid::regprocedure FROM pg_proc AS p
WHERE p.pronamespace IN ('fluxhooks'::regnamespace, 'fluxhooks_internal'::regnamespace) AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass FROM pg_class AS c
WHERE c.relnamespace = 'fluxhooks'::regnamespace AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT a.attrelid::regclass, a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'fluxhooks'::regnamespace AND col_description(a.attrelid, a.attnum) IS NULL;


-- the interface, whole
SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.provolatile
FROM pg_proc AS p WHERE p.pronamespace = 'fluxhooks'::regnamespace ORDER BY p.proname COLLATE "C", p.pronargs;
SELECT c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'fluxhooks'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
GROUP BY c.relname ORDER BY c.relname COLLATE "C";
SELECT c.relname, c.relkind FROM pg_class AS c
WHERE c.relnamespace = 'fluxhooks'::regnamespace AND c.relkind NOT IN ('v', 'c');

SET client_min_messages = warning;
DROP EXTENSION fluxhooks;
DROP TABLE users, "Odd Name";
DROP SCHEMA app CASCADE;
