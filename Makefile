SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOLANGCI_VERSION := v2.15.0
BUF_VERSION := 1.69.0
BIOME_VERSION := 2.6.8
BIN := $(CURDIR)/.bin

.PHONY: help
help: ## Show what can be made
	@grep -hE '^[a-z-]+[a-z%<>-]*:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 28

.PHONY: run
run: ## Run the whole mesh in one process: micro up, with its data in ./data
	go run ./cmd/micro up

.PHONY: build
build: ## Build the command line into .bin/micro
	go build -trimpath -o $(BIN)/micro ./cmd/micro

.PHONY: install
install: ## Install the command line into Go's bin folder
	go install -trimpath ./cmd/micro

.PHONY: test
test: ## Run all tests, with the race detector
	@.ci/postgres
	go test -race -timeout 20m $$(go list ./... | grep -v internal/chaos)
	go test -race -timeout 20m ./internal/chaos

.PHONY: test-processes
test-processes: ## Run the tests of the whole mesh once more, with two processes of each service on Postgres and NATS
	@.ci/postgres
	MESHTEST=processes MESHTEST_REPLICAS=2 go test -race -timeout 20m ./internal/meshtest ./sdk/go ./examples/...

.PHONY: chaos
chaos: ## Break a mesh of real processes, for as long and as often as docs/reliability.md says, and run programs of others for an hour; takes an hour and a half
	go test -race -tags chaos -count 1 -timeout 60m ./internal/chaos
	go test -tags chaos -count 1 -timeout 20m -run 'TestTenThousandInstances|TestGatewayHasLittleMemory' ./internal/chaos # which the race detector is too slow and too large for
	go test -tags chaos -count 1 -timeout 90m -run 'ForAnHour$$' ./internal/existing

.PHONY: chaos-hour
chaos-hour: ## What takes an hour: an analytics service that is away for as long
	CI=true go test -tags hour -count 1 -timeout 90m -run 'ForAnHour$$' -v ./internal/chaos

.PHONY: check
check: fmt vet tidy generated arch proto lint kubernetes ## Check format, vet, go.mod, generated code, import rules, protos, lint, manifests

.PHONY: fmt
fmt:
	@files=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$files" ] || { echo "not formatted, run gofmt -w:"; echo "$$files"; exit 1; }

.PHONY: vet
vet:
	go vet ./...

.PHONY: tidy
tidy:
	go mod tidy -diff
	go mod verify

.PHONY: generated
generated:
	go run ./internal/protogen/command -check

.PHONY: arch
arch:
	go test ./internal/arch

.PHONY: proto
proto: $(BIN)/buf-$(BUF_VERSION)
	$(BIN)/buf-$(BUF_VERSION) lint
	.ci/breaking $(BIN)/buf-$(BUF_VERSION)

.PHONY: kubernetes
kubernetes:
	cd deploy/kubernetes/check && go test ./...

.PHONY: lint
lint: $(BIN)/golangci-lint-$(GOLANGCI_VERSION)
	$(BIN)/golangci-lint-$(GOLANGCI_VERSION) run ./...
	.ci/lint-new $(BIN)/golangci-lint-$(GOLANGCI_VERSION) $(BIOME_VERSION)

$(BIN)/golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(BIN)/golangci-lint $@

$(BIN)/buf-$(BUF_VERSION):
	GOBIN=$(BIN) go install github.com/bufbuild/buf/cmd/buf@v$(BUF_VERSION)
	mv $(BIN)/buf $@

.PHONY: generate
generate: ## Generate the Go code of the .proto files: messages, go-micro stubs, fakes
	go run ./internal/protogen/command

.PHONY: bench
bench: ## Measure, in about six minutes: each figure beside something else in the same run (see bench/README.md)
	go run ./bench/forward
	go run ./bench/rpc
	go run ./bench/mesh
	go run ./bench/first
	go run ./bench/heartbeats
	@.ci/postgres
	go test -run - -bench . -benchtime 3s ./bench/processes

.PHONY: test-compose
test-compose: ## Bring up docker-compose.yml for real, and its variant for high availability; needs Docker
	go test -tags compose -count 1 -timeout 40m -p 1 ./deploy/compose ./docs

.PHONY: docker-rebuild-%
docker-rebuild-%: ## docker-rebuild-<service>: build one service's image anew, and restart it; api-gateway and user-svc are gateway and user
	docker compose up -d --build --no-deps $(patsubst %-svc,%,$(patsubst api-%,%,$*))
