# What a webhook on every table costs short transactions: pgbench's TPC-B, as fast as it goes,
# with 1, 4 and 16 clients, beside none; with 4 clients also beside what people use instead.  The
# variants take turns on the same tables; nothing is sent meanwhile.
use strict;
use warnings;

use Bench;
use Bench::Rivals;
use Bench::Server;

my @tables = map { "pgbench_$_" } qw(accounts branches tellers history);
my $seconds = form(1, 2, 10);
my $scale = form(1, 20, 50);
my @clients = @{ form([2], [ 1, 4, 16 ], [ 1, 4, 16 ]) };
my $with_rivals = form(2, 4, 4);
my $server = Bench::Server->new;
my $rivals = Bench::Rivals->new($server);
my @variants = ('none', 'fluxhooks', $rivals->names);
my %title = (fluxhooks => '1 webhook', $rivals->titles);
my (%tps, %wal);

sub attach
{
	my ($variant) = @_;

	return if $variant eq 'none';
	return $server->webhook('bench', name => 'all', tables => \@tables, url => 'http://127.0.0.1:1/')
	  if $variant eq 'fluxhooks';
	$rivals->attach('bench', $variant, $_) for @tables;
	return;
}

sub detach
{
	my ($variant) = @_;

	return if $variant eq 'none';
	return $server->sql('bench', "SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('all'))")
	  if $variant eq 'fluxhooks';
	$rivals->detach('bench', $_) for @tables;
	return;
}

sub pgbench
{
	my (@options) = @_;
	my $said = `pgbench -h $server->{dir} -n @options bench 2>&1`;

	die "pgbench failed:\n$said" if $? != 0;
	$said =~ /^tps = ([\d.]+)/m or die "pgbench says:\n$said";
	return $1;
}

sub tps
{
	my ($clients) = @_;

	return pgbench('-c', $clients, '-j', $clients > 1 ? 2 : 1, '-T', $seconds);
}

# Bytes of WAL per transaction.
sub wal
{
	my $transactions = form(100, 200, 2000);
	my $before = $server->sql('bench', 'SELECT pg_current_wal_insert_lsn()');

	pgbench('-c', 1, '-t', $transactions);
	return $server->sql('bench', "SELECT pg_current_wal_insert_lsn() - '$before'::pg_lsn") / $transactions;
}

# The variants that are compared with so many clients.
sub variants
{
	my ($clients) = @_;

	return $clients == $with_rivals ? @variants : @variants[ 0, 1 ];
}

# Call code with each of these variants on the tables in turn.
sub each_variant
{
	my ($code, @turns) = @_;

	for my $variant (@turns)
	{
		attach($variant);
		$code->($variant);
		detach($variant);
	}
	return;
}

sub figures_of
{
	my ($clients) = @_;
	my $tps = $tps{$clients};

	for my $variant (grep { $_ ne 'none' } variants($clients))
	{
		figure("TPC-B tps, $clients clients: $title{$variant} / none", [ ratio($tps->{$variant}, $tps->{none}) ],
			note => sprintf('%.0f / %.0f tps', median(@{ $tps->{$variant} }), median(@{ $tps->{none} })));
	}
	return;
}

sub wal_figures
{
	for my $variant (grep { $_ ne 'none' } @variants)
	{
		figure("WAL per event, TPC-B: $title{$variant}",
			[ map { ($wal{$variant}[$_] - $wal{none}[$_]) / @tables } 0 .. $#{ $wal{none} } ], unit => 'bytes',
			note => 'beyond ' . round_to(median(@{ $wal{none} }) / @tables) . ' of the row change itself');
	}
	return;
}

$server->create_database('bench');
$server->delivery('off');
$rivals->install('bench');
system("pgbench -h $server->{dir} -i -q -s $scale bench >/dev/null 2>&1") == 0 or die "pgbench -i failed\n";
tps(4);
for my $round (0 .. rounds() - 1)
{
	for my $clients (@clients)
	{
		progress("round " . ($round + 1) . ", $clients clients");
		each_variant(
			sub {
				my ($variant) = @_;
				my $tps = tps($clients);

				push @{ $tps{$clients}{$variant} }, $tps;
				csv('transactions', clients => $clients, variant => $variant, round => $round, tps => $tps);
			}, rotate($round, variants($clients)));
	}
}

# Whole pages, which follow a checkpoint at random, would hide what an event adds.
$server->sql('postgres', "ALTER SYSTEM SET full_page_writes = off;\nSELECT pg_reload_conf();\nCHECKPOINT");
for my $round (0 .. rounds() - 1)
{
	progress("round " . ($round + 1) . ", WAL");
	each_variant(
		sub {
			my ($variant) = @_;
			my $bytes = wal();

			push @{ $wal{$variant} }, $bytes;
			csv('transactions_wal', variant => $variant, round => $round, bytes_per_transaction => $bytes);
		}, rotate($round, @variants));
}
figures_of($_) for @clients;
wal_figures();
for my $variant (@variants)
{
	csv("transactions_$variant", clients => $_, tps => median(@{ $tps{$_}{$variant} }))
	  for grep { $tps{$_}{$variant} } @clients;
}
plot('transactions', <<'EOF' . 'plot ' . join ', ',
set title 'TPC-B, a webhook on every table'
set xlabel 'clients'
set ylabel 'transactions per second'
set xrange [0.9:20]
set yrange [0:*]
set logscale x 2
EOF
	map { "'transactions_$_.csv' using 1:2 with linespoints title '" . ($title{$_} // 'none') . "'" } @variants);
