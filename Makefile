# The tiers of tests and what they need. `make help` lists the targets.
#
# Everything that is built or fetched lies under one cache folder, so that a clean clone reuses it and a
# cold machine still works.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(or $(CRESCENDO_CACHE),$(HOME)/.cache/crescendo)
export CRESCENDO_CACHE := $(CACHE)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CACHE)/target)
export CRESCENDO_MODEL_DIR := $(CACHE)/models/tiny.en
export CRESCENDO_AUDIO_DIR := $(CACHE)/test-audio
export PATH := $(CACHE)/tools/bin:$(PATH)

# The conformance data lie beside the checkout; where they are absent, the tests say so in one line.
SHARED := $(abspath $(CURDIR)/../shared)
export HPA_CASES := $(or $(HPA_CASES),$(SHARED)/conformance/hpa/cases.json)
export ADAPTER_CASES := $(or $(ADAPTER_CASES),$(SHARED)/conformance/adapter/cases.json)
export OPERATOR_GOLDEN := $(or $(OPERATOR_GOLDEN),$(SHARED)/conformance/operator-golden)
export PROMQLTEST_DIR := $(or $(PROMQLTEST_DIR),$(SHARED)/conformance/promqltest)

BINARY := $(CARGO_TARGET_DIR)/debug/crescendo
# The end-to-end tests are a package of their own, never part of a bare `cargo test`.
UNIT := --workspace --exclude e2e

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: check
check: fmt clippy fuzz-check doc deny unit promqltest rule-tests chart ## What is quick: format, lints, docs, licences, layers, unit tests.

.PHONY: fmt
fmt: ## Check the format.
	cargo fmt --all --check

.PHONY: clippy
clippy: ## Lints of all targets, warnings denied.
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: fuzz-check
fuzz-check: ## The fuzz targets compile with their driver (C++).
	@if command -v c++ >/dev/null; then cargo clippy -p fuzz --all-targets --features libfuzzer --locked -- -D warnings; \
	else echo "no C++ compiler: the driver of the fuzz targets was not compiled"; fi

.PHONY: doc
doc: ## The API documentation builds without a warning.
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items --locked --quiet

.PHONY: deny
deny: tools ## Licences, sources and duplicate versions of dependencies.
	cargo deny --locked --log-level error check bans licenses sources

.PHONY: unit
unit: model audio tools ## Unit, property and conformance tests.
	cargo test $(UNIT) --locked --no-fail-fast -- --quiet

.PHONY: promqltest
promqltest: binary ## Upstream's corpus of PromQL: the counts of each file.
	@if [ -d "$(PROMQLTEST_DIR)" ]; then $(BINARY) test promql "$(PROMQLTEST_DIR)"; \
	else echo "no promqltest corpus at $(PROMQLTEST_DIR): did not run"; fi

.PHONY: rule-tests
rule-tests: binary ## Unit tests of the rules that are shipped, and what in them breaks scaling.
	$(BINARY) test rules rules/*.test.yaml
	$(BINARY) check rules --lint all --lint-fatal --scrape-interval 30s --read-by rules/adapter-seed.yaml rules/corrected.yaml

.PHONY: chart
chart: binary chart-tools ## The Helm chart: lint, golden files (UPDATE=1 writes them), effect of each key, schemas of Kubernetes.
	@python=$(CACHE)/tools/chart-python/bin/python; helms=$$(ls -r $(CACHE)/tools/bin/helm[34] 2>/dev/null || true); \
	if [ -x $$python ] && [ -n "$$helms" ]; then CRESCENDO_BINARY=$(BINARY) $$python charts/crescendo/tests/chart.py check $$helms; \
	else echo "no Helm or no kubernetes-validate: the chart was not tested"; [ "$${CI:-}" != true ]; fi

.PHONY: chart-docs
chart-docs: chart-tools ## README and schema of the chart, out of its values.
	$(CACHE)/tools/chart-python/bin/python charts/crescendo/tests/chart.py generate

.PHONY: test
test: check e2e ## Everything that a change must pass.

.PHONY: binary
binary: ## The binary that the end-to-end tests start (the profile of the tests).
	cargo build -p cli --locked

.PHONY: e2e
e2e: binary model audio tools ## Tests of the whole binary.
	CRESCENDO_BINARY=$(BINARY) cargo test -p e2e --lib --bins --test binary --locked -- --test-threads 1 --nocapture

.PHONY: screenshots
screenshots: binary tools ## The pictures of docs/pages.md, out of the test of the pages.
	SCREENSHOTS=$(CURDIR)/docs/images CRESCENDO_BINARY=$(BINARY) \
	  cargo test -p e2e --test binary --locked -- browser::pages_show --nocapture

.PHONY: controlplane
controlplane: ## A control plane of Kubernetes, into the cache folder (with Go; 10 to 20 minutes once).
	scripts/install-controlplane.sh $(CACHE)/controlplane

.PHONY: cluster-test
cluster-test: export CRESCENDO_CONTROLPLANE := $(CACHE)/controlplane/controlplane
cluster-test: binary controlplane ## The real HPA on a real control plane, through the real aggregator.
	CRESCENDO_BINARY=$(BINARY) cargo test -p e2e --test cluster --locked -- --nocapture

.PHONY: tools
tools: ## Tools of the checks and yardsticks of the tests, into the cache folder.
	scripts/install-tools.sh $(CACHE)/tools

.PHONY: chart-tools
chart-tools: ## Helm 3 and 4 and the schemas of Kubernetes, into the cache folder.
	scripts/install-chart-tools.sh $(CACHE)/tools

.PHONY: model
model: ## The default model, checked by its hash.
	@test -f $(CRESCENDO_MODEL_DIR)/model.bin || { cargo build -p cli --locked && $(BINARY) model pull tiny.en; }

.PHONY: audio
audio: ## Reference recordings with their texts, for accuracy tests.
	@scripts/fetch-test-audio.sh $(CRESCENDO_AUDIO_DIR)

.PHONY: soak
soak: binary model audio fuzz ## The long forms of the tests (hours); results belong into docs/soak.md.
	CRESCENDO_SOAK=1 cargo test -p scrape --lib --locked -- crowd --nocapture
	CRESCENDO_BINARY=$(BINARY) CRESCENDO_SOAK=1 cargo test -p e2e --lib --bins --test binary --locked -- --test-threads 1 --nocapture

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZ_SECONDS (600), or FUZZ_TARGET alone; what it finds lies in the cache folder.
	scripts/fuzz.sh $(CACHE)/fuzz

.PHONY: bench
bench: model audio ## The tables of docs/benchmarks.md, next to the peers, in one run.
	cargo build --release -p cli -p bench --locked
	bench/run.sh $(CARGO_TARGET_DIR)/release/crescendo $(CARGO_TARGET_DIR)/release/bench-pods

.PHONY: fresh
fresh: ## Both commands of the README in a new directory with an empty HOME and empty caches.
	scripts/fresh.sh
