# Runs TAP tests and keeps "passed failed" in tap.count: test points, one failure
# for a file that ended badly without a failed point, and one as long as the
# run has not come to its end.
#
#	perl lib/tap.pl directory-of-PostgreSQL's-modules file ...
use strict;
use warnings;

use Cwd qw(abs_path);
use TAP::Harness;

my $modules = shift @ARGV;
my ($passed, $failed) = (0, 0);

sub keep_count
{
	my ($more) = @_;

	open my $out, '>', 'tap.count' or die "tap.count: $!";
	printf $out "%d %d\n", $passed, $failed + $more;
	close $out or die "tap.count: $!";
	return;
}

my $harness = TAP::Harness->new(
	{   verbosity => 0,
		timer     => 1,
		jobs      => 2,
		merge     => 0,
		lib       => [ abs_path($modules), abs_path('lib') ],
	});
$harness->callback(
	after_test => sub {
		my ($job, $parser) = @_;

		$passed += $parser->passed;
		$failed += $parser->failed || ($parser->has_problems ? 1 : 0);
		keep_count(1);
	});

keep_count(1);
$harness->runtests(map { glob } @ARGV);
keep_count(0);

exit($failed ? 1 : 0);
