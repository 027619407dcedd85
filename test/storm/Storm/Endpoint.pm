# An endpoint of the storm (endpoint.js) and what it has noted.
package Storm::Endpoint;

use strict;
use warnings;

use File::Basename qw(dirname);
use IO::Handle;

use Storm::Process qw(spawn end_process wait_until);

sub new
{
	my ($class, $dir, $name) = @_;
	my $self = bless { name => $name, log => "$dir/$name.received", at => 0, marks => {} }, $class;

	pipe my $out, my $out_there or die "pipe: $!";
	pipe my $in_there, my $in or die "pipe: $!";
	open my $log, '>>', $self->{log} or die "$self->{log}: $!";
	$self->{pid} = spawn([ 'node', dirname(__FILE__) . '/../endpoint.js', $self->{log} ],
		in => $in_there, out => $out_there, err => "$dir/$name.err");
	close $_ foreach $out_there, $in_there, $log;
	my $line = <$out> // die "endpoint $name did not start, see $dir/$name.err\n";
	($self->{port}) = $line =~ /^listening on (\d+)$/;
	$in->autoflush(1);
	$self->{in} = $in;
	return $self;
}

sub port { return $_[0]->{port} }

# What it does from now on: see endpoint.js.
sub set
{
	my ($self, $mode) = @_;

	print { $self->{in} } "$mode\n" or die "endpoint $self->{name}: $!";
	return;
}

# Has the change with this row number in table mark arrived?  Reads on where it
# left off.
sub has_mark
{
	my ($self, $row) = @_;

	open my $log, '<', $self->{log} or die "$self->{log}: $!";
	seek $log, $self->{at}, 0;
	while (defined(my $line = <$log>))
	{
		last unless $line =~ /\n\z/;
		$self->{at} += length $line;
		$self->{marks}{$1} = 1 if $line =~ /^\d+ \S+ \w+ mark (\d+) .* 1$/;
	}
	close $log;
	return $self->{marks}{$row};
}

sub stop
{
	my ($self) = @_;

	end_process(delete $self->{pid}) if $self->{pid};
	return;
}

1;
