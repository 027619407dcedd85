/* sql/fluxhooks--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION fluxhooks" to load this file. \quit

-- Both schemas are made here, so that nobody's objects can stand in them
-- before: fluxhooks is what users see, fluxhooks_internal what they never touch.
CREATE SCHEMA fluxhooks;
COMMENT ON SCHEMA fluxhooks IS 'webhooks on committed row changes: functions and views for users';
CREATE SCHEMA fluxhooks_internal;
COMMENT ON SCHEMA fluxhooks_internal IS 'tables and helpers of fluxhooks; nothing here is for users';

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
  deleted_at timestamptz
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

-- What the database knows of itself; empty until the worker has started once.
-- A row of another database or server means: this is a copy.
CREATE TABLE fluxhooks_internal.instance (
  system_identifier bigint,
  database oid,
  started_from_backup timestamptz,
  PRIMARY KEY (system_identifier, database)
);
COMMENT ON TABLE fluxhooks_internal.instance IS
  'where this data has sent from: a foreign row pauses a copy before it sends anything; started_from_backup is the server start that has been paused for already';
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
  closed_at timestamptz
);
COMMENT ON TABLE fluxhooks_internal.ring IS
  'slots of the rings: the one that is opened and not closed is written to, one never opened or emptied is free';
INSERT INTO fluxhooks_internal.ring
  SELECT slot, CASE slot WHEN 0 THEN pg_catalog.now() END
  FROM pg_catalog.generate_series(0, 9) AS slot;

CREATE SEQUENCE fluxhooks_internal.event_sequence CACHE 1;
COMMENT ON SEQUENCE fluxhooks_internal.event_sequence IS
  'drawn once per flush of a writer; orders transactions that touched the same row';

CREATE TABLE fluxhooks_internal.event (
  xid xid8 NOT NULL,
  seq bigint NOT NULL,
  captured_at timestamptz NOT NULL,
  key_hash bigint NOT NULL,
  old_key_hash bigint NOT NULL,
  cid integer NOT NULL,
  operation "char" NOT NULL,
  id uuid NOT NULL,
  table_schema text NOT NULL,
  table_name text NOT NULL,
  webhooks uuid[] NOT NULL,
  record_key bytea,
  record bytea,
  old_record bytea,
  truncated bytea
);
COMMENT ON TABLE fluxhooks_internal.event IS
  'row changes as their transactions wrote them; parent of the ring event_0 ... event_9';

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
BEGIN
  FOREACH kind IN ARRAY ARRAY['event', 'attempt', 'cursor'] LOOP
    FOR slot IN SELECT r.slot FROM fluxhooks_internal.ring AS r ORDER BY r.slot LOOP
      EXECUTE pg_catalog.format(
        'CREATE TABLE fluxhooks_internal.%1$s_%2$s () INHERITS (fluxhooks_internal.%1$s) '
        'WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false, toast_tuple_target = 8160)',
        kind, slot);
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
  FOR kind, attribute IN VALUES ('event', 'record'), ('event', 'old_record'), ('attempt', 'response_body'), ('attempt', 'body') LOOP
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

----------------------------------------------------------------------------
-- Rows of another server never arrive here
----------------------------------------------------------------------------

-- A logical subscription FOR ALL TABLES would apply the publisher's log, and
-- this server would send it again.
CREATE FUNCTION fluxhooks_internal.refuse_replicated()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS 'BEGIN RETURN NULL; END';
COMMENT ON FUNCTION fluxhooks_internal.refuse_replicated() IS
  'drops rows that replication would apply to the tables of fluxhooks';

DO $$
DECLARE
  tbl regclass;
BEGIN
  FOR tbl IN SELECT c.oid FROM pg_catalog.pg_class c
             WHERE c.relnamespace = 'fluxhooks_internal'::regnamespace AND c.relkind = 'r' LOOP
    EXECUTE pg_catalog.format('CREATE TRIGGER refuse_replicated BEFORE INSERT OR UPDATE OR DELETE ON %s '
                              'FOR EACH ROW EXECUTE FUNCTION fluxhooks_internal.refuse_replicated()', tbl);
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE REPLICA TRIGGER refuse_replicated', tbl);
  END LOOP;
END
$$;

----------------------------------------------------------------------------
-- Capture
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks_internal.capture()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'capture_trigger';
COMMENT ON FUNCTION fluxhooks_internal.capture() IS
  'row trigger that create_webhook installs as fluxhooks_capture; heeds no arguments, and does nothing under another name';
REVOKE ALL ON FUNCTION fluxhooks_internal.capture() FROM PUBLIC;

CREATE FUNCTION fluxhooks_internal.delivery_id(event_id uuid, webhook_id uuid)
RETURNS uuid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'queue_delivery_id_sql';
COMMENT ON FUNCTION fluxhooks_internal.delivery_id(uuid, uuid) IS
  'id of an event''s delivery to a webhook: the event''s UUIDv7 with its last 62 bits mixed with the webhook''s id';

CREATE FUNCTION fluxhooks_internal.event_body(event fluxhooks_internal.event, webhook_id uuid)
RETURNS bytea
LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'log_event_body_sql';
COMMENT ON FUNCTION fluxhooks_internal.event_body(fluxhooks_internal.event, uuid) IS
  'the body, UTF-8, that an event''s delivery to a webhook has';

CREATE FUNCTION fluxhooks_internal.captured_at(delivery_id uuid)
RETURNS timestamptz
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'queue_id_time_sql';
COMMENT ON FUNCTION fluxhooks_internal.captured_at(uuid) IS
  'when the row change was captured: the time in the id';

CREATE FUNCTION fluxhooks_internal.delivery_is_settled(webhook_id uuid, delivery_id uuid)
RETURNS boolean
LANGUAGE C STABLE STRICT COST 10 AS 'MODULE_PATHNAME', 'record_is_settled_sql';
COMMENT ON FUNCTION fluxhooks_internal.delivery_is_settled(uuid, uuid) IS
  'has this delivery an attempt or a pending row?';

----------------------------------------------------------------------------
-- Webhooks and deliveries as the views and functions below need them
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks_internal.webhook_paused_reason(fluxhooks_internal.webhook)
RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    ($1).paused_reason,
    CASE WHEN NOT EXISTS (SELECT FROM pg_roles AS r
                          WHERE r.oid = fluxhooks_internal.reference_oid(($1).owner))
         THEN format('owner "%s" does not exist', ($1).owner) END,
    (SELECT format('table %s does not exist', s.relation)
     FROM fluxhooks_internal.subscription AS s
     WHERE s.webhook_id = ($1).id AND fluxhooks_internal.reference_oid(s.relation) = 0
     ORDER BY s.position LIMIT 1))
$$;
COMMENT ON FUNCTION fluxhooks_internal.webhook_paused_reason(fluxhooks_internal.webhook) IS
  'why a webhook sends nothing now: the reason it was paused for, or what a restore could not find; null when it is not paused';

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
       convert_from(coalesce(a.record_key, e.record_key), 'UTF8')::jsonb AS record_key,
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
LEFT JOIN fluxhooks_internal.event AS e ON e.xid = a.xid AND e.cid = a.cid AND e.seq = a.seq
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
       convert_from(coalesce(p.record_key, e.record_key), 'UTF8')::jsonb AS record_key,
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
LEFT JOIN fluxhooks_internal.event AS e ON e.xid = p.xid AND e.cid = p.cid AND e.seq = p.seq
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
       convert_from(e.record_key, 'UTF8')::jsonb AS record_key,
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
FROM fluxhooks_internal.event AS e
CROSS JOIN LATERAL unnest(e.webhooks) AS l(webhook_id)
CROSS JOIN LATERAL fluxhooks_internal.delivery_id(e.id, l.webhook_id) AS d(id)
JOIN fluxhooks_internal.webhook AS w ON w.id = l.webhook_id
-- a range on both sides has the planner expect few, and use the index
WHERE e.xid >= (SELECT pg_snapshot_xmin(c.last_snapshot) FROM fluxhooks_internal.cursor AS c ORDER BY c.number DESC LIMIT 1)
  AND e.xid <= '9223372036854775807'
  AND NOT pg_visible_in_snapshot(e.xid, (SELECT c.last_snapshot FROM fluxhooks_internal.cursor AS c ORDER BY c.number DESC LIMIT 1))
  AND NOT fluxhooks_internal.delivery_is_settled(l.webhook_id, d.id);
COMMENT ON VIEW fluxhooks_internal.delivery_unread IS 'deliveries that the worker has not come to yet';

CREATE VIEW fluxhooks_internal.delivery AS
  SELECT * FROM fluxhooks_internal.delivery_ended
  UNION ALL SELECT * FROM fluxhooks_internal.delivery_pending
  UNION ALL SELECT * FROM fluxhooks_internal.delivery_unread;
COMMENT ON VIEW fluxhooks_internal.delivery IS 'every delivery, with the owner of its webhook and the place of its event';

CREATE FUNCTION fluxhooks_internal.worker_status(
  OUT pid integer, OUT running_since timestamptz, OUT in_flight integer, OUT last_error text,
  OUT delivery boolean, OUT preloaded boolean)
RETURNS record
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_worker_status';
COMMENT ON FUNCTION fluxhooks_internal.worker_status() IS
  'this database''s worker, and whether the server delivers at all';

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
       w.options
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
       q.pending + u.pending AS pending,
       CASE WHEN w.all_visible THEN coalesce(s.in_flight, 0) END AS in_flight,
       least(q.oldest, u.oldest) AS oldest_pending_at,
       CASE WHEN NOT s.preloaded
            THEN 'deliveries wait until shared_preload_libraries = ''fluxhooks'' is set and the server restarted'
            WHEN w.all_visible THEN s.last_error
       END AS last_error
FROM fluxhooks_internal.worker_status() AS s
LEFT JOIN fluxhooks_internal.pause AS p ON true
CROSS JOIN (
  SELECT count(*) FILTER (WHERE v.visible AND v.deleted_at IS NULL) AS webhooks,
         coalesce(bool_and(v.visible), true) AS all_visible
  FROM (SELECT pg_has_role(fluxhooks_internal.reference_oid(owner), 'USAGE') AS visible, deleted_at
        FROM fluxhooks_internal.webhook) AS v
) AS w
CROSS JOIN (
  SELECT count(*) AS pending, min(CASE WHEN p.attempts_before = 0 THEN fluxhooks_internal.captured_at(p.delivery_id) ELSE p.pending_since END) AS oldest
  FROM fluxhooks_internal.pending AS p
  JOIN fluxhooks_internal.webhook AS w ON w.id = p.webhook_id
  WHERE w.deleted_at IS NULL AND pg_has_role(fluxhooks_internal.reference_oid(w.owner), 'USAGE')
) AS q
CROSS JOIN (
  SELECT count(*) AS pending, min(d.created_at) AS oldest
  FROM fluxhooks_internal.delivery_unread AS d
  WHERE NOT d.deleted AND pg_has_role(d.owner, 'USAGE')
) AS u;

COMMENT ON VIEW fluxhooks.status IS 'how this database''s deliveries are doing: always one row';
COMMENT ON COLUMN fluxhooks.status.worker_pid IS 'process that delivers; null when none runs';
COMMENT ON COLUMN fluxhooks.status.running_since IS 'when that process started';
COMMENT ON COLUMN fluxhooks.status.paused IS 'on: row changes are captured, and nothing is sent';
COMMENT ON COLUMN fluxhooks.status.paused_reason IS 'why nothing is sent';
COMMENT ON COLUMN fluxhooks.status.webhooks IS 'number of your webhooks';
COMMENT ON COLUMN fluxhooks.status.pending IS 'number of your deliveries that are pending';
COMMENT ON COLUMN fluxhooks.status.in_flight IS 'requests under way; null where not all webhooks are yours';
COMMENT ON COLUMN fluxhooks.status.oldest_pending_at IS 'since when the oldest of your pending deliveries has been waiting';
COMMENT ON COLUMN fluxhooks.status.last_error IS 'what last went wrong in the worker; null where not all webhooks are yours';

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
  'create a webhook and have its tables captured; returns its id';

CREATE FUNCTION fluxhooks.create_webhook(config jsonb)
RETURNS uuid
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_create_webhook_config';
COMMENT ON FUNCTION fluxhooks.create_webhook(jsonb) IS
  'create a webhook from one object, and have its tables captured; returns its id';

CREATE FUNCTION fluxhooks.put_webhook(config jsonb)
RETURNS uuid
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_put_webhook';
COMMENT ON FUNCTION fluxhooks.put_webhook(jsonb) IS
  'create your webhook of this name, or change the given keys of the one there is; returns its id';

CREATE FUNCTION fluxhooks.update_webhook(webhook_id uuid, changes jsonb)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_update_webhook';
COMMENT ON FUNCTION fluxhooks.update_webhook(uuid, jsonb) IS
  'change the given keys of a webhook and no other; null puts a key back to its default';

CREATE FUNCTION fluxhooks.delete_webhook(webhook_id uuid)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'api_delete_webhook';
COMMENT ON FUNCTION fluxhooks.delete_webhook(uuid) IS
  'delete a webhook, cancel what is pending, and drop the triggers that nobody else needs';

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

-- One plan for all calls of a session, since planning costs more than running
-- it; and one that reads the newest and stops, since the planner has no
-- statistics of rings and would rather sort everything.
CREATE FUNCTION fluxhooks_internal.list_deliveries(
  webhook uuid, max_rows integer, wanted text, since timestamptz, until timestamptz, lowest uuid, before uuid)
RETURNS SETOF fluxhooks.deliveries
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_sort = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT d.id, d.webhook_id, d.event, d.table_schema, d.table_name, d.record_key, d.status,
         d.attempts, d.status_code, d.response_time_ms, d.response_body, d.error,
         d.created_at, d.last_attempt_at, d.next_attempt_at
  FROM (
    (SELECT * FROM fluxhooks_internal.delivery_ended AS d
     WHERE wanted IS DISTINCT FROM 'pending'
       AND d.webhook_id = webhook AND d.id >= lowest AND d.id < before
       AND d.status = coalesce(wanted, d.status)
       AND d.created_at >= since AND d.created_at < until
     ORDER BY d.id DESC LIMIT max_rows)
    UNION ALL
    (SELECT * FROM fluxhooks_internal.delivery_pending AS d
     WHERE d.webhook_id = webhook AND d.id >= lowest AND d.id < before
       AND d.status = coalesce(wanted, d.status)
       AND d.created_at >= since AND d.created_at < until
     ORDER BY d.id DESC LIMIT max_rows)
    UNION ALL
    (SELECT * FROM fluxhooks_internal.delivery_unread AS d
     WHERE d.webhook_id = webhook AND d.id >= lowest AND d.id < before
       AND d.status = coalesce(wanted, d.status)
       AND d.created_at >= since AND d.created_at < until
     ORDER BY d.id DESC LIMIT max_rows)
  ) AS d
  ORDER BY d.id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION fluxhooks_internal.list_deliveries(uuid, integer, text, timestamptz, timestamptz, uuid, uuid) IS
  'newest deliveries of a webhook, of a status (null: any), captured from since until before until, with ids from lowest until before before';

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
  fluxhooks_internal.delivery_is_settled(uuid, uuid),
  fluxhooks_internal.captured_at(uuid),
  fluxhooks_internal.worker_status()
TO PUBLIC;

----------------------------------------------------------------------------
-- Ready
----------------------------------------------------------------------------

CREATE FUNCTION fluxhooks_internal.installed()
RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'api_installed';
COMMENT ON FUNCTION fluxhooks_internal.installed() IS
  'has the launcher start a worker here once this script is committed';
REVOKE ALL ON FUNCTION fluxhooks_internal.installed() FROM PUBLIC;
SELECT fluxhooks_internal.installed();
