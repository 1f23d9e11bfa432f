"""The order of the modules of a test run: the longest first, so that no worker is left alone with one at the end.

A pytest plugin, named by the ``conftest.py`` at the top of the repository. It goes with pytest-xdist's ``--dist loadfile``,
which gives a worker the next module when it has little left.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

_USUAL = 10
SECONDS = {
    "test_faults.py": 130,
    "test_orbit_containers.py": 100,
    "test_docker_vab.py": 80,
    "test_deploy_full.py": 60,
    "test_podman_create.py": 50,
    "test_ceph_cluster.py": 70,
    "test_create.py": 100,
    "test_create_checks.py": 90,
    "test_kit_notices.py": 180,
    "test_docker_conformance.py": 75,
    "test_grub_conformance.py": 40,
    "test_orbit_leaks.py": 73,
    "test_random_stacks.py": 65,
    "test_real_images.py": 160,
    "test_orbit_moves_killed.py": 50,
    "test_provision.py": 60,
    "test_postgresql_away.py": 90,
    "test_killed.py": 150,
    "test_hosts.py": 120,
    "test_local_stores.py": 60,
    "test_canaries.py": 110,
    "test_upgrade.py": 100,
    "test_sharing.py": 200,
    "test_installation.py": 40,
    "test_records.py": 90,
    "test_orbit_supervision.py": 60,
    "test_unpack.py": 60,
    "test_orbit_faults.py": 95,
    "test_install_killed.py": 170,
    "test_faulty_registries.py": 45,
    "test_install_refusals.py": 40,
    "test_install_disks.py": 150,
    "test_install_layouts.py": 33,
    "test_upgrades_counted.py": 45,
    "test_upgrade_contained.py": 200,
    "test_bases.py": 290,
    "test_failover.py": 900,
    "test_netboot.py": 300,
    "test_install.py": 250,
    "test_upgrade_decided.py": 200,
    "test_ipxe.py": 110,
    "test_grub_tries.py": 80,
    "test_grub_alone.py": 75,
    "test_create_test.py": 60,
    "test_iso.py": 600,
    "test_iso_install.py": 900,
}
"""What modules take on two cores, in seconds, where that is well above the usual; ``make test`` prints the slowest tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules in order; a module's tests stay together, and in their order."""
    rank = {path: at for at, path in enumerate(longest_first(item.path for item in items))}
    items.sort(key=lambda item: rank[item.path])


def longest_first(modules: Iterable[Path]) -> list[Path]:
    """Return modules in the order in which they are to begin, which is the same in every worker."""
    return sorted(set(modules), key=lambda path: (-SECONDS.get(path.name, _USUAL), path))
