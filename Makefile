# Everything a person or CI runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Build results live outside the checkout, keyed by the lock file and the compiler, so that a fresh clone starts warm.
LOCK := $(shell { cat Cargo.lock; rustc --version; } 2>/dev/null | sha256sum | cut -c1-12)
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidegate/target-$(LOCK)
BIN := $(CARGO_TARGET_DIR)/debug

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## Build everything
	cargo build --workspace --locked

.PHONY: packages
packages: ## Install what the lab needs from Debian (root); their daemons are not started
	scripts/install-packages

.PHONY: demo
demo: packages build ## The journey, live: three gateways, real routers, failures; under a minute once built (root)
	$(BIN)/lab demo

.PHONY: test
test: packages ## Formatter, linter, unit, golden and lab tests (root)
	scripts/test all

.PHONY: test-fast
test-fast: ## The same without the lab: no root
	scripts/test fast

.PHONY: lint
lint: ## Formatter and linter
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: suites
suites: build ## h2spec, gRPC interoperability, gRPC-Web and WebSocket frames through the daemon (Go)
	cd lab/suites && go build -o $(CARGO_TARGET_DIR)/suites .
	$(CARGO_TARGET_DIR)/suites -tidegate $(BIN)/tidegate

.PHONY: conformance
conformance: packages build ## Gateway API's own conformance suite against the daemon and a real API server (Go, root); ARGS="-run-test HTTPRouteWeight"
	scripts/conformance $(BIN)/tidegate $(ARGS)

.PHONY: plane
plane: packages ## A real Kubernetes of three nodes until Ctrl-C, no containers; the first build takes minutes (Go, root); ARGS="--nodes 1"
	@$$(scripts/testplane)/testplane up $(ARGS)

.PHONY: plane-test
plane-test: packages build ## The same as a test: Services, scaling, logs, a killed API server, nothing left behind (Go, root)
	$(BIN)/lab run plane

.PHONY: install-test
install-test: packages build ## Definitions and chart on that Kubernetes: good and bad objects, a DaemonSet that serves, its rights (Go, root)
	$(BIN)/lab run install

.PHONY: manifests
manifests: ## deploy/manifests from the chart (Go; helm is built from its module, minutes the first time)
	scripts/manifests

.PHONY: deb
deb: ## A Debian package for gateways outside of a cluster
	cargo build --release --locked -p tidegate-node
	scripts/deb $(CARGO_TARGET_DIR)/release/tidegate .

.PHONY: deny
deny: ## Licences and duplicate crates (installs cargo-deny once)
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources

.PHONY: runs
runs: packages build ## The demo ten times; minimum, median and maximum of every figure
	$(BIN)/lab demo --times 10

.PHONY: handovers
handovers: packages build ## Twenty hand-overs under load of every kind; the short one is in `make test` (root)
	$(BIN)/lab run handover_full

.PHONY: changes
changes: packages build ## A thousand changes of the configuration in a minute under the same load; a short one is in `make test` (root)
	$(BIN)/lab run changes_full

.PHONY: browser
browser: build ## A page in a headless Chromium through the daemon (root; installs Chromium, 100 MB)
	scripts/install-packages browser
	$(BIN)/lab run browser

.PHONY: bench-l7
bench-l7: ## CPU per request beside nginx and HAProxy, memory, latency; ARGS="--case h1-small" (root)
	scripts/install-packages bench
	cargo build --locked -p tidegate-lab
	cargo build --release --locked -p tidegate-node
	$(BIN)/lab bench l7 --tidegate $(CARGO_TARGET_DIR)/release/tidegate $(ARGS)

.PHONY: bench-control
bench-control: packages ## Start, memory and changes at 10,000 Services of a real API server; ARGS="--secs 10" (Go, root)
	cargo build --locked -p tidegate-lab
	cargo build --release --locked -p tidegate-node
	$(BIN)/lab bench control --tidegate $(CARGO_TARGET_DIR)/release/tidegate $(ARGS)

.PHONY: soak
soak: packages build ## Ten minutes without an API server, then every pod another, under load; one minute of it is in `make test` (Go, root)
	$(BIN)/lab run fail_static_long

.PHONY: floods
floods: ## Every known flood against the daemon while an honest client measures; ARGS="--flood ping" (root)
	scripts/install-packages bench
	cargo build --locked -p tidegate-lab
	cargo build --release --locked -p tidegate-node
	$(BIN)/lab floods --tidegate $(CARGO_TARGET_DIR)/release/tidegate $(ARGS)

.PHONY: asan
asan: ## Unit tests of the crates with unsafe code, under the address sanitizer (nightly)
	RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)-asan cargo +nightly test --lib --bins \
	  --target x86_64-unknown-linux-gnu $(foreach crate,proxy kernel speaker node handover traffic,-p tidegate-$(crate))

.PHONY: fuzz
fuzz: ## Every fuzz target for 20 s (nightly; installs cargo-fuzz once)
	command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	for t in $$(cargo +nightly fuzz list); do cargo +nightly fuzz run $$t -- -max_total_time=20 || exit 1; done
