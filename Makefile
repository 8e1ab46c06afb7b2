# `make` alone prints the targets. No logic is here: a target is a command of the project, or a script in scripts/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Bytecode is written, whatever the machine's setting: else every process compiles TensorFlow (15 s) or Airflow again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTHON ?=
KEEP ?=
EXECUTE ?=
DATA ?=
PARAMS ?=
NAMESPACE ?= orchard
CLUSTER ?= orchard
DEPLOY = $(BIN)/python -m orchestration.cluster.deploy
needed = $(or $($(1)),$(error $(1)= is missing: $(2)))
JSON_OPTION = $(if $(JSON),--json)
WHERE = --context kind-$(CLUSTER) --namespace $(NAMESPACE)
PYTHON_SOURCES := orchard training serving orchestration tests bench scripts charts notebooks
BENCHMARKS := export backbones input data serving raw_photos router neighbours delivery upkeep
SHELL_SCRIPTS := scripts/setup scripts/smoke scripts/lock scripts/cluster scripts/images scripts/narrated.bash scripts/rendered scripts/sbom scripts/serve .ci/run

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z0-9-]+:.*## / {gsub(/[$$][$$]/, "$$", $$2); printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Start

.PHONY: demo
demo: setup ## the whole loop on this machine, ending with a prediction (KEEP=1: keeps serving; DATA=path: your photos; PARAMS=file)
	@$(BIN)/orchard demo $(if $(KEEP),--keep) $(if $(DATA),--data "$(DATA)") $(if $(PARAMS),--params "$(PARAMS)")

.PHONY: serve
serve: setup ## serve what `make demo` published, until Ctrl-C
	@scripts/serve

.PHONY: notebooks
notebooks: .venv-notebooks/.ready ## the lessons in JupyterLab, on the photos of `make demo` (DATA=; EXECUTE=1: executed copies in build/notebooks)
	@.venv-notebooks/bin/python scripts/notebooks $(if $(DATA),--data "$(DATA)") $(if $(EXECUTE),execute,open)

.PHONY: setup
setup: .venv/.ready ## the Python environment in .venv (nothing is installed elsewhere)

.venv-airflow/.ready: requirements/airflow-dev.txt requirements/bootstrap.txt scripts/setup | .venv/.ready
	@PYTHON="$(PYTHON)" scripts/setup airflow

.venv-notebooks/.ready: pyproject.toml requirements/notebooks.txt requirements/bootstrap.txt scripts/setup | .venv/.ready
	@PYTHON="$(PYTHON)" scripts/setup notebooks

.venv/.ready: pyproject.toml requirements/dev.txt requirements/bootstrap.txt scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup

## Check

.PHONY: test
test: setup ## everything: lint, types, all tests (about half an hour on 2 cores)
	@$(MAKE) --no-print-directory --jobs=2 lint typecheck pytest-airflow
	@$(PYTEST) -m "not long"

.PHONY: lint
lint: setup ## ruff, shellcheck, yamllint, codespell
	@$(BIN)/ruff check $(PYTHON_SOURCES)
	@$(BIN)/ruff format --check $(PYTHON_SOURCES)
	@$(BIN)/shellcheck $(SHELL_SCRIPTS)
	@$(BIN)/yamllint --strict .
	@git ls-files -z | xargs -0 $(BIN)/codespell

.PHONY: typecheck
typecheck: setup ## mypy, strict
	@$(BIN)/mypy

# Much of the tests is waiting: four processes on two cores.
PYTEST := $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: pytest
pytest: setup $(if $(ARGS),,pytest-airflow) ## the tests alone (ARGS="-k name" picks)
	@$(PYTEST) $(or $(ARGS),-m "not long")

.PHONY: pytest-airflow
pytest-airflow: .venv-airflow/.ready ## the tests of the DAGs, in Airflow's own environment
	@.venv-airflow/bin/pytest -c tests/orchestration/airflow/pytest.ini tests/orchestration/airflow

.PHONY: long
long: setup ## the longest tests: whole loops by Luigi, `orchard run`, and the demo when it is interrupted or refused (12 minutes)
	@$(BIN)/pytest -n 2 -m long

.PHONY: smoke
smoke: setup ## a short run with each other supported Python of this machine (VERSIONS="3.11")
	@scripts/smoke $(VERSIONS)

.PHONY: fuzz
fuzz: setup ## send almost valid requests to a real server (SECONDS_OF_FUZZ=600)
	@$(BIN)/python -m tests.faults.fuzz --seconds $(or $(SECONDS_OF_FUZZ),600)

.PHONY: faults
faults: setup ## the long fault runs: 1,000 schedules of sync, 200 random kills, every order of prune (10 minutes)
	@SYNC_EXAMPLES=1000 KILLS=50 PRUNE_STRIDE=1 $(BIN)/pytest -n 2 tests/faults

.PHONY: format
format: setup ## format the code and apply ruff's fixes
	@$(BIN)/ruff check --fix $(PYTHON_SOURCES)
	@$(BIN)/ruff format $(PYTHON_SOURCES)

## On a cluster

