# What a person types. `make run` says what it needs and does not find.

.DEFAULT_GOAL := help
.PHONY: help run test quick test-slow test-browser test-matrix test-compose test-fleet test-clients fuzz bench lint format lock openapi docs screenshots clean
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip -qq --disable-pip-version-check --no-input
# A run and a test install different things, and each remembers what it installed last.
INSTALLED := $(VENV)/installed
DEV_INSTALLED := $(VENV)/installed-dev

help: ## Say what can be made.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 22

run: ## Run Skyquay on this machine, with a private database, at LISTEN=HOST:PORT if that is given.
	@$(MAKE) -q --no-print-directory $(INSTALLED) || $(BASE_PYTHON) -B -m service.serving.preflight $(LISTEN)
	@$(MAKE) -s --no-print-directory $(INSTALLED) BASE_PYTHON=$(BASE_PYTHON)
	@exec $(VENV)/bin/skyquay up $(if $(LISTEN),--listen $(LISTEN))

# Every process of a run would compile the same files again.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(PYTHON) -m pytest
PARALLEL := -n auto --dist worksteal
# What takes long, or what not everybody has: each of these marks has a target of its own below.
ELSEWHERE := slow or alone or browser or matrix or podman or fleet
COVERAGE_OPTIONS := $(if $(COVERAGE),--cov --cov-fail-under=90)

test: $(DEV_INSTALLED) ## Run the linters, the type checker and the tests; COVERAGE=1 counts lines.
	@status=0; \
	$(MAKE) --no-print-directory lint || status=1; \
	$(PYTEST) $(PARALLEL) -m "not ($(ELSEWHERE))" --durations=20 $(COVERAGE_OPTIONS) || status=1; \
	exit $$status

# More workers hide more waits, but each spends seconds of a core on collecting the tests.
quick: $(DEV_INSTALLED) ## Run what is soon done of the tests that need nothing but a database.
	@$(PYTEST) -n $$((2 * $$(nproc))) --dist worksteal --quick

test-slow: $(DEV_INSTALLED) ## Kill at each moment, send random requests, run the guide, measure answers.
	@status=0; \
	$(PYTEST) $(PARALLEL) -m slow --durations=20 || status=1; \
	$(PYTEST) -m alone || status=1; \
	exit $$status

test-browser: $(DEV_INSTALLED) ## Use the console and the page of the API in Chromium.
	@$(PYTEST) -n 2 --dist worksteal -m browser

test-matrix: $(DEV_INSTALLED) ## Send every endpoint every kind of key.
	@$(PYTEST) $(PARALLEL) -m matrix

test-compose: $(DEV_INSTALLED) ## Run what docker-compose.yml describes, and kill parts of it.
	@$(PYTEST) -s --timeout=1800 tests/compose/test_compose.py

test-fleet: $(DEV_INSTALLED) ## Run the tests with Podman, and with two engines between which instances move.
	@$(PYTEST) -m "podman or fleet"

# What makes and checks clients: kept apart from what Skyquay needs itself.
CLIENTS := .clients
CLIENTS_INSTALLED := $(CLIENTS)/installed

test-clients: $(DEV_INSTALLED) $(CLIENTS_INSTALLED) ## Lint the OpenAPI document, and use clients made from it.
	@$(PYTEST) -n 2 tests/clients

$(CLIENTS_INSTALLED): tests/clients/requirements.lock tests/clients/package-lock.json | $(PYTHON)
	@$(BASE_PYTHON) -m venv --clear $(CLIENTS)/venv
	@$(CLIENTS)/venv/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--require-hashes -r tests/clients/requirements.lock
	@cp tests/clients/package.json tests/clients/package-lock.json $(CLIENTS)
	@npm ci --silent --ignore-scripts --prefix $(CLIENTS)
	@touch $@

fuzz: $(DEV_INSTALLED) ## Send many more random requests than `make test-slow` does.
	@SKYQUAY_FUZZ_EXAMPLES=300 SKYQUAY_FUZZ_SEED=$$(date +%s) \
		$(PYTEST) -s --timeout=3600 tests/api/test_fuzz.py tests/worker/test_laws.py

# What others need that are measured beside Skyquay: kept apart from what it needs itself.
PEERS := .bench
PEERS_INSTALLED := $(PEERS)/installed

bench: $(DEV_INSTALLED) $(PEERS_INSTALLED) ## Measure beside other frameworks; BENCH='--sizes 1000'.
	@$(PYTHON) -m bench.compare $(BENCH)

