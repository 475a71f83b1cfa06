# Every target does its own set-up: a fresh machine needs Python 3.11 or newer, nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests
BENCH ?= --write docs/performance.md

.PHONY: help demo test lint types unit bench load clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Plano needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP) ## start a cluster with a bundled demo provider, show what it does, stay up until Ctrl-C
	@$(BIN)/plano-cluster start --demo

test: lint types unit ## lint, types and every fast test

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/python -m pytest -n 4 $(TESTS)

bench: $(STAMP) ## compare with Envoy, nginx and LiteLLM on this machine, write docs/performance.md (15 minutes)
	$(BIN)/python loadtests/compare.py $(BENCH)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
