# make help lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CACHE   := $(CURDIR)/.cache
# The version is set here; Go's own stamping fails where the checkout is another user's.
GOBUILD := go build -buildvcs=false -ldflags "-X main.version=$(VERSION)"

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT         := $(CACHE)/bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

PKG          ?= ./...
TEST_TIMEOUT ?= 18m
# Most tests wait for servers most of the time.
TEST_PARALLEL ?= 4
FUZZTIME     ?= 20s

export PGDROVER_DRIVERS_DIR ?= $(CACHE)/drivers
export PGDROVER_PROMETHEUS_DIR ?= $(CACHE)/prometheus

.PHONY: help build demo test test-long lint vet test-clients test-pgx fuzz bench deps test-deps pg-next drivers clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

build: ## bin/pgdrover
	$(GOBUILD) -o bin/pgdrover ./cmd/pgdrover

demo: ## a shop moved between throw-away servers while customers write to it, and what to type
	@scripts/prerequisites.sh
	@$(MAKE) --no-print-directory build
	./bin/pgdrover demo

test: test-deps ## vet and all tests, with the race detector (PKG=./sync/... for some)
	@scripts/optional.sh
	go vet $(PKG)
	@if scripts/pg-next.sh path >/dev/null; then export PGDROVER_REQUIRE_NEWER=1; fi; \
	export PGDROVER_REQUIRE_POSTGRES=1; \
	status=0; \
	echo "go test -race -parallel $(TEST_PARALLEL) -timeout $(TEST_TIMEOUT) $(PKG)"; \
	go test -race -parallel $(TEST_PARALLEL) -timeout $(TEST_TIMEOUT) $(PKG) </dev/null || status=$$?; \
	scripts/optional.sh; \
	exit $$status

test-long: ## test, with what takes minutes more
	PGDROVER_LONG_TESTS=1 $(MAKE) --no-print-directory test TEST_TIMEOUT=60m

test-clients: ## drivers and ORMs of other languages work through every pool mode
	@scripts/prerequisites.sh test
	@scripts/drivers.sh all
	PGDROVER_CLIENTS=1 PGDROVER_REQUIRE_DRIVERS=1 go test -count=1 -v -timeout 60m -run 'TestClients|TestReplication' ./integration/applications

test-pgx: ## pgx's own test-suite through session mode
	@scripts/prerequisites.sh test
	PGDROVER_PGX_SUITE=1 go test -count=1 -v -timeout 60m -run TestPgxSuite ./integration/applications

lint: $(GOLANGCI_LINT) ## golangci-lint, with the import boundaries
	$(GOLANGCI_LINT) run $(PKG)

# Built under another name and renamed, so that an interrupted build leaves nothing.
$(GOLANGCI_LINT):
	@mkdir -p $(CACHE)/bin/new
	GOBIN=$(CACHE)/bin/new GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(CACHE)/bin/new/golangci-lint $@

fuzz: ## every fuzz target for FUZZTIME (20s)
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

bench: deps build ## the benchmarks against peers
	@scripts/bench-peers.sh
	go run ./bench

deps: ## install PostgreSQL if it is missing
	@scripts/prerequisites.sh
	@scripts/pg-next.sh

test-deps: drivers
	@scripts/prerequisites.sh test
	@scripts/pg-next.sh
	@scripts/prometheus.sh

pg-next: ## unpack the next major version of PostgreSQL beside the installed one (root)
	@scripts/prerequisites.sh
	@scripts/pg-next.sh

drivers: ## clients of other languages for the protocol tests
	@scripts/drivers.sh

clean: ## remove what was built (not the cached tools: rm -r .cache)
	rm -rf bin
