# Everything a person does with this repository. `make` lists it.

SHELL := /bin/bash
.DELETE_ON_ERROR:

# Node 24 comes with the project's packages where the machine's own is older.
ARCH := $(patsubst x86_64,x64,$(patsubst aarch64,arm64,$(shell uname -m)))
NODE_MAJOR := $(shell node --print 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
ifeq ($(shell test "$(NODE_MAJOR)" -ge 24 && echo new),)
export PATH := $(CURDIR)/node_modules/node-linux-$(ARCH)/bin:$(PATH)
endif

JEST := npm --silent run test --
DEMO := node test/testbed/demo.ts

NODES ?= 2
VM ?= hello
NAMESPACE ?= default

.DEFAULT_GOAL := help
.PHONY: help
help: ## lists the targets
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'

.PHONY: packages
packages:
	@scripts/install-packages.sh

node_modules/.package-lock.json: package-lock.json | packages
	npm ci --no-audit --no-fund
	@touch $@

.PHONY: demo
demo: packages build ## starts a cluster of NODES=2 nodes here and boots examples/quickstart.yaml (DEBIAN=1 offers that image too, KVM=1 shows the nodes /dev/kvm)
	@$(DEMO) up --nodes $(NODES) $(if $(KVM),--kvm) $(if $(DEBIAN),--debian)

.PHONY: ssh
ssh: node_modules/.package-lock.json ## logs in to a guest of the demo: VM=hello NAMESPACE=default LOGIN=root
	@$(DEMO) ssh $(VM) --namespace $(NAMESPACE) $(if $(LOGIN),--user $(LOGIN))

.PHONY: console
console: node_modules/.package-lock.json ## connects to the serial console of a guest of the demo: VM=hello NAMESPACE=default
	@$(DEMO) console $(VM) --namespace $(NAMESPACE)

.PHONY: down
down: node_modules/.package-lock.json ## ends the demo and removes what it made
	@$(DEMO) down

.PHONY: prepare
prepare: packages node_modules/.package-lock.json
	@node test/testbed/prepare.ts

.PHONY: test
test: prepare verify build ## everything: unit, contract, API and end-to-end tests (root; the first time builds for a while)
	$(JEST) --selectProjects unit contract api --maxWorkers=2
	$(JEST) --selectProjects e2e --maxWorkers=2

.PHONY: test-unit
test-unit: node_modules/.package-lock.json ## unit tests only: seconds, no root
	$(JEST) --selectProjects unit

.PHONY: verify
verify: node_modules/.package-lock.json ## format, lint, types, generated files
	npm --silent run format:check
	npm --silent run lint
	npm --silent run typecheck
	npm --silent run generate -- --check

.PHONY: generate
generate: node_modules/.package-lock.json ## writes crds/ and docs/reference/ from src/api
	npm --silent run generate

.PHONY: build
build: node_modules/.package-lock.json ## bundles Vireo into dist/
	npm --silent run build

.PHONY: bench
bench: prepare build ## measures start times, memory and idle load, and compares with the baselines
	node bench/main.ts

.PHONY: chaos
chaos: prepare ## kills processes at random for longer than the tests do: KILLS=500 MIGRATION_KILLS=50 SEED=…
	VIREO_CHAOS_KILLS=$(or $(KILLS),500) VIREO_CHAOS_MIGRATION_KILLS=$(or $(MIGRATION_KILLS),50) $(if $(SEED),VIREO_CHAOS_SEED=$(SEED)) $(JEST) --selectProjects e2e --runInBand --testPathPatterns chaos

.PHONY: data
data: prepare ## checks what a guest reads through more snapshots, moves and kills than the tests do: SEQUENCES=200 SEED=…
	VIREO_DATA_SEQUENCES=$(or $(SEQUENCES),200) VIREO_DATA_SEED=$(or $(SEED),$$RANDOM) $(JEST) --selectProjects e2e --runInBand --testPathPatterns e2e/data

.PHONY: lint
lint: node_modules/.package-lock.json ## lints
	npm --silent run lint

.PHONY: format
format: node_modules/.package-lock.json ## formats
	npm --silent run format
