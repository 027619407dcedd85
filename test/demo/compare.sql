-- Compare what pgbench committed with what the endpoint received and verified.
-- :file holds a line of JSON for each request.  Prints one line of numbers:
-- committed, received, verified, missing, invented, disordered.
\set QUIET on
SET client_min_messages = warning;

CREATE TEMPORARY TABLE request (n bigserial, line jsonb);
COPY request (line) FROM :'file' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');
DELETE FROM request WHERE line->'body'->>'table' NOT IN ('pgbench_history', 'pgbench_accounts');

-- A delivery that came twice counts once; the same id with another body is
-- another event, and an event that did not verify is none.
CREATE TEMPORARY TABLE event AS
  SELECT min(n) AS n, line->'body' AS body, line->'body'->>'table' AS source,
         line->'body'->>'event' AS operation,
         line->'body'->'record' AS record, line->'body'->'old_record' AS old_record
  FROM request
  WHERE (line->>'verified')::boolean
  GROUP BY line->>'delivery', line->'body';

-- A transaction of pgbench inserts one row of history, and changes the balance
-- of one account by the delta that it notes there.
CREATE TEMPORARY TABLE inserted AS
  SELECT r.tid, r.bid, r.aid, r.delta, r.mtime
  FROM event, jsonb_populate_record(NULL::pgbench_history, record) AS r
  WHERE source = 'pgbench_history' AND operation = 'INSERT';
CREATE TEMPORARY TABLE updated AS
  SELECT n, (record->>'aid')::integer AS aid, (old_record->>'aid')::integer AS old_aid,
         (record->>'abalance')::integer AS balance, (old_record->>'abalance')::integer AS old_balance
  FROM event
  WHERE source = 'pgbench_accounts' AND operation = 'UPDATE';

CREATE TEMPORARY VIEW committed_history AS SELECT tid, bid, aid, delta, mtime FROM pgbench_history;
CREATE TEMPORARY VIEW committed_change AS SELECT aid, delta FROM pgbench_history;
CREATE TEMPORARY VIEW received_change AS SELECT aid, balance - old_balance AS delta FROM updated WHERE aid = old_aid;

CREATE TEMPORARY VIEW missing AS
  SELECT (SELECT count(*) FROM (TABLE committed_history EXCEPT ALL TABLE inserted) AS h)
       + (SELECT count(*) FROM (TABLE committed_change EXCEPT ALL TABLE received_change) AS c) AS n;
CREATE TEMPORARY VIEW invented AS
  SELECT (SELECT count(*) FROM (TABLE inserted EXCEPT ALL TABLE committed_history) AS h)
       + (SELECT count(*) FROM (TABLE received_change EXCEPT ALL TABLE committed_change) AS c)
       + (SELECT count(*) FROM event)
       - (SELECT count(*) FROM inserted) - (SELECT count(*) FROM received_change) AS n;

-- Accounts whose events, as they arrived, do not lead from balance to balance,
-- from 0 to what the table holds.
CREATE TEMPORARY VIEW disordered AS
  SELECT count(DISTINCT aid) AS n
  FROM (SELECT aid, old_balance, balance,
               lag(balance, 1, 0) OVER arrival AS before,
               lead(old_balance) OVER arrival AS after
        FROM updated WINDOW arrival AS (PARTITION BY aid ORDER BY n)) AS u
       JOIN pgbench_accounts AS a USING (aid)
  WHERE old_balance <> before OR balance <> coalesce(after, abalance);

SELECT (SELECT 2 * count(*) FROM pgbench_history),
       (SELECT count(*) FROM request),
       (SELECT count(*) FROM request WHERE (line->>'verified')::boolean),
       missing.n, invented.n, disordered.n
FROM missing, invented, disordered;
