# `make byol` and `make test` need Python 3.11 or newer, make and git; everything else is fetched into .venv.
# `make <method>` works for every method; further options of `kedro run` go into ARGS.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := src pipelines tests benchmarks scripts
PROSE := docs conf README.md CONTRIBUTING.md CHANGELOG.md
ALL := $(notdir $(basename $(wildcard src/unlabeled/methods/[a-z]*.py)))

.PHONY: help setup test test-all lint format benchmark lock dvc dvc.yaml dag clean compare retrain $(ALL)

help:
	@echo "make byol       set up, then: kedro run --pipeline=byol   (make byol ARGS=--env=cifar10)"
	@echo "make compare    every method on the same images, and a leaderboard"
	@echo "make retrain    take in new data, rerun what they change, keep the better model, push"
	@echo "make test       set up, then all tests that take less than a minute each"
	@echo "make test-all   all tests, and three runs killed at random moments: what CI runs"
	@echo "make lint       ruff, codespell, the import contracts and the type checker alone; make format mends what ruff can"
	@echo "make benchmark  our loop beside its bare step and lightly's loop"
	@echo "make setup      the environment alone"
	@echo "make dvc        the stages of DVC for the methods in use   (make dvc METHODS='byol simclr')"
	@echo "make dag        BYOL's retraining as a DAG of Airflow   (make dag ARGS='--pipelines=simclr')"
	@echo "make lock       resolve requirements.lock anew from pyproject.toml"

compare $(ALL): $(READY)
	@$(BIN)/kedro run --pipeline=$@ $(ARGS)

# kedro retrain exits with 0 (promoted), 10 (the champion stays), 11 (nothing new); make knows of success and failure only.
retrain: $(READY)
	@$(BIN)/kedro retrain $(ARGS) || { code=$$?; test $$code -eq 10 -o $$code -eq 11 || exit $$code; }

lint: $(READY)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE)
	@$(BIN)/codespell $(CODE) $(PROSE)
	@$(BIN)/lint-imports
	@$(BIN)/ty check --quiet --python $(BIN)/python src pipelines

format: $(READY)
	@$(BIN)/ruff check --fix --quiet $(CODE)
	@$(BIN)/ruff format --quiet $(CODE)

# A file goes to one worker, and those of tests/pipelines, which take longest, come first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

test: lint
	@$(PYTEST) -m "not slow" $(ARGS)

test-all: lint
	@$(PYTEST) $(ARGS)
	@OMP_NUM_THREADS=1 $(BIN)/python -m scripts.kill_points --points=3 --commands=run

benchmark: $(READY)
	@$(BIN)/python benchmarks/throughput.py $(ARGS)

setup: $(READY)

# Fresh when neither the lock nor the project's metadata changed. uv is taken where it is, or bootstrapped with pip.
# Installed rather than synced: packages that the lock does not have stay, such as one with a method of its own.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python %d.%d is too old: Unlabeled needs 3.11 or newer (make PYTHON=python3.12)" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Setting up $(VENV): a few GB the first time."
	@PATH="$$PATH:$(CURDIR)/$(BIN)" && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --compile-bytecode -r requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock:
	@PATH="$$PATH:$(CURDIR)/$(BIN)" && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --all-extras --no-header pyproject.toml -o requirements.lock
	@PATH="$$PATH:$(CURDIR)/$(BIN)" && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-header --group airflow -o airflow.lock

# Without METHODS, those that dvc.yaml has now.
dvc dvc.yaml: $(READY)
	@$(BIN)/python scripts/dvc_yaml.py $(if $(METHODS),--methods $(METHODS))

# Not in git: it names the folder of this clone, and Airflow reads it from a folder of its own.
dag: $(READY)
	@$(BIN)/kedro airflow create --pipelines=byol --jinja-file=scripts/airflow_dag.py.j2 --target-dir=dags \
	  --params=project="$(CURDIR)" $(ARGS)

clean:
	@rm -rf $(VENV)
