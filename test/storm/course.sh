# Sourced by test/storm/run and test/run, after scratch.sh: a storm in the scratch
# directory, with fluxhooks installed.
# shellcheck shell=sh
storm_disk=

# A file system of its own, so that one can fill it: only root can make it.
# $1: its size
storm_mount()
{
	mkdir -p "$scratch/small"
	chown "$(stat -c %U "$scratch")" "$scratch/small"
	if [ "$(id -u)" = 0 ] && mount -t tmpfs -o "size=$1,mode=755,uid=$(id -u postgres)" fluxhooks "$scratch/small" 2>/dev/null; then
		storm_disk=--small-disk=$scratch/small
	else
		storm_disk=
	fi
}

storm_unmount()
{
	if [ -n "$storm_disk" ]; then
		umount -l "$scratch/small" || true
	fi
	storm_disk=
}

# The command of a storm in directory $1 of the scratch directory.
storm_command()
{
	printf 'perl %s/tree/test/storm/storm.pl --dir=%s/%s --bindir=%s --preload=%s/%s/resolver.so --clock=%s/%s/clock.so %s' \
		"$scratch" "$scratch" "$1" "$bindir" "$scratch" "$1" "$scratch" "$1" "$storm_disk"
}

# A second build, with fault points, beside the installed one.
storm_build_points()
{
	as_user mkdir "$scratch/points"
	(cd "$scratch/tree" && tar cf - --exclude='*.o' --exclude='*.so' Makefile fluxhooks.control sql src) |
		(cd "$scratch/points" && as_user tar xf -)
	as_user make -s -C "$scratch/points" PG_CONFIG="$PG_CONFIG" COPT=-DFLUXHOOKS_FAULT_POINTS </dev/null
}

# Further options of a storm of fault points.
storm_points_options()
{
	printf '%s --library=%s/points' "--points=$scratch/points/src" "$scratch"
}

# What a storm needs in directory $1.
storm_prepare()
{
	as_user mkdir "$scratch/$1"
	as_user gcc -shared -fPIC -O2 -Wall -Wextra -Werror -o "$scratch/$1/resolver.so" \
		"$scratch/tree/test/storm/resolver.c" -ldl
	as_user gcc -shared -fPIC -O2 -Wall -Wextra -Werror -o "$scratch/$1/clock.so" \
		"$scratch/tree/test/lib/clock.c"
}
