"""Which programs the controller's plugins run that this machine has not, and the packages that have them."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from terra_core.doctor.finding import Off
from terra_core.errors import TerraError
from terra_core.plugins import Plugins
from terra_core.system.process import clean_environment

_CORE = {"losetup": "mount", "mount": "mount", "umount": "mount"}


def examine_programs(plugins: Plugins, names: Collection[str]) -> Iterator[Off]:
    """Yield the packages that are missing, all of them at once, and the plugins that cannot be loaded.

    :param names: the plugins that are chosen, and those that machines have something from.
    """
    path = clean_environment()["PATH"]
    wanted = dict(_CORE)
    for name in sorted(names):
        if name not in plugins.installed:
            hint = "install what brings it: its machines cannot be served or deleted without it"
            yield Off(part="plugins", problem=f"the plugin {name!r} is not installed", hint=hint)
            continue
        try:
            wanted.update(plugins.programs(name))
        except TerraError as error:
            yield Off(part="plugins", problem=error.message, hint=error.hint)
    lacking: dict[str, list[str]] = defaultdict(list)
    for program, package in sorted(wanted.items()):
        there = Path(program).exists() if program.startswith("/") else shutil.which(program, path=path) is not None
        if not there:
            lacking[package].append(program)
    if lacking:
        said = "; ".join(f"{package} ({', '.join(programs)})" for package, programs in sorted(lacking.items()))
        packages = " ".join(sorted(lacking))
        yield Off(
            part="packages", problem=f"this machine lacks {said}", hint=f"install all of it with: apt-get install {packages}"
        )
