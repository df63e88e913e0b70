# The front door. All that a target needs installs itself: npm packages (with the Node that runs everything), and the
# control plane of tests and demo, which is built once with Go unless KUBEBUILDER_ASSETS names a folder that holds it.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

NODE := node_modules/.bin/node
# Puts Node 24 and the tools of node_modules on the PATH.
NPM_RUN := npm run --silent
INSTALLED := node_modules/.installed
# For the demo kube-controller-manager is no must, and setup-envtest brings none.
DEMO_PROGRAMS := etcd kube-apiserver kubectl $(if $(KUBEBUILDER_ASSETS),,kube-controller-manager)

# For a node of its own, beside what tests need.
NODE_PROGRAMS := etcd kube-apiserver kube-controller-manager kubectl kube-scheduler kube-proxy kubelet

VERSION := $(shell sed -n 's/^  "version": "\(.*\)",/\1/p' package.json)
# What `make image` builds and `make deploy` installs.
IMG ?= baseline-policy-operator:$(VERSION)
# What `make test-compat` runs: a folder hack/envtest/kubernetes-KUBERNETES says what to build.
KUBERNETES ?= 1.34
CONTAINER_TOOL ?= $(shell command -v docker || command -v podman)
KUBECTL ?= $(or $(shell command -v kubectl),$(wildcard bin/k8s/kubectl),kubectl)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(INSTALLED) ## Run the operator: on the cluster of KUBECONFIG if set, else on one of its own with samples and a guide
ifeq ($(KUBECONFIG),)
	@hack/envtest/build.sh $(DEMO_PROGRAMS)
endif
	@$(NODE) hack/run.ts $(ARGS)

.PHONY: test
test: lint types control-plane-programs programs ## Run everything: lint, generated files, types, unit, property, integration and fault tests with coverage
	@$(NPM_RUN) test

.PHONY: test-faults
test-faults: $(INSTALLED) control-plane-programs ## Run fault tests on a real control plane; LONG=1 for the long form, about an hour
	@$(NPM_RUN) test:faults

.PHONY: lint
lint: $(INSTALLED) ## Check style, layers, formatting and that generated files are current
	@echo 'Checking style, layers and formatting'
	@$(NPM_RUN) lint
	@echo 'Checking generated files'
	@$(NPM_RUN) generate -- --check

.PHONY: lint-workflows
lint-workflows: ## Check the workflows by actionlint, which is built with Go
	@hack/tools/build.sh actionlint
	@bin/tools/actionlint

.PHONY: types
types: $(INSTALLED) ## Check types
	@echo 'Checking types'
	@$(NPM_RUN) typecheck

.PHONY: unit
unit: $(INSTALLED) ## Run unit and property tests
	@$(NPM_RUN) test:unit

.PHONY: integration
integration: $(INSTALLED) control-plane-programs ## Run integration tests on a real control plane
	@$(NPM_RUN) test:integration

.PHONY: test-rules
test-rules: $(INSTALLED) ## Test the alerts by promtool
	@hack/prometheus/build.sh promtool
	@$(NPM_RUN) test:rules

.PHONY: test-chart
test-chart: $(INSTALLED) control-plane-programs ## Test the Helm chart on a real control plane, by helm, which is built with Go
	@hack/tools/build.sh helm
	@$(NPM_RUN) test:chart

.PHONY: rules
rules: $(INSTALLED) ## Print the alerts as a file of rules, for Prometheus without its operator
	@$(NODE) hack/prometheus/rules.ts

.PHONY: test-compat
test-compat: $(INSTALLED) ## Run integration tests on the Kubernetes of KUBERNETES, by default 1.34; built once, about ten minutes
	@KUBERNETES=$(KUBERNETES) hack/envtest/build.sh
	@KUBEBUILDER_ASSETS='$(CURDIR)/bin/k8s-$(KUBERNETES)' $(NPM_RUN) test:integration

.PHONY: e2e
e2e: build ## Run tests with the operator as pods: on the cluster of KUBECONFIG if set, which has the image IMG, else on a node of its own (Linux, root); LONG=1 tries more random policies
ifeq ($(KUBECONFIG),)
	@hack/node/install.sh --docker
	@$(MAKE) node-programs
	@hack/node/npm.sh
	@IMG='$(IMG)' $(NODE) hack/node/sandbox.ts $(NPM_RUN) test:e2e
else
	@hack/envtest/build.sh kubectl
	@IMG='$(IMG)' $(NPM_RUN) test:e2e
endif

.PHONY: node
node: build node-programs ## Run a node with a control plane in the foreground, with the image IMG (Linux, root); prints its KUBECONFIG
	@$(NODE) hack/node/main.ts '$(IMG)'

.PHONY: control-plane
control-plane: $(INSTALLED) control-plane-programs ## Run a control plane in the foreground; prints its KUBECONFIG
	@$(NODE) hack/envtest/main.ts $(ARGS)

.PHONY: build
build: $(INSTALLED) ## Bundle operator and plugin into dist/, which needs nothing but Node
	@$(NPM_RUN) build

