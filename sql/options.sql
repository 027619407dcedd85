-- configuration keys without an argument of their own: circuit_breaker and
-- pause_after_seconds
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION fluxhooks;
CREATE TABLE item (id int PRIMARY KEY);

SELECT fluxhooks.create_webhook('plain', 'https://example.com/', fluxhooks.event('item'), secret => 's') AS plain \gset
SELECT options FROM fluxhooks.webhooks WHERE name = 'plain';
SELECT fluxhooks.create_webhook('set', 'https://example.com/', fluxhooks.event('item'), secret => 's',
  options => '{"circuit_breaker": {"failures": 5, "probe_seconds": 60}, "pause_after_seconds": 86400}') AS set \gset
SELECT options FROM fluxhooks.webhooks WHERE name = 'set';
SELECT FROM fluxhooks.create_webhook('{"name": "object", "url": "https://example.com/", "secret": "s",
  "events": [{"table": "item"}], "circuit_breaker": {"failures": 7}}');
SELECT options FROM fluxhooks.webhooks WHERE name = 'object';

-- one key changes, the others stay
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": false}');
SELECT options FROM fluxhooks.webhooks WHERE name = 'set';
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"probe_seconds": 1}}');
SELECT options FROM fluxhooks.webhooks WHERE name = 'set';
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": true, "pause_after_seconds": 0}');
SELECT options FROM fluxhooks.webhooks WHERE name = 'set';
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": false, "pause_after_seconds": null}');
SELECT options FROM fluxhooks.webhooks WHERE name = 'set';
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": null}');
SELECT options FROM fluxhooks.webhooks WHERE name = 'set';

-- what is refused, and what is said
\set VERBOSITY default
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": 10}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": [1]}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"failure": 10}}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"failures": 0}}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"failures": 1001}}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"failures": 2.5}}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"failures": "10"}}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"probe_seconds": 0}}');
SELECT fluxhooks.update_webhook(:'set', '{"circuit_breaker": {"probe_seconds": 3601}}');
SELECT fluxhooks.update_webhook(:'set', '{"pause_after_seconds": -1}');
SELECT fluxhooks.update_webhook(:'set', '{"pause_after_seconds": 31536001}');
SELECT fluxhooks.update_webhook(:'set', '{"pause_after_seconds": "1 day"}');
SELECT fluxhooks.create_webhook('x', 'https://example.com/', fluxhooks.event('item'), secret => 's', options => '{"max_retries": 1}');
SELECT fluxhooks.create_webhook('x', 'https://example.com/', fluxhooks.event('item'), secret => 's', options => '[]');
SELECT options FROM fluxhooks.webhooks WHERE name = 'set';

DROP TABLE item;
DROP EXTENSION fluxhooks;
