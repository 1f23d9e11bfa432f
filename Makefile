# The two commands that matter: `make demo` and `make test`. Both set up what they need.

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# A module's fixtures stay in one worker, the longest modules come first (lab/schedule.py), and the slowest tests are named at the end.
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder --durations=20 --durations-min=1
# Integration tests wait more than they work; an emulated machine keeps one processor busy.
WORKERS ?= 3
MACHINES ?= 2
# DISTRO is debian when left out, and SUITE the release of it that iso/origin.py names, or lab/suite.py for tests.
export DISTRO SUITE MIRROR REPO VERSION HTTP PREFIX DESTDIR PYTHON

.NOTPARALLEL:
.PHONY: help setup demo test lint test-unit test-integration test-long test-cluster test-postgresql test-boot test-vm test-host test-layouts test-kills test-upgrades test-api release iso lock bench-start bench-image bench-build bench-provision bench-controller bench-upgrade bench-fleet bench-cluster bench-hosts bench-orbit test-stacks install uninstall deb clean

help: ## Say what there is to make.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Install the packages and the virtual environment that everything else needs.
	@tools/setup $(MAKECMDGOALS)

demo: setup ## From two TOML files to a login prompt on a machine without a disk; KEEP=1 leaves it up.
	@$(BIN)/python -m lab.demo $(if $(KEEP),--keep)

test: lint test-unit test-integration test-boot ## Static checks, unit and integration tests, and the virtual machines that there is time for.

lint: setup ## Style, types and the floors of the house.
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

test-unit: setup ## The tests that start no program; under a minute.
	$(PYTEST) -n auto --dist loadfile --durations=20 --durations-min=1 tests/unit plugins/*/tests/unit apps/*/tests/unit

test-integration: setup ## The tests against a real engine, registry, target, network and disks, WORKERS=3 at a time; TESTS=tests/integration/lab for some.
	$(PYTEST) -n $(WORKERS) $(SIDE_BY_SIDE) -m "not cluster and not long" $(or $(TESTS),tests/integration plugins/*/tests/integration apps/*/tests/integration)

test-long: setup ## The tests against real parts that take a minute and more, one by one; `make test` has the siblings of each.
	$(PYTEST) -n $(WORKERS) $(SIDE_BY_SIDE) -m "long and not cluster" tests/integration plugins/*/tests/integration apps/*/tests/integration

test-cluster: setup ## All tests on a Ceph cluster of three OSDs, with their figures, COUNT=1 of each fault of a host, COUNT=2 rounds with kills; `make test-integration` takes some.
	TERRA_FAULTS=$(or $(COUNT),1) TERRA_ROUNDS=$(or $(COUNT),2) $(PYTEST) -rP plugins/terra_ceph/tests/integration

test-postgresql: setup ## The tests of the controller with its state in PostgreSQL; `make test-integration` takes some of them. TESTS=... for some; COUNT=2 rounds with kills.
	TERRA_STATE=postgresql TERRA_ROUNDS=$(or $(COUNT),2) $(PYTEST) -n $(WORKERS) $(SIDE_BY_SIDE) $(or $(TESTS),tests/integration/controller tests/integration/test_library_page.py)

test-boot: setup ## The tests that boot what was built, but for the longest; MACHINES=2 at a time.
	$(PYTEST) -n $(MACHINES) $(SIDE_BY_SIDE) tests/vm -m "not long"

test-vm: setup ## All tests that boot what was built: the medium, disks that are missing, trials of images; MACHINES=2 at a time.
	$(PYTEST) -n $(MACHINES) $(SIDE_BY_SIDE) tests/vm

test-api: setup ## schemathesis over the APIs of both daemons, SECONDS=120 each; `make test-integration` takes 20.
	TERRA_API_SECONDS=$(or $(SECONDS),120) $(PYTEST) tests/integration/controller/test_access.py apps/terra_orbit/tests/integration/test_orbit_api_document.py -k document

test-host: setup ## Demo, unit and integration tests in a root of another release: SUITE=trixie; GOALS="demo" for some of it.
	@tools/test-host $(GOALS)

release: setup ## Build every image with vab, and push it: REPO=host:port/name VERSION=v12, HTTP=1 for plain HTTP; without REPO, only build.
	@$(BIN)/python -m iso.release

