-- Who may do and see what: the README's GRANTs, ownership of tables and
-- webhooks, members of the owning role, superusers, and roles with nothing.
SET client_min_messages = warning;
CREATE EXTENSION fluxhooks;
CREATE ROLE fluxhooks_app;
CREATE ROLE fluxhooks_member;
CREATE ROLE fluxhooks_noinherit NOINHERIT;
CREATE ROLE fluxhooks_other;
CREATE ROLE fluxhooks_nobody;
GRANT fluxhooks_app TO fluxhooks_member, fluxhooks_noinherit;
GRANT USAGE ON SCHEMA fluxhooks TO fluxhooks_app, fluxhooks_other, fluxhooks_noinherit;
GRANT SELECT ON ALL TABLES IN SCHEMA fluxhooks TO fluxhooks_app, fluxhooks_other, fluxhooks_noinherit;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO fluxhooks_app, fluxhooks_other, fluxhooks_noinherit;
CREATE TABLE app_table (id integer PRIMARY KEY);
ALTER TABLE app_table OWNER TO fluxhooks_app;
CREATE TABLE other_table (id integer PRIMARY KEY);
ALTER TABLE other_table OWNER TO fluxhooks_other;
CREATE SCHEMA closed;
CREATE TABLE closed.app_table (id integer);
ALTER TABLE closed.app_table OWNER TO fluxhooks_app;
GRANT INSERT ON app_table TO fluxhooks_nobody;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- how a command fails; one that does not is undone
CREATE FUNCTION refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  message text;
  detail text;
BEGIN
  EXECUTE command;
  RAISE SQLSTATE 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
  RETURN 'accepted';
WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', SQLSTATE, message, nullif(detail, ''));
END
$$;
SELECT fluxhooks.pause();

-- an owner of tables with the README's GRANTs
SET ROLE fluxhooks_app;
SELECT fluxhooks.create_webhook('mine', 'https://example.com/', fluxhooks.event('app_table'), secret => 'hidden') AS mine \gset
SELECT name, owner, signed FROM fluxhooks.webhooks;
INSERT INTO app_table VALUES (1);
SELECT event, table_name, record_key, status FROM fluxhooks.deliveries;
SELECT id AS delivery FROM fluxhooks.deliveries \gset
SELECT count(*) FROM fluxhooks.list_deliveries(:'mine');
SELECT fluxhooks.delivery_payload(:'delivery') IS NOT NULL;
SELECT count(*) FROM fluxhooks.attempts;
SELECT webhooks, pending, paused, oldest_pending_at IS NOT NULL, in_flight FROM fluxhooks.status;
SELECT refused(format('SELECT fluxhooks.redeliver(%L)', :'delivery')) LIKE '55000 | %';
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', fluxhooks.event('other_table'))$$);
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', '[{"table": "app_table"}, {"table": "other_table"}]')$$);
SELECT refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('mine'), '{"events": [{"table": "other_table"}]}')$$);
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', '[{"table": "closed.app_table"}]')$$);
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', '[{"table": "pg_class"}]')$$);
SELECT refused('SELECT fluxhooks.pause()');
SELECT refused('SELECT fluxhooks.resume()');
SELECT refused('SELECT fluxhooks.take_over()');
SELECT refused('SELECT * FROM fluxhooks_internal.webhook');
SELECT refused('SELECT fluxhooks_internal.capture()');
SELECT refused($$SELECT fluxhooks_internal.worker_status()$$);
SELECT refused('CREATE TRIGGER own AFTER INSERT ON app_table FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.capture()');
SELECT refused('UPDATE fluxhooks.webhooks SET owner = ''fluxhooks_other''');
SELECT refused('DELETE FROM fluxhooks.deliveries');
RESET ROLE;

