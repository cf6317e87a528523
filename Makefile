# The commands of GoStream. `make` alone prints this list.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Arguments for the server (`make run ARGS="--http-listen 127.0.0.1:9000"`) and for the test runner
# (`make test ARGS=slow_reader`).
ARGS ?=
# Seconds per fuzz target.
FUZZ_SECONDS ?= 60
# Duration of the random faults, and the seed of a failed run to repeat (`make chaos SEED=123456`).
CHAOS_SECONDS ?= 60
SEED ?=

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Build if necessary and start the server on http://localhost:8080
	@exec target/quick/gostream $(ARGS)

.PHONY: build
build: ## Build the program for a try, in less time than a release: target/quick/gostream
	@scripts/install-peers build
	@$(MAKE) --jobs web c-libraries
	cargo build --locked --profile quick --package gostream

# Beside the page, which mostly waits for the network: all that follows needs the page in the end, these two do not.
.PHONY: c-libraries
c-libraries:
	cargo build --locked --profile quick --package aws-lc-sys --package libsqlite3-sys

.PHONY: dist
dist: release ## Build a release: dist/gostream-VERSION-TARGET, stripped, with its SHA-256
	@scripts/dist

.PHONY: release
release: web
	@scripts/install-peers build
	cargo build --locked --release --package gostream

# The page, which is embedded into the program; rebuilt only when a file that goes into it changed.
.PHONY: web
web: web/dist/index.html

web/dist/index.html: web/node_modules/.installed web/index.html web/package.json web/tsconfig.json \
    web/vite.config.ts web/scripts/compress.mjs $(shell find web/public web/src -type f ! -name '*.test.ts*' 2>/dev/null)
	cd web && npm run build
	@touch $@

# Not `npm ci`: it requires lock entries for the native packages of every platform, and registries that have only some of
# them omit those. The versions still come from the lock file.
web/node_modules/.installed: web/package-lock.json
	@scripts/install-peers build
	cd web && npm install --no-save --no-audit --no-fund
	@mkdir -p $(@D) && touch $@

.PHONY: dev
dev: web/node_modules/.installed ## The page with hot reload, for a running server (GOSTREAM_URL)
	cd web && npm run dev

.PHONY: test
test: web ## Run every test, with real FFmpeg, nginx, GStreamer, PostgreSQL and Chromium
	@scripts/install-peers test
	@if cargo nextest --version >/dev/null 2>&1; \
	then set -x; cargo nextest run --locked --workspace --no-fail-fast $(ARGS); \
	else set -x; cargo test --locked --workspace --lib --bins --tests --no-fail-fast $(ARGS); fi
	cargo build --locked --quiet --package gostream --example odd_encoder
	cd web && npm run e2e

.PHONY: check
check: lint audit ## Lint everything, audit the dependencies, compile the fuzz targets
	cargo check --quiet --manifest-path fuzz/Cargo.toml

.PHONY: lint
lint: web ## Formatting, clippy, dependencies between crates and files, file sizes
	@scripts/install-peers lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	cd web && npm run check
	@scripts/fences
	@cargo test --locked --quiet --package gostream-testkit --test house >/dev/null || \
	  cargo test --locked --quiet --package gostream-testkit --test house
	@scripts/tidy

.PHONY: audit
audit: web/node_modules/.installed ## Licences, bans, sources and known vulnerabilities of dependencies; unused ones; shell scripts
	@scripts/install-peers check
	@scripts/audit
	scripts/cargo-tool machete crates
	shellcheck scripts/* .ci/run

.PHONY: sbom
sbom: web/node_modules/.installed ## Bills of materials of the program and its page (CycloneDX), in target/sbom
	@scripts/sbom

.PHONY: bench
bench: release ## Compare with nginx-rtmp and FFmpeg (ARGS="--only fan-out --seconds 10")
	@scripts/install-peers bench
	cargo run --locked --release --package gostream-bench -- $(ARGS)

.PHONY: load
load: release ## Send 300 requests per second to a server, with both databases (ARGS="--rate 600 --only SQLite")
	@scripts/install-peers test
	cargo run --locked --release --package gostream-bench --bin load -- $(ARGS)

.PHONY: instructions
instructions: ## Count the instructions of the hot paths with valgrind
	@scripts/install-peers instructions
	@command -v gungraun-runner >/dev/null || (cd / && cargo install --locked --quiet gungraun-runner --version 0.20.0)
	cargo bench --locked --package gostream-bench --bench instructions

.PHONY: fuzz
fuzz: ## Fuzz every parser, FUZZ_SECONDS=60 each
	@scripts/install-peers fuzz
	@scripts/fuzz $(FUZZ_SECONDS)

.PHONY: contract
contract: ## Check a server against the OpenAPI document (schemathesis), EXAMPLES=25 requests per operation
	@scripts/install-peers contract
	cargo build --locked --quiet --package gostream
	@scripts/contract $(EXAMPLES)

.PHONY: neighbour
neighbour: ## One account attacks for a minute next to another one, NEIGHBOUR_SECONDS=60
	@scripts/install-peers test
	NEIGHBOUR_SECONDS=$(or $(NEIGHBOUR_SECONDS),60) cargo test --locked --release --package gostream --test e2e \
	  one_account -- --nocapture

.PHONY: chaos
chaos: ## Random faults at both ends of the engine, then odd streams; CHAOS_SECONDS=60 each, SEED=... to repeat a run
	@scripts/install-peers build
	cargo run --locked --quiet --package gostream-engine --example chaos -- $(CHAOS_SECONDS) $(SEED)
	BENT_SECONDS=$(CHAOS_SECONDS) BENT_SEED=$(SEED) cargo test --locked --quiet --package gostream-engine --lib \
	  bent_streams -- --nocapture

.PHONY: format
format: ## Format the code
	cargo fmt --all

.PHONY: clean
clean: ## Remove build output, but keep the data
	cargo clean
	rm -rf dist
