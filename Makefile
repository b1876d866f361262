# Two commands set everything up: `make demo` and `make test`. Each makes its own environment in .venv/ first.
PYTHON ?= python3
BIN := .venv/bin

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/'

.venv/ready: pyproject.toml
	@echo "setting up .venv with $$($(PYTHON) --version) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,report]'
	@touch $@

demo: .venv/ready ## write a small batch as a bureau exports it, settle it into demo/ledger, show the summary
	@rm -rf demo
	@$(BIN)/settlement demo demo

test: .venv/ready ## run all tests
	$(BIN)/python -m pytest -n 2 --ignore=tests/spark

.venv/spark: .venv/ready
	@echo "adding Spark to .venv (490 MB) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[spark]'
	@touch $@

test-spark: .venv/spark ## run the tests of --engine spark on a cluster of two workers on this machine; needs Java 17
	$(BIN)/python -m pytest tests/spark

check: .venv/ready ## style, types, and whether docs/dictionary.md is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/make_dictionary.py --check

dictionary: .venv/ready ## write docs/dictionary.md anew from the program's own dictionary
	@$(BIN)/python docs/make_dictionary.py

bench: .venv/ready ## measure against a bare scan, DuckDB, polars and pandas: make bench SIZES="1M 20M 100M"
	$(BIN)/python -m benchmarks.bench $(if $(SIZES),--sizes "$(SIZES)")

bench-scale: .venv/spark ## measure this machine against Spark on it: make bench-scale SIZES="1M 5M 20M"
	$(BIN)/python -m benchmarks.scale $(if $(SIZES),--sizes "$(SIZES)")

bench-parts: .venv/ready ## measure parts of a run, each alone
	$(BIN)/python -m pytest benchmarks/bench_parts.py

bench-reading: .venv/ready ## where the time of reading the lines goes
	$(BIN)/python -m benchmarks.reading

bench-check: .venv/ready ## has the engine become slower than recorded, against the bare scan and DuckDB?
	$(BIN)/python -m benchmarks.check

bench-record: .venv/ready ## renew that record
	$(BIN)/python -m benchmarks.check --record

wheel: .venv/ready ## build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist

clean: ## remove what make has made
	rm -rf .venv demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help demo test test-spark check dictionary bench bench-scale bench-parts bench-reading bench-check bench-record wheel clean
.DEFAULT_GOAL := help