-- another owner sees none of it, and cannot tell whether it exists
SET ROLE fluxhooks_other;
SELECT count(*) FROM fluxhooks.webhooks;
SELECT count(*) FROM fluxhooks.deliveries;
SELECT count(*) FROM fluxhooks.attempts;
SELECT webhooks, pending, oldest_pending_at, in_flight, last_error FROM fluxhooks.status;
SELECT replace(refused(format(command, id)), id::text, 'ID')
FROM (VALUES ('SELECT fluxhooks.update_webhook(%L, ''{"enabled": false}'')', :'mine'::uuid),
             ('SELECT fluxhooks.update_webhook(%L, ''{"enabled": false}'')', gen_random_uuid()),
             ('SELECT fluxhooks.update_webhook(%L, ''{"nonsense": false}'')', :'mine'),
             ('SELECT fluxhooks.delete_webhook(%L)', :'mine'),
             ('SELECT fluxhooks.test_webhook(%L)', :'mine'),
             ('SELECT fluxhooks.list_deliveries(%L)', :'mine'),
             ('SELECT fluxhooks.list_deliveries(%L)', gen_random_uuid()),
             ('SELECT fluxhooks.redeliver(%L)', :'delivery'),
             ('SELECT fluxhooks.redeliver(%L)', gen_random_uuid()),
             ('SELECT fluxhooks.delivery_payload(%L)', :'delivery'),
             ('SELECT fluxhooks.delivery_payload(%L)', gen_random_uuid())) AS c(command, id);
SELECT refused($$SELECT fluxhooks.webhook_id('mine')$$);
-- a condition that tells what it is shown is shown nothing of others
CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE NOTICE 'told %', $1; RETURN true; END$$;
SELECT count(*) FROM fluxhooks.webhooks WHERE pg_temp.tell(url);
SELECT count(*) FROM fluxhooks.deliveries WHERE pg_temp.tell(table_name);
-- the same name is free for each owner
SELECT fluxhooks.create_webhook('mine', 'https://example.com/', fluxhooks.event('other_table'), secret => 's') <> :'mine';
SELECT fluxhooks.webhook_id('mine') <> :'mine';
SELECT owner FROM fluxhooks.webhooks;
RESET ROLE;

-- members of the owning role, where they inherit its rights; SET ROLE counts
SET ROLE fluxhooks_member;
SELECT name, owner FROM fluxhooks.webhooks;
SELECT count(*) FROM fluxhooks.deliveries;
SELECT fluxhooks.update_webhook(:'mine', '{"description": "by a member"}');
SELECT refused($$SELECT fluxhooks.webhook_id('mine')$$);
SELECT fluxhooks.create_webhook('member''s', 'https://example.com/', fluxhooks.event('app_table'), secret => 's') IS NOT NULL;
SELECT name, owner FROM fluxhooks.webhooks ORDER BY name;
SET ROLE fluxhooks_app;
SELECT name, owner, description FROM fluxhooks.webhooks;
SET ROLE fluxhooks_noinherit;
SELECT count(*) FROM fluxhooks.webhooks;
SELECT replace(refused(format('SELECT fluxhooks.delete_webhook(%L)', :'mine')), :'mine', 'ID');
RESET ROLE;

