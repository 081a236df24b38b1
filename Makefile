# Sealwright. `make demo` does the main job; `make test` passes all tests.
# Each target installs what it needs and caches it between runs.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export GOTOOLCHAIN := local

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.release=$(VERSION)
BINARY  := dist/sealwright
# SQLite is translated from C and touches memory that is not Go's: the race detector
# finds nothing there, and looking makes the tests take half as long again.
RACE    := -race -gcflags='modernc.org/...=-race=false -d=checkptr=0'

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the static binary dist/sealwright
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BINARY) ./cmd/sealwright

.PHONY: build-pkcs11
build-pkcs11: ## Build dist/sealwright-pkcs11, for keys on PKCS#11 tokens (needs a C compiler)
	CGO_ENABLED=1 go build -trimpath -ldflags '$(LDFLAGS)' -o dist/sealwright-pkcs11 ./cmd/sealwright-pkcs11

.PHONY: demo
demo: build ## Do the whole job on embedded defaults, in seconds
	$(BINARY) demo

.PHONY: test
test: ## Run all tests, with the race detector (needs PostgreSQL, OpenSSL, SoftHSM, Node.js: installs them)
	.ci/tools.sh postgres openssl curl softhsm node-tcr >/dev/null
	go test $(RACE) -timeout 60m ./...
	go test -tags latency -count=1 -v -run '^TestPushLatency$$' ./cmd/sealwright

.PHONY: check
check: fmt vet lint test vuln ## Everything a change must pass: format, vet, lint, tests, vulnerabilities

.PHONY: fmt
fmt: ## Fail if a file is not formatted
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -d $$(git ls-files '*.go'); exit 1; }

.PHONY: vet
vet:
	go vet ./...
	go vet -tags interop,bench,latency ./...

.PHONY: lint
lint: ## Lint, layers included
	eval "$$(.ci/tools.sh golangci-lint)"; "$$GOLANGCI_LINT" run ./...

.PHONY: vuln
vuln: ## Scan for known vulnerabilities, where the database can be reached
	eval "$$(.ci/tools.sh govulncheck)"; \
	if curl -fsS -o /dev/null -m 10 https://vuln.go.dev/index/db.json; then "$$GOVULNCHECK" ./...; \
	else echo "vuln: vuln.go.dev cannot be reached from here: NOT scanned" >&2; fi

.PHONY: bench
bench: build ## Measure: signing rate beside the limit, requests, memory (prints a table and bench.json)
	eval "$$(.ci/tools.sh registry cosign2)"; \
	REGISTRY="$$REGISTRY" COSIGN2="$$COSIGN2" SEALWRIGHT="$(CURDIR)/$(BINARY)" \
	go test -tags bench -count=1 -timeout 60m -v -run '^TestBench$$' ./cmd/sealwright

.PHONY: interop
interop: build ## Let cosign, notation, skopeo, OpenSSL, systemd and podman judge what we do
	set -e; tools="$$(.ci/tools.sh cosign2 cosign3 notation crane olareg registry rekor skopeo openssl podman runc systemd-nspawn rootfs)"; \
	env $$tools SEALWRIGHT="$(CURDIR)/$(BINARY)" \
	go test -tags interop -count=1 -timeout 30m -v -run '^TestInterop' ./cmd/sealwright
