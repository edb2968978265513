# Lockside's tasks. Each target makes and refreshes the virtual environment by itself.
#   make demo [ARGS="--for 30 --backend dynamodb-local"]   the main job, live, on this machine
#   make test [ARGS="tests/unit -k settings"]              every test but the soak ones
#   make clients                                           packages of the foreign clients that tests run (by make test)
#   make docs                                              docs/layouts.md anew, from the layouts' data
#   make check                                             lint, format, types, imports, and what stands in deploy/
#   make fmt                                               put the code into form
#   make bench                                             ratios against plain boto3
#   make sim [SEED=0] [RUNS=1000]                          worlds of faults, each from its seed; one alone tells all
#   make image [BASE=...]                                  build the image and run it (root, buildah, mmdebstrap)
#   make soak                                              the soak tests, with big sizes
#   make lock                                              choose exact versions anew (needs a package index)

PY ?= python3
ARGS ?=
SEED ?= 0
RUNS ?= 1
SOAK_RUNS ?= 10000
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
STAMP := $(VENV)/.installed
PIP := $(PYTHON) -m pip --disable-pip-version-check --quiet
UV_VERSION := 0.13.9
UV := .make/uv/bin/uv

# What the image carries beside the plain worker; and how the image's locks are cut from requirements.lock.
IMAGE_EXTRAS := --extra kcl
OF_THE_LOCK := --constraint requirements.lock --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test clients redis docs check check-unit fmt image bench sim soak lock venv clean

UNIT := deploy/systemd/lockside.service
# Of 100, as systemd counts; 20 is still its best class, "OK".
EXPOSURE_MAX := 20

help:
	@sed -n 's/^#   //p' Makefile

venv: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@command -v $(PY) >/dev/null || { \
	  echo "There is no '$(PY)' here; Lockside needs Python 3.11 or newer: make PY=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Lockside needs Python 3.11 or newer; '$(PY)' is $$($(PY) --version 2>&1 || true)." \
	    "Name another with: make PY=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PY) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PY)' has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Preparing $(VENV) (exact versions from requirements.lock, about a minute) ..." >&2
	@test -x $(PYTHON) || $(PY) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(STAMP)
	@$(BIN)/lockside demo $(ARGS)

clients: $(STAMP)
	@$(PYTHON) -m tests.clients

# The replicas' tests want a real Redis, Debian's. Each run starts one of its own, and no service is set up for it.
redis:
	@command -v redis-server >/dev/null || { \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo "Installing redis-server for the tests ..." >&2; \
	    apt-get update --quiet >/dev/null; \
	    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install --yes --quiet --no-install-recommends redis-server >/dev/null; \
	  else \
	    echo "There is no redis-server here, which tests of replicas need; Debian, Ubuntu: apt-get install redis-server" >&2; \
	  fi; }

test: clients redis
	@$(PYTHON) -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/yamllint --strict deploy
	$(BIN)/kubernetes-validate --strict --quiet $(wildcard deploy/kubernetes/*.yaml)
	$(BIN)/cfn-lint $(wildcard deploy/cloudformation/*.yaml)
	@$(MAKE) --no-print-directory check-unit
	@$(PYTHON) -m pytest --quiet tests/deploy

# The program of the unit is another one here: what it names is not installed on the machine that checks it. A word that
# systemd does not know is printed and no error, so whatever is printed is one.
check-unit:
	@mkdir -p .make
	@sed 's|=/opt/lockside/bin/lockside |=/bin/true |' $(UNIT) > .make/lockside.service
	@if command -v systemd-analyze >/dev/null; then \
	  said=$$(systemd-analyze verify --man=no .make/lockside.service 2>&1) && test -z "$$said" || { \
	    echo "$(UNIT): $$said" >&2; exit 1; }; \
	  said=$$(systemd-analyze security --offline=true --no-pager --threshold=$(EXPOSURE_MAX) .make/lockside.service) \
	    || { echo "$$said" >&2; exit 1; }; \
	  echo "$$said" | sed -n 's/^→ //p'; \
	elif test -n "$$CI"; then \
	  echo "$(UNIT) cannot be checked: there is no systemd-analyze here; apt-get install systemd" >&2; exit 1; \
	else \
	  echo "$(UNIT) was NOT checked: there is no systemd-analyze here (Debian: apt-get install systemd); CI has it" >&2; \
	fi

# Builds the image and runs it: as root, with buildah and mmdebstrap, without docker and an image registry.
image: $(STAMP)
	@$(PYTHON) -m tests.image $(if $(BASE),--base $(BASE)) $(ARGS)

docs: $(STAMP)
	@$(PYTHON) -m tests.docs

fmt: $(STAMP)
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

bench: $(STAMP)
	@$(PYTHON) -m bench $(ARGS)

sim: $(STAMP)
	@$(PYTHON) -m tests.simulation --seed $(SEED) --runs $(RUNS) $(ARGS)

soak: $(STAMP)
	@LOCKSIDE_TEST_PROFILE=soak $(PYTHON) -m pytest -m soak --timeout 3600 $(ARGS)
	@$(PYTHON) -m tests.simulation --runs $(SOAK_RUNS)

$(UV):
	@$(PY) -m venv .make/uv
	@.make/uv/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)

# Versions that still fit stay as they are; `make lock ARGS=--upgrade` chooses all anew.
lock: $(UV)
	$(UV) pip compile pyproject.toml --output-file requirements.lock --quiet --universal --python-version 3.11 \
	  --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-header $(ARGS)
	$(UV) pip compile pyproject.toml --output-file deploy/requirements.lock $(IMAGE_EXTRAS) $(OF_THE_LOCK)
	echo hatchling | $(UV) pip compile - --output-file deploy/build.lock $(OF_THE_LOCK)
	$(UV) pip compile tests/clients/flask/requirements.in --output-file tests/clients/flask/requirements.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header $(ARGS)

clean:
	rm -rf $(VENV) .make .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
