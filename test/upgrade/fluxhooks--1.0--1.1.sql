/* test/upgrade/fluxhooks--1.0--1.1.sql: a version to come, for t/133_upgrade.pl */

ALTER TABLE fluxhooks_internal.event_chunk ADD COLUMN later text;
ALTER TABLE fluxhooks_internal.attempt ADD COLUMN later text;
ALTER TABLE fluxhooks_internal.cursor ADD COLUMN later text;
ALTER TABLE fluxhooks_internal.webhook ADD COLUMN later text;
ALTER TABLE fluxhooks_internal.subscription ADD COLUMN later text;
