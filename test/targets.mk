# Included by the Makefile: what works on a bare machine, before there is a
# compiler or a pg_config.  The scripts install what is missing and do the
# rest; a PG_CONFIG given to make reaches them through the environment.

.PHONY: demo test

demo:
	@test/demo/run

test:
	@test/run

.PHONY: bench

bench:
	@test/bench/run
