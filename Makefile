PYTHON ?= python3
BIN = .venv/bin
CODE = galaxymorph tests notebooks benchmarks
UV := $(shell command -v uv)
VENV = $(if $(UV),uv venv --quiet --allow-existing --python $(PYTHON),$(PYTHON) -m venv) .venv
INSTALL = $(if $(UV),uv pip install --compile-bytecode --python $(BIN)/python,$(BIN)/pip install) --editable
# a process for each core, up to four; a file stays together, so that its fixtures are made once
SPREAD = --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PYTEST = $(BIN)/pytest $(SPREAD) --durations 20

# bytecode is kept, or each process would compile thousands of modules anew: 15 s
export PYTHONDONTWRITEBYTECODE =

.PHONY: run test test-fast test-library test-notebooks lint real
run: .venv/run  ## train, evaluate, compare and render on the mock survey
	$(BIN)/galaxymorph run --jobs 2

test: lint  ## lint, types, tests, every notebook at toy size
	$(PYTEST)

test-fast: .venv/dev  ## for the loop of a developer
	$(PYTEST) -m "not notebook and not long and not slow" --ignore tests/faults

test-library: .venv/dev
	$(PYTEST) -m "not notebook"

test-notebooks: .venv/dev
	$(PYTEST) -m notebook

lint: .venv/dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/pyright

GALAXIES ?= $(if $(GALAXYMORPH_DATA),$(GALAXYMORPH_DATA)/four_class,data/four_class)
real: .venv/dev  ## every architecture and hand-measured morphology on real galaxies: class folders in GALAXIES
	$(BIN)/galaxymorph run --jobs 2 --params results/reference/four_class/params.yaml -s galaxies.root='$(GALAXIES)'

.venv/run .venv/dev: requirements.txt pyproject.toml
	@echo "Installing into .venv: one to five minutes, most of it for PyTorch"
	$(VENV)
	$(INSTALL) $(if $(filter %/dev,$@),'.[dev]',.)
	touch .venv/run $@
