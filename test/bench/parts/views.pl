# How long people wait for an answer: the worker caught up, many delivered events in the log, then
# status and the newest 50 deliveries of a webhook, in a session of its own per round; the first call
# and those after it.
use strict;
use warnings;

use Bench;
use Bench::Backlog;
use Bench::Nginx;
use Bench::Server;

my $events = form(1000, 200_000, 1_000_000);
my $again = form(2, 9, 9);
my @questions = (
	[ 'status', 'SELECT * FROM fluxhooks.status' ],
	[ 'list_deliveries(..., 50)', "SELECT * FROM fluxhooks.list_deliveries(fluxhooks.webhook_id('webhook 1'), 50)" ],
	[   'list_deliveries of failed ones',
		"SELECT * FROM fluxhooks.list_deliveries(fluxhooks.webhook_id('webhook 1'), 50, 'failed')"
	],
);
my $nginx = Bench::Nginx->new;
my $server = Bench::Server->new;
my $backlog = Bench::Backlog->new(server => $server, nginx => $nginx, events => $events);
my (%first, %later);

progress("delivering $events events");
$backlog->drain($events);
for my $round (1 .. rounds())
{
	progress("round $round");
	for my $question (@questions)
	{
		my ($name, $sql) = @$question;
		my $session = $server->session('bench');

		$session->sql('SELECT 1');
		push @{ $first{$name} }, $session->milliseconds($sql);
		my @times = map { $session->milliseconds($sql) } 1 .. $again;
		push @{ $later{$name} }, median(@times);
		csv('views', question => $name, events => $events, round => $round, first_ms => $first{$name}[-1],
			later_ms => $later{$name}[-1]);
		$session->close;
	}
}
for my $question (@questions)
{
	my ($name) = @$question;
	my $reach = $name =~ /failed/ ? undef : '<= 10';

	figure("$name, $events events in the log: first call", $first{$name}, unit => 'ms', reach => $reach);
	figure("$name, $events events in the log: later calls", $later{$name}, unit => 'ms', reach => $reach);
}
