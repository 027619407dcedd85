# The endpoint that takes times (tools/receiver.c), on one or more ports.
package Bench::Receiver;

use strict;
use warnings;

use Bench;
use Bench::Process;
use HTTP::Tiny;

sub new
{
	my ($class, $ports) = @_;
	my $port = free_ports($ports);
	my $self = bless { port => $port, http => HTTP::Tiny->new(timeout => 60) }, $class;

	$self->{process} = Bench::Process->start([ "$ENV{BENCH_TOOLS}/receiver", $port, $ports ]);
	wait_until(sub { $self->{http}->get($self->url(0, 'count'))->{success} }, 'the receiver', seconds => 10);
	return $self;
}

# Of the endpoint with this number, counted from 0; path as tools/receiver.c knows them.
sub url
{
	my ($self, $number, $path) = @_;

	return 'http://127.0.0.1:' . ($self->{port} + $number) . "/$path";
}

sub ask
{
	my ($self, $path) = @_;
	my $answer = $self->{http}->get($self->url(0, $path));

	die "the receiver answers $answer->{status} $answer->{content}\n" unless $answer->{success};
	return $answer->{content};
}

sub reset
{
	my ($self) = @_;

	return $self->ask('reset');
}

# How many requests came, and how many of them were answered with 200.
sub count
{
	my ($self) = @_;

	return split ' ', $self->ask('count');
}

# Tagged requests: arrayrefs of endpoint number, tag, microseconds since 1970.
sub arrivals
{
	my ($self) = @_;

	return map {
		my ($port, $tag, $at) = split ' ';
		[ $port - $self->{port}, $tag, $at ]
	} split /\n/, $self->ask('log');
}

1;
