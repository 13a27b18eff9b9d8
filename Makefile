# Everything about this project starts here: `make help`. CI calls nothing but these targets.
#
# Needed: Go 1.26 and Python 3.11 or later, and a C compiler for the race detector only. Tools are built
# from pinned modules below tools/ into .bin, Python's into sdk-python/.venv; nothing is installed on the
# machine but what the benchmarks of others need (bench-peers).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A clone that belongs to somebody else (root in a container) must build too.
export GOFLAGS := -buildvcs=false $(GOFLAGS)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
MODULES := $(patsubst %/go.mod,%,$(sort $(wildcard */go.mod sdk-go/*/go.mod examples/*/go.mod)))
BUF     := .bin/buf
TOOL    := GOWORK=off go -C tools
ROOT    := $(CURDIR)

## Try it

.PHONY: build
build: ## Build bin/holdfast, the one binary: server and command line.
	@mkdir -p bin
	go -C server build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(ROOT)/bin/holdfast ./cmd/holdfast

.PHONY: run
run: build ## Start a durable node on 127.0.0.1:7480 with its data in ./holdfast-data; Ctrl-C stops it.
	@bin/holdfast dev --dir holdfast-data --client-port 7480

## Check it

.PHONY: test
test: tools check-generate check-breaking check-tidy lint python-lint docs-check clauses unit python-test ## Everything that has to hold before a change goes in.

.PHONY: unit
unit: ## Tests of every module and of the tools.
	@for module in $(MODULES); do \
		echo "== $$module"; \
		(cd $$module && go test ./...); \
	done
	@echo "== tools/project"; $(TOOL)/project test ./...

.PHONY: test-race
test-race: ## The same tests under the race detector (needs a C compiler).
	@for module in $(MODULES); do \
		echo "== $$module"; \
		(cd $$module && CGO_ENABLED=1 go test -race -count=1 ./...); \
	done
	@echo "== tools/project"; CGO_ENABLED=1 $(TOOL)/project test -race -count=1 ./...

.PHONY: race10
race10: ## test-race ten times in a row.
	@for round in 1 2 3 4 5 6 7 8 9 10; do echo "round $$round of 10"; $(MAKE) --no-print-directory test-race; done

.PHONY: check-tidy
check-tidy: ## Every module names what it needs by itself, not only in the workspace.
	@for module in $(MODULES); do (cd $$module && GOWORK=off go mod tidy -diff); done

