# While a database is paused nothing is read, and yet nothing stays pending for
# much longer than the retention, resumed or not: when the slot of the log that it lies in is
# emptied, what had committed before that slot was left is cancelled, and what
# committed later has a retention of its own.
use strict;
use warnings;

use FluxhooksTest;
use Test::More;

my $node = new_node('paused', conf => "fluxhooks.retention = '6s'");

$node->safe_psql('postgres', 'CREATE TABLE item (id integer PRIMARY KEY)');
create_webhook($node, { name => 'any', url => 'http://127.0.0.1:1/', events => [ { table => 'item' } ] });
$node->safe_psql('postgres', "SELECT fluxhooks.pause('for long')");
$node->safe_psql('postgres', <<'SQL');
INSERT INTO item VALUES (1);
BEGIN;
INSERT INTO item VALUES (2);
PREPARE TRANSACTION 'late';
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.event_0'), 1, 'both lie in one slot');
my $closed_at = wait_until(
	sub { $node->safe_psql('postgres', 'SELECT closed_at FROM fluxhooks_internal.ring WHERE slot = 0') },
	'the slot to be left');
$node->safe_psql('postgres', "COMMIT PREPARED 'late'");

my $state;
wait_until(
	sub {
		$state = query($node, <<'SQL')->[0];
SELECT (SELECT json_agg(record_key) FROM fluxhooks.deliveries WHERE status = 'cancelled') AS cancelled,
       (SELECT json_agg(d.record_key) FROM fluxhooks.deliveries AS d WHERE d.status = 'pending') AS pending
SQL
		return $state->{cancelled};
	},
	'something to be cancelled');
is_deeply($state, { cancelled => [ { id => 1 } ], pending => [ { id => 2 } ] },
	'what had committed when the slot was left is cancelled as it is emptied, what committed later is not');
is($node->safe_psql('postgres', "SELECT pending_since > '$closed_at' FROM fluxhooks_internal.pending"), 't',
	'that is pending since later');
wait_until(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM fluxhooks_internal.pending') eq '0' }, 'the other to be cancelled');
pass('and is cancelled in its turn');

# --- resumed
#
# Would catch a second retention for what was read only then.

$node->safe_psql('postgres', <<'SQL');
INSERT INTO item VALUES (3);
BEGIN;
INSERT INTO item VALUES (4);
PREPARE TRANSACTION 'later';
SQL
my $slot = $node->safe_psql('postgres', 'SELECT slot FROM fluxhooks_internal.ring WHERE opened_at IS NOT NULL AND closed_at IS NULL');
$closed_at = wait_until(
	sub { $node->safe_psql('postgres', "SELECT closed_at FROM fluxhooks_internal.ring WHERE slot = $slot") },
	'that slot to be left');
$node->append_conf('postgresql.conf', "fluxhooks.retention = '3d'");
$node->reload;
$node->safe_psql('postgres', "COMMIT PREPARED 'later'");
$node->safe_psql('postgres', 'SELECT fluxhooks.resume()');
is( wait_until(
		sub { $node->safe_psql('postgres', <<"SQL") },
SELECT string_agg(d.record_key->>'id' || ' ' || CASE WHEN p.pending_since = '$closed_at' THEN 'then' WHEN p.pending_since > '$closed_at' THEN 'later' END,
                  ', ' ORDER BY d.record_key->>'id')
FROM fluxhooks_internal.pending AS p
JOIN fluxhooks.deliveries AS d ON d.id = p.delivery_id
WHERE p.attempts > 0
HAVING count(*) = 2
SQL
		'both to be tried'),
	'3 then, 4 later', 'read after a pause, each is pending since its slot was left, or since it was read');
$node->stop('fast');

done_testing();
