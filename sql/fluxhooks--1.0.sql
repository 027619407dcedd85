/* sql/fluxhooks--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION fluxhooks" to load this file. \quit

-- Both schemas are made here, so that nobody's objects can stand in them
-- before: fluxhooks is what users see, fluxhooks_internal what they never touch.
CREATE SCHEMA fluxhooks;
COMMENT ON SCHEMA fluxhooks IS 'webhooks on committed row changes: functions and views for users';
CREATE SCHEMA fluxhooks_internal;
COMMENT ON SCHEMA fluxhooks_internal IS 'tables and helpers of fluxhooks; nothing here is for users';

-- The rings are written as heaps.
SET LOCAL default_table_access_method = heap;

----------------------------------------------------------------------------
-- References that a dump carries by name and a database resolves to an OID
----------------------------------------------------------------------------

CREATE TYPE fluxhooks_internal.role_reference;

CREATE FUNCTION fluxhooks_internal.role_reference_in(cstring)
RETURNS fluxhooks_internal.role_reference
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'role_reference_in';
COMMENT ON FUNCTION fluxhooks_internal.role_reference_in(cstring) IS
  'role name to reference; a missing role is remembered by name and resolves to nothing';

CREATE FUNCTION fluxhooks_internal.role_reference_out(fluxhooks_internal.role_reference)
RETURNS cstring
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'role_reference_out';
COMMENT ON FUNCTION fluxhooks_internal.role_reference_out(fluxhooks_internal.role_reference) IS
  'the role''s present name, or the remembered one where the role is gone';

CREATE TYPE fluxhooks_internal.role_reference (
  INPUT = fluxhooks_internal.role_reference_in,
  OUTPUT = fluxhooks_internal.role_reference_out,
  INTERNALLENGTH = VARIABLE, ALIGNMENT = int4, STORAGE = plain
);
COMMENT ON TYPE fluxhooks_internal.role_reference IS
  'a role by OID that dumps as its name and restores even where that role is missing';

CREATE TYPE fluxhooks_internal.table_reference;

CREATE FUNCTION fluxhooks_internal.table_reference_in(cstring)
RETURNS fluxhooks_internal.table_reference
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'table_reference_in';
COMMENT ON FUNCTION fluxhooks_internal.table_reference_in(cstring) IS
  'qualified table name to reference; a missing table is remembered by name and resolves to nothing';

CREATE FUNCTION fluxhooks_internal.table_reference_out(fluxhooks_internal.table_reference)
RETURNS cstring
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'table_reference_out';
COMMENT ON FUNCTION fluxhooks_internal.table_reference_out(fluxhooks_internal.table_reference) IS
  'the table''s present qualified name, or the remembered one where the table is gone';

CREATE TYPE fluxhooks_internal.table_reference (
  INPUT = fluxhooks_internal.table_reference_in,
  OUTPUT = fluxhooks_internal.table_reference_out,
  INTERNALLENGTH = VARIABLE, ALIGNMENT = int4, STORAGE = plain
);
COMMENT ON TYPE fluxhooks_internal.table_reference IS
  'a table by OID that dumps as its qualified name and restores even where that table is missing';

-- The OID as it was resolved: 0 where the name was not found when it was read.
CREATE FUNCTION fluxhooks_internal.reference_oid(fluxhooks_internal.role_reference)
RETURNS oid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'reference_oid';
COMMENT ON FUNCTION fluxhooks_internal.reference_oid(fluxhooks_internal.role_reference) IS
  'OID of the role, 0 where its name was unknown when the reference was read';

CREATE FUNCTION fluxhooks_internal.reference_oid(fluxhooks_internal.table_reference)
RETURNS oid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'reference_oid';
COMMENT ON FUNCTION fluxhooks_internal.reference_oid(fluxhooks_internal.table_reference) IS
  'OID of the table, 0 where its name was unknown when the reference was read';

-- References made from OIDs at hand, with the present name remembered.
CREATE FUNCTION fluxhooks_internal.role_reference(oid)
RETURNS fluxhooks_internal.role_reference
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'role_reference_from_oid';
COMMENT ON FUNCTION fluxhooks_internal.role_reference(oid) IS 'reference to the role with this OID';

CREATE FUNCTION fluxhooks_internal.table_reference(oid)
RETURNS fluxhooks_internal.table_reference
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'table_reference_from_oid';
COMMENT ON FUNCTION fluxhooks_internal.table_reference(oid) IS 'reference to the table with this OID';

----------------------------------------------------------------------------
-- Configuration
----------------------------------------------------------------------------

CREATE TABLE fluxhooks_internal.webhook (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  description text,
  url text NOT NULL,
  secret text,
  enabled boolean NOT NULL,
  headers jsonb NOT NULL,
  max_retries integer NOT NULL,
  timeout_seconds integer NOT NULL,
  retry_backoff_seconds integer NOT NULL,
  options jsonb NOT NULL,
  owner fluxhooks_internal.role_reference NOT NULL,
  paused_reason text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  deleted_at timestamptz,
  old_secret text,
  old_secret_expires_at timestamptz
);
COMMENT ON TABLE fluxhooks_internal.webhook IS
  'every webhook; a deleted one stays until its deliveries have aged out';

CREATE TABLE fluxhooks_internal.subscription (
  webhook_id uuid,
  position integer,
  relation fluxhooks_internal.table_reference NOT NULL,
  operations text[] NOT NULL,
  PRIMARY KEY (webhook_id, position)
);
COMMENT ON TABLE fluxhooks_internal.subscription IS
  'which tables and operations a webhook listens to: the elements of its events, in their order';

-- A subscription ends with its table: what was dropped is not dumped.
SELECT pg_catalog.pg_extension_config_dump('fluxhooks_internal.webhook', 'WHERE deleted_at IS NULL');
SELECT pg_catalog.pg_extension_config_dump('fluxhooks_internal.subscription',
  'WHERE fluxhooks_internal.reference_oid(relation) OPERATOR(pg_catalog.=) 0
      OR EXISTS (SELECT FROM pg_catalog.pg_class c
                 WHERE c.oid OPERATOR(pg_catalog.=) fluxhooks_internal.reference_oid(relation))');

CREATE FUNCTION fluxhooks_internal.configuration_changed()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'subscription_configuration_changed';
COMMENT ON FUNCTION fluxhooks_internal.configuration_changed() IS
  'after a change of webhook or subscription: every backend and the worker read it anew';

CREATE TRIGGER configuration_changed
  AFTER INSERT OR UPDATE OR DELETE ON fluxhooks_internal.webhook
  FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.configuration_changed();
CREATE TRIGGER configuration_changed
  AFTER INSERT OR UPDATE OR DELETE ON fluxhooks_internal.subscription
  FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.configuration_changed();

-- What the database knows of itself.  A dump takes the row along, so that
-- what is restored from it finds a row that is not its own.
CREATE TABLE fluxhooks_internal.instance (
  system_identifier bigint,
  database oid,
  extension oid,
  name text NOT NULL,
  restored_at timestamptz NOT NULL,
  PRIMARY KEY (system_identifier, database, extension)
);
COMMENT ON TABLE fluxhooks_internal.instance IS
  'where this data has sent from, as a server, a database, an extension and fluxhooks.instance: what differs from that is a copy, and so is what came up from a backup since restored_at (-infinity: the server never did)';
SELECT pg_catalog.pg_extension_config_dump('fluxhooks_internal.instance', '');

-- A restore adds its row to a database whose worker may have started already.
CREATE TRIGGER configuration_changed
  AFTER INSERT OR UPDATE OR DELETE ON fluxhooks_internal.instance
  FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.configuration_changed();

CREATE TABLE fluxhooks_internal.pause (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  copy boolean NOT NULL,
  reason text,
  since timestamptz NOT NULL
);
COMMENT ON TABLE fluxhooks_internal.pause IS 'holds one row while this database sends nothing; copy: since it turned out to be a copy, not since a user said so';

----------------------------------------------------------------------------
-- The event log, attempts and cursor: rings of tables that are emptied whole
----------------------------------------------------------------------------

CREATE TABLE fluxhooks_internal.ring (
  slot integer PRIMARY KEY,
  opened_at timestamptz,
  closed_at timestamptz,
  closed_snapshot pg_snapshot
);
COMMENT ON TABLE fluxhooks_internal.ring IS
  'slots of the rings: the one that is opened and not closed is written to, one never opened or emptied is free; closed_snapshot: what had committed when it was closed';
INSERT INTO fluxhooks_internal.ring
  SELECT slot, CASE slot WHEN 0 THEN pg_catalog.now() END
  FROM pg_catalog.generate_series(0, 9) AS slot;

CREATE SEQUENCE fluxhooks_internal.event_sequence CACHE 1;
COMMENT ON SEQUENCE fluxhooks_internal.event_sequence IS
  'drawn once per flush of a writer; orders transactions that touched the same row';

CREATE TABLE fluxhooks_internal.event_chunk (
  xid xid8 NOT NULL,
  seq bigint NOT NULL,
  captured_at timestamptz NOT NULL,
  cid integer NOT NULL,
  n_events integer NOT NULL,
  operation "char" NOT NULL,
  id uuid NOT NULL,
  table_schema text NOT NULL,
  table_name text NOT NULL,
  webhooks uuid[] NOT NULL,
  events bytea NOT NULL
);
COMMENT ON TABLE fluxhooks_internal.event_chunk IS
  'the event log: row changes as their transactions wrote them, n_events of one command on one table packed into a row, the first of which has this seq and captured_at; parent of the ring event_0 ... event_9';

CREATE TABLE fluxhooks_internal.attempt (
  delivery_id uuid NOT NULL,
  webhook_id uuid NOT NULL,
  xid xid8 NOT NULL,
  seq bigint NOT NULL,
  started_at timestamptz NOT NULL,
  response_time_ms double precision,
  cid integer NOT NULL,
  attempt integer NOT NULL,
  status_code integer,
  outcome "char" NOT NULL,
  error_code text,
  error text,
  url text,
  remote_address inet,
  response_body text,
  -- of the event, where its row in the log may be gone before this one
  operation "char",
  captured_at timestamptz,
  table_schema text,
  table_name text,
  record_key bytea,
  body bytea
);
COMMENT ON TABLE fluxhooks_internal.attempt IS
  'attempts as they ended: outcome s success, r to be retried, f failed for good, c cancelled (no request was made); parent of the ring attempt_0 ... attempt_9';

CREATE TABLE fluxhooks_internal.cursor (
  number bigint NOT NULL,
  last_snapshot pg_snapshot NOT NULL,
  next_snapshot pg_snapshot,
  last_seq bigint,
  cid integer,
  seq bigint
);
COMMENT ON TABLE fluxhooks_internal.cursor IS
  'how far the worker has read: everything visible in last_snapshot, and of the window up to next_snapshot the events up to (last_seq of the transaction, cid, seq); the greatest number counts; parent of the ring cursor_0 ... cursor_9';

DO $$
DECLARE
  slot integer;
  kind text;
  parent text;
BEGIN
  FOR kind, parent IN VALUES ('event', 'event_chunk'), ('attempt', 'attempt'), ('cursor', 'cursor') LOOP
    FOR slot IN SELECT r.slot FROM fluxhooks_internal.ring AS r ORDER BY r.slot LOOP
      EXECUTE pg_catalog.format(
        'CREATE TABLE fluxhooks_internal.%1$s_%2$s () INHERITS (fluxhooks_internal.%3$s) '
        'WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false, toast_tuple_target = 8160)',
        kind, slot, parent);
      EXECUTE pg_catalog.format(
        'CREATE INDEX %1$s_%2$s_idx ON fluxhooks_internal.%1$s_%2$s (%3$s) WITH (deduplicate_items = off)', kind, slot,
        CASE kind WHEN 'event' THEN 'xid, cid, seq'
                  WHEN 'attempt' THEN 'webhook_id, delivery_id, attempt'
                  ELSE 'number' END);
    END LOOP;
  END LOOP;
END
$$;

-- lz4 costs a fifth of pglz; not every server was built with it.
DO $$
DECLARE
  slot integer;
  kind text;
  attribute text;
BEGIN
  IF pg_catalog.current_setting('server_version_num')::integer < 140000 THEN
    RETURN;
  END IF;
  FOR kind, attribute IN VALUES ('event', 'events'), ('attempt', 'response_body'), ('attempt', 'body') LOOP
    FOR slot IN SELECT r.slot FROM fluxhooks_internal.ring AS r LOOP
      EXECUTE pg_catalog.format('ALTER TABLE fluxhooks_internal.%s_%s ALTER COLUMN %s SET COMPRESSION lz4', kind, slot, attribute);
    END LOOP;
  END LOOP;
EXCEPTION WHEN feature_not_supported THEN
  NULL;
END
$$;

-- Everything visible before this script's own transaction began writing is
-- settled; its own xid is not, so that a row changed in the transaction of
-- CREATE EXTENSION is an event as any other.
INSERT INTO fluxhooks_internal.cursor_0 (number, last_snapshot)
  SELECT 1, pg_catalog.concat(xmin, ':', xmin, ':')::pg_snapshot
  FROM pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS xmin;

CREATE TABLE fluxhooks_internal.pending (
  delivery_id uuid PRIMARY KEY,
  webhook_id uuid NOT NULL,
  number bigint NOT NULL,
  due_at timestamptz NOT NULL,
  pending_since timestamptz NOT NULL,
  xid xid8 NOT NULL,
  seq bigint NOT NULL,
  key_hash bigint NOT NULL,
  old_key_hash bigint NOT NULL,
  cid integer NOT NULL,
  attempts integer NOT NULL,
  attempts_before integer NOT NULL,
  -- of the event, once its row in the log is gone
  operation "char",
  captured_at timestamptz,
  table_schema text,
  table_name text,
  record_key bytea,
  body bytea
);
COMMENT ON TABLE fluxhooks_internal.pending IS
  'deliveries that failed, were parked or are to be sent again: due_at -infinity before the first attempt, attempts_before those that no longer count against max_retries';
CREATE INDEX pending_due_idx ON fluxhooks_internal.pending (webhook_id, due_at, number);
CREATE SEQUENCE fluxhooks_internal.pending_sequence CACHE 1;
COMMENT ON SEQUENCE fluxhooks_internal.pending_sequence IS 'numbers of deliveries that something else than reading the log made pending: reading goes on behind (due_at, number), so that no two may share both';

CREATE TABLE fluxhooks_internal.webhook_stat (
  webhook_id uuid PRIMARY KEY,
  since timestamptz NOT NULL,
  sent bigint NOT NULL,
  failed bigint NOT NULL,
  retried bigint NOT NULL,
  last_success_at timestamptz,
  last_failure_at timestamptz,
  last_error text,
  consecutive_failures bigint NOT NULL,
  failing_since timestamptz,
  times integer[] NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE fluxhooks_internal.webhook_stat IS
  'what the worker has counted of each webhook, written once a minute at most: times are how many answers took from 0.05 ms * 2^((i-1)/4) to 0.05 ms * 2^(i/4)';

CREATE TABLE fluxhooks_internal.dropped (
  webhook_id uuid PRIMARY KEY,
  deliveries bigint NOT NULL,
  last_at timestamptz NOT NULL
);
COMMENT ON TABLE fluxhooks_internal.dropped IS
  'how many deliveries of a webhook were given up because the event log had grown over fluxhooks.max_log_size';

CREATE FUNCTION fluxhooks_internal.log_size()
RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT sum(pg_total_relation_size(i.inhrelid))::bigint
  FROM pg_inherits AS i
  WHERE i.inhparent IN ('fluxhooks_internal.event_chunk'::regclass,
                        'fluxhooks_internal.attempt'::regclass,
                        'fluxhooks_internal.cursor'::regclass)
$$;
COMMENT ON FUNCTION fluxhooks_internal.log_size() IS
  'bytes on disk of the rings, with indexes: what fluxhooks.max_log_size is compared with';

----------------------------------------------------------------------------
-- Rows of another server never arrive here
----------------------------------------------------------------------------

-- A logical subscription FOR ALL TABLES would apply the publisher's log, and
-- this server would send it again.
CREATE FUNCTION fluxhooks_internal.refuse_replicated()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- what disables and enables all triggers of a table, as pg_restore
  -- --disable-triggers does, makes this one fire for everybody
  IF current_setting('session_replication_role') = 'replica' THEN
    RETURN NULL;
  ELSIF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION fluxhooks_internal.refuse_replicated() IS
  'drops rows that replication would apply to the tables of fluxhooks';

CREATE FUNCTION fluxhooks_internal.enable_refusal()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tbl regclass;
BEGIN
  FOR tbl IN SELECT t.tgrelid FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
             WHERE c.relnamespace = 'fluxhooks_internal'::regnamespace
               AND t.tgname = 'refuse_replicated' AND t.tgenabled <> 'R' LOOP
    EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER refuse_replicated', tbl);
  END LOOP;
END
$$;
COMMENT ON FUNCTION fluxhooks_internal.enable_refusal() IS
  'has refuse_replicated fire for what replication applies, where a restore has changed that';

DO $$
DECLARE
  tbl regclass;
BEGIN
  FOR tbl IN SELECT c.oid FROM pg_catalog.pg_class c
             WHERE c.relnamespace = 'fluxhooks_internal'::regnamespace AND c.relkind = 'r' LOOP
    EXECUTE pg_catalog.format('CREATE TRIGGER refuse_replicated BEFORE INSERT OR UPDATE OR DELETE ON %s '
                              'FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.refuse_replicated()', tbl);
  END LOOP;
END
$$;
SELECT fluxhooks_internal.enable_refusal();

----------------------------------------------------------------------------
-- Capture
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks_internal.capture()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'capture_trigger';
COMMENT ON FUNCTION fluxhooks_internal.capture() IS
  'row trigger that create_webhook installs as fluxhooks_capture; heeds no arguments, and does nothing under another name';

CREATE FUNCTION fluxhooks_internal.key_json(record_key bytea)
RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'api_key_json';
COMMENT ON FUNCTION fluxhooks_internal.key_json(bytea) IS
  'key columns as the views show them; what the database''s encoding lacks becomes "?"';

CREATE FUNCTION fluxhooks_internal.delivery_id(event_id uuid, webhook_id uuid)
RETURNS uuid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'id_of_delivery_sql';
COMMENT ON FUNCTION fluxhooks_internal.delivery_id(uuid, uuid) IS
  'id of an event''s delivery to a webhook: the event''s UUIDv7 with its last 62 bits mixed with the webhook''s id';

CREATE TYPE fluxhooks_internal.log_event AS (
  xid xid8,
  cid integer,
  seq bigint,
  id uuid,
  captured_at timestamptz,
  operation "char",
  table_schema text,
  table_name text,
  webhooks uuid[],
  key_hash bigint,
  old_key_hash bigint,
  record_key bytea
);
COMMENT ON TYPE fluxhooks_internal.log_event IS 'an event of the log, without its images of the row';

CREATE FUNCTION fluxhooks_internal.chunk_events(chunk fluxhooks_internal.event_chunk)
RETURNS SETOF fluxhooks_internal.log_event
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 20 AS 'MODULE_PATHNAME', 'api_chunk_events';
COMMENT ON FUNCTION fluxhooks_internal.chunk_events(fluxhooks_internal.event_chunk) IS
  'the events of a row of the log, in their order';

CREATE FUNCTION fluxhooks_internal.event_at(xid xid8, cid integer, seq bigint)
RETURNS fluxhooks_internal.log_event
LANGUAGE C STABLE STRICT COST 10 AS 'MODULE_PATHNAME', 'api_event_at';
COMMENT ON FUNCTION fluxhooks_internal.event_at(xid8, integer, bigint) IS
  'the event at a place of the log; null where the log does not hold it any more';

CREATE FUNCTION fluxhooks_internal.event_body(chunk fluxhooks_internal.event_chunk, seq bigint, webhook_id uuid)
RETURNS bytea
LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'api_event_body';
COMMENT ON FUNCTION fluxhooks_internal.event_body(fluxhooks_internal.event_chunk, bigint, uuid) IS
  'the body, UTF-8, that the delivery of one of a chunk''s events to a webhook has';

CREATE VIEW fluxhooks_internal.event AS
  SELECT e.*
  FROM fluxhooks_internal.event_chunk AS c
  CROSS JOIN LATERAL fluxhooks_internal.chunk_events(c) AS e;
COMMENT ON VIEW fluxhooks_internal.event IS 'every event in the log';

CREATE FUNCTION fluxhooks_internal.captured_at(delivery_id uuid)
RETURNS timestamptz
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'id_time_sql';
COMMENT ON FUNCTION fluxhooks_internal.captured_at(uuid) IS
  'when the row change was captured: the time in the id';

CREATE FUNCTION fluxhooks_internal.delivery_is_settled(webhook_id uuid, delivery_id uuid)
RETURNS boolean
LANGUAGE C STABLE STRICT COST 10 AS 'MODULE_PATHNAME', 'settled_sql';
COMMENT ON FUNCTION fluxhooks_internal.delivery_is_settled(uuid, uuid) IS
  'has this delivery an attempt or a pending row?';

----------------------------------------------------------------------------
-- Webhooks and deliveries as the views and functions below need them
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks_internal.webhook_paused_reason(fluxhooks_internal.webhook)
RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 10 AS 'MODULE_PATHNAME', 'reason_sql';
COMMENT ON FUNCTION fluxhooks_internal.webhook_paused_reason(fluxhooks_internal.webhook) IS
  'why a webhook sends nothing now: the reason it was paused for, what a restore could not find, or which right its owner has lost; null when it is not paused';

-- A delivery is in one of three places, which have a view each: columns as in
-- fluxhooks.deliveries, then what the functions need besides.

-- Ended: the last row in the attempt ring, and none in pending.
CREATE VIEW fluxhooks_internal.delivery_ended AS
SELECT a.delivery_id AS id,
       a.webhook_id,
       CASE coalesce(a.operation, e.operation)
         WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE' WHEN 'D' THEN 'DELETE' WHEN 'T' THEN 'TEST'
       END AS event,
       coalesce(a.table_schema, e.table_schema) AS table_schema,
       coalesce(a.table_name, e.table_name) AS table_name,
       fluxhooks_internal.key_json(coalesce(a.record_key, e.record_key)) AS record_key,
       CASE a.outcome WHEN 's' THEN 'success' WHEN 'f' THEN 'failed' WHEN 'c' THEN 'cancelled' ELSE 'pending' END AS status,
       a.attempt AS attempts,
       coalesce(a.status_code, r.status_code) AS status_code,
       coalesce(a.response_time_ms, r.response_time_ms) AS response_time_ms,
       coalesce(a.response_body, r.response_body) AS response_body,
       coalesce(a.error, r.error) AS error,
       coalesce(a.captured_at, e.captured_at) AS created_at,
       CASE a.outcome WHEN 'c' THEN r.started_at ELSE a.started_at END AS last_attempt_at,
       NULL::timestamptz AS next_attempt_at,
       fluxhooks_internal.reference_oid(w.owner) AS owner,
       w.deleted_at IS NOT NULL AS deleted,
       a.xid, a.cid, a.seq
FROM fluxhooks_internal.attempt AS a
JOIN fluxhooks_internal.webhook AS w ON w.id = a.webhook_id
LEFT JOIN LATERAL fluxhooks_internal.event_at(a.xid, a.cid, CASE WHEN a.operation IS NULL THEN a.seq END) AS e ON true
-- cancelled: no request, so that the one before it is what there is to see
LEFT JOIN LATERAL (SELECT b.*
                   FROM fluxhooks_internal.attempt AS b
                   WHERE a.outcome = 'c' AND b.outcome <> 'c'
                     AND b.webhook_id = a.webhook_id AND b.delivery_id = a.delivery_id
                   ORDER BY b.attempt DESC LIMIT 1) AS r ON true
WHERE NOT EXISTS (SELECT FROM fluxhooks_internal.attempt AS b
                  WHERE b.webhook_id = a.webhook_id AND b.delivery_id = a.delivery_id
                    AND (b.attempt, b.outcome = 'c', b.started_at) > (a.attempt, a.outcome = 'c', a.started_at))
  AND NOT EXISTS (SELECT FROM fluxhooks_internal.pending AS p WHERE p.delivery_id = a.delivery_id);
COMMENT ON VIEW fluxhooks_internal.delivery_ended IS 'deliveries that wait for nothing more';

-- In pending: to be retried, parked, or to be sent again.
CREATE VIEW fluxhooks_internal.delivery_pending AS
SELECT p.delivery_id AS id,
       p.webhook_id,
       CASE coalesce(p.operation, e.operation)
         WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE' WHEN 'D' THEN 'DELETE' WHEN 'T' THEN 'TEST'
       END AS event,
       coalesce(p.table_schema, e.table_schema) AS table_schema,
       coalesce(p.table_name, e.table_name) AS table_name,
       fluxhooks_internal.key_json(coalesce(p.record_key, e.record_key)) AS record_key,
       CASE WHEN w.deleted_at IS NULL THEN 'pending' ELSE 'cancelled' END AS status,
       p.attempts,
       r.status_code,
       r.response_time_ms,
       r.response_body,
       r.error,
       coalesce(p.captured_at, e.captured_at) AS created_at,
       r.started_at AS last_attempt_at,
       CASE WHEN w.deleted_at IS NULL AND isfinite(p.due_at) THEN p.due_at END AS next_attempt_at,
       fluxhooks_internal.reference_oid(w.owner) AS owner,
       w.deleted_at IS NOT NULL AS deleted,
       p.xid, p.cid, p.seq
FROM fluxhooks_internal.pending AS p
JOIN fluxhooks_internal.webhook AS w ON w.id = p.webhook_id
LEFT JOIN LATERAL fluxhooks_internal.event_at(p.xid, p.cid, CASE WHEN p.operation IS NULL THEN p.seq END) AS e ON true
LEFT JOIN LATERAL (SELECT b.*
                   FROM fluxhooks_internal.attempt AS b
                   WHERE p.attempts > 0 AND b.outcome <> 'c'
                     AND b.webhook_id = p.webhook_id AND b.delivery_id = p.delivery_id
                   ORDER BY b.attempt DESC LIMIT 1) AS r ON true;
COMMENT ON VIEW fluxhooks_internal.delivery_pending IS 'deliveries that the worker has put aside for later';

-- Committed, and neither attempted nor put aside: the worker comes to it.
CREATE VIEW fluxhooks_internal.delivery_unread AS
SELECT d.id,
       l.webhook_id,
       CASE e.operation WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE' WHEN 'D' THEN 'DELETE' END AS event,
       e.table_schema,
       e.table_name,
       fluxhooks_internal.key_json(e.record_key) AS record_key,
       CASE WHEN w.deleted_at IS NULL THEN 'pending' ELSE 'cancelled' END AS status,
       0 AS attempts,
       NULL::integer AS status_code,
       NULL::double precision AS response_time_ms,
       NULL::text AS response_body,
       NULL::text AS error,
       e.captured_at AS created_at,
       NULL::timestamptz AS last_attempt_at,
       NULL::timestamptz AS next_attempt_at,
       fluxhooks_internal.reference_oid(w.owner) AS owner,
       w.deleted_at IS NOT NULL AS deleted,
       e.xid, e.cid, e.seq
FROM fluxhooks_internal.event_chunk AS c
CROSS JOIN LATERAL fluxhooks_internal.chunk_events(c) AS e
CROSS JOIN LATERAL unnest(e.webhooks) AS l(webhook_id)
CROSS JOIN LATERAL fluxhooks_internal.delivery_id(e.id, l.webhook_id) AS d(id)
JOIN fluxhooks_internal.webhook AS w ON w.id = l.webhook_id
-- a range on both sides has the planner expect few, and use the index
WHERE c.xid >= (SELECT pg_snapshot_xmin(c.last_snapshot) FROM fluxhooks_internal.cursor AS c ORDER BY c.number DESC LIMIT 1)
  AND c.xid <= '9223372036854775807'
  AND NOT pg_visible_in_snapshot(c.xid, (SELECT c.last_snapshot FROM fluxhooks_internal.cursor AS c ORDER BY c.number DESC LIMIT 1))
  AND NOT fluxhooks_internal.delivery_is_settled(l.webhook_id, d.id);
COMMENT ON VIEW fluxhooks_internal.delivery_unread IS 'deliveries that the worker has not come to yet';

CREATE VIEW fluxhooks_internal.delivery AS
  SELECT * FROM fluxhooks_internal.delivery_ended
  UNION ALL SELECT * FROM fluxhooks_internal.delivery_pending
  UNION ALL SELECT * FROM fluxhooks_internal.delivery_unread;
COMMENT ON VIEW fluxhooks_internal.delivery IS 'every delivery, with the owner of its webhook and the place of its event';

CREATE FUNCTION fluxhooks_internal.worker_status(
  OUT pid integer, OUT running_since timestamptz, OUT in_flight integer, OUT last_error text,
  OUT last_error_at timestamptz, OUT delivery boolean, OUT preloaded boolean)
RETURNS record
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_worker_status';
COMMENT ON FUNCTION fluxhooks_internal.worker_status() IS
  'this database''s worker, and whether the server delivers at all';

CREATE FUNCTION fluxhooks_internal.backlog(
  OUT webhook_id uuid, OUT pending bigint, OUT unread bigint,
  OUT oldest_at timestamptz, OUT oldest_unread_at timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'api_backlog';
COMMENT ON FUNCTION fluxhooks_internal.backlog() IS
  'for each webhook that has any: deliveries that are pending, and of them those whose event the worker has not read';

CREATE FUNCTION fluxhooks_internal.counted(
  OUT webhook_id uuid, OUT since timestamptz, OUT sent bigint, OUT failed bigint, OUT retried bigint,
  OUT last_success_at timestamptz, OUT last_failure_at timestamptz, OUT last_error text,
  OUT consecutive_failures bigint, OUT failing_since timestamptz, OUT times integer[],
  OUT succeeded_per_second double precision, OUT failed_per_second double precision,
  OUT breaker boolean, OUT breaker_open boolean, OUT breaker_open_since timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'api_counted';
COMMENT ON FUNCTION fluxhooks_internal.counted() IS
  'what the worker that runs has counted of each webhook; no rows where none does';

CREATE FUNCTION fluxhooks_internal.response_time(times integer[], fraction double precision)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'api_response_time';
COMMENT ON FUNCTION fluxhooks_internal.response_time(integer[], double precision) IS
  'milliseconds that this fraction of the answers took no longer than';

----------------------------------------------------------------------------
-- Views for users: each role sees what belongs to its webhooks
----------------------------------------------------------------------------

CREATE VIEW fluxhooks.webhooks WITH (security_barrier) AS
SELECT w.id,
       w.name,
       w.description,
       w.url,
       w.secret IS NOT NULL AS signed,
       w.enabled,
       r.reason IS NOT NULL AS paused,
       r.reason AS paused_reason,
       e.events,
       h.headers,
       w.max_retries,
       w.timeout_seconds,
       w.retry_backoff_seconds,
       w.owner::text::name AS owner,
       w.created_at,
       w.updated_at,
       w.options,
       CASE WHEN w.old_secret_expires_at > clock_timestamp() THEN w.old_secret_expires_at END AS old_secret_expires_at
FROM fluxhooks_internal.webhook AS w
CROSS JOIN LATERAL fluxhooks_internal.webhook_paused_reason(w) AS r(reason)
CROSS JOIN LATERAL (
  SELECT coalesce(jsonb_agg(jsonb_build_object('table', t.parts[2], 'schema', t.parts[1],
                                               'operations', s.operations) ORDER BY s.position), '[]')
  FROM fluxhooks_internal.subscription AS s
  CROSS JOIN LATERAL parse_ident(s.relation::text, false) AS t(parts)
  WHERE s.webhook_id = w.id
    -- a subscription ends with its table; one that a restore could not find waits for it
    AND (fluxhooks_internal.reference_oid(s.relation) = 0
         OR EXISTS (SELECT FROM pg_class AS c WHERE c.oid = fluxhooks_internal.reference_oid(s.relation)))
) AS e(events)
CROSS JOIN LATERAL (
  SELECT coalesce(jsonb_object_agg(
    i.key,
    CASE WHEN i.key ~* 'authorization|cookie|key|token|secret|password|signature'
         THEN '"***"'::jsonb ELSE i.value END), '{}')
  FROM jsonb_each(w.headers) AS i
) AS h(headers)
WHERE w.deleted_at IS NULL
  AND pg_has_role(fluxhooks_internal.reference_oid(w.owner), 'USAGE');

COMMENT ON VIEW fluxhooks.webhooks IS 'your webhooks';
COMMENT ON COLUMN fluxhooks.webhooks.id IS 'identifies the webhook; payloads carry it as webhook_id';
COMMENT ON COLUMN fluxhooks.webhooks.name IS 'unique among its owner''s webhooks';
COMMENT ON COLUMN fluxhooks.webhooks.description IS 'what the webhook is for';
COMMENT ON COLUMN fluxhooks.webhooks.url IS 'endpoint that requests are sent to';
COMMENT ON COLUMN fluxhooks.webhooks.signed IS 'whether requests carry signatures; the secret itself cannot be read';
COMMENT ON COLUMN fluxhooks.webhooks.enabled IS 'off: captures nothing and sends nothing';
COMMENT ON COLUMN fluxhooks.webhooks.paused IS 'on: captures, and holds deliveries back';
COMMENT ON COLUMN fluxhooks.webhooks.paused_reason IS 'why it is paused';
COMMENT ON COLUMN fluxhooks.webhooks.events IS 'tables and operations it listens to';
COMMENT ON COLUMN fluxhooks.webhooks.headers IS 'additional request headers; values of those that hold credentials read ***';
COMMENT ON COLUMN fluxhooks.webhooks.max_retries IS 'retries after a first attempt that failed';
COMMENT ON COLUMN fluxhooks.webhooks.timeout_seconds IS 'bound on a whole request';
COMMENT ON COLUMN fluxhooks.webhooks.retry_backoff_seconds IS 'wait before the first retry; doubled for each further one';
COMMENT ON COLUMN fluxhooks.webhooks.owner IS 'role that the webhook belongs to';
COMMENT ON COLUMN fluxhooks.webhooks.created_at IS 'when it was created';
COMMENT ON COLUMN fluxhooks.webhooks.updated_at IS 'when its configuration last changed';
COMMENT ON COLUMN fluxhooks.webhooks.options IS 'further configuration';
COMMENT ON COLUMN fluxhooks.webhooks.old_secret_expires_at IS 'until when requests are signed with the secret before the last rotation as well; null when they are not';

CREATE VIEW fluxhooks.deliveries WITH (security_barrier) AS
SELECT d.id, d.webhook_id, d.event, d.table_schema, d.table_name, d.record_key, d.status,
       d.attempts, d.status_code, d.response_time_ms, d.response_body, d.error,
       d.created_at, d.last_attempt_at, d.next_attempt_at
FROM fluxhooks_internal.delivery AS d
WHERE pg_has_role(d.owner, 'USAGE');

COMMENT ON VIEW fluxhooks.deliveries IS 'row changes on their way to your webhooks'' endpoints, or arrived there';
COMMENT ON COLUMN fluxhooks.deliveries.id IS 'identifies the delivery, on every attempt; newer ones are greater';
COMMENT ON COLUMN fluxhooks.deliveries.webhook_id IS 'webhook that it belongs to';
COMMENT ON COLUMN fluxhooks.deliveries.event IS 'INSERT, UPDATE, DELETE or TEST';
COMMENT ON COLUMN fluxhooks.deliveries.table_schema IS 'schema of the table, as it was called then';
COMMENT ON COLUMN fluxhooks.deliveries.table_name IS 'table, as it was called then';
COMMENT ON COLUMN fluxhooks.deliveries.record_key IS 'key columns of the row; null without a key';
COMMENT ON COLUMN fluxhooks.deliveries.status IS 'pending, success, failed or cancelled';
COMMENT ON COLUMN fluxhooks.deliveries.attempts IS 'requests made so far';
COMMENT ON COLUMN fluxhooks.deliveries.status_code IS 'HTTP status of the last answer; null when none came';
COMMENT ON COLUMN fluxhooks.deliveries.response_time_ms IS 'how long the endpoint took for the last answer';
COMMENT ON COLUMN fluxhooks.deliveries.response_body IS 'beginning of the last answer''s body';
COMMENT ON COLUMN fluxhooks.deliveries.error IS 'what went wrong in the last attempt';
COMMENT ON COLUMN fluxhooks.deliveries.created_at IS 'when the row change was captured';
COMMENT ON COLUMN fluxhooks.deliveries.last_attempt_at IS 'when the last request was sent';
COMMENT ON COLUMN fluxhooks.deliveries.next_attempt_at IS 'when the next retry is due';

CREATE VIEW fluxhooks.attempts WITH (security_barrier) AS
SELECT a.delivery_id, a.webhook_id, a.attempt, a.started_at, a.url, a.remote_address,
       a.status_code, a.response_time_ms, a.response_body, a.error, a.error_code
FROM fluxhooks_internal.attempt AS a
JOIN fluxhooks_internal.webhook AS w ON w.id = a.webhook_id
WHERE a.outcome <> 'c'
  AND pg_has_role(fluxhooks_internal.reference_oid(w.owner), 'USAGE');

COMMENT ON VIEW fluxhooks.attempts IS 'requests that were made for your webhooks';
COMMENT ON COLUMN fluxhooks.attempts.delivery_id IS 'delivery that was attempted';
COMMENT ON COLUMN fluxhooks.attempts.webhook_id IS 'webhook that it belongs to';
COMMENT ON COLUMN fluxhooks.attempts.attempt IS 'number of the attempt, from 1 on';
COMMENT ON COLUMN fluxhooks.attempts.started_at IS 'when the request was sent';
COMMENT ON COLUMN fluxhooks.attempts.url IS 'where it was sent to';
COMMENT ON COLUMN fluxhooks.attempts.remote_address IS 'address that it was sent to; null when no connection came about';
COMMENT ON COLUMN fluxhooks.attempts.status_code IS 'HTTP status of the answer; null when none came';
COMMENT ON COLUMN fluxhooks.attempts.response_time_ms IS 'how long the endpoint took';
COMMENT ON COLUMN fluxhooks.attempts.response_body IS 'beginning of the answer''s body';
COMMENT ON COLUMN fluxhooks.attempts.error IS 'what went wrong; null when nothing did';
COMMENT ON COLUMN fluxhooks.attempts.error_code IS 'dns, address_denied, refused, timeout, tls, reset, status or protocol; null on success';

-- What the worker is at, and its last error, may tell of other roles'
-- webhooks: shown only to those who may see all there are.
CREATE VIEW fluxhooks.status WITH (security_barrier) AS
SELECT s.pid AS worker_pid,
       s.running_since,
       p.single IS NOT NULL OR NOT s.delivery AS paused,
       CASE WHEN p.single THEN p.reason
            WHEN NOT s.delivery THEN 'fluxhooks.delivery is off'
       END AS paused_reason,
       w.webhooks,
       w.pending,
       CASE WHEN w.all_visible THEN coalesce(s.in_flight, 0) END AS in_flight,
       w.oldest_at AS oldest_pending_at,
       CASE WHEN NOT s.preloaded
            THEN 'deliveries wait until shared_preload_libraries = ''fluxhooks'' is set and the server restarted'
            WHEN w.all_visible THEN s.last_error
       END AS last_error,
       CASE WHEN w.all_visible THEN s.last_error_at END AS last_error_at,
       CASE WHEN w.oldest_at IS NOT NULL THEN greatest(clock_timestamp() - w.oldest_at, interval '0') END AS oldest_pending_age,
       w.delivered_per_second,
       w.failed_per_second,
       w.failed_per_second / nullif(w.delivered_per_second + w.failed_per_second, 0) AS failure_rate,
       w.unread AS lag_events,
       coalesce(greatest(extract(epoch FROM clock_timestamp() - w.oldest_unread_at), 0), 0)::double precision AS lag_seconds,
       CASE WHEN w.all_visible THEN l.bytes END AS log_bytes,
       CASE WHEN w.all_visible THEN r.opened_at END AS last_rotation_at,
       w.paused_webhooks,
       w.open_breakers,
       (SELECT coalesce(sum(x.deliveries), 0)::bigint
        FROM fluxhooks_internal.dropped AS x
        JOIN fluxhooks_internal.webhook AS w ON w.id = x.webhook_id
        WHERE w.deleted_at IS NULL AND pg_has_role(fluxhooks_internal.reference_oid(w.owner), 'USAGE')) AS dropped,
       CASE WHEN w.all_visible
            THEN fluxhooks_internal.log_size() > nullif(pg_size_bytes(current_setting('fluxhooks.max_log_size', true)), 0) IS TRUE
       END AS log_full
FROM fluxhooks_internal.worker_status() AS s
LEFT JOIN fluxhooks_internal.pause AS p ON true
CROSS JOIN (
  SELECT count(*) FILTER (WHERE v.own) AS webhooks,
         coalesce(bool_and(v.visible), true) AS all_visible,
         coalesce(sum(b.pending) FILTER (WHERE v.own), 0)::bigint AS pending,
         coalesce(sum(b.unread) FILTER (WHERE v.own), 0)::bigint AS unread,
         min(b.oldest_at) FILTER (WHERE v.own) AS oldest_at,
         min(b.oldest_unread_at) FILTER (WHERE v.own) AS oldest_unread_at,
         coalesce(sum(c.succeeded_per_second) FILTER (WHERE v.own), 0) AS delivered_per_second,
         coalesce(sum(c.failed_per_second) FILTER (WHERE v.own), 0) AS failed_per_second,
         count(*) FILTER (WHERE v.own AND fluxhooks_internal.webhook_paused_reason(v.webhook) IS NOT NULL) AS paused_webhooks,
         count(*) FILTER (WHERE v.own AND c.breaker_open) AS open_breakers
  FROM (SELECT w AS webhook, w.id, x.visible, x.visible AND w.deleted_at IS NULL AS own
        FROM fluxhooks_internal.webhook AS w
        CROSS JOIN LATERAL pg_has_role(fluxhooks_internal.reference_oid(w.owner), 'USAGE') AS x(visible)) AS v
  LEFT JOIN fluxhooks_internal.backlog() AS b ON b.webhook_id = v.id
  LEFT JOIN fluxhooks_internal.counted() AS c ON c.webhook_id = v.id
) AS w
CROSS JOIN (
  SELECT sum(pg_total_relation_size(c.oid))::bigint AS bytes
  FROM pg_class AS c
  WHERE c.relnamespace = 'fluxhooks_internal'::regnamespace
    AND c.relkind = 'r' AND c.relname ~ '^((event|attempt|cursor)_\d+|pending)$'
) AS l
CROSS JOIN (SELECT max(opened_at) AS opened_at FROM fluxhooks_internal.ring) AS r;

COMMENT ON VIEW fluxhooks.status IS 'how this database''s deliveries are doing: always one row';
COMMENT ON COLUMN fluxhooks.status.worker_pid IS 'process that delivers; null when none runs';
COMMENT ON COLUMN fluxhooks.status.running_since IS 'when that process started';
COMMENT ON COLUMN fluxhooks.status.paused IS 'on: row changes are captured, and nothing is sent';
COMMENT ON COLUMN fluxhooks.status.paused_reason IS 'why nothing is sent';
COMMENT ON COLUMN fluxhooks.status.webhooks IS 'number of your webhooks';
COMMENT ON COLUMN fluxhooks.status.pending IS 'number of your deliveries that are pending; exact up to a million that are not read and a million that are parked, estimated beyond';
COMMENT ON COLUMN fluxhooks.status.in_flight IS 'requests under way; null where not all webhooks are yours';
COMMENT ON COLUMN fluxhooks.status.oldest_pending_at IS 'since when the oldest of your pending deliveries has been waiting';
COMMENT ON COLUMN fluxhooks.status.last_error IS 'what last went wrong in the worker; null where not all webhooks are yours';
COMMENT ON COLUMN fluxhooks.status.last_error_at IS 'when that was; null where not all webhooks are yours';
COMMENT ON COLUMN fluxhooks.status.oldest_pending_age IS 'how long the oldest of your pending deliveries has been waiting; null when none is';
COMMENT ON COLUMN fluxhooks.status.delivered_per_second IS 'attempts for your webhooks that succeeded, per second of the last minute';
COMMENT ON COLUMN fluxhooks.status.failed_per_second IS 'attempts for your webhooks that failed, per second of the last minute';
COMMENT ON COLUMN fluxhooks.status.failure_rate IS 'of your webhooks'' attempts of the last minute, the fraction that failed; null without attempts';
COMMENT ON COLUMN fluxhooks.status.lag_events IS 'committed events that the worker has not read yet, counted once for each of your webhooks';
COMMENT ON COLUMN fluxhooks.status.lag_seconds IS 'how long ago the oldest of them was captured; 0 when there is none';
COMMENT ON COLUMN fluxhooks.status.log_bytes IS 'disk that events, attempts and pending deliveries take; null where not all webhooks are yours';
COMMENT ON COLUMN fluxhooks.status.last_rotation_at IS 'when the event log last went on to another of its tables; null where not all webhooks are yours';
COMMENT ON COLUMN fluxhooks.status.paused_webhooks IS 'number of your webhooks that are paused';
COMMENT ON COLUMN fluxhooks.status.open_breakers IS 'number of your webhooks whose circuit breaker is open';
COMMENT ON COLUMN fluxhooks.status.dropped IS 'number of your deliveries that were cancelled because the event log had grown over fluxhooks.max_log_size';
COMMENT ON COLUMN fluxhooks.status.log_full IS 'on: the event log is larger than fluxhooks.max_log_size; null where not all webhooks are yours';

CREATE VIEW fluxhooks.webhook_stats WITH (security_barrier) AS
SELECT w.id AS webhook_id,
       w.name,
       coalesce(c.since, t.since, w.created_at) AS since,
       coalesce(c.sent, t.sent, 0) AS sent,
       coalesce(c.failed, t.failed, 0) AS failed,
       coalesce(c.retried, t.retried, 0) AS retried,
       coalesce(b.pending, 0) AS pending,
       b.oldest_at AS oldest_pending_at,
       fluxhooks_internal.response_time(coalesce(c.times, t.times), 0.5) AS p50_ms,
       fluxhooks_internal.response_time(coalesce(c.times, t.times), 0.95) AS p95_ms,
       fluxhooks_internal.response_time(coalesce(c.times, t.times), 0.99) AS p99_ms,
       coalesce(c.succeeded_per_second, 0) AS delivered_per_second,
       coalesce(c.failed_per_second, 0) AS failed_per_second,
       CASE WHEN c.webhook_id IS NULL THEN t.last_success_at ELSE c.last_success_at END AS last_success_at,
       CASE WHEN c.webhook_id IS NULL THEN t.last_failure_at ELSE c.last_failure_at END AS last_failure_at,
       CASE WHEN c.webhook_id IS NULL THEN t.last_error ELSE c.last_error END AS last_error,
       coalesce(c.consecutive_failures, t.consecutive_failures, 0) AS consecutive_failures,
       CASE WHEN c.webhook_id IS NULL THEN t.failing_since ELSE c.failing_since END AS failing_since,
       CASE WHEN w.options->'circuit_breaker' = 'false' THEN 'off'
            WHEN c.breaker_open THEN 'open'
            WHEN NOT c.breaker_open THEN 'closed'
       END AS circuit_breaker,
       c.breaker_open_since AS circuit_breaker_open_since,
       coalesce(x.deliveries, 0) AS dropped
FROM fluxhooks_internal.webhook AS w
LEFT JOIN fluxhooks_internal.counted() AS c ON c.webhook_id = w.id
LEFT JOIN fluxhooks_internal.webhook_stat AS t ON t.webhook_id = w.id
LEFT JOIN fluxhooks_internal.backlog() AS b ON b.webhook_id = w.id
LEFT JOIN fluxhooks_internal.dropped AS x ON x.webhook_id = w.id
WHERE w.deleted_at IS NULL
  AND pg_has_role(fluxhooks_internal.reference_oid(w.owner), 'USAGE');

COMMENT ON VIEW fluxhooks.webhook_stats IS 'how each of your webhooks is doing, as the worker has counted it; a worker that crashes may lose the last minute''s counts';
COMMENT ON COLUMN fluxhooks.webhook_stats.webhook_id IS 'webhook that the numbers are about';
COMMENT ON COLUMN fluxhooks.webhook_stats.name IS 'its name';
COMMENT ON COLUMN fluxhooks.webhook_stats.since IS 'when counting began';
COMMENT ON COLUMN fluxhooks.webhook_stats.sent IS 'deliveries that succeeded';
COMMENT ON COLUMN fluxhooks.webhook_stats.failed IS 'deliveries that failed for good';
COMMENT ON COLUMN fluxhooks.webhook_stats.retried IS 'attempts that failed and were followed, or are to be followed, by another';
COMMENT ON COLUMN fluxhooks.webhook_stats.pending IS 'deliveries that are pending now';
COMMENT ON COLUMN fluxhooks.webhook_stats.oldest_pending_at IS 'since when the oldest of them has been waiting';
COMMENT ON COLUMN fluxhooks.webhook_stats.p50_ms IS 'half of the latest answers, of which up to 10000 count, took no longer; within 9 percent';
COMMENT ON COLUMN fluxhooks.webhook_stats.p95_ms IS '95 percent of the latest answers took no longer';
COMMENT ON COLUMN fluxhooks.webhook_stats.p99_ms IS '99 percent of the latest answers took no longer';
COMMENT ON COLUMN fluxhooks.webhook_stats.delivered_per_second IS 'attempts that succeeded, per second of the last minute';
COMMENT ON COLUMN fluxhooks.webhook_stats.failed_per_second IS 'attempts that failed, per second of the last minute';
COMMENT ON COLUMN fluxhooks.webhook_stats.last_success_at IS 'when an attempt last succeeded';
COMMENT ON COLUMN fluxhooks.webhook_stats.last_failure_at IS 'when an attempt last failed';
COMMENT ON COLUMN fluxhooks.webhook_stats.last_error IS 'what was wrong with it';
COMMENT ON COLUMN fluxhooks.webhook_stats.consecutive_failures IS 'attempts that have failed since the last success';
COMMENT ON COLUMN fluxhooks.webhook_stats.failing_since IS 'when the first of them failed';
COMMENT ON COLUMN fluxhooks.webhook_stats.circuit_breaker IS 'closed, open or off; null where no worker runs';
COMMENT ON COLUMN fluxhooks.webhook_stats.circuit_breaker_open_since IS 'when it opened';
COMMENT ON COLUMN fluxhooks.webhook_stats.dropped IS 'deliveries that were cancelled because the event log had grown over fluxhooks.max_log_size';

----------------------------------------------------------------------------
-- Functions for users
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks.create_webhook(
  name text, url text, events jsonb,
  description text DEFAULT NULL, secret text DEFAULT NULL, enabled boolean DEFAULT true,
  headers jsonb DEFAULT '{}', max_retries integer DEFAULT 3, timeout_seconds integer DEFAULT 30,
  retry_backoff_seconds integer DEFAULT 5, options jsonb DEFAULT '{}')
RETURNS uuid
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_create_webhook';
COMMENT ON FUNCTION fluxhooks.create_webhook(text, text, jsonb, text, text, boolean, jsonb, integer, integer, integer, jsonb) IS
  'create a webhook and have its tables captured; returns its id. A secret written in a statement may reach the server''s log: pass secret => fluxhooks.generate_secret(), or leave it out and read it from rotate_secret()';

CREATE FUNCTION fluxhooks.create_webhook(config jsonb)
RETURNS uuid
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_create_webhook_config';
COMMENT ON FUNCTION fluxhooks.create_webhook(jsonb) IS
  'create a webhook from one object, and have its tables captured; returns its id. For a secret that reaches no log leave it out, and read one from rotate_secret()';

CREATE FUNCTION fluxhooks.put_webhook(config jsonb)
RETURNS uuid
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_put_webhook';
COMMENT ON FUNCTION fluxhooks.put_webhook(jsonb) IS
  'create your webhook of this name, or change the given keys of the one there is; returns its id';

CREATE FUNCTION fluxhooks.update_webhook(webhook_id uuid, changes jsonb)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_update_webhook';
COMMENT ON FUNCTION fluxhooks.update_webhook(uuid, jsonb) IS
  'change the given keys of a webhook and no other; null puts a key back to its default. A secret written in a statement may reach the server''s log: rotate_secret() makes one and returns it';

CREATE FUNCTION fluxhooks.delete_webhook(webhook_id uuid)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_delete_webhook';
COMMENT ON FUNCTION fluxhooks.delete_webhook(uuid) IS
  'delete a webhook, cancel what is pending, and drop the triggers that nobody else needs';

CREATE FUNCTION fluxhooks.generate_secret()
RETURNS text
LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'api_generate_secret';
COMMENT ON FUNCTION fluxhooks.generate_secret() IS
  'a new secret: whsec_ and 32 random bytes in base64';

CREATE FUNCTION fluxhooks.rotate_secret(webhook_id uuid, secret text DEFAULT NULL, overlap interval DEFAULT '24 hours')
RETURNS text
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_rotate_secret';
COMMENT ON FUNCTION fluxhooks.rotate_secret(uuid, text, interval) IS
  'give a webhook a new secret, generated where none is given, and return it; the one before signs as well until the overlap is over';

CREATE FUNCTION fluxhooks.webhook_id(name text)
RETURNS uuid
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'api_webhook_id';
COMMENT ON FUNCTION fluxhooks.webhook_id(text) IS 'id of your webhook of this name';

CREATE FUNCTION fluxhooks.event(target regclass, VARIADIC operations text[] DEFAULT '{INSERT,UPDATE,DELETE}')
RETURNS jsonb
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'api_event';
COMMENT ON FUNCTION fluxhooks.event(regclass, text[]) IS
  'an array for the events of a webhook, with one table; join several with ||';

CREATE FUNCTION fluxhooks.test_webhook(webhook_id uuid)
RETURNS fluxhooks.deliveries
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_test_webhook';
COMMENT ON FUNCTION fluxhooks.test_webhook(uuid) IS
  'send one sample now, wait for the answer, and return the recorded delivery';

CREATE FUNCTION fluxhooks.list_deliveries(
  webhook_id uuid, max_rows integer DEFAULT 50, status text DEFAULT NULL,
  since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, before uuid DEFAULT NULL)
RETURNS SETOF fluxhooks.deliveries
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'api_list_deliveries';
COMMENT ON FUNCTION fluxhooks.list_deliveries(uuid, integer, text, timestamptz, timestamptz, uuid) IS
  'deliveries of a webhook, newest first; go on with the last one''s id as before';

CREATE FUNCTION fluxhooks.redeliver(delivery_id uuid)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_redeliver';
COMMENT ON FUNCTION fluxhooks.redeliver(uuid) IS
  'send a finished delivery again: same id and body, fresh retries';

-- As list_deliveries: through indexes, whatever a planner thinks of rings.
CREATE FUNCTION fluxhooks_internal.replay(
  webhook uuid, lowest uuid, highest uuid, since timestamptz, until timestamptz, only_failed boolean)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  queued bigint;
BEGIN
  INSERT INTO fluxhooks_internal.pending (
    delivery_id, webhook_id, number, due_at, pending_since, xid, seq, key_hash, old_key_hash, cid,
    attempts, attempts_before, operation, captured_at, table_schema, table_name, record_key, body)
  SELECT a.delivery_id, webhook, nextval('fluxhooks_internal.pending_sequence'), now(), now(), a.xid, a.seq,
         coalesce(e.key_hash, 0), coalesce(e.old_key_hash, 0), a.cid, a.attempt, a.attempt,
         c.operation, c.captured_at, c.table_schema, c.table_name, c.record_key, c.body
  -- the last attempt of each, as in delivery_ended, in one pass
  FROM (SELECT DISTINCT ON (delivery_id) delivery_id, attempt, outcome, operation, xid, cid, seq
        FROM fluxhooks_internal.attempt
        WHERE webhook_id = webhook AND delivery_id >= lowest AND delivery_id < highest
        ORDER BY delivery_id, attempt DESC, outcome = 'c' DESC, started_at DESC) AS a
  LEFT JOIN LATERAL fluxhooks_internal.event_at(a.xid, a.cid, a.seq) AS e ON true
  -- of events that have left the log, an attempt has kept the copy
  LEFT JOIN LATERAL (SELECT b.*
                     FROM fluxhooks_internal.attempt AS b
                     WHERE e.id IS NULL AND b.webhook_id = webhook AND b.delivery_id = a.delivery_id
                       AND b.body IS NOT NULL LIMIT 1) AS c ON true
  WHERE (a.outcome IN ('f', 'c') OR (a.outcome = 's' AND NOT only_failed))
    AND a.operation IS DISTINCT FROM 'T'
    AND fluxhooks_internal.captured_at(a.delivery_id) >= since
    AND fluxhooks_internal.captured_at(a.delivery_id) < until
    AND (e.id IS NOT NULL OR c.body IS NOT NULL)
  ORDER BY a.delivery_id
  ON CONFLICT (delivery_id) DO NOTHING;
  GET DIAGNOSTICS queued = ROW_COUNT;
  RETURN queued;
END
$$;
COMMENT ON FUNCTION fluxhooks_internal.replay(uuid, uuid, uuid, timestamptz, timestamptz, boolean) IS
  'make ended deliveries of a webhook pending again: those captured from since until before until, with ids from lowest until before highest; how many';

CREATE FUNCTION fluxhooks.replay(
  webhook_id uuid, since timestamptz, until timestamptz DEFAULT now(), only_failed boolean DEFAULT true)
RETURNS bigint
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_replay';
COMMENT ON FUNCTION fluxhooks.replay(uuid, timestamptz, timestamptz, boolean) IS
  'send finished deliveries again that were captured from since until before until: those that failed or were cancelled, or all; same ids and bodies, fresh retries; how many';

CREATE FUNCTION fluxhooks.delivery_payload(delivery_id uuid)
RETURNS text
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'api_delivery_payload';
COMMENT ON FUNCTION fluxhooks.delivery_payload(uuid) IS 'body of a delivery''s requests';

CREATE FUNCTION fluxhooks.pause(reason text DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_pause';
COMMENT ON FUNCTION fluxhooks.pause(text) IS
  'superuser: send nothing from this database until resume(); row changes are still captured';

CREATE FUNCTION fluxhooks.resume()
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_resume';
COMMENT ON FUNCTION fluxhooks.resume() IS
  'superuser: send again; in a copied database what was inherited is cancelled first';

CREATE FUNCTION fluxhooks.take_over()
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_take_over';
COMMENT ON FUNCTION fluxhooks.take_over() IS
  'superuser: send again; in a copied database whose original is gone for good what was inherited is sent as well';

----------------------------------------------------------------------------
-- Partitions that come and go
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks_internal.partition_attached()
RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'api_partition_attached';
COMMENT ON FUNCTION fluxhooks_internal.partition_attached() IS
  'before ATTACH PARTITION: the partition''s own capture trigger makes room for the clone that it gets';
CREATE EVENT TRIGGER fluxhooks_partition_attached ON ddl_command_start
  WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION fluxhooks_internal.partition_attached();
COMMENT ON EVENT TRIGGER fluxhooks_partition_attached IS 'lets tables with webhooks be attached as partitions';

CREATE FUNCTION fluxhooks_internal.partition_detached()
RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'api_partition_detached';
COMMENT ON FUNCTION fluxhooks_internal.partition_detached() IS
  'after DETACH PARTITION: a partition with webhooks of its own gets a capture trigger of its own';
CREATE EVENT TRIGGER fluxhooks_partition_detached ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION fluxhooks_internal.partition_detached();
COMMENT ON EVENT TRIGGER fluxhooks_partition_detached IS 'keeps webhooks of a detached partition going';

----------------------------------------------------------------------------
-- Rights
----------------------------------------------------------------------------

-- Nothing is open to everybody; README.md says which GRANTs a role needs.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA fluxhooks, fluxhooks_internal FROM PUBLIC;

-- Views run functions with the rights of who reads them.  Nobody can call
-- these by themselves without USAGE on their schema.
GRANT EXECUTE ON FUNCTION
  fluxhooks_internal.reference_oid(fluxhooks_internal.role_reference),
  fluxhooks_internal.reference_oid(fluxhooks_internal.table_reference),
  fluxhooks_internal.webhook_paused_reason(fluxhooks_internal.webhook),
  fluxhooks_internal.delivery_id(uuid, uuid),
  fluxhooks_internal.key_json(bytea),
  fluxhooks_internal.chunk_events(fluxhooks_internal.event_chunk),
  fluxhooks_internal.event_at(xid8, integer, bigint),
  fluxhooks_internal.delivery_is_settled(uuid, uuid),
  fluxhooks_internal.captured_at(uuid),
  fluxhooks_internal.worker_status(),
  fluxhooks_internal.backlog(),
  fluxhooks_internal.counted(),
  fluxhooks_internal.response_time(integer[], double precision),
  fluxhooks_internal.log_size()
TO PUBLIC;

-- Whoever attaches or makes a partition has the trigger cloned, and needs its
-- function; USAGE on the schema, which naming it takes, nobody has.
GRANT EXECUTE ON FUNCTION fluxhooks_internal.capture() TO PUBLIC;

-- Members of pg_read_all_data and pg_write_all_data may read and write every
-- table.  Row security without a policy leaves them no row of ours, nor what
-- pg_stats tells of secrets; superusers and BYPASSRLS are not subject to it.
DO $$
DECLARE
  tbl regclass;
BEGIN
  FOR tbl IN SELECT c.oid FROM pg_catalog.pg_class c
             WHERE c.relnamespace = 'fluxhooks_internal'::regnamespace AND c.relkind = 'r' LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tbl);
  END LOOP;
END
$$;

----------------------------------------------------------------------------
-- Ready
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks_internal.installed()
RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'api_installed';
COMMENT ON FUNCTION fluxhooks_internal.installed() IS
  'remembers this database, and has the launcher start a worker here once this script is committed';
REVOKE ALL ON FUNCTION fluxhooks_internal.installed() FROM PUBLIC;
SELECT fluxhooks_internal.installed();
