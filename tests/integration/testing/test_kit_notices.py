"""The kit notices each promise that is broken: a plugin that breaks one is told by the test of that promise."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path

import pytest

from terra_core.system.process import run
from terra_core.testing import (
    BootConformance,
    BootloaderConformance,
    BuilderConformance,
    Conformance,
    FilesystemConformance,
    NetworkConformance,
    RegistryConformance,
    StorageConformance,
    StoreConformance,
)

HERE = Path(__file__).parent
KITS: dict[str, type[Conformance]] = {  # type: ignore[type-arg]  # of any role
    "broken_stores": StoreConformance,
    "broken_transports": StorageConformance,
    "broken_filesystems": FilesystemConformance,
    "broken_networks": NetworkConformance,
    "broken_boots": BootConformance,
    "broken_bootloaders": BootloaderConformance,
    "broken_builders": BuilderConformance,
    "broken_registries": RegistryConformance,
}
_LONG = ("broken_bootloaders", "broken_builders")
"""Kits whose promises take a minute or more to try."""


@pytest.mark.parametrize("module", list(KITS))
def test_each_promise_has_a_plugin_that_breaks_it(module: str) -> None:
    broken = importlib.import_module(f"tests.integration.testing.{module}")
    promises = {name for name in dir(KITS[module]) if name.startswith("test_")}
    assert promises == set(broken.PROMISES)


@pytest.mark.parametrize("module", [pytest.param(one, marks=pytest.mark.long) if one in _LONG else one for one in KITS])
def test_each_is_noticed(module: str) -> None:
    broken = importlib.import_module(f"tests.integration.testing.{module}")
    nodes = [f"{HERE / module}.py::Test_{test.removeprefix('test_')}::{test}" for test in broken.PROMISES]
    words = ["-q", "--tb=line", "--no-header", "-p", "no:cacheprovider", "-rA"]
    done = run([sys.executable, "-m", "pytest", *words, *nodes], accept=(0, 1), timeout=600, env={"PATH": os.environ["PATH"]})
    failed = set(re.findall(r"^FAILED \S*::(test_\w+)", done.text, re.MULTILINE))
    assert failed == set(broken.PROMISES), done.text
