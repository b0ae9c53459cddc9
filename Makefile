# make demo: install and run the demo sweep.  make test: install and run the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-quick lint types bench bench-search study demo-data

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

# Done at once where it is there; an error where an older version made it.
demo-data: $(STAMP)
	$(BIN)/sparsefront scenes make demo-data/procedural --scenes 40 --seed 0

demo: $(STAMP) demo-data
	$(BIN)/sparsefront sweep examples/demo.yaml --name demo-$$(date +%Y%m%d-%H%M%S)

test: $(STAMP)
	$(BIN)/python -m pytest

test-quick: $(STAMP)
	$(BIN)/python -m pytest -m "not long"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-search: $(STAMP)
	$(BIN)/python -m benchmarks.search_quality

study: $(STAMP) demo-data
	$(BIN)/python -m benchmarks.study
