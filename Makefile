# Everything a person, a hook or a build server runs. Needs python3 (3.11), make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INTEROP := .venv-interop
INTEROP_READY := $(INTEROP)/.ready
PIP := -m pip install --quiet --disable-pip-version-check
ARGS ?=
# Where `make install` puts things; unset ones have the defaults of systemd/install.sh.
PLACES = $(foreach name,PREFIX CONFDIR UNITDIR SYSUSERSDIR TMPFILESDIR BINDIR MANDIR,$(if $($(name)),$(name)="$($(name))"))
# Tests that run at the same time: more than processors, for many wait for processes or for time.
SIDE_BY_SIDE ?= 4

.DEFAULT_GOAL := help
.PHONY: help setup demo test system install uninstall soak check fix interop bench lock neuroglancer clean

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Build the environment in .venv

install:  ## Install the service on this machine, or upgrade it (root; docs/operations.md)
	@PYTHON="$(PYTHON)" DESTDIR="$(DESTDIR)" $(PLACES) EXTRAS="$(EXTRAS)" sh systemd/install.sh install

uninstall:  ## Remove the service; settings, ledger and datasets stay (root)
	@DESTDIR="$(DESTDIR)" $(PLACES) sh systemd/install.sh uninstall

demo: $(READY)  ## Run the service on a few made-up acquisitions and show what becomes of them
	@$(BIN)/stackwatch demo $(ARGS)

test: $(READY)  ## Run the tests (ARGS="-k name" narrows them)
	@$(BIN)/python -m pytest -q -m "not interop and not soak and not system" -n $(SIDE_BY_SIDE) --dist worksteal $(ARGS)

system: $(READY)  ## Run what takes a whole machine or minutes: services, browsers, every crash of a delivery
	@$(BIN)/python -m pytest -q -m system $(ARGS)

soak: $(READY)  ## Write and kill for minutes, then count losses (ARGS="--minutes 20 --seed 7")
	@$(BIN)/python -m pytest -q -m soak tests/soak tests/crash $(ARGS)

check: $(READY)  ## Check style, types and the floors
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: $(READY)  ## Repair what ruff can repair by itself
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

interop: $(READY) $(INTEROP_READY)  ## Compare with the webknossos library (a large second environment)
	@$(BIN)/python -m pytest -q -m interop tests/interop $(ARGS)

bench: $(READY) $(INTEROP_READY)  ## Measure against the peer and the floors (minutes; ARGS="--size small")
	@$(BIN)/python -m benchmarks.bench $(ARGS)

lock: $(READY)  ## Write requirements/*.txt anew after a change of dependencies
	@$(BIN)/python requirements/lock.py --interop $(ARGS)

# The packages come with exact versions from package.json; what is built lies where git does not look.
neuroglancer:  ## Build the viewer of published data into build/neuroglancer (needs node and npm)
	@command -v npm >/dev/null || { echo "No npm found: the viewer needs node 20 or newer to be built, and nothing to be used" >&2; exit 1; }
	@rm -rf build/viewer && mkdir -p build/viewer && cp -R viewer/. build/viewer/
	@cd build/viewer && npm install --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
	@cd build/viewer && OUT_DIR=../neuroglancer npx --no-install vite build --logLevel warn
	@echo "Set it in the configuration:  [web] viewer = \"$(CURDIR)/build/neuroglancer\""

clean:  ## Remove environments and caches
	rm -rf $(VENV) $(INTEROP) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks requirements -name __pycache__ -type d -exec rm -rf {} +

# The stamps make a second run quick: an environment is built again when what it is built from changes.
$(READY): requirements/dev.txt pyproject.toml
	@$(call ensure_venv,$(VENV))
	@echo "Installing the pinned packages into $(VENV) ..."
	@$(BIN)/python $(PIP) --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(INTEROP_READY): requirements/interop.txt
	@$(call ensure_venv,$(INTEROP))
	@echo "Installing the peer into $(INTEROP) (about 1.5 GB) ..."
	@$(INTEROP)/bin/python $(PIP) --require-hashes --no-deps -r requirements/interop.txt
	@touch $@

define ensure_venv
set -e; \
command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) found. Install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
  echo "$$($(PYTHON) --version) found, but the pinned packages are for Python 3.11. Name one: make PYTHON=python3.11" >&2; exit 1; }; \
test -x $(1)/bin/python || $(PYTHON) -m venv $(1) || { \
  echo "python3 -m venv failed. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
endef