.PHONY: image
image: ## Build the image IMG by docker or podman; BASE_IMAGE=..., BUILDER_IMAGE=... for other bases
	@test -n '$(CONTAINER_TOOL)' || \
	  { echo 'make: expected docker or podman to build the image, found neither; name another by CONTAINER_TOOL' >&2; exit 1; }
	$(CONTAINER_TOOL) build --tag '$(IMG)' --build-arg 'VERSION=$(VERSION)' \
	  $(foreach name,BUILDER_IMAGE BASE_IMAGE SOURCE,$(if $($(name)),--build-arg '$(name)=$($(name))' ))\
	  --build-arg "REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
	  --build-arg "CREATED=$$(git log -1 --format=%cI 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)" .

.PHONY: manifest
manifest: ## Print all objects of an installation with the image IMG
	@objects=$$($(KUBECTL) kustomize config/default) && \
	  printf '%s\n' "$$objects" | sed 's|image: baseline-policy-operator:.*|image: $(IMG)|'

.PHONY: deploy
deploy: ## Install definition, rights and operator with the image IMG in the cluster of KUBECONFIG
	@$(KUBECTL) kustomize config/default | sed 's|image: baseline-policy-operator:.*|image: $(IMG)|' | \
	  $(KUBECTL) apply -f -

.PHONY: undeploy
undeploy: ## Remove all of that, and keep namespaces closed; CHILDREN=delete opens them
	@KUBECTL='$(KUBECTL)' hack/undeploy.sh $(CHILDREN)

.PHONY: kind
kind: ## Create a kind cluster, by docker, and install the operator of this checkout in it; CLUSTER=baseline, NODE_IMAGE=...
	@KUBECTL='$(KUBECTL)' hack/kind/cluster.sh up

.PHONY: e2e-kind
e2e-kind: ## Do what `make kind` does, and run the end-to-end tests on that cluster
	@KUBECTL='$(KUBECTL)' hack/kind/cluster.sh e2e

.PHONY: kind-down
kind-down: ## Delete that cluster
	@hack/kind/cluster.sh down

.PHONY: release-files
release-files: build ## Write archive, manifests and checksums of a release to bin/release; IMG=NAME@DIGEST SOURCE=https://github.com/OWNER/NAME
	@test -n '$(SOURCE)' || { echo 'make: expected the address of the repository as SOURCE=https://github.com/OWNER/NAME' >&2; exit 1; }
	@rm -rf bin/release
	@hack/krew/package.sh '$(VERSION)' '$(SOURCE)' bin/release
	@$(MAKE) manifest IMG='$(IMG)' >bin/release/install.yaml
	@cd bin/release && sha256sum * >SHA256SUMS

.PHONY: version
version: ## Print the version
	@echo '$(VERSION)'

.PHONY: bench
bench: build control-plane-programs ## Measure the operator beside others that do the same work, about an hour; ARGS='--namespaces=500 --idle-minutes=0' for less
	@hack/bench/peers/build.sh
	@$(NODE) hack/bench/main.ts $(ARGS)

.PHONY: bench-kyverno
bench-kyverno: build control-plane-programs ## Measure the operator beside Kyverno, about an hour; ARGS='--namespaces=100 --rounds=1' for less
	@hack/bench/peers/build.sh kyverno-admission-controller kyverno-background-controller
	@$(NODE) hack/bench/kyverno.ts $(ARGS)

.PHONY: generate
generate: $(INSTALLED) ## Write what is generated: definition, types, reference, copies of the chart
	@$(NPM_RUN) generate

.PHONY: format
format: $(INSTALLED) ## Format all files
	@$(NPM_RUN) format

.PHONY: clean
clean: ## Remove all that was installed, built or measured
	rm -rf node_modules bin coverage dist

.PHONY: control-plane-programs
control-plane-programs:
	@hack/envtest/build.sh

# What tests of alerts, dashboard and chart run. All the rest runs without Go where KUBEBUILDER_ASSETS has all programs.
.PHONY: programs
programs:
	@if command -v go >/dev/null; then hack/prometheus/build.sh && hack/tools/build.sh helm; else \
	  echo 'make: found no Go to build Prometheus and Helm with: test/monitoring and test/chart are left out'; fi

.PHONY: node-programs
node-programs:
	@hack/node/install.sh
	@KUBEBUILDER_ASSETS= hack/envtest/build.sh $(NODE_PROGRAMS)
	@hack/node/build.sh

$(INSTALLED): package-lock.json
	@command -v npm >/dev/null || { echo 'make: found no npm; install Node 20 or newer, with npm: https://nodejs.org' >&2; exit 1; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || \
	  { echo "make: expected Node 20 or newer, got $$(node --version 2>&1): https://nodejs.org" >&2; exit 1; }
	@echo 'Installing npm packages; once, about a minute'
	@npm ci --no-audit --no-fund --loglevel=error
	@$(NODE) --version >/dev/null || \
	  { echo 'make: expected the npm package node to bring $(NODE), but it does not run; were install scripts off?' >&2; exit 1; }
	@touch $@