.PHONY: lint
lint: .bin/golangci-lint $(BUF) ## golangci-lint on every module, buf lint and format on the contract.
	@for module in $(MODULES) tools/project; do \
		echo "== $$module"; \
		work=$$([[ $$module == tools/* ]] && echo off || echo $(ROOT)/go.work); \
		(cd $$module && GOWORK=$$work $(ROOT)/.bin/golangci-lint run --allow-parallel-runners --config $(ROOT)/.golangci.yml ./...); \
	done
	$(BUF) lint
	$(BUF) format --diff --exit-code

.PHONY: docs-check
docs-check: ## Links, snippets, make targets and clause numbers named in pages and code.
	@$(TOOL)/project run ./docscheck $(ROOT) \
		$$(git ls-files --cached --others --exclude-standard -- '*.md' '*.go' '*.proto' '*/testdata/*.txt*' | xargs ls -d 2>/dev/null)

.PHONY: clauses
clauses: ## List the clauses of SEMANTICS that no test names, or no mutant breaks; none is what we want.
	@$(TOOL)/project run ./clauses $(ROOT)

.PHONY: mutants-core
mutants-core: ## Break the lock table clause by clause and see that its tests notice.
	@$(TOOL)/project run ./mutants $(ROOT)

## Take your time

ROUNDS   ?= 200
COMMANDS ?= 10000000
FUZZTIME ?= 1m
LOAD     ?= 10m

.PHONY: crash
crash: ## Kill -9 a node of a cluster of real processes, ROUNDS=200 times, under load.
	go -C server test ./internal/crashtest -count=1 -v -timeout 0 -args -rounds $(ROUNDS)

.PHONY: model
model: ## Compare the lock table with its model, COMMANDS=10000000 of random worlds.
	go -C server test ./internal/modelcheck -run TestTableAndModelAgree -count=1 -v -timeout 0 -args -commands $(COMMANDS)

.PHONY: leader
leader: ## See that full load moves no leader for LOAD=10m; wants a machine that does nothing else.
	go -C server test ./internal/raftnode -tags soak -run TestLeaderStaysUnderFullLoad -count=1 -v -timeout 0 -args -leader-load $(LOAD)

.PHONY: fuzz
fuzz: ## Every fuzz test for FUZZTIME=1m.
	@grep -rl --include='*_test.go' '^func Fuzz' $(MODULES) | while read -r file; do \
		for name in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$$file" | cut -c6-); do \
			echo "== $$(dirname "$$file") $$name"; \
			go test -C "$$(dirname "$$file")" . -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -timeout 0; \
		done; \
	done

.PHONY: soak
soak: crash model leader fuzz ## All of these.

## Measure it

BENCH := GOWORK=off go -C conformance/bench
COUNT ?= 6

.PHONY: bench
bench: build .bin/bench ## Measure all targets with real servers, and write docs/benchmarks.md (25 minutes at most).
	.bin/bench run

.PHONY: bench-quick
bench-quick: build .bin/bench ## The main ratios against the bare limits, on the terminal (2 minutes).
	.bin/bench run -quick

.PHONY: bench-peers
bench-peers: build .bin/bench .bin/etcd ## The same locks with etcd, ZooKeeper and Redis; installs the last two (Debian).
	conformance/bench/install-peers.sh
	.bin/bench peers

.PHONY: bench-go
bench-go: ## Go benchmarks of all packages that have some; COUNT=6 times, into .cache/bench/new.txt for benchstat.
	@mkdir -p .cache/bench
	@cd server && go test $$(grep -rl --include='*_test.go' '^func Benchmark' internal | xargs -n1 dirname | sort -u | sed 's|^|./|') \
		-run '^$$' -bench . -benchmem -count $(COUNT) -timeout 0 | tee $(ROOT)/.cache/bench/new.txt

.PHONY: bench-check
bench-check: .bin/golangci-lint ## Tests and lint of the benchmarks' own module, which `make test` leaves alone.
	$(BENCH) vet ./...
	$(BENCH) test ./...
	cd conformance/bench && GOWORK=off $(ROOT)/.bin/golangci-lint run --allow-parallel-runners --config $(ROOT)/.golangci.yml ./...

.PHONY: .bin/bench
.bin/bench:
	$(BENCH) build -trimpath -o $(ROOT)/$@ .

# A module of its own: what the server of etcd needs must not decide about what the bare Raft is built with.
.bin/etcd: conformance/bench/etcd/go.mod conformance/bench/etcd/go.sum
	GOWORK=off go -C conformance/bench/etcd build -trimpath -o $(ROOT)/$@ go.etcd.io/etcd/server/v3

## Python

PYTHON ?= python3
VENV   := sdk-python/.venv

.PHONY: python-setup
python-setup: $(VENV)/ready ## Make sdk-python/.venv with the pinned tools (PYTHON=python3, 3.11 or later).

$(VENV)/ready: sdk-python/requirements-dev.txt sdk-python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r sdk-python/requirements-dev.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e sdk-python
	@touch $@

.PHONY: python-test
python-test: build python-setup ## Tests of the Python SDK, most of them against a real server.
	cd sdk-python && .venv/bin/python -m pytest -q

.PHONY: python-lint
python-lint: python-setup $(BUF) ## ruff and mypy on the Python SDK; its generated messages are up to date.
	cd sdk-python && .venv/bin/ruff check . && .venv/bin/ruff check --config pyproject.toml --ignore T20 ../examples && \
	.venv/bin/ruff format --check src && .venv/bin/mypy
	@fresh=$$(mktemp -d) && trap "rm -rf $$fresh" EXIT && \
	sed "s|sdk-python/src/holdfast/_gen|$$fresh|" sdk-python/buf.gen.yaml > $$fresh.yaml && \
	$(BUF) generate proto --path proto/holdfast/v1 --template $$fresh.yaml; rm -f $$fresh.yaml; \
	diff -r -x __pycache__ $$fresh sdk-python/src/holdfast/_gen

## Generate

.PHONY: generate
generate: $(BUF) plugins ## Regenerate all that is generated: Go code, OpenAPI, the page of errors.
	$(BUF) generate
	$(BUF) generate --template server/internal/shapebench/shapepb/buf.gen.yaml server/internal/shapebench/shapepb
	$(MAKE) --no-print-directory openapi
	$(BUF) build --as-file-descriptor-set -o -#format=json | $(TOOL)/project run ./errorsdoc > docs/errors.md

.PHONY: openapi
openapi: $(BUF) .bin/protoc-gen-connect-openapi ## Regenerate docs/openapi from the public services.
	$(BUF) generate --template buf.gen.openapi.yaml
	@# The plugin calls a header required that every call may leave out.
	@sed -i '/name: Connect-Protocol-Version/,/schema:/ s/required: true/required: false/' docs/openapi/*.yaml

GENERATED := proto/gen server/internal/shapebench/shapepb docs/openapi docs/errors.md

.PHONY: check-generate
check-generate: ## Regenerate, and fail if anything changed or was not committed.
	@before=$$(mktemp -d) && trap "rm -rf $$before" EXIT && \
	cp -r --parents $(GENERATED) $$before && \
	$(MAKE) --no-print-directory generate && \
	for path in $(GENERATED); do diff -r $$before/$$path $$path || stale=yes; done && \
	new=$$(git ls-files --others --exclude-standard -- $(GENERATED)) && \
	if [[ -n "$${stale:-}$$new" ]]; then \
		echo "generated files are not up to date: run 'make generate' and commit the result $$new" >&2; exit 1; \
	fi

IMAGE := proto/image.binpb

.PHONY: check-breaking
check-breaking: $(BUF) ## The contract breaks nothing that was released; a planted break must be noticed.
	$(BUF) breaking --against $(IMAGE)
	@copy=$$(mktemp -d) && trap "rm -rf $$copy" EXIT && \
	cp --parents -r buf.yaml proto/holdfast $$copy && \
	sed -i 's/uint64 session_id = 1;/string session_id = 1;/' $$copy/proto/holdfast/v1/session.proto && \
	if $(BUF) breaking $$copy --against $(IMAGE) > $$copy/out; then \
		echo "check-breaking: a planted break was not noticed" >&2; exit 1; \
	fi && \
	grep -q 'changed type from "uint64" to "string"' $$copy/out || { cat $$copy/out >&2; exit 1; }

.PHONY: release-image
release-image: $(BUF) ## Fix the contract as released; only a release does this.
	$(BUF) build -o $(IMAGE)

## Tools

.PHONY: tools
tools: $(BUF) plugins .bin/golangci-lint ## Build the pinned tools into .bin.

.PHONY: plugins
plugins: .bin/protoc-gen-go .bin/protoc-gen-connect-go .bin/protoc-gen-connect-openapi

.bin/buf: tools/buf/go.mod tools/buf/go.sum
	$(TOOL)/buf build -trimpath -o $(ROOT)/$@ github.com/bufbuild/buf/cmd/buf

.bin/protoc-gen-go: tools/protoc/go.mod tools/protoc/go.sum
	$(TOOL)/protoc build -trimpath -o $(ROOT)/$@ google.golang.org/protobuf/cmd/protoc-gen-go

.bin/protoc-gen-connect-go: tools/protoc/go.mod tools/protoc/go.sum
	$(TOOL)/protoc build -trimpath -o $(ROOT)/$@ connectrpc.com/connect/cmd/protoc-gen-connect-go

.bin/protoc-gen-connect-openapi: tools/protoc/go.mod tools/protoc/go.sum
	$(TOOL)/protoc build -trimpath -o $(ROOT)/$@ github.com/sudorandom/protoc-gen-connect-openapi

.bin/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	$(TOOL)/lint build -trimpath -o $(ROOT)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: clean
clean: ## Remove what was built; data in holdfast-data stays.
	rm -rf bin .bin .cache

.PHONY: help
help: ## Show this.
	@awk 'BEGIN { FS = ":.*## " } \
		/^## / { printf "\n%s\n", substr($$0, 4) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
