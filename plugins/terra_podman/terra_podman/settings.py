"""The ``[podman]`` table, the same in server.toml, node.toml and controller.toml.

Everything else is where the containers tools have it: containers.conf(5), storage.conf(5), containers-registries.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from attrs import frozen

from terra_core.config.structure import Problem
from terra_core.config.values import shown

NAME = "podman"
"""Of the plugin, and of its table."""


class Isolation(StrEnum):
    """What a RUN step is kept apart by, as ``podman build --isolation`` has it."""

    OCI = "oci"
    CHROOT = "chroot"
    ROOTLESS = "rootless"


@frozen(kw_only=True)
class Podman:
    """``[podman]``.

    :param isolation: what keeps the steps of a build apart from the machine; Podman's own way when left out. ``chroot`` builds
        where no container can be started, such as in another container.
    :param auth_file: the only file that has credentials, as ``podman login --authfile`` writes it.
    """

    isolation: Isolation | None = None
    auth_file: str | None = None

    def problems(self) -> Iterator[Problem]:
        """Return what is wrong with the values."""
        if self.auth_file is not None and (not self.auth_file.startswith("/") or "\0" in self.auth_file):
            expected = 'expected an absolute path, such as "/etc/terra/auth.json"'
            yield Problem("auth_file", f"{expected}, got {shown(self.auth_file)}")
