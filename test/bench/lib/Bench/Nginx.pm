# nginx on loopback, answering every POST with 200 at once: plain http, https with HTTP/1.1,
# https with HTTP/2, the certificate from an authority of its own.  The answer's body says which
# protocol was spoken.
#
# With HTTP/2 nginx would answer, and reset the stream, before it has read the request's body,
# and libcurl take that for a failure now and then.  Mirroring it to nowhere makes nginx
# read it first, as endpoints do.
package Bench::Nginx;

use strict;
use warnings;

use Bench;
use Bench::Process;
use File::Temp qw(tempdir);
use HTTP::Tiny;

sub new
{
	my ($class) = @_;
	my $dir = tempdir('nginxXXXXXX', DIR => $ENV{TMPDIR} // '/tmp', CLEANUP => 1);
	my $self = bless { dir => $dir, port => free_ports(3) }, $class;

	$self->make_certificate;
	$self->write_configuration;
	local $ENV{PATH} = "$ENV{PATH}:/usr/sbin";
	$self->{process} = Bench::Process->start([ 'nginx', '-p', $dir, '-e', "$dir/error.log", '-c', "$dir/nginx.conf" ]);
	wait_until(sub { defined $self->served(1) }, "nginx, see $dir/error.log", seconds => 10);
	return $self;
}

sub make_certificate
{
	my ($self) = @_;
	my $dir = $self->{dir};
	my $new = 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30';

	system("$new -subj /CN=bench-ca -keyout $dir/ca.key -out $dir/ca.pem 2>$dir/openssl.log") == 0
	  && system("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost "
		  . "-addext subjectAltName=IP:127.0.0.1 -keyout $dir/server.key -out $dir/server.csr 2>>$dir/openssl.log") == 0
	  && system("openssl x509 -req -days 30 -in $dir/server.csr -CA $dir/ca.pem -CAkey $dir/ca.key "
		  . "-CAcreateserial -copy_extensions copy -out $dir/server.pem 2>>$dir/openssl.log") == 0
	  or die "openssl cannot make a certificate:\n" . `cat $dir/openssl.log`;
	return;
}

sub write_configuration
{
	my ($self) = @_;
	my ($dir, $port) = @{$self}{qw(dir port)};
	my $temporary = join '', map { "${_}_temp_path $dir/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);

	open my $file, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!\n";
	print $file <<"EOF";
daemon off;
pid $dir/nginx.pid;
error_log $dir/error.log;
events { worker_connections 2048; }
http {
	access_log off;
	$temporary
	client_max_body_size 10m;
	keepalive_requests 1000000000;
	keepalive_timeout 1h;
	ssl_certificate $dir/server.pem;
	ssl_certificate_key $dir/server.key;
	server {
		listen 127.0.0.1:$port;
		listen 127.0.0.1:@{[ $port + 1 ]} ssl;
		location / { return 200 "\$server_protocol"; }
		location /served { stub_status; }
	}
	server {
		listen 127.0.0.1:@{[ $port + 2 ]} ssl http2;
		root $dir;
		error_page 403 404 405 =200 \@answer;
		location / { mirror /sink; }
		location /sink { internal; return 204; }
		location \@answer { return 200 "\$server_protocol"; }
	}
}
EOF
	close $file or die "$dir/nginx.conf: $!\n";
	return;
}

# protocol: http, https/1.1 or https/2
sub url
{
	my ($self, $protocol) = @_;
	my %offset = ('http' => 0, 'https/1.1' => 1, 'https/2' => 2);

	return ($protocol eq 'http' ? 'http' : 'https') . '://127.0.0.1:' . ($self->{port} + $offset{$protocol}) . '/';
}

sub ca_file
{
	my ($self) = @_;

	return "$self->{dir}/ca.pem";
}

# Requests served so far, those that ask for it left out; undefined when nobody answers,
# which is fatal unless may_fail.
sub served
{
	my ($self, $may_fail) = @_;
	my $answer = HTTP::Tiny->new(timeout => 5)->get($self->url('http') . 'served');

	if (!$answer->{success})
	{
		return undef if $may_fail;
		die "nginx does not answer: $answer->{status} $answer->{content}\n";
	}
	$answer->{content} =~ /^\s*\d+\s+\d+\s+(\d+)/m or die "nginx answers: $answer->{content}\n";
	return $1 - ++$self->{asked};
}

1;
