# What a webhook costs a bulk statement: rows inserted, updated, deleted, with none, one
# and five webhooks, with one that listens to other operations, and with what people use
# instead: a plpgsql trigger that keeps to_jsonb of the row in a table, and PgQ's.
#
# Every variant has a table of its own in the same database, new in each round, and they
# take turns.  Nothing is sent meanwhile.  Rows come from generate_series, as in most benchmarks, where
# they are narrow; a "copy" takes them ready from another table, so that nothing but the insert is
# timed.  The others are copied only.
use strict;
use warnings;

use Bench;
use Bench::Rivals;
use Bench::Server;

my %shapes = (
	narrow => {
		rows    => form(500, 100_000, 100_000),
		columns => 'id int PRIMARY KEY, n int, b int, t text',
		values  => q{i, i * 2, i * 3, 'some text ' || i},
	},
	wide => {
		rows    => form(500, 20_000, 100_000),
		columns => 'id bigint PRIMARY KEY, n int, name text, email text, street text, city text, zip text, '
		  . 'country text, phone text, active boolean, score float8, balance numeric(12,2), credit numeric, '
		  . 'born date, created timestamptz, updated timestamp, token uuid, visits bigint, tags text[], note text',
		values => q{i, i, 'name ' || i, 'user' || i || '@example.com', i || ' Long Street', 'Springfield',
			lpad(i::text, 6, '0'), 'Germany', '+49 30 ' || i, i % 2 = 0, i / 7.0, i * 1.25, i / 3.0,
			date '1970-01-01' + i % 20000, timestamptz '2026-01-01 00:00Z' + i * interval '1 second',
			timestamp '2026-01-01 00:00' + i * interval '1 millisecond', md5(i::text)::uuid, i * 1000,
			ARRAY['red', 'tag' || i], NULL},
	},
	large => {
		rows    => form(500, 10_000, 100_000),
		columns => 'id int PRIMARY KEY, n int, body text',
		# no text of the same few words: it must not compress better than real ones do
		values  => q{i, i, (SELECT left(string_agg(md5((i * 100 + k)::text), ' "quoted" '), 1940)
			FROM generate_series(1, 50) AS k)},
	},
);
my @shapes = grep { wanted($_) } qw(narrow wide large);
my %statement = (
	INSERT => 'INSERT INTO %1$s SELECT %3$s FROM generate_series(1, %4$s) AS i',
	copy   => 'INSERT INTO %1$s SELECT * FROM %2$s_source',
	UPDATE => 'UPDATE %1$s SET n = n + 1',
	DELETE => 'DELETE FROM %1$s',
);
my %operations = (
	narrow => [qw(INSERT UPDATE DELETE copy)],
	wide   => [qw(copy UPDATE DELETE)],
	large  => [qw(copy UPDATE DELETE)],
);
my %webhooks = (again => 0, one => 1, five => 5, unheard => 1);

my $server = Bench::Server->new;
my $rivals = Bench::Rivals->new($server);
my @variants = (qw(none again one five unheard), $rivals->names);
my (%milliseconds, %cpu, %wal);
my $backend;	# process that runs the statements

sub make_source
{
	my ($shape) = @_;
	my $s = $shapes{$shape};

	$server->sql('bench', "CREATE TABLE ${shape}_source ($s->{columns});\n"
		  . "INSERT INTO ${shape}_source SELECT $s->{values} FROM generate_series(1, $s->{rows}) AS i;\n"
		  . "VACUUM ANALYZE ${shape}_source");
	return;
}

