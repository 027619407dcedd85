# What the TAP tests of fluxhooks share, on top of PostgreSQL::Test::Cluster:
# clusters with the library preloaded, endpoints (test/receiver), certificates,
# and waiting with a deadline.  Whatever is started here is stopped here.
package FluxhooksTest;

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  server_major new_node start_receiver start_listener start_secure start_relay build_preload make_ca
  wait_until wait_for_deliveries wait_for_worker wait_until_paused
  query status_of literal json_literal sqlstate create_webhook create_table_webhook insert_rows
  told_path tell_status set_clock
);

my $json = JSON::PP->new->ascii->canonical->allow_nonref;

# The server's major version, which a node of PostgreSQL 13's framework cannot tell.
sub server_major
{
	my ($major) = qx(postgres --version) =~ /PostgreSQL\) (\d+)/;

	return $major;
}

# A started cluster with the library preloaded, the extension in database
# postgres, and endpoints on this machine allowed.  Options: conf (more settings, of
# which the last counts), preload, extension, start (0: not), init (arrayref
# handed on to init).
sub new_node
{
	my ($name, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		extra => [ '--encoding', 'UTF8', '--locale', 'C' ],
		@{ $option{init} // [] });
	$node->append_conf('postgresql.conf', <<'CONF');
log_statement = none
max_worker_processes = 16
max_prepared_transactions = 10
CONF
	$node->append_conf('postgresql.conf', <<'CONF') if $option{preload} // 1;
shared_preload_libraries = 'fluxhooks'
fluxhooks.allowed_networks = '127.0.0.0/8'
CONF
	$node->append_conf('postgresql.conf', $option{conf} . "\n") if defined $option{conf};
	return $node unless $option{start} // 1;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION fluxhooks') if $option{extension} // 1;
	return $node;
}

# The first true value of code, asked again and again; dies when there is none
# after some time (PG_TEST_TIMEOUT_DEFAULT unless said).
sub wait_until
{
	my ($code, $what, $seconds) = @_;
	my $deadline = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);

	while (1)
	{
		my $value = $code->();
		return $value if $value;
		die "waited in vain for $what" if time > $deadline;
		usleep(50_000);
	}
}

# Until exactly count deliveries satisfy the condition.  Shows what there is
# when that does not come about.
sub wait_for_deliveries
{
	my ($node, $condition, $count, %option) = @_;
	my $dbname = $option{dbname} // 'postgres';
	my $sql = "SELECT count(*) FROM fluxhooks.deliveries WHERE $condition";
	my $reached = eval {
		wait_until(sub { $node->safe_psql($dbname, $sql) eq $count },
			"$count deliveries with $condition", $option{seconds});
	};

	return 1 if $reached;
	my $problem = $@;
	my $found = query($node, 'SELECT * FROM fluxhooks.deliveries ORDER BY created_at LIMIT 20', $dbname);
	my $status = query($node, 'SELECT * FROM fluxhooks.status', $dbname);
	die $problem . join("\n", map { $json->encode($_) } @$status, @$found) . "\n";
}

# Until a database has a worker, and not the one with the former pid; its pid.
sub wait_for_worker
{
	my ($node, $dbname, $former) = @_;

	return wait_until(
		sub {
			my $pid = (eval { status_of($node, $dbname) } // {})->{worker_pid} // 0;
			return $pid != ($former // 0) ? $pid : 0;
		},
		'a worker in ' . ($dbname // 'postgres'));
}

# Until the worker of a database has paused it as a copy; the reason.  (A pause by hand
# is inherited, and may be all there is before the worker has looked.)
sub wait_until_paused
{
	my ($node, $dbname) = @_;

	return wait_until(
		sub {
			my $status = eval { status_of($node, $dbname) } // {};
			return ($status->{paused_reason} // '') =~ /copy|backup|instance/ && $status->{worker_pid} ? $status->{paused_reason} : '';
		},
		'a pause in ' . ($dbname // 'postgres'));
}

# Rows of a query as a list of hashes, values as JSON has them.
sub query
{
	my ($node, $sql, $dbname) = @_;
	my $text = $node->safe_psql($dbname // 'postgres',
		"SELECT coalesce(json_agg(row_to_json(q)), '[]') FROM ($sql) AS q");

	return JSON::PP->new->utf8->decode($text);
}

# The row of fluxhooks.status.
sub status_of
{
	my ($node, $dbname) = @_;

	return query($node, 'SELECT * FROM fluxhooks.status', $dbname)->[0];
}

# A string as SQL spells it: bytes, as everything that safe_psql takes.
sub literal
{
	my ($text) = @_;

	$text =~ s/(['\\])/$1$1/g;
	return "E'$text'";
}

# A perl structure as an SQL literal of jsonb.  Its strings are characters, as
# are those that query and requests return.
sub json_literal
{
	my ($data) = @_;

	return literal($json->encode($data)) . '::jsonb';
}

# SQLSTATE of the error a statement raises, '' when it raises none.
sub sqlstate
{
	my ($node, $sql, $dbname) = @_;
	my ($status, $out, $err) = $node->psql($dbname // 'postgres', "\\set VERBOSITY sqlstate\n$sql");

	return $err =~ /ERROR:\s+(\w{5})\b/ ? $1 : '';
}

# Create a webhook from a hash of its configuration; its id.
sub create_webhook
{
	my ($node, $config, $dbname) = @_;

	return $node->safe_psql($dbname // 'postgres',
		'SELECT fluxhooks.create_webhook(' . json_literal($config) . ')');
}

# Create a table and a webhook of the same name for it, whose requests go to a
# path of the receiver's with that name behind; the webhook's id.
sub create_table_webhook
{
	my ($node, $receiver, $name, $path, %config) = @_;

	$node->safe_psql('postgres', "CREATE TABLE $name (id bigint PRIMARY KEY, value integer DEFAULT 0)");
	return create_webhook($node,
		{ name => $name, url => $receiver->url("$path/$name"), secret => 'a', events => [ { table => $name } ], %config });
}

# Rows of such a table, with the ids from first to last.
sub insert_rows
{
	my ($node, $table, $first, $last) = @_;

	$node->safe_psql('postgres', "INSERT INTO $table SELECT i FROM generate_series($first, $last) AS i");
	return;
}

# A path of the receiver's whose status is what tell_status says last.
sub told_path
{
	return '/told/' . join('%2F', split m{/}, told_file(), -1);
}

sub told_file
{
	return "$PostgreSQL::Test::Utils::tmp_check/told_$$";
}

sub tell_status
{
	my ($status) = @_;
	my $file = told_file();

	open my $out, '>', "$file.new" or die "$file: $!";
	print $out $status;
	close $out;
	rename "$file.new", $file or die "$file: $!";
	return;
}

# test/receiver/receiver.js with a log of its own.  Options: secret; key and cert
# (files) for https.
sub start_receiver
{
	return FluxhooksTest::Receiver->new(@_);
}

# test/receiver/listener.js, which logs connections.  Options: host, port; within
# (arrayref): a command to run it under.
sub start_listener
{
	return FluxhooksTest::Receiver->new(script => 'listener.js', @_);
}

# test/receiver/secure.js.  Options: key, cert, mode.
sub start_secure
{
	return FluxhooksTest::Receiver->new(script => 'secure.js', @_);
}

# test/receiver/relay.js.  Options: to, a port; freeze, a file.
sub start_relay
{
	return FluxhooksTest::Receiver->new(script => 'relay.js', @_);
}

# test/lib/NAME.c as a library for LD_PRELOAD; its path.
sub build_preload
{
	my ($name) = @_;
	my $source = FluxhooksTest::Receiver::directory() . "/../lib/$name.c";
	my $library = PostgreSQL::Test::Utils::tempdir() . "/$name.so";

	system($ENV{CC} // 'cc', '-shared', '-fPIC', '-o', $library, $source, '-ldl') == 0
	  or die "$source does not compile";
	return $library;
}

# What test/lib/clock.c, reading this file, tells a server from now on.
sub set_clock
{
	my ($file, $setting) = @_;

	open my $out, '>', "$file.new" or die "$file: $!";
	print $out $setting;
	close $out;
	rename "$file.new", $file or die "$file: $!";
	return;
}

# A certificate authority of this test's own: issue($name, ...) makes a
# certificate for a DNS name or address.
sub make_ca
{
	return FluxhooksTest::Authority->new(@_);
}

package FluxhooksTest::Receiver;

use File::Basename qw(dirname);
use IPC::Run ();
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Utils ();

my @running;
my $started = 0;

sub directory
{
	return dirname(__FILE__) . '/../receiver';
}

sub new
{
	my ($class, %option) = @_;
	my $script = delete $option{script} // 'receiver.js';
	my $base = "$PostgreSQL::Test::Utils::log_path/receiver_" . ++$started . "_$$";
	my $self = bless { log => "$base.jsonl", tls => exists $option{key}, out => '' }, $class;
	my $within = delete $option{within} // [];
	my @command = (
		@$within, 'node', directory() . "/$script",
		'--log', $self->{log},
		map { ("--$_", $option{$_}) } sort keys %option);

	PostgreSQL::Test::Utils::append_to_file($self->{log}, '');
	$self->{process} = IPC::Run::start(\@command, '<', '/dev/null',
		'>', \$self->{out}, '2>', "$base.err");
	push @running, $self;
	FluxhooksTest::wait_until(
		sub {
			$self->{process}->pump_nb;
			return 1 if $self->{out} =~ /^listening on (\d+)$/m;
			die "receiver ended, see $base.err" unless $self->{process}->pumpable;
			return 0;
		},
		'the receiver to listen');
	($self->{port}) = $self->{out} =~ /^listening on (\d+)$/m;
	return $self;
}

sub port { return $_[0]->{port} }

# URL of a path, by address; host => 'localhost' for another name.
sub url
{
	my ($self, $path, %option) = @_;
	my $scheme = $self->{tls} ? 'https' : 'http';
	my $host = $option{host} // '127.0.0.1';

	return "$scheme://$host:$self->{port}$path";
}

# Requests so far, oldest first, optionally those whose path begins so.  A
# request is a hash as receiver.js logs it, with {body} decoded, and {data},
# what the body holds as JSON.
sub requests
{
	my ($self, $path) = @_;
	my @requests;

	# the last line may be half written
	foreach my $line (PostgreSQL::Test::Utils::slurp_file($self->{log}) =~ /^(.*)\n/mg)
	{
		# parsing takes a second for a few thousand
		next if defined $path && index($line, "\"path\":\"$path") < 0;
		my $request = JSON::PP->new->utf8->decode($line);

		next if defined $path && index($request->{path}, $path) != 0;
		$request->{body} = decode_base64($request->{body});
		$request->{data} = eval { JSON::PP->new->utf8->decode($request->{body}) };
		push @requests, $request;
	}
	return @requests;
}

# Until there are at least count of them; returns them all.
sub wait_for_requests
{
	my ($self, $count, $path, $seconds) = @_;

	FluxhooksTest::wait_until(sub { $self->requests($path) >= $count },
		"$count requests" . (defined $path ? " for $path" : ''), $seconds);
	return $self->requests($path);
}

sub stop
{
	my ($self) = @_;
	my $process = delete $self->{process};

	$process->kill_kill(grace => 5) if $process;
	return;
}

END
{
	# the exit status of the test is not ours to change
	local $?;
	$_->stop foreach @running;
}

package FluxhooksTest::Authority;

use PostgreSQL::Test::Utils ();

sub openssl
{
	my (@arguments) = @_;
	my ($out, $err);

	IPC::Run::run([ 'openssl', @arguments ], '<', '/dev/null', '>', \$out, '2>', \$err)
	  or die "openssl @arguments: $err";
	return;
}

sub new
{
	my ($class, $name) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $self = bless { dir => $dir, ca_file => "$dir/ca.crt", issued => 0 }, $class;

	$name //= 'fluxhooks test authority';
	PostgreSQL::Test::Utils::append_to_file("$dir/index.txt", '');
	openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30',
		'-subj', "/CN=$name", '-keyout', "$dir/ca.key", '-out', "$dir/ca.crt");
	return $self;
}

sub ca_file { return $_[0]->{ca_file} }

# Key and certificate for a name (an address or a DNS name), as a hash that
# start_receiver takes.  expired => 1: it was valid once; future => 1: it will be;
# usage: what it is good for, if not for servers.
sub issue
{
	my ($self, $name, %option) = @_;
	my $dir = $self->{dir};
	my $base = "$dir/server_" . ++$self->{issued};
	my $kind = $name =~ /^[\d.]+$|:/ ? 'IP' : 'DNS';
	my $start = $option{future} ? '20491231000000Z' : '20200101000000Z';
	my $end = $option{expired} ? '20200102000000Z' : '20491231235959Z';
	my $usage = $option{usage} // 'serverAuth';

	PostgreSQL::Test::Utils::append_to_file("$base.cnf", <<"CNF");
[ca]
default_ca = own
[own]
database = $dir/index.txt
new_certs_dir = $dir
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
[leaf]
subjectAltName = $kind:$name
extendedKeyUsage = $usage
[req]
distinguished_name = name
[name]
CNF
	openssl('req', '-new', '-newkey', 'rsa:2048', '-nodes', '-config', "$base.cnf",
		'-subj', "/CN=$name", '-keyout', "$base.key", '-out', "$base.csr");
	openssl('ca', '-batch', '-notext', '-config', "$base.cnf", '-extensions', 'leaf',
		'-startdate', $start, '-enddate', $end,
		'-cert', "$dir/ca.crt", '-keyfile', "$dir/ca.key",
		'-in', "$base.csr", '-out', "$base.crt");
	return (key => "$base.key", cert => "$base.crt");
}

1;
