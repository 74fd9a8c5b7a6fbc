PYTHON ?= python3
BIN = .venv/bin

.PHONY: run test real clean
run: .venv/run  ## train, evaluate, compare and render on the mock survey
	$(BIN)/galaxymorph run

test: .venv/dev  ## lint, types, tests, every notebook at toy size
	$(BIN)/ruff check galaxymorph tests notebooks benchmarks
	$(BIN)/ruff format --check galaxymorph tests notebooks benchmarks
	$(BIN)/pyright
	$(BIN)/pytest

.venv/run: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/dev: .venv/run
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