.PHONY: deploy
deploy: setup ## the loop on kind, ending with a prediction (DATA=, PARAMS=, NAMESPACE=, AIRFLOW=1: Airflow too)
	@$(DEPLOY) up $(WHERE) $(if $(DATA),--data "$(DATA)") $(if $(PARAMS),--params "$(PARAMS)") $(if $(AIRFLOW),--airflow)

.PHONY: undeploy
undeploy: setup ## remove the release (ALL=1: the cluster too)
	@$(DEPLOY) down $(WHERE) $(if $(ALL),--all)

.PHONY: logs
logs: setup ## the log of serving
	@$(DEPLOY) logs $(WHERE)

.PHONY: evidence
evidence: setup ## write the release's state in the cluster to files (DIR=)
	@$(DEPLOY) evidence $(WHERE) $(if $(DIR),--dir "$(DIR)")

.PHONY: port-forward
port-forward: setup ## the model server at localhost:8501 (PORT=)
	@$(DEPLOY) port-forward $(WHERE) $(if $(PORT),--port $(PORT))

.PHONY: airflow
airflow: setup ## Airflow's page at localhost:8080, and how to log in (PORT=)
	@$(DEPLOY) airflow $(WHERE) $(if $(PORT),--port $(PORT))

.PHONY: retrain
retrain: setup ## a new version by Airflow, followed to its end (PROFILE=, VERSION=, FORCE="reason", RUN=)
	@$(DEPLOY) retrain $(WHERE) $(if $(PROFILE),--profile $(PROFILE)) $(if $(VERSION),--dataset-version $(VERSION)) \
	  $(if $(FORCE),--force "$(FORCE)") $(if $(RUN),--run $(RUN))

.PHONY: runs
runs: setup ## the runs in the cluster's store (RUN=one of them, KIND=, LIMIT=, JSON=1)
	@$(DEPLOY) runs $(WHERE) $(if $(KIND),--kind $(KIND)) $(if $(LIMIT),--limit $(LIMIT)) $(JSON_OPTION) $(if $(RUN),-- "$(RUN)")

.PHONY: versions
versions: setup ## the model's versions in the cluster's store (JSON=1)
	@$(DEPLOY) versions $(WHERE) $(JSON_OPTION)

.PHONY: history
history: setup ## who changed what the cluster serves, and why (CHANNEL=, JSON=1)
	@$(DEPLOY) history $(WHERE) $(if $(CHANNEL),--channel $(CHANNEL)) $(JSON_OPTION)

.PHONY: promote
promote: setup ## serve a version (TO=7, WHY="reason", CHANNEL=, JSON=1)
	@$(DEPLOY) promote $(WHERE) --why "$(call needed,WHY,the reason: the history keeps it)" $(if $(CHANNEL),--channel $(CHANNEL)) \
	  $(JSON_OPTION) -- "$(call needed,TO,the version: make versions lists all)"

.PHONY: rollback
rollback: setup ## serve the version before again (WHY="reason", TO=5: that version, CHANNEL=, JSON=1)
	@$(DEPLOY) rollback $(WHERE) --why "$(call needed,WHY,the reason: the history keeps it)" $(if $(TO),--to $(TO)) $(if $(CHANNEL),--channel $(CHANNEL)) $(JSON_OPTION)

.PHONY: screenshots
screenshots: setup ## pictures of Airflow's pages in build/screenshots (needs Chromium)
	@$(BIN)/python scripts/screenshots $(WHERE)

.PHONY: predict
predict: setup ## predict a photo on the cluster (PHOTO=photo.jpg)
	@$(DEPLOY) predict $(WHERE) "$(call needed,PHOTO,a photo)"

.PHONY: doctor
doctor: setup ## list the faults of the deployment, and the remedies
	@$(DEPLOY) doctor $(WHERE)

.PHONY: e2e
e2e: setup ## the tests on a real cluster (about half an hour; ARGS="-m long": the longest, as an upgrade and the autoscaler)
	@$(BIN)/pytest -n 2 --no-loadscope-reorder -s -v tests/e2e $(or $(ARGS),-m "not long")

## Measure

.PHONY: bench
bench: setup ## every benchmark: ratios measured side by side (about 45 minutes)
	@for name in $(BENCHMARKS); do $(BIN)/python -m bench.$$name || missed="$${missed:-} $$name"; done; \
	  [ -z "$${missed:-}" ] || { echo "thresholds were missed by:$$missed" >&2; exit 1; }

## Work on it

.PHONY: docs
docs: setup ## write the generated documents: docs/reference, the chart's files, dvc.yaml
	@$(BIN)/python scripts/reference
	@$(BIN)/python scripts/chart
	@$(BIN)/python scripts/stages

.PHONY: images
images: ## build the container images with Docker (see scripts/images)
	@scripts/images

.PHONY: sbom
sbom: setup ## the images' contents, as CycloneDX documents
	@scripts/sbom

.PHONY: store
store: setup ## the embedded object store in the foreground; in another shell: eval "$$(orchard store env)"
	@$(BIN)/orchard store run

.PHONY: lock
lock: setup ## write the hash-locked requirement files again
	@scripts/lock

.PHONY: clean
clean: ## remove what the demo and the pipeline wrote here (the environment stays)
	@rm -rf .orchard artifacts .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
