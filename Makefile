PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help demo train study bench gpu test test-all faults lint format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@echo "Setting up $(VENV) (torch alone is some 3 GB; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY) ## train the residual U-Net on the built-in sample: numbers and images in a few minutes
	@$(BIN)/python -m image_translation.train experiment=demo

train: $(READY) ## train with your options: make train ARGS="task=comic model=autoencoder data.root=…"
	@$(BIN)/python -m image_translation.train $(ARGS)

study: $(READY) ## the whole comparison, 3 tasks x 4 models x 3 seeds; stop it and type it again: make study ARGS="trainer.max_epochs=20"
	@$(BIN)/python -m image_translation.train experiment=study $(ARGS)

bench: $(READY) ## measure speed and memory here, for docs/performance.md; about an hour on two cores: make bench ARGS="--rounds 1"
	@$(BIN)/python -m benchmarks $(ARGS)

# On a machine without a network, python3 may have all that is needed: docs/performance.md.
gpu: ## the hour with a GPU: tests, checks, a training and benchmarks in 8 minutes: make gpu ARGS="--parts tests,bench --pairs folder"
	@if $(PYTHON) -c 'from importlib.util import find_spec as f; exit(not all(map(f, ("torch", "hydra", "wandb"))))'; then python=$(PYTHON); \
	else $(MAKE) --no-print-directory $(READY) && python=$(BIN)/python || exit; fi; $$python -m benchmarks.gpu $(ARGS)

test: $(READY) ## all tests but the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-all: $(READY) ## all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

faults: $(READY) ## stop, kill and damage runs in many ways, and compare what comes of them: four minutes on two cores; docs/reliability.md
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests/faults $(ARGS)

lint: $(READY) ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove what was built, but no run and no data
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
