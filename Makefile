PYTHON ?= python3
BIN = .venv/bin

.PHONY: run test test-library test-notebooks real
run: .venv/run  ## train, evaluate, compare and render on the mock survey
	$(BIN)/galaxymorph run --jobs 2

test: .venv/dev  ## lint, types, tests, every notebook at toy size
	$(BIN)/ruff check galaxymorph tests notebooks benchmarks
	$(BIN)/ruff format --check galaxymorph tests notebooks benchmarks
	$(BIN)/pyright
	$(MAKE) --jobs 2 test-notebooks test-library

test-library: .venv/dev
	$(BIN)/pytest --ignore tests/test_notebooks.py

test-notebooks: .venv/dev  ## one core is enough for each
	$(BIN)/pytest tests/test_notebooks.py

GALAXIES ?= $(if $(GALAXYMORPH_DATA),$(GALAXYMORPH_DATA)/four_class,data/four_class)
real: .venv/dev  ## every architecture and hand-measured morphology on real galaxies: class folders in GALAXIES
	$(BIN)/galaxymorph run --jobs 2 --params results/reference/four_class/params.yaml -s galaxies.root='$(GALAXIES)'

.venv/run: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/dev: .venv/run
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
