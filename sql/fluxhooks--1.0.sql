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
  PRIMARY KEY (system_identifier, database)
);
COMMENT ON TABLE fluxhooks_internal.instance IS
  'where this data has sent from: a foreign row pauses a copy before it sends anything';
SELECT pg_catalog.pg_extension_config_dump('fluxhooks_internal.instance', '');

CREATE TABLE fluxhooks_internal.pause (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  reason text,
  since timestamptz NOT NULL
);
COMMENT ON TABLE fluxhooks_internal.pause IS 'holds one row while this database sends nothing';

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
  'row changes as their transactions wrote them; parent of the ring event_0 … event_9';

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
  'attempts as they ended: outcome s success, r to be retried, f failed for good, c cancelled (no request was made); parent of the ring attempt_0 … attempt_9';

CREATE TABLE fluxhooks_internal.cursor (
  number bigint NOT NULL,
  last_snapshot pg_snapshot NOT NULL,
  next_snapshot pg_snapshot,
  last_seq bigint,
  cid integer,
  seq bigint
);
COMMENT ON TABLE fluxhooks_internal.cursor IS
  'how far the worker has read: everything visible in last_snapshot, and of the window up to next_snapshot the events up to (last_seq of the transaction, cid, seq); the greatest number counts; parent of the ring cursor_0 … cursor_9';

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
        'CREATE INDEX %1$s_%2$s_idx ON fluxhooks_internal.%1$s_%2$s (%3$s)', kind, slot,
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
COMMENT ON SEQUENCE fluxhooks_internal.pending_sequence IS 'order of parked deliveries';

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
