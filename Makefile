# `make test` runs everything that CI runs, and installs what that needs; `make help` says what else there is.

CARGO ?= cargo
export RUST_BACKTRACE ?= 1
FUZZ_SECONDS ?= 60
# The tests that `make test-unit` leaves out. Where one is built the other is, too: else each would build the programs again.
WITH_PROGRAMS = --features telemeter/integration,telemeter/hostile

.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: help build deb test test-unit test-integration test-hostile test-hostile-short test-rules test-package lint fuzz fuzz-short bench \
	bench-compare install-tools lint-format lint-scripts lint-dependencies lint-manifests lint-clippy lint-docs

# Each target's comment, as it stands here.
## What there is to make.
help:
	@awk '/^## / { text = text (text ? "\n" : "") substr($$0, 4); next } \
		/^[a-z-]+:/ && text { split($$0, name, ":"); gsub(/\n/, "\n                     ", text); printf "%-20s %s\n", name[1], text } \
		{ text = "" }' $(firstword $(MAKEFILE_LIST))

## The programs, optimised, below target/release. Two of them are built, telemeter and the client, which is a program of its
## own for its memory; the other names are links to telemeter, which does what the name says that it is called by.
build:
	$(CARGO) build --release --locked --package telemeter --bin telemeter --bin telemeter-client
	cd target/release && for name in telemeter-server authorization-server telemeter-benchmark; do ln -sf telemeter "$$name"; done

## A Debian package of the programs, with manual pages, completions and systemd units, below target/debian.
deb: build
	scripts/package-files target/release
	$(CARGO) deb --package telemeter --no-build --no-strip --locked --output target/debian/

## Everything that CI runs, the quick parts first and each to its end; then one summary.
test:
	+MAKE="$(MAKE)" scripts/test install-tools test-rules lint-format lint-scripts lint-dependencies lint-manifests lint-clippy \
		lint-docs test-unit test-integration test-hostile-short fuzz-short test-package

## Unit and property tests, and those that drive whole programs in-process.
test-unit:
	$(CARGO) test --workspace --locked --no-fail-fast

## The whole way with real programs around it: Prometheus, VictoriaMetrics, memcached, an OIDC provider.
test-integration:
	$(CARGO) test --workspace --locked $(WITH_PROGRAMS) --test integration -- --test-threads=1

## The real server under attack, in control groups of 256 MiB and of 1 GiB, a minute for each attack: about an hour, and
## 20,000 file descriptors. The table is also in target/hostile/report.md.
test-hostile:
	$(CARGO) build --release --locked -p telemeter --bin telemeter-server
	HOSTILE_FORM=full HOSTILE_SERVER="$(CURDIR)/target/release/telemeter-server" \
		$(CARGO) test --workspace --locked $(WITH_PROGRAMS) --test server_under_attack -- --nocapture

## `make test-hostile` with smaller numbers, four seconds each and two at once, in 256 MiB.
test-hostile-short:
	$(CARGO) test --workspace --locked $(WITH_PROGRAMS) --test server_under_attack -- --nocapture

## The recording rules and alerts below rules/.
test-rules:
	scripts/test-rules

## The Debian package: built from unoptimised programs, unpacked into a folder and looked at.
test-package:
	scripts/test-package

## Formatting, shell scripts, dependencies, Kubernetes manifests, clippy, documentation.
lint: lint-format lint-scripts lint-dependencies lint-manifests lint-clippy lint-docs

lint-format:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

lint-scripts:
	scripts/lint-scripts

lint-dependencies:
	scripts/check-dependencies

lint-manifests:
	scripts/check-manifests

lint-clippy:
	$(CARGO) clippy --workspace --locked --all-targets $(WITH_PROGRAMS) -- -D warnings
	scripts/fuzz clippy

lint-docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --locked --no-deps

## Each fuzz target for FUZZ_SECONDS, then the decoders against their oracle and the property tests, with the numbers that CI
## has no time for.
fuzz:
	scripts/fuzz run $(FUZZ_SECONDS)
	ORACLE_MESSAGES=100000 ORACLE_MUTATIONS=1000000 $(CARGO) test --release --locked -p telemeter-wire --test oracle
	PROPTEST_CASES=20000 $(CARGO) test --release --locked -p telemeter-wire -p telemeter-rules -p telemeter-auth

## Each fuzz target for at most 20 seconds, with the same inputs each time: a change makes it fail, not chance.
fuzz-short:
	FUZZ_SEED=1 scripts/fuzz run 20

## What a request costs: the pure pipeline beside its floor, then the real server. Figures also in target/bench/*.json.
bench:
	mkdir -p target/bench
	$(CARGO) bench --locked -p telemeter-fleet --bench request
	BENCH_JSON="$(CURDIR)/target/bench/pipeline.json" $(CARGO) bench --locked -p telemeter-server --bench pipeline
	BENCH_JSON="$(CURDIR)/target/bench/server.json" $(CARGO) bench --locked -p telemeter --bench server
	BENCH_JSON="$(CURDIR)/target/bench/client.json" $(CARGO) bench --locked -p telemeter --bench client

## `make bench` for this tree and for the revision BASE, in turns, with the ratios.
bench-compare:
	scripts/bench-compare "$(BASE)"

## What `make test` needs and this machine lacks: Debian packages, cargo's helpers, a few packages of npm and PyPI.
install-tools:
	scripts/install-tools
