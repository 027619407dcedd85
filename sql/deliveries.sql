-- Deliveries as users see them, from the commit on: the view, paging through
-- them, payloads, sending again, samples, pause and resume.  Deliveries are
-- paused for most of it, so that nothing depends on when the worker comes to what.
SET client_min_messages = warning;
CREATE EXTENSION fluxhooks;
CREATE TABLE notes (id integer, part text, body text, PRIMARY KEY (part, id));
CREATE TABLE keyless (id integer);
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null null

CREATE FUNCTION pg_temp.refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  message text;
  hint text;
BEGIN
  EXECUTE command;
  RAISE SQLSTATE 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
  RETURN 'accepted';
WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  message := regexp_replace(message, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID');
  RETURN concat_ws(' | ', SQLSTATE, message, nullif(hint, ''));
END
$$;

SELECT fluxhooks.pause('deliveries are looked at');
SELECT paused, paused_reason, webhooks, pending, oldest_pending_at FROM fluxhooks.status;
SELECT fluxhooks.create_webhook('all', 'https://example.com/', fluxhooks.event('notes') || fluxhooks.event('keyless'), secret => 's') AS id \gset
SELECT fluxhooks.create_webhook('inserts', 'https://example.com/', fluxhooks.event('notes', 'INSERT'), secret => 's') AS inserts \gset

-- there from the commit on, in the order of the changes
BEGIN;
INSERT INTO notes VALUES (1, 'a', 'first');
UPDATE notes SET body = 'second';
UPDATE notes SET body = body, id = 2;
SAVEPOINT s;
INSERT INTO notes VALUES (3, 'a', 'rolled back');
ROLLBACK TO s;
DELETE FROM notes;
INSERT INTO keyless VALUES (1);
SELECT count(*) FROM fluxhooks.deliveries;
COMMIT;
SELECT event, table_schema, table_name, record_key, status, attempts, status_code, response_time_ms, response_body, error,
       created_at <= now(), last_attempt_at, next_attempt_at
FROM fluxhooks.deliveries WHERE webhook_id = :'id' ORDER BY id;
SELECT event, record_key FROM fluxhooks.deliveries WHERE webhook_id = :'inserts';
SELECT webhooks, pending, oldest_pending_at >= (SELECT min(created_at) FROM fluxhooks.deliveries) FROM fluxhooks.status;

-- payloads: keys, images, and the time of capture
SELECT replace(replace(fluxhooks.delivery_payload(d.id), d.webhook_id::text, 'WEBHOOK'),
               to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'CREATED')
FROM fluxhooks.deliveries AS d WHERE webhook_id = :'id' ORDER BY id;
SELECT pg_temp.refused('SELECT fluxhooks.delivery_payload(gen_random_uuid())');
SELECT pg_temp.refused('SELECT fluxhooks.delivery_payload(NULL)');

-- newest first, in pages
SELECT event, record_key FROM fluxhooks.list_deliveries(:'id');
SELECT event, record_key, id AS last FROM fluxhooks.list_deliveries(:'id', 2) OFFSET 1 \gset
SELECT event, record_key FROM fluxhooks.list_deliveries(:'id', max_rows => 2, before => :'last');
SELECT count(*) FROM fluxhooks.list_deliveries(:'id', status => 'pending');
SELECT count(*) FROM fluxhooks.list_deliveries(:'id', 1000, 'success');
SELECT count(*) FROM fluxhooks.list_deliveries(:'id', since => now());
SELECT count(*) FROM fluxhooks.list_deliveries(:'id', since => now() - interval '1 hour', until => now());
SELECT count(*) FROM fluxhooks.list_deliveries(:'id', until => '-infinity', since => 'infinity');
SELECT count(*) FROM fluxhooks.list_deliveries(:'id', since => (SELECT created_at FROM fluxhooks.deliveries WHERE id = :'last'));
SELECT count(*) FROM fluxhooks.list_deliveries(:'id', until => (SELECT created_at FROM fluxhooks.deliveries WHERE id = :'last'));
SELECT l = d FROM fluxhooks.deliveries AS d, fluxhooks.list_deliveries(d.webhook_id) AS l WHERE l.id = d.id AND d.webhook_id = :'inserts';
SELECT pg_temp.refused(format('SELECT fluxhooks.list_deliveries(%L, %s)', :'id', n)) FROM unnest(ARRAY['0', '-1', '1', '1000', '1001', 'NULL']) AS n;
SELECT pg_temp.refused(format('SELECT fluxhooks.list_deliveries(%L, 1, %L)', :'id', s)) FROM unnest(ARRAY['failed', 'Failed', '']) AS s;
SELECT pg_temp.refused('SELECT fluxhooks.list_deliveries(NULL)');
SELECT pg_temp.refused('SELECT fluxhooks.list_deliveries(gen_random_uuid())');

-- names are those of the time of the change
ALTER TABLE notes RENAME TO remarks;
SELECT DISTINCT table_name FROM fluxhooks.deliveries ORDER BY 1;
INSERT INTO remarks VALUES (4, 'b', NULL);
SELECT table_name FROM fluxhooks.list_deliveries(:'id', 1);
ALTER TABLE remarks RENAME TO notes;

-- what makes no events: off, disabled, TRUNCATE, replay; an UPDATE that changes nothing does
SELECT count(*) AS before FROM fluxhooks.deliveries \gset
SET fluxhooks.capture = off;
INSERT INTO notes VALUES (5, 'c', NULL);
RESET fluxhooks.capture;
SET session_replication_role = replica;
INSERT INTO notes VALUES (6, 'c', NULL);
RESET session_replication_role;
SELECT fluxhooks.update_webhook(:'id', '{"enabled": false}');
UPDATE notes SET body = 'x';
SELECT fluxhooks.update_webhook(:'id', '{"enabled": true}');
TRUNCATE keyless;
SELECT count(*) = :before FROM fluxhooks.deliveries;
UPDATE notes SET body = body WHERE id = 5;
SELECT event, record_key FROM fluxhooks.list_deliveries(:'id', (SELECT count(*)::integer - :before FROM fluxhooks.deliveries));

-- only what has ended can be sent again
SELECT pg_temp.refused(format('SELECT fluxhooks.redeliver(%L)', :'last'));
SELECT pg_temp.refused('SELECT fluxhooks.redeliver(gen_random_uuid())');
SELECT pg_temp.refused('SELECT fluxhooks.redeliver(NULL)');

-- deliveries of a deleted webhook are cancelled, and stay to be looked at
SELECT fluxhooks.delete_webhook(:'inserts');
SELECT event, record_key, status, attempts, next_attempt_at FROM fluxhooks.list_deliveries(:'inserts');
SELECT count(*) FROM fluxhooks.list_deliveries(:'inserts', status => 'cancelled');
SELECT count(*) FROM fluxhooks.list_deliveries(:'inserts', status => 'pending');
SELECT fluxhooks.delivery_payload(id)::jsonb->'record' FROM fluxhooks.list_deliveries(:'inserts');
SELECT pg_temp.refused(format('SELECT fluxhooks.redeliver(%L)', id)) FROM fluxhooks.list_deliveries(:'inserts', 1);
SELECT count(*) = 0 FROM fluxhooks.deliveries AS d WHERE d.webhook_id = :'inserts' AND d.status <> 'cancelled';
SELECT pending = (SELECT count(*) FROM fluxhooks.deliveries WHERE status = 'pending') FROM fluxhooks.status;

-- paused: no samples either
SELECT pg_temp.refused(format('SELECT fluxhooks.test_webhook(%L)', :'id'));
SELECT fluxhooks.pause();
SELECT paused, paused_reason FROM fluxhooks.status;
SELECT fluxhooks.delete_webhook(:'id');
SELECT fluxhooks.resume();
SELECT paused, paused_reason FROM fluxhooks.status;
SELECT fluxhooks.resume();

-- samples, to a port where nobody listens; the worker may still have to start
DO $$
BEGIN
  FOR i IN 1 .. 600 LOOP
    EXIT WHEN (SELECT worker_pid IS NOT NULL FROM fluxhooks.status);
    PERFORM pg_sleep(0.1);
  END LOOP;
END
$$;
SELECT fluxhooks.create_webhook('sample', 'http://127.0.0.1:1/', fluxhooks.event('keyless'), secret => 's', enabled => false,
  headers => '{"Authorization": "hidden"}') AS sample \gset
BEGIN;
SELECT event, table_schema, table_name, record_key, status, attempts, status_code, response_body, error IS NOT NULL,
       last_attempt_at >= created_at, next_attempt_at
FROM fluxhooks.test_webhook(:'sample');
SELECT count(*) FROM fluxhooks.deliveries AS d WHERE d.webhook_id = :'sample';
ROLLBACK;
SELECT count(*) FROM fluxhooks.deliveries AS d WHERE d.webhook_id = :'sample';
SELECT id AS test, status FROM fluxhooks.test_webhook(:'sample') \gset
SELECT delivery_id = :'test', attempt, url, status_code, response_body, error IS NOT NULL, error_code
FROM fluxhooks.attempts AS a WHERE a.webhook_id = :'sample';
SELECT replace(replace(fluxhooks.delivery_payload(d.id), d.webhook_id::text, 'WEBHOOK'),
               to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'CREATED')
FROM fluxhooks.deliveries AS d WHERE d.id = :'test';
BEGIN;
SELECT fluxhooks.create_webhook('fresh', 'http://127.0.0.1:1/', fluxhooks.event('keyless'), secret => 's') AS fresh \gset
SELECT event, status FROM fluxhooks.test_webhook(:'fresh');
ROLLBACK;
SELECT pg_temp.refused('SELECT fluxhooks.test_webhook(NULL)');
BEGIN READ ONLY;
SELECT pg_temp.refused(format('SELECT fluxhooks.test_webhook(%L)', :'sample'));
ROLLBACK;

-- sent again: pending with the attempts that were made, once
SELECT fluxhooks.pause();
BEGIN;
SELECT fluxhooks.redeliver(:'test');
ROLLBACK;
SELECT status FROM fluxhooks.deliveries WHERE id = :'test';
SELECT fluxhooks.redeliver(:'test');
SELECT event, status, attempts, error IS NOT NULL, last_attempt_at IS NOT NULL, next_attempt_at IS NOT NULL
FROM fluxhooks.deliveries WHERE id = :'test';
SELECT pg_temp.refused(format('SELECT fluxhooks.redeliver(%L)', :'test'));
SELECT status FROM fluxhooks.list_deliveries(:'sample');
SELECT count(*) FROM fluxhooks.list_deliveries(:'sample', status => 'failed');
SELECT pending FROM fluxhooks.status;
SELECT fluxhooks.delivery_payload(:'test')::jsonb->'record';

SET client_min_messages = warning;
DROP EXTENSION fluxhooks;
DROP TABLE notes, keyless;
