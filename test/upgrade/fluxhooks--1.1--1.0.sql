/* test/upgrade/fluxhooks--1.1--1.0.sql: back again, for t/133_upgrade.pl; what was added stays */

SELECT 1;
