# Tools run from .venv when there is one (`.ci/run` makes it), else from the Python on the path.
PYTHON ?= $(if $(wildcard .venv/bin/python),$(CURDIR)/.venv/bin/python,python3)
PYTEST = $(PYTHON) -m pytest
export PYTHON

.PHONY: help check format lint types imports test site slow fuzz mutants gpu gpu-measure gpu-wheels builtin bench bench-check vulnerabilities

help:
	@echo "make check   format, lint, types, imports, fast tests: what CI runs"
	@echo "make format  rewrite the files in the one format"
	@echo "make test    fast tests     make slow   slow tests     make gpu   tests on a GPU"
	@echo "make site    the pages of docs/ and the reference of the Python interface as a site, in build/site"
	@echo "make gpu-measure   everything that runs on a GPU, measured; ARGS=\"--help\" says how"
	@echo "make gpu-wheels    what a GPU machine without a network lacks, in runs/wheels"
	@echo "make mutants small faults planted in what science and safety rest on: do the tests see them?"
	@echo "make fuzz    100 000 spoilt inputs    make vulnerabilities   known ones of what is installed"
	@echo "make builtin COMPLETER=DIR   put a trained completer into the package"
	@echo "make bench   how fast, beside what the machine can do  make bench-check   fails when slower than stored"

check:
	@.ci/check

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

imports:
	$(PYTHON) .ci/imports.py

test:
	$(PYTEST) -q

site:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build

slow:
	$(PYTEST) -q -m "slow and not gpu"

fuzz:
	$(PYTEST) -q -s -m slow tests/fuzz

mutants:
	$(PYTHON) tests/mutants/run.py $(ARGS)

gpu:
	$(PYTEST) -q -m gpu

gpu-measure:
	$(PYTHON) -m benchmarks.gpu $(ARGS)

gpu-wheels:
	$(PYTHON) -m benchmarks.gpu.wheels runs/wheels

builtin:
	$(PYTHON) -m benchmarks.builtin pack $(COMPLETER)

bench:
	$(PYTHON) -m benchmarks --out runs/benchmarks.json

bench-check:
	$(PYTHON) -m benchmarks --quick --check

vulnerabilities:
	$(PYTHON) .ci/known_vulnerabilities.py