# "again" had a webhook once; it tells how far two equal tables differ by chance.
sub make_tables
{
	my ($shape) = @_;

	for my $variant (@variants)
	{
		$server->sql('bench', "CREATE TABLE $variant ($shapes{$shape}{columns})");
		for my $number (1 .. ($webhooks{$variant} // 0) || ($variant eq 'again'))
		{
			$server->webhook('bench', name => "$variant $number", tables => [$variant],
				url => "http://127.0.0.1:1/$number");
		}
	}
	$server->sql('bench', "SELECT fluxhooks.delete_webhook(fluxhooks.webhook_id('again 1'))");
	$rivals->attach('bench', $_, $_) for $rivals->names;
	return;
}

# Make "unheard" listen to everything but this.
sub turn_deaf
{
	my ($operation) = @_;
	my $others = join ', ', map { "'$_'" } grep { $_ ne $operation =~ s/copy/INSERT/r } qw(INSERT UPDATE DELETE);

	$server->sql('bench', "SELECT fluxhooks.update_webhook(fluxhooks.webhook_id('unheard 1'), "
		  . "jsonb_build_object('events', fluxhooks.event('unheard', $others)))");
	return;
}

sub measure
{
	my ($shape, $operation, $variant, $round) = @_;
	my ($values, $rows) = @{ $shapes{$shape} }{qw(values rows)};
	no warnings 'redundant';
	my $statement = sprintf $statement{$operation}, $variant, $shape, $values, $rows;

	$server->sql('bench', 'CHECKPOINT');
	my $before = $server->sql('bench', 'SELECT pg_current_wal_insert_lsn()');
	my $cpu = $server->process_cpu($backend);
	my $milliseconds = $server->milliseconds('bench', $statement);
	$cpu = $server->process_cpu($backend) - $cpu;
	my $bytes = $server->sql('bench', "SELECT pg_current_wal_insert_lsn() - '$before'::pg_lsn");

	return if $round < 0;
	push @{ $milliseconds{$shape}{$operation}{$variant} }, $milliseconds;
	push @{ $cpu{$shape}{$operation}{$variant} }, $cpu;
	push @{ $wal{$shape}{$operation}{$variant} }, $bytes;
	csv('capture', shape => $shape, operation => $operation, variant => $variant, round => $round,
		rows => $rows, ms => $milliseconds, cpu_ms => $cpu * 1000, wal_bytes => $bytes);
	return;
}

# Round -1 warms up and is not counted.  A database per round, since nothing takes
# the events away.
sub round_of
{
	my ($shape, $round) = @_;

	progress("$shape rows, " . ($round < 0 ? 'warming up' : "round " . ($round + 1)));
	$server->create_database('bench');
	make_source($shape);
	$rivals->install('bench');
	make_tables($shape);
	$backend = $server->sql('bench', 'SELECT pg_backend_pid()');
	for my $operation (@{ $operations{$shape} })
	{
		$server->sql('bench', 'TRUNCATE ' . join ', ', @variants) if $operation eq 'copy';
		turn_deaf($operation);
		measure($shape, $operation, $_, $round) for rotate($round, @variants);
	}
	$server->drop_database('bench');
	return;
}

my %reach = ('narrow INSERT one' => '<= 1.9');
my %title = (
	again => 'a webhook deleted again', one => '1 webhook', five => '5 webhooks',
	unheard => '1 webhook for other operations', $rivals->titles,
);

sub figures_of
{
	my ($shape, $operation) = @_;
	my $times = $milliseconds{$shape}{$operation};
	my $rows = $shapes{$shape}{rows};
	my $alone = median(@{ $times->{none} }) * 1000 / $rows;

	for my $variant (grep { $_ ne 'none' } @variants)
	{
		my $with = median(@{ $times->{$variant} }) * 1000 / $rows;

		figure("$operation, $shape rows: $title{$variant} / none", [ ratio($times->{$variant}, $times->{none}) ],
			reach => $reach{"$shape $operation $variant"},
			note => sprintf('%s rows, %s / %s us each', $rows, round_to($with), round_to($alone)));
	}
	return;
}

# Processor time of the backend alone: steadier than the clock where others use the machine.
sub cpu_figure
{
	my $of = $cpu{narrow}{INSERT};

	figure("INSERT, narrow rows: $title{one} / none, CPU time", [ ratio($of->{one}, $of->{none}) ],
		note => "of the writer's backend alone");
	return;
}

sub wal_figures_of
{
	my ($shape) = @_;
	my $of = $wal{$shape}{copy};

	for my $variant ('one', $rivals->names)
	{
		my @bytes = map { ($of->{$variant}[$_] - $of->{none}[$_]) / $shapes{$shape}{rows} } 0 .. $#{ $of->{none} };
		figure("WAL per event, copy, $shape rows: $title{$variant}", \@bytes, unit => 'bytes',
			note => 'beyond ' . round_to(median(@{ $of->{none} }) / $shapes{$shape}{rows}) . ' of the row itself');
	}
	return;
}

$server->delivery('off');
for my $shape (@shapes)
{
	round_of($shape, -1) if $shape eq $shapes[0] && form(0, 1, 1);
	round_of($shape, $_) for 0 .. rounds() - 1;
	figures_of($shape, $_) for @{ $operations{$shape} };
	cpu_figure() if $shape eq 'narrow';
	wal_figures_of($shape);
}
for my $shape (@shapes)
{
	my $times = $milliseconds{$shape}{copy};
	csv('capture_by_shape', rows => $shape,
		map { ($title{$_} => median(ratio($times->{$_}, $times->{none}))) } grep { $_ ne 'none' } @variants);
}
plot('capture', <<'EOF' . 'plot ' . join ', ',
set title 'Time of a bulk insert from another table, as a multiple of that without webhooks'
set yrange [0:*]
set style data histogram
set style fill solid 0.6
EOF
	map { "'capture_by_shape.csv' using $_" . ($_ == 2 ? ':xtic(1)' : '') } 2 .. @variants);
