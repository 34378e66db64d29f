# make run    raw text to a trained GPT with samples and a report, in .venv, on the recipe python-docs
# make test   everything tested, under 10 minutes on two cores; make test-long: the same deeper, 20 minutes more
# make check  ruff and mypy          make bench  the benchmarks          make ui  Prefect's server, worker, deployments
# make up     the same on PostgreSQL: the system's own, or make up DATABASE=postgresql://user@host/prefect
# make venv   only the environment   make clean  remove the environment (artifacts stay)

PYTHON ?= python3
PORT ?= 4200
DATABASE ?=
ifneq ($(DATABASE),)
export PREFECT_SERVER_DATABASE_CONNECTION_URL := $(DATABASE)
endif
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := data gpt tasks flows tests

.PHONY: run test test-long check bench ui up venv venv-test clean
.DEFAULT_GOAL := run

run: .venv/ready
	$(BIN)/textmill run python-docs

test: .venv/ready-test
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile --no-loadscope-reorder

test-long: .venv/ready-test
	$(BIN)/python -m pytest -m long

check: .venv/ready-test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

bench: .venv/ready-test
	$(BIN)/python -m tests.benchmarks

ui: .venv/ready
	$(BIN)/textmill ui --port $(PORT)

# a database that is named in the environment is used as it is
up: .venv/ready
	$(BIN)/textmill ui --port $(PORT) $(if $(DATABASE)$(PREFECT_SERVER_DATABASE_CONNECTION_URL),,--database local)

venv: .venv/ready
venv-test: .venv/ready-test

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  f"Textmill needs Python 3.11 to 3.13, and {sys.executable} is {v[0]}.{v[1]}: run make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Could not make .venv: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

.venv/ready: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing the pinned set into .venv (once; minutes)..."
	$(INSTALL) --editable .
	@touch $@

.venv/ready-test: .venv/ready
	$(INSTALL) --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv
