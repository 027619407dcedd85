# The same as xmin, with each hold lasting ten minutes.
use strict;
use warnings;

use FindBin;

our $long = 1;
do "$FindBin::Bin/xmin.pl" or die $@ || "xmin.pl: $!\n";
