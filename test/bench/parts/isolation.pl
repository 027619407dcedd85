# What nine endpoints notice of the tenth: ten webhooks on one table, a steady rate of inserts, and
# one endpoint that hangs, drips its answer or answers 500.  The p99 from commit to receipt at the
# other nine, beside that with ten good ones.
use strict;
use warnings;

use Bench;
use Bench::Receiver;
use Bench::Server;
use Bench::Writers;

my $rate = 50;
my $seconds = form(1, 3, 60);
my @good = 0 .. 8;

# the tenth endpoint has a port of its own for each of its troubles, so that requests of a former
# run that still hang there hold up nobody
my @troubles = qw(ok hang drip 500);
my %title = (hang => 'hanging', drip => 'dripping', 500 => 'answering 500');

my $receiver = Bench::Receiver->new(@good + @troubles);
my $server = Bench::Server->new;
my %p99;

sub run_once
{
	my ($trouble) = @_;
	my ($tenth) = grep { $troubles[$_] eq $trouble } 0 .. $#troubles;
	my @urls = ((map { $receiver->url($_, 'ok') } @good), $receiver->url(@good + $tenth, $trouble));

	$server->webhook('bench', name => "webhook $_", tables => ['item'], url => $urls[$_], timeout => 5) for 0 .. $#urls;
	$receiver->reset;
	my $written = Bench::Writers->run($server, 'bench', script => "INSERT INTO item (tag) VALUES (:tag);\n",
		clients => 2, rate => $rate, seconds => $seconds);
	my $expected = keys(%{ $written->{committed} }) * @good;
	wait_until(sub { ($receiver->count)[1] >= $expected && eval { latencies($written) } },
		'what goes to the good endpoints', pause_ms => 100);
	$server->sql('bench', 'SELECT fluxhooks.delete_webhook(id) FROM fluxhooks.webhooks');
	return latencies($written);
}

sub latencies
{
	my ($written) = @_;

	return Bench::Writers->latencies($written, $receiver, endpoints => \@good, skip => 0.5);
}

$server->create_database('bench');
$server->sql('bench',
	"CREATE TABLE item (id bigserial PRIMARY KEY, tag text, note text DEFAULT 'as much text as is usual')");
run_once('ok');
for my $round (0 .. rounds() - 1)
{
	for my $trouble (rotate($round, @troubles))
	{
		progress('round ' . ($round + 1) . ", one endpoint: $trouble");
		my @latencies = run_once($trouble);
		push @{ $p99{$trouble} }, percentile(0.99, @latencies);
		csv('isolation', tenth => $trouble, round => $round, receipts => scalar @latencies,
			p50_ms => percentile(0.5, @latencies), p99_ms => $p99{$trouble}[-1]);
	}
}
for my $trouble (@troubles[ 1 .. 3 ])
{
	my @ratios = ratio($p99{$trouble}, $p99{ok});
	my $more = median(map { $p99{$trouble}[$_] - $p99{ok}[$_] } 0 .. $#ratios);

	figure("p99 of nine endpoints, the tenth $title{$trouble} / good", \@ratios, reach => '<= 1.2 or + 1 ms',
		ok => median(@ratios) <= 1.2 || $more <= 1,
		note => sprintf('%s / %s ms', round_to(median(@{ $p99{$trouble} })), round_to(median(@{ $p99{ok} }))));
}
