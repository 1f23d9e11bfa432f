"""Stopping the services that outlive a controller; imports no part of the controller itself, which is slow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import Document
from terra_core.errors import PluginError, TerraError, error_of_machine
from terra_core.hookspecs import Boot, Storage
from terra_core.plugins import Plugins
from terra_core.service.running import only_one


def stop_services(document: Document[Controller], config: Controller, paths: Paths, plugins: Plugins) -> tuple[str, ...]:
    """Stop the storage and boot services that outlived a controller; every machine loses its disk.

    :returns: which ones were stopped.
    :raises TerraError: while a controller runs on this root.
    """
    require_root()
    with explaining_the_machine(), only_one(paths, "controller"):
        session = document.session(paths=paths)
        selected = plugins.fill(Boot, config.plugins, source=document.source)
        stopped = ["boot"] if selected.stop_boot(session) else []
        storages = [plugins.fill(Storage, config.plugins, source=document.source), *other_storages(plugins, config)]
        if True in [storage.stop_storage(session) for storage in storages]:
            stopped.append("storage")
    return tuple(stopped)


def other_storages(plugins: Plugins, config: Controller) -> Iterator[Storage]:
    """Find the installed storage plugins that are not selected: machines may have their disks from one all the same."""
    selected = config.plugins.get(Storage.role, Storage.default)
    for name in plugins.names - {selected}:
        with suppress(PluginError):  # a plugin that cannot be loaded exports no disk
            yield plugins.named(Storage, name, source="")


def require_root() -> None:
    """Refuse to run as anybody but root, before anything is started."""
    if os.geteuid() != 0:
        raise TerraError(
            "the controller mounts disks, and answers DHCP and TFTP, which root alone may do",
            hint="run it as root, such as with sudo, also for a --root of your own",
        )


@contextmanager
def explaining_the_machine() -> Iterator[None]:
    """Report what this machine refuses, such as a write to a full disk, as an error of the machine and not as a defect."""
    try:
        yield
    except OSError as error:
        raise error_of_machine(error) from error
