-- What a storm writes to.  item, bulk, mark and big have webhooks; revision
-- counts a row's changes, and truth says what each transaction changed.
CREATE TABLE item (id integer PRIMARY KEY, rev bigint NOT NULL, note text);
CREATE TABLE bulk (id bigint PRIMARY KEY, rev bigint NOT NULL DEFAULT 1, note text);
CREATE TABLE mark (id integer PRIMARY KEY, rev bigint NOT NULL DEFAULT 1);
CREATE TABLE big (id integer PRIMARY KEY, rev bigint NOT NULL DEFAULT 1, note text);
CREATE TABLE revision (id integer PRIMARY KEY, rev bigint NOT NULL);
CREATE TABLE truth (txn text PRIMARY KEY, changes text NOT NULL);
CREATE SEQUENCE bulk_range CACHE 1;

-- Change a row in some way, and say which.
CREATE FUNCTION storm_change(what integer, remove boolean, filler text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  next bigint;
  present bigint;
BEGIN
  INSERT INTO revision AS r VALUES (what, 1)
    ON CONFLICT (id) DO UPDATE SET rev = r.rev + 1 RETURNING rev INTO next;
  SELECT rev INTO present FROM item WHERE id = what;
  IF present IS NULL THEN
    INSERT INTO item VALUES (what, next, filler);
    RETURN format('INSERT:item:%s:%s', what, next);
  ELSIF remove THEN
    DELETE FROM item WHERE id = what;
    RETURN format('DELETE:item:%s:%s', what, present);
  END IF;
  UPDATE item SET rev = next, note = filler WHERE id = what;
  RETURN format('UPDATE:item:%s:%s', what, next);
END
$$;

-- Insert many rows that nobody else has, and say which.
CREATE FUNCTION storm_bulk(many integer, filler text DEFAULT 'filler') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  first bigint := nextval('bulk_range') * 10000000;
BEGIN
  INSERT INTO bulk (id, note) SELECT i, filler FROM generate_series(first, first + many - 1) AS i;
  RETURN format('B:bulk:%s-%s', first, first + many - 1);
END
$$;

CREATE FUNCTION storm_mark(number integer) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO mark (id) VALUES (number) ON CONFLICT DO NOTHING;
  INSERT INTO truth VALUES ('mark ' || number, format('INSERT:mark:%s:1', number)) ON CONFLICT DO NOTHING;
$$;

CREATE FUNCTION storm_big(number integer, megabytes integer) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO big (id, note) VALUES (number, repeat(md5(number::text), megabytes * 32768));
  INSERT INTO truth VALUES ('big ' || number, format('INSERT:big:%s:1', number));
$$;

-- What cannot be sent.
CREATE TABLE doomed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
CREATE FUNCTION storm_doom(many integer) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO doomed (note) SELECT repeat('x', 1000) FROM generate_series(1, many);
$$;

-- Where a retention is an hour: have the slot in use be left soon.
CREATE FUNCTION storm_leave_slot() RETURNS void
LANGUAGE sql AS $$
  UPDATE fluxhooks_internal.ring SET opened_at = opened_at - interval '2 hours'
  WHERE closed_at IS NULL AND opened_at > clock_timestamp() - interval '1 hour';
$$;

-- And have those that were left be emptied soon, but for so many that were left last:
-- the oldest first, as always, and none that holds what is neither pending nor has
-- been sent, for that would count as pending since the slot was left, and be cancelled.
CREATE FUNCTION storm_retire_slots(kept integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  number integer;
  unsettled boolean;
BEGIN
  FOR number IN
    SELECT slot FROM (SELECT slot, closed_at FROM fluxhooks_internal.ring WHERE closed_at IS NOT NULL
                      ORDER BY closed_at DESC OFFSET kept) AS r ORDER BY closed_at
  LOOP
    EXECUTE format($sql$
      SELECT EXISTS (SELECT FROM ONLY fluxhooks_internal.event_%s AS c,
                       fluxhooks_internal.chunk_events(c::fluxhooks_internal.event_chunk) AS e,
                       unnest(e.webhooks) AS w (id), fluxhooks_internal.delivery_id(e.id, w.id) AS d (id)
                     WHERE c.xid >= (SELECT pg_snapshot_xmin(last_snapshot) FROM fluxhooks_internal.cursor
                                     ORDER BY cursor.number DESC LIMIT 1)
                       AND NOT fluxhooks_internal.delivery_is_settled(w.id, d.id))$sql$, number) INTO unsettled;
    EXIT WHEN unsettled;
    UPDATE fluxhooks_internal.ring SET closed_at = closed_at - interval '2 hours'
    WHERE slot = number AND closed_at > clock_timestamp() - interval '1 hour';
  END LOOP;
END
$$;

CREATE FUNCTION storm_turn_log(kept integer) RETURNS void
LANGUAGE sql AS $$
  SELECT storm_retire_slots(kept);
  SELECT storm_leave_slot();
$$;