-- superusers see and change everything, and it stays its owner's
SELECT name, owner FROM fluxhooks.webhooks ORDER BY owner;
SELECT fluxhooks.update_webhook(:'mine', '{"description": "by a superuser"}');
SELECT refused(format('SELECT fluxhooks.update_webhook(%L, ''{"name": "member''''s"}'')', :'mine'));
SELECT owner, description FROM fluxhooks.webhooks WHERE id = :'mine';
SELECT webhooks, pending, in_flight FROM fluxhooks.status;

-- in a function of its definer, the definer is the caller
CREATE FUNCTION definer() RETURNS name LANGUAGE sql SECURITY DEFINER AS $$
  SELECT fluxhooks.put_webhook('{"name": "definer''s", "url": "https://example.com/", "secret": "s", "events": [{"table": "public.app_table"}]}');
  SELECT owner FROM fluxhooks.webhooks WHERE name = 'definer''s'
$$;
ALTER FUNCTION definer() OWNER TO fluxhooks_app;
SET ROLE fluxhooks_other;
SELECT definer();
SELECT current_user;
RESET ROLE;
DROP FUNCTION definer();

-- writers need nothing; a role without GRANTs learns nothing
SET ROLE fluxhooks_nobody;
INSERT INTO app_table VALUES (2);
SELECT c, refused(c)
FROM unnest(ARRAY['SELECT * FROM fluxhooks.webhooks', 'SELECT * FROM fluxhooks.deliveries', 'SELECT * FROM fluxhooks.attempts',
                  'SELECT * FROM fluxhooks.status', 'SELECT fluxhooks.webhook_id(''mine'')', 'SELECT fluxhooks.pause()',
                  'SELECT fluxhooks_internal.reference_oid(NULL)', 'SELECT fluxhooks_internal.worker_status()']) AS c;
RESET ROLE;
GRANT USAGE ON SCHEMA fluxhooks TO fluxhooks_nobody;
SET ROLE fluxhooks_nobody;
SELECT c, refused(c)
FROM unnest(ARRAY['SELECT * FROM fluxhooks.webhooks', 'SELECT * FROM fluxhooks.deliveries', 'SELECT * FROM fluxhooks.attempts',
                  'SELECT * FROM fluxhooks.status', 'SELECT fluxhooks.webhook_id(''mine'')', 'SELECT fluxhooks.event(''app_table'')',
                  'SELECT fluxhooks.create_webhook(''{}''::jsonb)', 'SELECT fluxhooks.pause()']) AS c;
RESET ROLE;
SELECT count(*) FROM fluxhooks.deliveries AS d WHERE d.webhook_id = :'mine';
-- no function is left open to everybody but those that views run
SELECT p.oid::regprocedure FROM pg_proc AS p
WHERE p.pronamespace IN ('fluxhooks'::regnamespace, 'fluxhooks_internal'::regnamespace)
  AND has_function_privilege('fluxhooks_nobody', p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";

-- the secret is nowhere to be seen
SELECT count(*) FROM fluxhooks.webhooks AS w WHERE to_jsonb(w)::text LIKE '%hidden%';

-- a webhook whose owner is gone is a superuser's to look after
SELECT fluxhooks.put_webhook('{"name": "super''s", "url": "https://example.com/", "secret": "s", "events": [{"table": "app_table"}]}') IS NOT NULL;
DROP OWNED BY fluxhooks_other;
DROP ROLE fluxhooks_other;
SELECT name, owner, paused, paused_reason FROM fluxhooks.webhooks WHERE paused;
SET ROLE fluxhooks_app;
SELECT count(*) FROM fluxhooks.webhooks WHERE paused;
RESET ROLE;
SELECT fluxhooks.update_webhook(id, '{"enabled": false}') FROM fluxhooks.webhooks WHERE paused;
SELECT owner, enabled, paused_reason FROM fluxhooks.webhooks WHERE paused;
-- once there is such a role again, any change gives it to it
CREATE ROLE fluxhooks_other;
SELECT owner, paused FROM fluxhooks.webhooks WHERE owner = 'fluxhooks_other';
SELECT fluxhooks.update_webhook(id, '{}') FROM fluxhooks.webhooks WHERE paused;
SELECT owner, paused_reason FROM fluxhooks.webhooks WHERE owner = 'fluxhooks_other';
GRANT USAGE ON SCHEMA fluxhooks TO fluxhooks_other;
SELECT owner, paused_reason FROM fluxhooks.webhooks WHERE owner = 'fluxhooks_other';
GRANT EXECUTE ON FUNCTION fluxhooks.put_webhook(jsonb) TO fluxhooks_other;
SELECT owner, paused FROM fluxhooks.webhooks WHERE owner = 'fluxhooks_other';

-- what an owner needs, and what happens when it has it no more
CREATE FUNCTION paused(change text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE change;
  RETURN QUERY SELECT coalesce(paused_reason, 'not paused') FROM fluxhooks.webhooks WHERE name = 'lost';
  RAISE SQLSTATE 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
  NULL;
END
$$;
CREATE TABLE tree (id integer, part integer) PARTITION BY LIST (part);
CREATE TABLE leaf PARTITION OF tree FOR VALUES IN (1);
ALTER TABLE tree OWNER TO fluxhooks_app;
SET ROLE fluxhooks_app;
SELECT fluxhooks.create_webhook('lost', 'https://example.com/', fluxhooks.event('app_table') || fluxhooks.event('tree'), secret => 's') IS NOT NULL;
RESET ROLE;
SELECT c, paused(c) FROM unnest(ARRAY[
  'ALTER TABLE app_table OWNER TO fluxhooks_other',
  'ALTER TABLE tree OWNER TO fluxhooks_other',
  'ALTER TABLE leaf OWNER TO fluxhooks_other',
  'REASSIGN OWNED BY fluxhooks_app TO fluxhooks_other',
  'REVOKE USAGE ON SCHEMA fluxhooks FROM fluxhooks_app',
  'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks FROM fluxhooks_app',
  'REVOKE EXECUTE ON FUNCTION fluxhooks.put_webhook(jsonb) FROM fluxhooks_app',
  'REVOKE SELECT ON ALL TABLES IN SCHEMA fluxhooks FROM fluxhooks_app',
  'ALTER TABLE app_table ENABLE ROW LEVEL SECURITY',
  'ALTER TABLE app_table FORCE ROW LEVEL SECURITY',
  'ALTER TABLE app_table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
  'ALTER TABLE app_table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER ROLE fluxhooks_app BYPASSRLS',
  'ALTER TABLE tree ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
  'ALTER TABLE leaf ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
  'ALTER TABLE app_table RENAME TO renamed',
  'DROP TABLE app_table',
  'ALTER TABLE app_table OWNER TO fluxhooks_other; GRANT fluxhooks_other TO fluxhooks_app',
  'ALTER TABLE app_table OWNER TO fluxhooks_other; ALTER ROLE fluxhooks_app SUPERUSER']) AS c;

-- row security that applies to the owner: no webhook
ALTER TABLE app_table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SET ROLE fluxhooks_app;
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', fluxhooks.event('app_table'))$$);
SELECT refused($$SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('mine'), '{"events": [{"table": "app_table"}]}')$$);
SET row_security = off;
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', fluxhooks.event('app_table'))$$);
RESET row_security;
RESET ROLE;
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', fluxhooks.event('app_table'))$$);
ALTER TABLE app_table NO FORCE ROW LEVEL SECURITY;
SET ROLE fluxhooks_app;
SELECT refused($$SELECT fluxhooks.create_webhook('x', 'https://example.com/', fluxhooks.event('app_table'))$$);
RESET ROLE;
ALTER TABLE app_table DISABLE ROW LEVEL SECURITY;

-- partitions come to a table with webhooks as to any other
GRANT CREATE ON SCHEMA public TO fluxhooks_app;
SET ROLE fluxhooks_app;
CREATE TABLE leaf_2 PARTITION OF tree FOR VALUES IN (2);
CREATE TABLE leaf_3 (id integer, part integer);
ALTER TABLE tree ATTACH PARTITION leaf_3 FOR VALUES IN (3);
INSERT INTO tree VALUES (2, 2), (3, 3);
SELECT table_name, count(*) FROM fluxhooks.deliveries WHERE table_name IN ('tree', 'leaf_2', 'leaf_3') GROUP BY 1;
RESET ROLE;

-- a table that the caller owns and the webhook's owner does not
ALTER TABLE closed.app_table OWNER TO fluxhooks_member;
GRANT USAGE ON SCHEMA closed TO fluxhooks_member;
SET ROLE fluxhooks_member;
SELECT refused(format('SELECT fluxhooks.update_webhook(%L, %L)', :'mine', '{"events": [{"table": "closed.app_table"}]}'));
RESET ROLE;
SELECT refused(format('SELECT fluxhooks.update_webhook(%L, %L)', :'mine', '{"events": [{"table": "closed.app_table"}]}'));

SET client_min_messages = warning;
DROP EXTENSION fluxhooks;
DROP FUNCTION refused(text), paused(text);
DROP TABLE tree;
DROP SCHEMA closed CASCADE;
DROP OWNED BY fluxhooks_app, fluxhooks_other, fluxhooks_member, fluxhooks_noinherit, fluxhooks_nobody;
DROP ROLE fluxhooks_app, fluxhooks_other, fluxhooks_member, fluxhooks_noinherit, fluxhooks_nobody;