iso: setup ## Write build/terra.iso, the installation medium; ARGUMENTS="terra.ssh=..." for words of its kernel line.
	@$(BIN)/python -m iso.medium $(ARGUMENTS)

bench-start: setup ## How long `terra --help` takes, against an empty Python program.
	@$(BIN)/python bench/start.py

bench-image: setup ## How long an image takes to a directory, against umoci, skopeo, docker and tar; ROUNDS=5.
	@$(BIN)/python bench/image.py --rounds $(or $(ROUNDS),5)

bench-build: setup ## What terra create adds to docker build of the same Dockerfile and context; ROUNDS=5.
	@$(BIN)/python bench/build.py $(or $(ROUNDS),5)

test-stacks: setup ## STACKS (200000) random images against umoci, from seed FIRST (0) on.
	TERRA_STACKS=$(or $(STACKS),200000) TERRA_FIRST_STACK=$(or $(FIRST),0) $(PYTEST) -n auto tests/integration/image/test_random_stacks.py

test-kills: setup ## Kill the controller COUNT (200) times while it works, and look each time what is off; SEED=N repeats a run.
	@$(BIN)/python -m tests.integration.controller.kills $(or $(COUNT),200) $(SEED)

test-upgrades: setup ## Upgrade machines on loop devices and in containers COUNT (100) times, ended in every way, and count what happened; SEED=N for the same choices.
	@$(BIN)/python -m tests.integration.install.upgrades $(or $(COUNT),100) $(SEED)

test-layouts: setup ## 500 random layouts of disks for terra-install; the test run itself tries 12. 30 minutes.
	TERRA_LAYOUTS=500 $(PYTEST) tests/integration/install/test_install_layouts.py

bench-provision: setup ## How long a machine takes and how much disk: the first, each further one as a clone, 50 at once; ROUNDS=5.
	@$(BIN)/python bench/provision.py --rounds $(or $(ROUNDS),5)

bench-controller: MACHINES := 10000
bench-controller: setup ## A controller with MACHINES=10000 beside one with ten: list, one change, start, memory, idle; REAL=1 for targets in tgtd.
	@$(BIN)/python bench/controller.py --machines $(MACHINES) --rounds $(or $(ROUNDS),7) $(if $(REAL),--real)

bench-upgrade: setup ## What an upgrade of one package fetches and writes, against an installation in full; ROUNDS=3.
	@$(BIN)/python bench/upgrade.py --rounds $(or $(ROUNDS),3)

bench-fleet: MACHINES := 100
bench-fleet: setup ## How long MACHINES=100 of a controller take from one image to the next, and how much disk, boots left out; ROUNDS=5.
	@$(BIN)/python bench/fleet.py --machines $(MACHINES) --rounds $(or $(ROUNDS),5)

bench-cluster: MACHINES := 100
bench-cluster: setup ## Hosts on a Ceph cluster and PostgreSQL: clones, the second machine, MACHINES=100 by one host and by three; ROUNDS=3, COUNT=100 clones.
	@$(BIN)/python bench/cluster.py --machines $(MACHINES) --rounds $(or $(ROUNDS),3) --clones $(or $(COUNT),100) --jobs $(or $(JOBS),2)

bench-hosts: MACHINES := 100
bench-hosts: setup ## Hosts with disks of their own and PostgreSQL: MACHINES=100 by one host and by three; ROUNDS=3, JOBS=2 at once on each, SHARE=0.5 of a processor for each, 0 for no bound.
	@$(BIN)/python bench/hosts.py --machines $(MACHINES) --rounds $(or $(ROUNDS),3) --jobs $(or $(JOBS),2) --share $(or $(SHARE),0.5)

bench-orbit: setup ## How long `ob create` takes, against `docker run`, and `ob list` of 200 containers.
	@$(BIN)/python bench/orbit.py

install: setup ## Put the commands, the controller's unit, manual pages and completion on this host: PREFIX=/usr/local, DESTDIR=.
	@tools/install

uninstall: ## Take away what install has put there; configuration, state and volumes stay.
	@tools/install uninstall

deb: setup ## Write the same as a package for this release of Debian or Ubuntu to build/.
	@tools/deb

lock: setup ## Take the installed versions as those that everybody gets.
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable > constraints.txt

clean: ## Remove what was built, the cached base images included.
	rm -rf build dist
