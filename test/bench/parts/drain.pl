# How fast a backlog is delivered: events wait in the log, delivery is switched on, and the
# time until the last attempt has ended is divided by what a bare libcurl loop (tools/bare.c)
# needs for as many requests of that body to the same nginx, at its best concurrency.
# Deliveries are signed and recorded.
use strict;
use warnings;

use Bench;
use Bench::Backlog;
use Bench::Nginx;
use Bench::Server;

my $many = form(500, 100_000, 100_000);
my $some = form(500, 20_000, 100_000);
my $few = form(200, 5_000, 20_000);

# name, deliveries, bytes of a body, protocol, webhooks on the table
my @cases = (
	[ '300 B, http, 1 webhook',    $many, 300,   'http',      1 ],
	[ '3 kB, http',                $some, 3000,  'http',      1 ],
	[ '30 kB, http',               $few,  30000, 'http',      1 ],
	[ '300 B, https/1.1',          $some, 300,   'https/1.1', 1 ],
	[ '300 B, https/2',            $some, 300,   'https/2',   1 ],
	[ '300 B, http, 10 webhooks',  $some, 300,   'http',      10 ],
	[ '300 B, http, 100 webhooks', $some, 300,   'http',      100 ],
);

my $nginx = Bench::Nginx->new;
my $server = Bench::Server->new(conf => "fluxhooks.ca_file = '@{[ $nginx->ca_file ]}'\n");
my $files = $ENV{TMPDIR} // '/tmp';

sub write_file
{
	my ($name, $content) = @_;

	open my $file, '>', "$files/$name" or die "$files/$name: $!\n";
	print $file $content;
	close $file or die "$files/$name: $!\n";
	return;
}

# Requests per second of the yardstick.
sub bare
{
	my ($protocol, $requests, @options) = @_;

	push @options, '-2' if $protocol eq 'https/2';
	my $command = "$ENV{BENCH_TOOLS}/bare -b $files/body -h $files/headers -a " . $nginx->ca_file
	  . " @options " . $nginx->url($protocol) . " $requests";
	chomp(my $rate = `$command`);
	die "failed: $command\n" if $? != 0;
	return $rate;
}

# The two best ways to run the yardstick, by short runs of every one.
sub best_ways
{
	my ($protocol, $requests) = @_;
	my @ways = map { ("-c $_", "-p -c $_") } 4, 8, 16, 32, 64;
	push @ways, map { my $n = $_; map { "-m $n -c $_" } 16, 32, 64 } 1, 2 if $protocol eq 'https/2';
	@ways = ('-c 8', '-c 32') if form(1, 0, 0);
	my %rate = map { $_ => bare($protocol, $requests, $_) } @ways, @ways;

	return (sort { $rate{$b} <=> $rate{$a} } @ways)[ 0, 1 ];
}

sub run_case
{
	my ($name, $deliveries, $size, $protocol, $webhooks) = @_;
	my (@fluxhooks, @bare);

	progress("$name: choosing the yardstick's concurrency");
	my $backlog = Bench::Backlog->new(server => $server, nginx => $nginx, bytes => $size,
		protocol => $protocol, webhooks => $webhooks, events => $deliveries / $webhooks);
	write_file('body', $backlog->body);
	my @ways = best_ways($protocol, int($deliveries / 10));
	$backlog->drain(int($deliveries / 10 / $webhooks) * $webhooks);
	for my $round (1 .. rounds())
	{
		progress("$name, round $round");
		my ($seconds, $cpu) = $backlog->drain($deliveries);
		my %rate = map { $_ => bare($protocol, $deliveries, $_) } @ways;
		my ($way) = sort { $rate{$b} <=> $rate{$a} } @ways;

		push @fluxhooks, $deliveries / $seconds;
		push @bare, $rate{$way};
		csv('drain', case => $name, bytes => $size, protocol => $protocol, webhooks => $webhooks, round => $round,
			deliveries => $deliveries, per_second => $fluxhooks[-1], worker_cpu_us => $cpu * 1e6 / $deliveries,
			bare_per_second => $bare[-1], bare_way => $way);
	}
	$backlog->drop;
	figure("drain to nginx / bare libcurl: $name", [ ratio(\@fluxhooks, \@bare) ],
		reach => $name eq '300 B, http, 1 webhook' ? '>= 0.65' : undef,
		note => sprintf('%s deliveries, %.0f / %.0f per second', $deliveries, median(@fluxhooks), median(@bare)));
	csv('drain_by_case', case => $name, ratio => median(ratio(\@fluxhooks, \@bare)));
	return;
}

# as long as those of fluxhooks
write_file('headers', join "\n", 'Content-Type: application/json', 'User-Agent: fluxhooks/1.0',
	'X-Fluxbase-Event: INSERT', 'X-Fluxbase-Delivery: 01a209df-f84c-7676-8f6f-3a7fb3b26ed7',
	'webhook-id: 01a209df-f84c-7676-8f6f-3a7fb3b26ed7', 'webhook-timestamp: 1795462002',
	'X-Fluxbase-Signature: ' . 'a' x 64, 'webhook-signature: v1,' . 'a' x 43 . '=');
run_case(@$_) for grep { wanted($_->[0]) } @cases;
plot('drain', <<'EOF');
set title 'Drain of a backlog to nginx, as a share of a bare libcurl loop'
set yrange [0:*]
set ylabel 'fluxhooks / bare'
set style data histogram
set style fill solid 0.6
set xtics rotate by -25
plot 'drain_by_case.csv' using 2:xtic(1) notitle
EOF
