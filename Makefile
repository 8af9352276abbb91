# banger's build. `make help` lists the targets; each line below that ends in "## …" is one.

PREFIX    ?= $(HOME)/.local
# A shell that does not expand the tilde of PREFIX=~/.local leaves it to us.
override PREFIX := $(patsubst ~/%,$(HOME)/%,$(PREFIX))
ARGS      ?= -- cat /etc/hostname
REPEAT    ?= 20
E2E_RUN   ?= .
LAB_RUN   ?=
LAB_CMD   ?=
COMMA     := ,

# The sbin directories hold mke2fs and its kin and are not in an ordinary Debian user's PATH.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

VERSION   := $(shell scripts/version.sh)
BIN       := bin
FLAGS     :=
GOBUILD   := CGO_ENABLED=0 go build -trimpath $(FLAGS)
LDFLAGS   := -s -w -X banger/internal/version.Version=$(VERSION)
# The agent is entered where process 1 of a guest begins, see cmd/banger-agent/init_amd64.s.
AGENT     := -E=_banger_init
GOTOOL    := go tool -modfile=tools/go.mod
PROGRAMS  := $(notdir $(wildcard cmd/*))

.DEFAULT_GOAL := help
.PHONY: help build install run deps test test-deps test-unit test-e2e test-handles test-lab lab bench lint generate fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  make run ARGS="-- uname -a"    passes other arguments to `banger vm run`'
	@echo '  make install PREFIX=/usr/local installs elsewhere than ~/.local'

build: ## build the static programs into bin/
	@mkdir -p '$(BIN)'
	$(GOBUILD) -ldflags '$(LDFLAGS)' -o '$(BIN)/' $(addprefix ./cmd/,$(filter-out banger-agent,$(PROGRAMS)))
	$(GOBUILD) -ldflags '$(LDFLAGS) $(AGENT)' -o '$(BIN)/' ./cmd/banger-agent

install: build ## install under PREFIX (default ~/.local): bin/banger, libexec/banger/…
	install -d '$(PREFIX)/bin' '$(PREFIX)/libexec/banger'
	install -m 755 bin/banger '$(PREFIX)/bin/'
	install -m 755 $(addprefix bin/,$(filter-out banger,$(PROGRAMS))) '$(PREFIX)/libexec/banger/'

deps:
	@scripts/deps.sh run

run: deps build ## install what is missing, build, and run one command in a fresh VM
	@bin/banger vm run $(ARGS) || { code=$$?; echo "make run: banger vm run ended with exit code $$code" >&2; exit $$code; }

test-deps:
	@scripts/deps.sh test

test: test-deps build ## run every test that this machine can run; names what it could not, and why
	@scripts/test.sh

test-unit: ## run the unit tests with the race detector, and those of the crash points
	@scripts/test.sh unit

test-e2e: build ## run the scenarios on real VMs; E2E_RUN="run|exec" picks some by name
	@E2E_RUN='$(filter-out .,$(E2E_RUN))' scripts/test.sh e2e

test-handles: build ## run the scenario of lost handles REPEAT (20) times
	@E2E_RUN='handles$$' E2E_COUNT=$(REPEAT) scripts/test.sh e2e

test-lab: test-deps build ## run the scenarios that need root and KVM, in a VM that has them; LAB_RUN=name picks some
	@LAB_RUN='$(value LAB_RUN)' scripts/test.sh lab

lab: test-deps build ## a root shell in that VM; LAB_CMD="dmsetup targets" runs one command instead
	@$(if $(LAB_CMD),scripts/lab.sh exec -- '$(subst ','\'',$(value LAB_CMD))',scripts/lab.sh shell)

bench: deps $(if $(filter lab firecracker jailed snapshot,$(subst $(COMMA), ,$(BENCH))),test-deps) build ## measure the product against its floors; BENCH=name picks some
	CGO_ENABLED=0 go run ./test/bench

lint: ## check style, layers, generated code, documents and known vulnerabilities
	@scripts/lint.sh

generate: ## write the generated code and documents again
	$(GOTOOL) buf generate
	go run ./docs/gen

fmt: ## format Go and protobuf files
	gofmt -w $$(git ls-files '*.go')
	$(GOTOOL) buf format -w

clean: ## remove what the build made (no VM, image or setting)
	rm -rf bin
