# What can go wrong, by name.  Each fault does its harm while writers write, ends
# it, and leaves a server that is up.  rand() is seeded for each: the same
# seed does the same.
package Storm::Faults;

use strict;
use warnings;

use Time::HiRes qw(time usleep);

use Storm::Process qw(spawn end_process wait_until);

# name => { run, needs (why it cannot be had here; undef: it can), heavy (left
# out of short storms), title }
our %fault;
our @names;

sub define
{
	my ($name, $title, $run, %option) = @_;

	$fault{$name} = { title => $title, run => $run, %option };
	push @names, $name;
	return;
}

sub pause_for
{
	my ($seconds) = @_;

	usleep($seconds * 1e6);
	return;
}

# ------------------------------------------------------------------ processes

sub kill_backend
{
	my ($storm, $pid) = @_;

	$storm->{cluster}->crash(sub { $pid && kill 'KILL', $pid });
	return;
}

define('kill_worker', 'kill -9 of the worker', sub {
	my ($storm) = @_;

	foreach (1 .. 3)
	{
		pause_for(rand(1));
		kill_backend($storm, $storm->{cluster}->wait_for_worker);
	}
});

define('kill_launcher', 'kill -9 of the launcher', sub {
	my ($storm) = @_;

	pause_for(rand(1));
	kill_backend($storm, $storm->{cluster}->wait_for_worker('fluxhooks launcher'));
});

define('kill_writer_backend', 'kill -9 of a session that writes', sub {
	my ($storm) = @_;

	pause_for(rand(1));
	kill_backend($storm, $storm->{cluster}->value(
		"SELECT pid FROM pg_stat_activity WHERE application_name = 'writer' ORDER BY xact_start LIMIT 1"));
});

define('kill_writer', 'kill -9 of a program that writes', sub {
	my ($storm) = @_;

	foreach (1 .. 5)
	{
		pause_for(rand(0.5));
		$storm->restart_writer(int(rand($storm->{n_writers})), 'KILL');
	}
});

define('terminate_worker', 'pg_terminate_backend of the worker', sub {
	my ($storm) = @_;

	foreach (1 .. 2)
	{
		pause_for(rand(1));
		$storm->{cluster}->note_death;
		$storm->{cluster}->value('SELECT pg_terminate_backend(?)', $storm->{cluster}->wait_for_worker);
	}
});

define('terminate_launcher', 'pg_terminate_backend of the launcher', sub {
	my ($storm) = @_;

	$storm->{cluster}->value('SELECT pg_terminate_backend(?)', $storm->{cluster}->wait_for_worker('fluxhooks launcher'));
});

define('cancel', 'pg_cancel_backend of worker and launcher', sub {
	my ($storm) = @_;

	foreach (1 .. 20)
	{
		pause_for(rand(0.1));
		$storm->{cluster}->value(
			"SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE backend_type LIKE 'fluxhooks%'");
	}
});

define('fast_restart', 'fast stop and restart', sub {
	my ($storm) = @_;

	pause_for(rand(1));
	$storm->{cluster}->stop('fast');
	$storm->{cluster}->ensure_up;
});

define('immediate_restart', 'immediate stop and restart', sub {
	my ($storm) = @_;

	pause_for(rand(1));
	$storm->{cluster}->stop('immediate');
	$storm->{cluster}->ensure_up;
});

# ------------------------------------------------------------------- writers

define('async_commit', 'synchronous_commit = off, immediate stop', sub {
	my ($storm) = @_;
	my $cluster = $storm->{cluster};

	# nobody else writes the log to disk before the server dies
	$cluster->set(wal_writer_delay => '10s', wal_writer_flush_after => '1GB');
	$storm->flag('all_async', 1);
	foreach (1 .. 2)
	{
		pause_for(1 + rand(1));
		$cluster->stop('immediate');
		$cluster->ensure_up;
	}
	$storm->flag('all_async', 0);
	$cluster->set(wal_writer_delay => undef, wal_writer_flush_after => undef);
});

define('savepoints', 'savepoints rolled back, 600 subtransactions, worker killed', sub {
	my ($storm) = @_;

	$storm->transaction(
		sub {
			my ($dbh, $change) = @_;

			foreach my $i (1 .. 600)
			{
				$dbh->do('SAVEPOINT s');
				$change->($i % 4 != 0, 'storm_bulk(3)');
				$dbh->do($i % 4 == 0 ? 'ROLLBACK TO s' : 'RELEASE s');
				kill_worker_quietly($storm) if $i == 300;
			}
		});
});

# terminated: kill -9 would take the transaction with it
sub kill_worker_quietly
{
	my ($storm) = @_;

	$storm->{cluster}->note_death;
	$storm->{cluster}->value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'fluxhooks worker'");
	return;
}

