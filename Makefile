# Everything runs in .venv, made from requirements.lock; nothing else needs to be installed.
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
UPGRADE ?= --upgrade

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-faults lint format reference docs wheel lock clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/installed  ## pretrain on real digits in three minutes
	$(BIN)/python -m jobs.demo

test: lint .venv/installed  ## what CI runs
	$(BIN)/pytest -n auto --dist loadfile -m "not slow" --durations=25

test-fast: .venv/installed  ## the tests that take seconds
	$(BIN)/pytest -n auto --dist loadfile -m fast

test-faults: .venv/installed  ## kills, losses, outages and full disks, many times over: an hour
	$(BIN)/pytest tests/faults

lint: .venv/installed  ## style, types, imports between rooms, files that are made of others
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs._scripts --check

format: .venv/installed  ## mend what can be mended of style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: .venv/installed  ## write what is made of the code: schema, reference of settings, rooms
	$(BIN)/python -m docs._scripts

docs: .venv/installed  ## the pages as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: .venv/installed  ## the package, in dist/
	$(BIN)/uv build --quiet --wheel --out-dir dist

lock: $(BIN)/uv  ## resolve pyproject.toml anew; with UPGRADE= only what it has not yet
	$(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-emit-index-url \
		--no-header --python-version 3.11 --extra demo --extra onnx --group dev pyproject.toml \
		--output-file requirements.lock

clean:  ## remove what was installed and built
	rm -rf .venv .demo site dist build

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

# Compiled bytecode halves the time that every worker needs to import torch.
.venv/installed: requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python \
		--requirements requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	touch $@
