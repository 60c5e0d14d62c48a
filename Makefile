# the newest Python that is here, for a new .venv
PYTHON ?= $(shell for minor in 13 12 11; do \
	python3.$$minor -c 'import ensurepip' 2> /dev/null && echo python3.$$minor && break; done)
BIN := .venv/bin
READY := .venv/ready
EXPORT := .venv/ready-to-export
PIP := $(BIN)/pip --quiet --disable-pip-version-check
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-emit-package torch \
	--custom-compile-command 'make lock' $(UPGRADE) pyproject.toml

.PHONY: help demo serve quick test prove bench bench-check coverage lint lock dashboard clean-cache

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

$(BIN)/pip:
	$(if $(PYTHON),,$(error no Python 3.11, 3.12 or 3.13 here that can make a virtual environment; install one, or give PYTHON=…))
	$(PYTHON) -m venv .venv

# torch has no hash: its builds for CPUs and for CUDA are different files of one version
$(READY): requirements.lock | $(BIN)/pip
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	$(PIP) install torch==2.13.0
	touch $@

$(EXPORT): $(READY) requirements-export.lock
	$(PIP) install --no-deps --require-hashes -r requirements-export.lock
	touch $@

demo: $(READY) ## install, fine-tune on the embedded corpus, show the table and five answers
	$(BIN)/python train.py experiment=demo hydra.run.dir=runs/demo

serve: $(READY) ## the page and the service of MODEL=FOLDER (default: the demo's) at http://127.0.0.1:8000
	$(BIN)/python -m qa.serve $(MODEL)

quick: $(EXPORT) ## the tests that start no run, under a minute on 2 cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test: $(EXPORT) ## install, run every test but the long cases; QA_REAL_DATA=FOLDER adds the real data
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=15

prove: $(EXPORT) ## the guarantees and all long cases, about 25 minutes; writes the table of docs/guarantees.md
	$(BIN)/python -m pytest --prove --page=docs/guarantees.md -n 2 --dist worksteal

bench: $(READY) ## speed and memory beside the usual way, under 20 minutes; writes the table of BENCHMARKS.md; needs QA_REAL_DATA
	$(BIN)/python -m bench $(if $(MODEL),--model $(MODEL))

bench-check: $(READY) ## the same, compared with the stored ratios
	$(BIN)/python -m bench --check $(if $(MODEL),--model $(MODEL))

coverage: $(EXPORT) ## the tests, and which lines and branches of qa/ they reach, other processes included
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n 2 --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(EXPORT) ## ruff, ruff format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(READY) ## the lock files of the packages in pyproject.toml, with hashes; UPGRADE=--upgrade takes newer versions
	$(PIP) install uv==0.13.9
	$(LOCK) --extra train --extra serve --extra dev --output-file requirements.lock
	$(LOCK) --extra serve --extra export --constraint requirements.lock --output-file requirements-export.lock

dashboard: $(READY) ## save the W&B view that is kept as code in qa/tracking/dashboard_view.py
	$(BIN)/python -m qa.dashboard

clean-cache: ## remove the cached windows
	rm -rf cache