define('prepared', 'prepared transactions across an immediate restart', sub {
	my ($storm) = @_;
	my $cluster = $storm->{cluster};
	my @names = map { $storm->prepare('storm_bulk(' . (1 + int(rand(1200))) . ')') } 1 .. 8;

	$cluster->stop('immediate');
	$cluster->ensure_up;
	pause_for(0.5);
	foreach my $name (@names)
	{
		kill_worker_quietly($storm) if rand(3) < 1;
		$cluster->execute((rand(3) < 1 ? 'ROLLBACK' : 'COMMIT') . " PREPARED '$name'");
	}
});

define('reversed_commits', 'commits in reverse order across windows and a worker restart', sub {
	my ($storm) = @_;
	my @open;

	foreach my $i (1 .. 8)
	{
		# more than is kept in memory: numbers are drawn in this order
		push @open, ($storm->open_transaction("storm_bulk(1100, repeat('x', 1000))"))[0];
		pause_for(0.05);
	}
	foreach my $i (reverse 0 .. $#open)
	{
		$open[$i]->();
		pause_for(0.1);
		kill_worker_quietly($storm) if $i == 4;
	}
});

define('large_transaction', 'a transaction of 100,000 rows, worker ended half way', sub { large($_[0], 100_000); });
define('million_rows', 'a transaction of 1,000,000 rows, worker ended half way', sub { large($_[0], 1_000_000); }, heavy => 1);

sub large
{
	my ($storm, $rows) = @_;

	$storm->transaction(sub { $_[1]->(1, "storm_bulk($rows)"); });
	pause_for(2);
	kill_worker_quietly($storm);
	$storm->wait_for_backlog(2000);
	return;
}

# ------------------------------------------------------------------ endpoints

foreach my $mode ([ 'down', 'does not listen' ], [ 'hang', 'does not answer' ], [ 'drip', 'answers without an end' ],
	[ 'reset', 'resets connections' ], [ 'error', 'answers 503' ], [ 'flap', 'does all that by turns' ])
{
	my ($name, $title) = @$mode;

	define("endpoint_$name", "an endpoint $title", sub {
		my ($storm) = @_;

		$storm->{endpoints}{trouble}->set($name);
		pause_for($name eq 'flap' ? 6 : 3 + rand(2));
		$storm->{endpoints}{trouble}->set('ok');
	});
}

foreach my $mode ([ 'fail', 'a name server that does not know', "error_code = 'dns'" ],
	[ 'hang', 'a name server that does not answer', "error LIKE '%while resolving the host name'" ])
{
	my ($name, $title, $symptom) = @$mode;

	define("dns_$name", $title, sub {
		my ($storm) = @_;
		# one that nobody has asked for yet: answers are kept
		my $host = "$name" . ++$storm->{n_hosts} . '.storm.test';

		$storm->set_resolver($name);
		$storm->move_trouble($host);
		wait_until(sub { $storm->{cluster}->value("SELECT count(*) FROM fluxhooks.attempts WHERE url LIKE ? AND $symptom", "%$host%") },
			"an attempt that fails to resolve $host");
		pause_for(2 + rand(1));
		$storm->set_resolver('ok');
	});
}

# ----------------------------------------------------------------- resources

define('disk_full', 'a full disk', sub {
	my ($storm) = @_;
	my $cluster = $storm->{cluster};
	my $filler = "$storm->{small_disk}/filler";

	spawn_and_wait('dd', 'if=/dev/zero', "of=$filler", 'bs=64k');
	foreach (1 .. 6)
	{
		$cluster->note_death;
		pause_for(0.7);
	}
	unlink $filler or die "$filler: $!";
	$cluster->ensure_up;
	$cluster->note_death;
}, needs => sub { $_[0]->{small_disk} ? undef : 'a file system of its own, which only root can mount' });

sub spawn_and_wait
{
	my (@command) = @_;

	waitpid spawn(\@command), 0;
	return;
}

sub address_space
{
	my ($pid) = @_;

	open my $file, '<', "/proc/$pid/status" or return 0;
	my ($kb) = join('', <$file>) =~ /^VmSize:\s+(\d+) kB/m;
	return ($kb // 0) * 1024;
}

define('memory_limit', 'rows of 100 MB and a worker without memory for them', sub {
	my ($storm) = @_;
	my $cluster = $storm->{cluster};

	$cluster->set('fluxhooks.max_payload_size' => '200MB');
	my $pid = $cluster->wait_for_worker;
	spawn_and_wait('prlimit', '--pid', $pid, '--as=' . (address_space($pid) + 60e6) . ':unlimited');
	$storm->big_row(100);
	pause_for(4);
	# a worker that had to end is another process by now, and has no limit
	spawn_and_wait('prlimit', '--pid', $pid, '--as=unlimited:unlimited') if kill 0, $pid;
	$cluster->note_death;
	$storm->wait_for_backlog(2000);
	$cluster->set('fluxhooks.max_payload_size' => undef);
});

define('clock', 'a clock that is set forward and back', sub {
	my ($storm) = @_;
	my $cluster = $storm->{cluster};
	my $file = "$storm->{dir}/clock";
	my $set = sub {
		open my $out, '>', $file or die "$file: $!";
		print $out $_[0];
		close $out;
	};

	$storm->{oracle}{clock_was_set} = 1;
	$set->('+0');
	$cluster->stop('fast');
	$cluster->set_env(LD_PRELOAD => "$storm->{preload} $storm->{clock}", TEST_CLOCK => $file);
	$cluster->ensure_up;
	foreach my $jump ('+' . int(600 + rand(5000)), '-' . int(60 + rand(300)), '+' . int(rand(100)), '+0')
	{
		pause_for(1);
		$set->($jump);
		kill_worker_quietly($storm) if rand(2) < 1;
	}
	pause_for(1);
	$cluster->stop('fast');
	$cluster->set_env(LD_PRELOAD => $storm->{preload}, TEST_CLOCK => undef);
	$cluster->ensure_up;
});

define('system_calls', 'system calls of the worker that fail', sub {
	my ($storm) = @_;
	my @injections = (
		'pread64:error=EIO:when=5+40', 'pwrite64:error=ENOSPC:when=3+30', 'pwrite64,write:error=EIO:when=10+50',
		'fsync,fdatasync:error=EIO:when=3', 'recvfrom,sendto:error=EIO:when=4+20', 'recvfrom,sendto,epoll_wait:error=EINTR:when=2+5',
		'connect,socket:error=EMFILE:when=1+2', 'openat:error=EMFILE:when=2+7', 'epoll_ctl:error=ENOSPC:when=3+5',
		'mmap,brk:error=ENOMEM:when=3+4');

	foreach my $injection (map { $injections[ rand @injections ] } 1 .. 4)
	{
		my $pid = $storm->{cluster}->wait_for_worker;
		my $strace = spawn([ 'strace', '-f', '-q', '-o', '/dev/null', '-p', $pid, '-e', "inject=$injection" ],
			err => "$storm->{dir}/strace.err");

		foreach (1 .. 3)
		{
			$storm->{cluster}->note_death;
			pause_for(0.5);
		}
		end_process($strace, 'INT');
		$storm->{cluster}->ensure_up;
	}
}, needs => sub { -x '/usr/bin/strace' ? undef : 'strace' });

# ------------------------------------------------------------- maintenance

define('slow_dump', 'a slow pg_dump while the log moves on', sub {
	my ($storm) = @_;
	my $cluster = $storm->{cluster};

	# what waits for longer than the retention is cancelled: let nothing wait
	$storm->wait_for_backlog(0);
	$storm->{oracle}->harvest;
	$storm->{oracle}{retention} = 20;
	$cluster->set('fluxhooks.retention' => '20s');
	# a pipe that is not read holds pg_dump, and its locks
	pipe my $out, my $in or die "pipe: $!";
	my $dump = spawn([ "$cluster->{bindir}/pg_dump", '-h', $cluster->{dir}, '-p', $cluster->{port}, '-U', 'postgres', 'postgres' ],
		out => $in, err => "$storm->{dir}/programs.log");
	close $in;
	pause_for($storm->{short} ? 6 : 30);
	my $bytes = 0;
	while (my $n = sysread $out, my $buffer, 65536)
	{
		$bytes += $n;
	}
	waitpid $dump, 0;
	die "pg_dump failed\n" if $? != 0 || $bytes < 1000;
	my $first = 'SELECT min(closed_at) FROM fluxhooks_internal.ring';
	my $oldest = wait_until(sub { $cluster->value($first) }, 'the log to move on');
	wait_until(sub { ($cluster->value($first) // '') ne $oldest }, 'a part of the log to be emptied');
	$storm->{oracle}->harvest;
	$cluster->set('fluxhooks.retention' => undef);
});

# Commands that lock a table against its writers: between their transactions,
# which must not wait for long.
sub maintain
{
	my ($storm, @statements) = @_;

	foreach my $statement (@statements)
	{
		wait_until(
			sub {
				eval { $storm->{cluster}->execute("SET lock_timeout = '200ms'", $statement); 1; };
			},
			$statement);
	}
	return;
}

define('vacuum_full', 'VACUUM FULL of a table with webhooks', sub {
	maintain($_[0], ('VACUUM FULL item') x 3);
});

define('reindex', 'REINDEX of a table with webhooks', sub {
	maintain($_[0], ('REINDEX TABLE item', 'REINDEX TABLE bulk') x 3);
});

define('truncate', 'TRUNCATE of a table with webhooks', sub {
	maintain($_[0], 'TRUNCATE item', 'TRUNCATE bulk');
});

1;
