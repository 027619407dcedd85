-- Which tables a webhook can listen to, the trigger that they get, and what
-- becomes of it when tables are renamed, dropped, or partitioned.
SET client_min_messages = warning;
CREATE EXTENSION fluxhooks;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

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
CREATE FUNCTION pg_temp.listen_refused(target text) RETURNS text LANGUAGE sql AS $$
  SELECT pg_temp.refused(format('SELECT fluxhooks.create_webhook(''new'', ''https://example.com/'', %L, secret => ''s'')',
    jsonb_build_array(jsonb_build_object('table', target))))
$$;
-- a webhook for tables, and the triggers that there are
CREATE FUNCTION pg_temp.listen(name text, VARIADIC tables text[]) RETURNS void LANGUAGE sql AS $$
  SELECT fluxhooks.put_webhook(jsonb_build_object('name', name, 'url', 'https://example.com/', 'secret', 's',
    'events', (SELECT jsonb_agg(jsonb_build_object('table', t)) FROM unnest(tables) AS t)))
$$;
CREATE VIEW triggers AS
  SELECT string_agg(format('%s%s', tgrelid::regclass, CASE WHEN tgparentid <> 0 THEN ' (clone)' END), ', '
                    ORDER BY tgrelid::regclass::text COLLATE "C") AS triggers
  FROM pg_trigger WHERE tgname = 'fluxhooks_capture';

-- what can be listened to
CREATE TABLE plain (id integer PRIMARY KEY);
CREATE UNLOGGED TABLE unlogged (id integer);
CREATE TABLE child () INHERITS (plain);
CREATE TEMPORARY TABLE temporary (id integer);
CREATE VIEW a_view AS SELECT * FROM plain;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM plain;
CREATE SEQUENCE a_sequence;
CREATE TYPE a_type AS (id integer);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE a_foreign_table (id integer) SERVER nowhere;
SELECT t, pg_temp.listen_refused(t)
FROM unnest(ARRAY['plain', 'unlogged', 'child', 'temporary', 'pg_temp.temporary', 'a_view', 'a_matview', 'a_sequence', 'a_type',
                  'a_foreign_table', 'plain_pkey', 'pg_class', 'pg_catalog.pg_proc', 'information_schema.sql_features',
                  'information_schema.tables', 'fluxhooks_internal.webhook', 'fluxhooks_internal.event_0', 'fluxhooks.webhooks']) AS t;
DROP FOREIGN DATA WRAPPER nowhere CASCADE;

-- one trigger, however many listen; it goes with the last of them
SELECT pg_temp.listen('one', 'plain', 'unlogged');
SELECT pg_temp.listen('two', 'plain');
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'fluxhooks_capture' AND tgrelid = 'plain'::regclass;
SELECT * FROM triggers;
SELECT pg_temp.listen('one', 'unlogged');
SELECT * FROM triggers;
SELECT pg_temp.listen('two', 'unlogged', 'child');
SELECT * FROM triggers;
SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('one'), '{"enabled": false}');
SELECT * FROM triggers;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('one'));
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('two'));
SELECT * FROM triggers;

-- rolled back with its webhook
BEGIN;
SELECT pg_temp.listen('one', 'plain');
SELECT * FROM triggers;
ROLLBACK;
SELECT * FROM triggers;

-- a stranger of the same name
CREATE FUNCTION stranger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER fluxhooks_capture AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION stranger();
SELECT pg_temp.listen_refused('plain');
DROP FUNCTION stranger CASCADE;

-- a trigger that somebody dropped comes back, and need not be there to go
SELECT pg_temp.listen('one', 'plain');
DROP TRIGGER fluxhooks_capture ON plain;
SELECT pg_temp.listen('two', 'plain');
SELECT * FROM triggers;
DROP TRIGGER fluxhooks_capture ON plain;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('one'));
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('two'));

-- another transaction's lock is waited for, but not for long
BEGIN;
INSERT INTO plain VALUES (1);
PREPARE TRANSACTION 'writer';
SET lock_timeout = '100ms';
SELECT pg_temp.refused($$SELECT pg_temp.listen('locked', 'plain')$$);
SELECT count(*) FROM fluxhooks.webhooks;
SHOW lock_timeout;
COMMIT PREPARED 'writer';
SELECT pg_temp.listen('locked', 'plain');
-- who need not make a trigger waits for no writer; who must drop one does
BEGIN;
INSERT INTO plain VALUES (2);
PREPARE TRANSACTION 'writer';
SELECT pg_temp.listen('not locked', 'plain');
SELECT fluxhooks.put_webhook('{"name": "locked", "events": [{"table": "plain", "operations": ["INSERT"]}]}') IS NOT NULL;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('locked'));
SELECT pg_temp.refused($$SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('not locked'))$$);
SELECT name FROM fluxhooks.webhooks;
COMMIT PREPARED 'writer';
RESET lock_timeout;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('not locked'));
SELECT * FROM triggers;

