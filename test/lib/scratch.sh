# Sourced by test/run and test/demo/run: a scratch directory, a build in it, and
# a throw-away cluster that listens on a socket there and nowhere else.
#
# Expects $root, the checkout.  PostgreSQL refuses to run as root, so that
# everything but the installation is then done as user postgres, who may not even
# be able to read the checkout.
# shellcheck shell=sh
: "${root:?}"

PG_CONFIG=${PG_CONFIG:-pg_config}
export PG_CONFIG
scratch=

as_user()
{
	(as_user_exec "$@")
}

# The same, replacing the shell: with & behind it, $! is the program itself.
as_user_exec()
{
	if [ "$(id -u)" = 0 ]; then
		exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
	else
		exec "$@"
	fi
}

# Make $scratch, holding a copy of the checkout in $scratch/tree.
scratch_make()
{
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/fluxhooks.XXXXXX")
	mkdir "$scratch/tree"
	(cd "$root" && tar cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
		--exclude=./results --exclude=./build .) | (cd "$scratch/tree" && tar xf - --no-same-owner)
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres: "$scratch"
	fi
	bindir=$("$PG_CONFIG" --bindir)
	# test/setup puts a Node.js there where the distribution's is too old
	PATH=$bindir:$scratch/tree/test/receiver/node_modules/.bin:$PATH
	# a user's own connection settings must not lead anywhere else
	unset PGSERVICE PGSERVICEFILE PGUSER PGPASSWORD PGPASSFILE PGOPTIONS PGHOSTADDR PGSSLMODE
	PGHOST=$scratch
	PGPORT=5432
	PGDATABASE=postgres
	HOME=$scratch
	TMPDIR=$scratch
	export PATH PGHOST PGPORT PGDATABASE HOME TMPDIR
	cd "$scratch" || return 1
}

scratch_remove()
{
	if [ -n "$scratch" ]; then
		cluster_stop
		cd /
		rm -rf "$scratch"
	fi
}

# $1: what to add to the compiler's options
scratch_build()
{
	as_user make -s -C "$scratch/tree" PG_CONFIG="$PG_CONFIG" COPT="$1" </dev/null
}

# With sudo where PostgreSQL's directories are not the caller's to write to.
scratch_install()
{
	sudo=
	if [ ! -w "$("$PG_CONFIG" --pkglibdir)" ]; then
		sudo=sudo
	fi
	$sudo make -s -C "$scratch/tree" PG_CONFIG="$PG_CONFIG" install
}

# Start a cluster with the library preloaded; further settings come on stdin.
cluster_start()
{
	as_user initdb -D "$scratch/data" -A trust -E UTF8 --locale=C -N >"$scratch/initdb.log" 2>&1 || {
		cat "$scratch/initdb.log" >&2
		return 1
	}
	as_user tee -a "$scratch/data/postgresql.conf" >/dev/null <<-EOF
		shared_preload_libraries = 'fluxhooks'
		fluxhooks.allowed_networks = '127.0.0.0/8'
		listen_addresses = ''
		unix_socket_directories = '$scratch'
		port = $PGPORT
	EOF
	as_user tee -a "$scratch/data/postgresql.conf" >/dev/null
	as_user pg_ctl -s -w -D "$scratch/data" -l "$scratch/server.log" start </dev/null >&2 || {
		tail -n 20 "$scratch/server.log" >&2
		return 1
	}
}

# By the pid in the data directory, and only if it was started.
cluster_stop()
{
	if [ -e "$scratch/data/postmaster.pid" ]; then
		as_user pg_ctl -s -w -m immediate -D "$scratch/data" stop </dev/null >&2 || true
	fi
}
