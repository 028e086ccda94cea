# `make test` runs everything that CI runs, and installs what that needs. CONTRIBUTING.md says which part is for what.

CARGO ?= cargo
export RUST_BACKTRACE ?= 1

.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: build test test-unit test-integration test-hostile test-hostile-short test-rules lint fuzz bench bench-compare install-tools \
	lint-format lint-scripts lint-dependencies lint-clippy lint-docs

## The programs, optimised, below target/release.
build:
	$(CARGO) build --release --locked

## Everything, the quick parts first.
test: install-tools test-rules lint test-unit test-integration test-hostile-short

## Unit and property tests, and those that drive whole programs in-process.
test-unit:
	$(CARGO) test --workspace --locked --no-fail-fast

## The whole way with real programs around it: Prometheus, VictoriaMetrics, memcached, an OIDC provider.
test-integration:
	$(CARGO) test --workspace --locked --features telemeter/integration --test integration -- --test-threads=1

## The real server under attack, in control groups of 256 MiB and of 1 GiB, a minute for each attack: about an hour, and
## 20,000 file descriptors. The table is also in target/hostile/report.md.
test-hostile:
	$(CARGO) build --release --locked -p telemeter --bin telemeter-server
	HOSTILE_FORM=full HOSTILE_SERVER="$(CURDIR)/target/release/telemeter-server" \
		$(CARGO) test --workspace --locked --features telemeter/hostile --test server_under_attack -- --nocapture

## The same with smaller numbers, four seconds each, in 256 MiB.
test-hostile-short:
	$(CARGO) test --workspace --locked --features telemeter/hostile --test server_under_attack -- --nocapture

## The recording rules and alerts below rules/.
test-rules:
	scripts/test-rules

lint: lint-format lint-scripts lint-dependencies lint-clippy lint-docs

lint-format:
	$(CARGO) fmt --all --check

lint-scripts:
	scripts/lint-scripts

lint-dependencies:
	scripts/check-dependencies

lint-clippy:
	$(CARGO) clippy --workspace --locked --all-targets --features telemeter/integration,telemeter/hostile -- -D warnings

lint-docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --locked --no-deps

## The decoders against their oracle and the property tests, with the numbers that CI has no time for.
fuzz:
	ORACLE_MESSAGES=100000 ORACLE_MUTATIONS=1000000 $(CARGO) test --release --locked -p telemeter-wire --test oracle
	PROPTEST_CASES=20000 $(CARGO) test --release --locked -p telemeter-wire -p telemeter-rules -p telemeter-auth

## What a request costs: the pure pipeline beside its floor, then the real server. Figures also in target/bench/*.json.
bench:
	mkdir -p target/bench
	$(CARGO) bench --locked -p telemeter-fleet --bench request
	BENCH_JSON="$(CURDIR)/target/bench/pipeline.json" $(CARGO) bench --locked -p telemeter-server --bench pipeline
	BENCH_JSON="$(CURDIR)/target/bench/server.json" $(CARGO) bench --locked -p telemeter --bench server
	BENCH_JSON="$(CURDIR)/target/bench/client.json" $(CARGO) bench --locked -p telemeter --bench client

## The same for this tree and for the revision BASE, in turns, with the ratios.
bench-compare:
	scripts/bench-compare "$(BASE)"

install-tools:
	scripts/install-tools
