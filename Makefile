# make run | test | check | bench | clean. Each makes .venv first when it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BENCH := $(VENV)/.bench
JAVASCRIPT := $(VENV)/javascript/.installed

.PHONY: run test check soak bench clean help
.DEFAULT_GOAL := help

help:
	@echo "make run    start Tollgate with an embedded ClickHouse, data in ./data"
	@echo "make test   lint, type-check and run the tests"
	@echo "make check  lint and type-check only"
	@echo "make bench  measure CPU, latency and rows beside Rotel, 4 minutes (ARGS='--seconds 60', ARGS=--profile)"
	@echo "make soak   crash everything again and again, ROUNDS=100, and check that no span is lost"
	@echo "make clean  remove .venv and caches (./data stays)"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Tollgate needs Python 3.11 or newer: install it, or name it as in 'make $(MAKECMDGOALS) PYTHON=python3.12'."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "This Python cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }
	@echo "Installing into $(VENV) (about 350 MB to download the first time, ClickHouse's engine most of it) ..."
	@$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $@

run: $(STAMP)
	@exec $(VENV)/bin/tollgate serve

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# ClickHouse's client for Node.js, beside the tests' other clients. Without Node.js its test says so and is skipped.
$(JAVASCRIPT): $(STAMP) tests/javascript/package.json
	@mkdir -p $(@D) && cp tests/javascript/package.json $(@D)
	@if command -v npm >/dev/null; then npm install --prefix $(@D) --no-package-lock --no-audit --no-fund --loglevel=error; fi
	@touch $@

test: check $(JAVASCRIPT)
	$(VENV)/bin/pytest

# The peer and the profiler, which nothing else needs.
$(BENCH): $(STAMP)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[embedded,dev,bench]'
	@touch $@

bench: $(BENCH)
	@$(VENV)/bin/python -m benchmarks.throughput.run $(ARGS)

# make soak ROUNDS=500: crashes at random moments, and after each round the check that nothing was lost.
ROUNDS ?= 100
soak: $(STAMP)
	$(VENV)/bin/python -m tests.crash.soak --rounds $(ROUNDS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
