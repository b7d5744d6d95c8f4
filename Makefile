# Everything is built into one cache, and nothing is installed on the machine but ordinary packages that are missing.
export PITR_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kubectl-pitr
export CARGO_TARGET_DIR ?= $(PITR_CACHE)/target
# Which Kubernetes the demo and the tests use: node (our own; root and cgroup v1), kind (with Docker), none.
export CLUSTER ?= node

PARTS := e2e/parts

.DEFAULT_GOAL := help
.PHONY: help tools build release dist images demo demo-local demo-down test lint unit integration test-stores test-long e2e bench clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  CLUSTER=node|kind|none  which Kubernetes (now: $(CLUSTER));  PITR_CACHE  where everything is kept ($(PITR_CACHE))"

tools: ## install the ordinary programs that are missing
	@$(PARTS)/tools.sh

build: tools ## the programs, quickly built, to work on
	cargo build --workspace --bins --locked

release: tools ## the programs as static files for any Linux
	@$(PARTS)/programs.sh

dist: ## what a release consists of, in dist/release: archives, packages, the image
	@dist/build.sh dist/release

images: release ## image archives, without a container engine
	@$(PARTS)/node/build.sh programs
	@$(PARTS)/images/build.sh

demo: ## on a real Kubernetes: a dropped table comes back (at most 30 minutes the first time, then 4)
	@e2e/demo/demo.sh

demo-local: ## the same without Kubernetes: one mysqld, an archive in a folder
	@e2e/demo/local.sh

demo-down: ## end the demo: nothing is left but the cache
	@e2e/demo/down.sh

test: ## everything: lint, unit, integration, a real object store, and end to end on a real Kubernetes
	@e2e/test.sh lint unit integration stores cluster

lint: ## formatting, clippy, scripts
	@e2e/test.sh lint

unit: ## the tests of the crates
	@e2e/test.sh unit

integration: ## the programs against real servers
	@e2e/test.sh integration

test-stores: ## the archive on object stores that others wrote (STORES: rgw, garage)
	@e2e/test.sh stores

test-long: ## what takes hours: a second store, three archivers for an hour, 200 random targets
	@e2e/test.sh long

e2e: ## the programs on a real Kubernetes
	@e2e/test.sh cluster

bench: tools ## the published figures
	@benches/run.sh

clean: demo-down ## end all clusters and remove what was built here; the parts stay in the cache
	@CLUSTER_NAME=tests e2e/cluster.sh down
	cargo clean
