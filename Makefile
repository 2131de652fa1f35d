# Everything runs in .venv, made from requirements.lock; nothing else needs to be installed.
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9

.PHONY: demo test lint test-fast test-faults format lock clean

demo: .venv/installed  ## pretrain on real digits in three minutes
	$(BIN)/python -m jobs.demo

test: lint .venv/installed  ## what CI runs
	$(BIN)/pytest -m "not slow" --durations=10

test-fast: .venv/installed  ## the tests that take seconds
	$(BIN)/pytest -m fast

test-faults: .venv/installed  ## kills, losses, outages and full disks, many times over: an hour
	$(BIN)/pytest tests/faults

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(BIN)/uv  ## resolve pyproject.toml anew
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url \
		--no-header --python-version 3.11 --extra demo --group dev pyproject.toml \
		--output-file requirements.lock

clean:
	rm -rf .venv .demo

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

# Compiled bytecode halves the time that every worker needs to import torch.
.venv/installed: requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python \
		--requirements requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	touch $@
