# make demo        train a small codec for about two minutes, press photographs, write demo/report.html
# make test        the tests            make check-slow   those that take minutes
# make lint        ruff and pyright     make format       ruff's formatter
# make docs        docs/cli.md again, from the commands' own help
#
# Everything goes into $(VENV), with the exact versions of constraints.txt.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

.PHONY: demo test check-slow lint format docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.with-demo
	$(BIN)/latentpress demo

test: $(VENV)/.with-test
	$(BIN)/python -m pytest -q -n auto --dist worksteal

check-slow: $(VENV)/.with-test
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/.with-dev $(VENV)/.with-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(VENV)/.with-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.with-test
	$(BIN)/python docs/generate_cli.py

clean:
	rm -rf $(VENV) demo build dist

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Latentpress needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# One stamp for each extra: it is installed again when the requirements change, and only then.
$(VENV)/.with-%: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@
