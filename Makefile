# fluxhooks: build, install and check as every PGXS extension does;
# "make demo" and "make test" set up whatever they need by themselves.

MODULE_big = fluxhooks
EXTENSION = fluxhooks
DATA = $(wildcard sql/fluxhooks--*.sql)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
REGRESS = $(filter-out fluxhooks--%,$(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql))))

PG_CPPFLAGS = $(shell curl-config --cflags 2>/dev/null)
# librt for timer_create, before glibc 2.34
SHLIB_LINK = -lcurl -lcrypto -lrt

# Bitcode for inlining into queries would only slow the build: nothing here is
# called from expressions.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
include $(PGXS)
else
all install installcheck:
	@echo "pg_config or the server's development files are missing: install postgresql-server-dev-15, or set PG_CONFIG" >&2; exit 1
endif

# a changed header rebuilds everything: there are few, and PGXS tracks none
$(OBJS): $(wildcard src/*.h)

# What works on a bare machine, before there is a compiler or a pg_config: the
# scripts install what is missing and do the rest; a PG_CONFIG given to make
# reaches them through the environment.
.PHONY: demo test bench bench-smoke fuzz storm lint check-memory

demo:
	@test/demo/run

test:
	@test/run

# FUZZ_SECONDS for each target, a quarter of an hour unless said
fuzz:
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-900} test/run fuzz

lint:
	@test/lint

check-memory:
	@test/memory

bench:
	@test/bench/run

bench-smoke:
	@test/bench/run --smoke

# SEED and DURATION (seconds): the plan of faults, and how long they go on
storm:
	@test/storm/run --seed $(or $(SEED),1) --duration $(or $(DURATION),300)
