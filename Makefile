# The two commands that matter: `make demo` and `make test`. Both set up what they need.

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
DISTRO ?= debian
SUITE ?= bookworm
export DISTRO SUITE MIRROR

.NOTPARALLEL:
.PHONY: help setup demo test lint test-unit test-integration test-vm release lock bench-start bench-orbit clean

help: ## Say what there is to make.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Install the packages and the virtual environment that everything else needs.
	@tools/setup $(MAKECMDGOALS)

demo: setup ## From two TOML files to a login prompt on a machine without a disk; KEEP=1 leaves it up.
	@$(BIN)/python -m lab.demo $(if $(KEEP),--keep)

test: lint test-unit test-integration test-vm ## Everything: static checks, unit, integration and virtual machine tests.

lint: setup ## Style, types and the floors of the house.
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

test-unit: setup ## The tests that start no program; under a minute.
	$(PYTEST) -n auto --dist loadfile tests/unit plugins/*/tests/unit

test-integration: setup ## The tests against a real engine, registry, target, network and disks.
	$(PYTEST) tests/integration plugins/*/tests/integration

test-vm: setup ## The tests that boot what was built.
	$(PYTEST) tests/vm

release: setup ## Build the base images from packages, into build/images.
	@$(BIN)/python -m iso.build

bench-start: setup ## How long `terra --help` takes, against an empty Python program.
	@$(BIN)/python bench/start.py

bench-orbit: setup ## How long `ob create` takes, against `docker run`, and `ob list` of 200 containers.
	@$(BIN)/python bench/orbit.py

lock: setup ## Take the installed versions as those that everybody gets.
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable > constraints.txt

clean: ## Remove what was built, the cached base images included.
	rm -rf build dist
