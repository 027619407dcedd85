/* test/upgrade/fluxhooks--0.9--1.0.sql: see t/133_upgrade.pl */

ALTER TABLE fluxhooks_internal.ring ADD COLUMN closed_snapshot pg_snapshot;