-- a subscription follows its table and ends with it
CREATE SCHEMA app;
CREATE TABLE moves (id integer PRIMARY KEY);
SELECT pg_temp.listen('follower', 'moves', 'plain');
ALTER TABLE moves RENAME TO moved;
ALTER TABLE moved SET SCHEMA app;
ALTER SCHEMA app RENAME TO "App";
SELECT events FROM fluxhooks.webhooks;
SELECT fluxhooks.put_webhook('{"name": "follower", "events": [{"table": "\"App\".moved"}, {"table": "plain"}]}') IS NOT NULL;
DROP TABLE "App".moved;
SELECT events, paused FROM fluxhooks.webhooks;
CREATE SCHEMA app;
CREATE TABLE moves (id integer PRIMARY KEY);
CREATE TABLE app.moved (id integer PRIMARY KEY);
SELECT events FROM fluxhooks.webhooks;
DROP TABLE plain CASCADE;
SELECT events, paused FROM fluxhooks.webhooks;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('follower'));
SELECT * FROM triggers;

-- partitions have the trigger of their root
CREATE TABLE tree (id integer, part integer) PARTITION BY LIST (part);
CREATE TABLE leaf_1 PARTITION OF tree FOR VALUES IN (1);
CREATE TABLE branch PARTITION OF tree FOR VALUES IN (3, 4) PARTITION BY LIST (part);
CREATE TABLE leaf_3 PARTITION OF branch FOR VALUES IN (3);
SELECT pg_temp.listen('tree', 'tree');
SELECT * FROM triggers;
CREATE TABLE leaf_4 PARTITION OF branch FOR VALUES IN (4);
CREATE TABLE leaf_2 (id integer, part integer);
ALTER TABLE tree ATTACH PARTITION leaf_2 FOR VALUES IN (2);
SELECT * FROM triggers;
SELECT pg_temp.listen('leaf', 'leaf_3');
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('leaf'));
SELECT * FROM triggers;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('tree'));
SELECT * FROM triggers;

-- leaves that are listened to give way to the root's trigger, and get theirs back
SELECT pg_temp.listen('leaves', 'leaf_1', 'branch', 'leaf_3');
SELECT * FROM triggers;
SELECT pg_temp.listen('tree', 'tree');
SELECT * FROM triggers;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('tree'));
SELECT * FROM triggers;
BEGIN;
SELECT pg_temp.listen('tree', 'tree');
ROLLBACK;
SELECT * FROM triggers;

-- attached and detached with listeners of their own
SELECT pg_temp.listen('tree', 'tree');
ALTER TABLE tree DETACH PARTITION leaf_1;
ALTER TABLE tree DETACH PARTITION leaf_2;
ALTER TABLE tree DETACH PARTITION branch;
SELECT * FROM triggers;
ALTER TABLE tree ATTACH PARTITION leaf_1 FOR VALUES IN (1);
ALTER TABLE tree ATTACH PARTITION branch FOR VALUES IN (3, 4);
SELECT * FROM triggers;
CREATE ROLE fluxhooks_nobody;
GRANT ALL ON SCHEMA public TO fluxhooks_nobody;
SET ROLE fluxhooks_nobody;
ALTER TABLE tree DETACH PARTITION leaf_1;
CREATE TABLE theirs (id integer, part integer);
ALTER TABLE theirs ADD COLUMN further integer;
DROP TABLE theirs;
RESET ROLE;
REVOKE ALL ON SCHEMA public FROM fluxhooks_nobody;
DROP ROLE fluxhooks_nobody;
SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('tree'));
SELECT * FROM triggers;

-- a row counts for its leaf and for its root, under each one's name
SELECT pg_temp.listen('tree', 'tree');
SELECT fluxhooks.pause('looking');
INSERT INTO tree VALUES (1, 1), (3, 3);
SELECT w.name, d.event, d.table_name FROM fluxhooks.deliveries AS d JOIN fluxhooks.webhooks AS w ON w.id = d.webhook_id
ORDER BY w.name, d.table_name;

-- a transaction that is made read-only behind its writes
BEGIN;
INSERT INTO tree VALUES (10, 1);
SET TRANSACTION READ ONLY;
COMMIT;
BEGIN;
INSERT INTO tree VALUES (11, 1);
SET TRANSACTION READ ONLY;
PREPARE TRANSACTION 'read-only';
COMMIT PREPARED 'read-only';
SELECT w.name, d.table_name, count(*) FROM fluxhooks.deliveries AS d JOIN fluxhooks.webhooks AS w ON w.id = d.webhook_id
GROUP BY w.name, d.table_name ORDER BY w.name, d.table_name;

-- the extension takes its triggers along
SET client_min_messages = warning;
DROP EXTENSION fluxhooks;
SELECT * FROM triggers;
SELECT count(*) FROM pg_event_trigger;

-- its own tables are heaps, whatever others are
CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler;
SET default_table_access_method = other;
CREATE EXTENSION fluxhooks;
SHOW default_table_access_method;
SELECT DISTINCT amname FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam WHERE relnamespace = 'fluxhooks_internal'::regnamespace AND relkind = 'r';
SELECT fluxhooks.pause('looking');
CREATE TABLE no_heap (id integer PRIMARY KEY);
SELECT pg_temp.listen('other', 'no_heap');
BEGIN;
INSERT INTO no_heap VALUES (1);
UPDATE no_heap SET id = 2;
DELETE FROM no_heap;
COMMIT;
SELECT event, record_key FROM fluxhooks.deliveries ORDER BY id;
DROP EXTENSION fluxhooks;
DROP TABLE no_heap;
RESET default_table_access_method;
DROP ACCESS METHOD other;
DROP TABLE tree, leaf_2, unlogged, moves;
DROP SCHEMA app CASCADE;
DROP SCHEMA "App";
DROP SEQUENCE a_sequence;
DROP TYPE a_type;
DROP VIEW triggers;
