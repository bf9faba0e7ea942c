# Every target makes the environment it needs from a bare checkout; only Python 3.11+ must be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
SLICER_PYTHON := .venv-slicer/bin/python
BROWSER_PYTHON := .venv-browser/bin/python
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
ARGS ?=
COVERAGE ?= --cov=SlicerFedSeg/FedSegLib --cov-fail-under=95 --cov-report=term:skip-covered

.PHONY: help demo browser test test-quick test-slow test-slicer test-browser lint format bench bench-interactive bench-effort bench-federation bench-gate bench-learning bench-live bench-recipe bench-rounds bench-scale bench-secure bench-slicer bench-strategies soak environment environment-slicer environment-browser requirements clean

help:
	@echo "make demo   set everything up, run three sites and a federation; report in demo-out/"
	@echo "make browser  a page to annotate in, for those without 3D Slicer (ARGS='--site URL')"
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

environment-browser:
	@$(PYTHON) tools/bootstrap.py system browser

demo: environment
	$(BIN)/fedseg demo $(ARGS)

browser: environment-browser
	PYTHONPATH=SlicerFedSeg:SlicerFedSeg/browser $(BROWSER_PYTHON) -m FedSegBrowser $(ARGS)

test: test-quick test-slicer test-browser test-slow

test-quick: environment
	$(PYTEST) -q -m "not slow" --ignore=tests/slicer $(ARGS)

test-slow: environment
	$(PYTEST) -q -m slow --ignore=tests/slicer $(ARGS)

test-slicer: environment-slicer
	QT_QPA_PLATFORM=offscreen $(SLICER_PYTHON) -m pytest -q tests/slicer $(COVERAGE) $(ARGS)

test-browser: environment environment-browser
	@$(PYTHON) tools/bootstrap.py chromium
	OMP_NUM_THREADS=1 $(BROWSER_PYTHON) -m pytest -q tests/browser $(ARGS)

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

bench-live: environment
	$(BIN)/python -m bench.live $(ARGS)

bench-recipe: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.recipe $(ARGS)

bench-rounds: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.rounds $(ARGS)

bench-scale: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.scale

bench-secure: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.secure $(ARGS)

bench-strategies: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.strategies $(ARGS)

soak: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.soak $(ARGS)

COMPILE := ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url

requirements: environment
	cd requirements && $(COMPILE) --override overrides.in site.in -o site.txt && $(COMPILE) slicer.in -o slicer.txt && $(COMPILE) browser.in -o browser.txt

clean:
	rm -rf .venv .venv-slicer .venv-browser build *.egg-info .pytest_cache .mypy_cache .ruff_cache demo-out
