# pg_upgrade: fluxhooks does nothing while it runs; the new cluster has the
# webhooks and everything recorded, and is paused, since the old one may run on.
use strict;
use warnings;

use File::Path qw(mkpath);

use FluxhooksTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = start_receiver();

sub rows_at
{
	my ($path) = @_;

	return join ' ', map { $_->{data}{record}{id} } $receiver->requests($path);
}

foreach my $name (qw(copy link))
{
	my @mode = $name eq 'link' ? '--link' : ();
	my $old = new_node("old_$name", extension => 0);

	$old->safe_psql('postgres', <<'SQL');
CREATE ROLE keeper;
CREATE EXTENSION fluxhooks;
GRANT USAGE ON SCHEMA fluxhooks TO keeper;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fluxhooks TO keeper;
CREATE TABLE item (id integer PRIMARY KEY);
ALTER TABLE item OWNER TO keeper;
SQL
	my $config = json_literal({ name => 'ok', url => $receiver->url("/ok/$name"), events => [ { table => 'item' } ] });
	$old->safe_psql('postgres', "SET ROLE keeper; SELECT fluxhooks.create_webhook($config); INSERT INTO item VALUES (1)");
	wait_for_deliveries($old, "status = 'success'", 1);
	$old->safe_psql('postgres', "SELECT fluxhooks.pause('nobody reads'); INSERT INTO item VALUES (2)");
	my $delivery = $old->safe_psql('postgres', 'SELECT max(id::text) FROM fluxhooks.deliveries');
	$old->stop('fast');

	# no server of this test may be what it looks for by default
	my $new = new_node("new_$name", start => 0);
	my $directory = $new->basedir . '/upgrade';
	mkpath($directory);
	chdir $directory or die "$directory: $!";
	chomp(my $bindir = `pg_config --bindir`);
	command_ok([
			'pg_upgrade', @mode,
			'-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $bindir,
			'-s', $new->host, '-p', $old->port, '-P', $new->port ],
		"$name: pg_upgrade");
	is(rows_at("/ok/$name"), 1, "$name: nothing is sent meanwhile");
	$new->start;
	like(wait_until_paused($new), qr/copy/, "$name: the new cluster is paused");
	is($new->safe_psql('postgres', q{SELECT string_agg(name || ' ' || owner || ' ' || (events->0->>'table'), ',') FROM fluxhooks.webhooks WHERE NOT paused}),
		'ok keeper item', "$name: webhooks, owners and tables came along");
	is($new->safe_psql('postgres', q{SELECT string_agg(status, ' ' ORDER BY id) FROM fluxhooks.deliveries}),
		'success pending', "$name: and so did deliveries");
	$new->safe_psql('postgres', 'INSERT INTO item VALUES (3)');
	if ($name eq 'link')
	{
		# the old cluster cannot be started any more
		$new->safe_psql('postgres', 'SELECT fluxhooks.take_over()');
		my %id = map { $_->{data}{record}{id} => $_->{headers}{'x-fluxbase-delivery'} } $receiver->wait_for_requests(3, "/ok/$name");
		is(join(' ', sort keys %id), '1 2 3', "$name: taken over, it goes on where the old one was");
		is($id{2}, $delivery, "$name: with the id that it had");
		is(status_of($new)->{paused}, JSON::PP::false, "$name: and is paused no more");
		$new->stop('fast');
		next;
	}
	$new->safe_psql('postgres', 'SELECT fluxhooks.resume()');
	wait_until(sub { rows_at("/ok/$name") =~ / 3$/ }, 'the new cluster to send');
	is(rows_at("/ok/$name"), '1 3', "$name: resumed, it sends what it has captured itself");
	is($new->safe_psql('postgres', "SELECT status FROM fluxhooks.deliveries WHERE id = '$delivery'"), 'cancelled',
		"$name: what it inherited is cancelled");
	$new->safe_psql('postgres', "SELECT fluxhooks.redeliver('$delivery')");
	wait_until(sub { rows_at("/ok/$name") =~ / 2$/ }, 'what was cancelled');
	is(($receiver->requests("/ok/$name"))[-1]{headers}{'x-fluxbase-delivery'}, $delivery, "$name: and can be sent, with the id that it had");
	$new->stop('fast');
}

done_testing();
