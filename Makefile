PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PEERS ?= .peers
# What make and CI install; setup.cfg has the ranges.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test soak lint bench study clean

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

# Beside peers, whose environments are made under PEERS, and what else has to be fast; writes benchmarks/README.md.
bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.peers.environments --cache $(PEERS)
	$(BIN)/python -m benchmarks.peers.compare --cache $(PEERS) --write
	$(BIN)/python -m benchmarks.rest --write

# What one release shows, on shards of your own: make study FEMNIST=femnist.h5 MNIST=mnist.h5 TEXT=commits.h5
study: $(VENV)/.installed
	@test -n "$(FEMNIST)$(MNIST)$(TEXT)" || { echo "make study FEMNIST=femnist.h5 MNIST=mnist.h5 TEXT=commits.h5"; exit 2; }
ifneq ($(FEMNIST),)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.one_round hunt $(FEMNIST) --bugs 0.5 0 --seeds 20
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.one_round hunt $(FEMNIST) --bugs 0.25 0.1 0.05 --seeds 10
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.one_round hunt $(FEMNIST) --bugs 0.5 --epsilons 0.5 0.25 0.1 --seeds 10
endif
ifneq ($(MNIST),)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.one_round digits $(MNIST) --epsilons 1 2 5 10 --seeds 3
endif
ifneq ($(TEXT),)
	$(BIN)/python -m benchmarks.heavy_hitters $(TEXT)
endif

clean:
	rm -rf demo $(VENV)
