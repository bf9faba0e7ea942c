# Every target makes the environment it needs from a bare checkout; only Python 3.11+ must be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
SLICER_PYTHON := .venv-slicer/bin/python
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
ARGS ?=

.PHONY: help demo test test-quick test-slow test-slicer lint format bench bench-interactive bench-effort bench-federation bench-gate bench-learning bench-recipe bench-slicer environment environment-slicer requirements clean

help:
	@echo "make demo   set everything up, run three sites and a federation; report in demo-out/"
	@echo "make test   set everything up, run all tests (quick ones first)"
	@echo "make lint   ruff and mypy"
	@echo "make bench  benchmarks; results in bench/results/ (real images beside the checkout)"
	@echo "make bench-interactive   how long an annotator waits; minutes"
	@echo "make bench-effort        how many clicks a mask takes; minutes (real images beside the checkout)"
	@echo "make bench-federation    federated methods at equal steps; half an hour, with ARGS=--full hours (real images)"
	@echo "make demo ARGS='--data DIR --model sam'   passes options to fedseg demo"

environment:
	@$(PYTHON) tools/bootstrap.py site

environment-slicer:
	@$(PYTHON) tools/bootstrap.py system slicer

demo: environment
	$(BIN)/fedseg demo $(ARGS)

test: test-quick test-slicer test-slow

test-quick: environment
	$(PYTEST) -q -m "not slow" --ignore=tests/slicer $(ARGS)

test-slow: environment
	$(PYTEST) -q -m slow --ignore=tests/slicer $(ARGS)

test-slicer: environment-slicer
	QT_QPA_PLATFORM=offscreen $(SLICER_PYTHON) -m pytest -q tests/slicer $(ARGS)

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: environment
	$(BIN)/python -m bench.demo_lgg $(ARGS)

bench-interactive: environment
	$(BIN)/python -m bench.interactive $(ARGS)

bench-effort: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.effort $(ARGS)

bench-federation: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.federation $(ARGS)

bench-slicer: environment-slicer
	$(SLICER_PYTHON) bench/slicer_panel.py --out bench/results/slicer.json $(ARGS)

bench-gate: environment
	$(BIN)/python -m bench.gate_power

bench-learning: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.learning $(ARGS)

bench-recipe: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.recipe $(ARGS)

COMPILE := ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url

requirements: environment
	cd requirements && $(COMPILE) --override overrides.in site.in -o site.txt && $(COMPILE) slicer.in -o slicer.txt

clean:
	rm -rf .venv .venv-slicer build *.egg-info .pytest_cache .mypy_cache .ruff_cache demo-out