$(PEERS_INSTALLED): bench/peers/requirements.lock bench/peers/package-lock.json | $(PYTHON)
	@$(BASE_PYTHON) -m venv --clear $(PEERS)/venv
	@$(PEERS)/venv/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--require-hashes -r bench/peers/requirements.lock
	@cp bench/peers/package.json bench/peers/package-lock.json $(PEERS)
	@npm ci --silent --prefix $(PEERS)
	@touch $@

# Names that gave way to the words of the field, and do not come back.
OLD_NAMES := any_store|ask_probe|bootstrap|[Bb]rake|count_as|count_one|doors?|guarded|Guard|hurry|hurry_on|\
let_node_go|look_at_queue|moving_in|note_probe|NotYet|opened_store|outlasts_database|[Pp]atience|picky|\
plainly|put_off|strangers|strays|tell_probe_age|tell_time|usable_store

lint: $(DEV_INSTALLED) ## Run the linters and the type checker.
	@status=0; \
	! grep -rnwE "$$(echo '$(OLD_NAMES)' | tr -d ' ')" --include='*.py' service tests bench || status=1; \
	$(PYTHON) -m ruff check . || status=1; \
	$(PYTHON) -m ruff format --check . || status=1; \
	$(PYTHON) -m mypy || status=1; \
	exit $$status

format: $(DEV_INSTALLED) ## Have the linter mend what it can, and lay out all code.
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

# One file serves every Python from 3.11 on: uv resolves for all of them, with markers. Versions stay
# as they are unless pyproject.toml moves them, or LOCK_FLAGS=--upgrade.
LOCK_HEAD := \# Made by `make lock` from pyproject.toml, for Python 3.11 and later.
UV_COMPILE := $(VENV)/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --no-header --no-annotate --no-emit-index-url $(LOCK_FLAGS)

lock: $(PYTHON) ## Pin what pyproject.toml asks for, with hashes.
	@$(PIP) install uv
	@echo 'setuptools>=77' > $(VENV)/build.in  # builds Skyquay itself; not every Python has it
	@$(UV_COMPILE) pyproject.toml $(VENV)/build.in --output-file requirements.lock
	@$(UV_COMPILE) --extra embedded --constraint requirements.lock pyproject.toml $(VENV)/build.in \
		--output-file requirements-embedded.lock
	@$(UV_COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(UV_COMPILE) tests/clients/requirements.in --output-file tests/clients/requirements.lock
	@sed -i '1i $(LOCK_HEAD)' requirements*.lock
	@! grep -n '://\|file:' requirements*.lock tests/clients/requirements.lock

openapi: $(INSTALLED) ## Write openapi/openapi.json anew.
	@$(VENV)/bin/skyquay openapi > openapi/openapi.json

docs: $(INSTALLED) ## Write the pages of docs/ that are made from the code anew.
	@$(PYTHON) docs/generate.py

screenshots: $(DEV_INSTALLED) ## Take the pictures of docs/images/ anew; needs Chromium.
	@$(PYTHON) -m tests.docs.screenshots

clean: ## Remove what was installed and cached. The data in .skyquay stays.
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +

# The newest of the Pythons that the lock files are tested with, and that can make an environment.
# Each is asked itself: a name on PATH may be a wrapper that has no such Python.
BASE_PYTHON = $(eval BASE_PYTHON := $$(find_python))$(or $(BASE_PYTHON),$(error \
	Skyquay needs Python 3.11 or later: run "apt-get install python3 python3-venv curl libcurl4"))
find_python = $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	found=$$python; \
	$$python -c 'import ensurepip, venv' 2>/dev/null && break; \
	done; echo $$found)

# Comes before what takes long: a dot every three seconds shows that it goes on.
DOTS = (while sleep 3 >/dev/null; do printf .; done) & dots=$$!; \
	trap 'kill $$dots; echo' EXIT; trap 'exit 130' INT TERM

$(PYTHON):
	@$(BASE_PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Error: Something is missing: run "apt-get install python3-venv".' >&2; exit 1; }
	@echo "Making $(VENV)."
	@$(BASE_PYTHON) -m venv --clear $(VENV)

$(INSTALLED): requirements-embedded.lock pyproject.toml | $(PYTHON)
	@echo "Installing into $(VENV), which takes a minute or two, this once."
	@$(DOTS); $(PIP) install --require-hashes -r requirements-embedded.lock && \
		$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_INSTALLED): requirements-dev.lock $(INSTALLED)
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
