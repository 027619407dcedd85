# A database with events of a given size for one or more webhooks, which wait until delivery
# is switched on: what drain, scale and views measure with.
package Bench::Backlog;

use strict;
use warnings;

use Bench;

# Options: server, nginx, and
#   bytes       of a body
#   protocol    http, https/1.1 or https/2
#   webhooks    on the table
#   events      to be had at once, at most
sub new
{
	my ($class, %option) = @_;
	my $self = bless { protocol => 'http', webhooks => 1, bytes => 300, %option }, $class;
	my $server = $self->{server};

	$server->create_database('bench');
	$server->delivery('on');
	$server->sql('bench', 'CREATE TABLE item (id int PRIMARY KEY, note text)');
	$server->webhook('bench', name => "webhook $_", tables => ['item'], url => $self->{nginx}->url($self->{protocol}))
	  for 1 .. $self->{webhooks};
	$server->sql('bench', "INSERT INTO item VALUES (1000000, '')");
	wait_until(sub { $server->pending('bench') == 0 }, 'the first delivery');
	$self->{body} = $server->sql('bench', 'SELECT fluxhooks.delivery_payload(id) FROM fluxhooks.deliveries LIMIT 1');
	$self->{padding} = $self->{bytes} - length $self->{body};
	$self->check_protocol;
	$self->make_rows;
	return $self;
}

sub check_protocol
{
	my ($self) = @_;
	my $spoken = $self->{server}->sql('bench', 'SELECT response_body FROM fluxhooks.attempts LIMIT 1');

	die "$self->{protocol} was asked for, and $spoken spoken\n"
	  if ($self->{protocol} eq 'https/2') != ($spoken eq 'HTTP/2.0');
	return;
}

# Rows that make bodies of exactly the size, with text that compresses like real text at best.
sub make_rows
{
	my ($self) = @_;
	my ($events, $padding) = @{$self}{qw(events padding)};
	my $parts = int($padding / 33);

	$self->{server}->sql('bench', <<"EOF");
CREATE TABLE source AS
	SELECT 1000000 + i AS id,
		(SELECT left(string_agg(md5((i * 1000 + k)::text), ' '), $padding) FROM generate_series(0, $parts) AS k) AS note
	FROM generate_series(1, $events) AS i
EOF
	return;
}

# A body of that size.
sub body
{
	my ($self) = @_;
	my $note = substr '0123456789abcdef' x ($self->{bytes} / 16), 0, $self->{padding};

	return $self->{body} =~ s/"note":"/"note":"$note/r;
}

# Let so many deliveries wait.
sub fill
{
	my ($self, $deliveries) = @_;
	my $server = $self->{server};
	my $events = $deliveries / $self->{webhooks};

	$server->delivery('off');
	wait_until(sub { $server->sql('bench', 'SELECT paused FROM fluxhooks.status') eq 't' }, 'delivery to be off');
	$server->sql('bench', "TRUNCATE item;\nINSERT INTO item SELECT * FROM source LIMIT $events;\nCHECKPOINT");
	return;
}

# Let go, and wait until all of them have been delivered and recorded; meanwhile is called again
# and again.  Returns when that began, by the server's clock, and the seconds of the worker's CPU.
sub release
{
	my ($self, $deliveries, $meanwhile) = @_;
	my ($server, $nginx) = @{$self}{qw(server nginx)};
	my $served = $nginx->served;
	my $worker = $server->worker('bench');
	my $cpu = $server->process_cpu($worker);
	my $begin = $server->delivery('on');

	wait_until(
		sub {
			$meanwhile->($worker) if $meanwhile;
			return $nginx->served >= $served + $deliveries;
		}, "$deliveries deliveries", seconds => 120 + $deliveries / 1000);
	wait_until(sub { $server->pending('bench') == 0 }, "$deliveries deliveries to be recorded");
	return ($begin, $server->process_cpu($worker) - $cpu);
}

# Fill and release.  Returns seconds from the switch to the end of the last attempt, and those of the
# worker's CPU.
sub drain
{
	my ($self, $deliveries, $meanwhile) = @_;

	$self->fill($deliveries);
	my ($begin, $cpu) = $self->release($deliveries, $meanwhile);
	my ($seconds, $attempts) = split /\|/, $self->{server}->sql('bench', <<"EOF");
SELECT extract(epoch FROM max(started_at + response_time_ms * interval '1 millisecond') - '$begin'), count(*)
FROM fluxhooks.attempts WHERE started_at >= '$begin' AND status_code = 200
EOF
	die "$attempts of $deliveries deliveries were recorded as successes\n" if $attempts != $deliveries;
	return ($seconds, $cpu);
}

sub drop
{
	my ($self) = @_;

	$self->{server}->drop_database('bench');
	return;
}

1;
