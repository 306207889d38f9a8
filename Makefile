PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What make and CI install; setup.cfg has the ranges.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test soak lint bench clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("fedprobe needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@# torch first and alone, so that a build that is at hand is taken before anything else asks for one
	$(INSTALL) -q torch
	$(INSTALL) -q -e '.[test,lint]'
	touch $@

demo: $(VENV)/.installed
	$(MAKE) --no-print-directory -C examples/image-bug FEDPROBE=$(abspath $(BIN))/fedprobe PYTHON=$(abspath $(BIN))/python OUT=$(abspath demo)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2

soak: $(VENV)/.installed
	FEDPROBE_KILLS=20 $(BIN)/python -m pytest -n 2 tests/server/test_kills.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.rounds
	$(BIN)/python -m benchmarks.cifg
	$(BIN)/python -m benchmarks.release

clean:
	rm -rf demo $(VENV)
