"""The boot role by iPXE: one script for each machine, kernels and initial RAM disks by HTTP; iPXE itself by TFTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from terra_core.config.session import Session
from terra_core.config.values import Hostname, Mac
from terra_core.hookspecs import CONTRACT, BootNetwork, Finding, NodeBoot, Sightings, hookimpl

if TYPE_CHECKING:
    from terra_ipxe.service import Service
    from terra_ipxe.settings import Settings

NAME = "ipxe"
"""The plugin's name, and that of its table."""


class IpxePlugin:
    """The plugin. One hook works at a time: they share a tree, and a machine's kernel may be a link to another's."""

    contract = CONTRACT
    programs: ClassVar[Mapping[str, str]] = {"dnsmasq": "dnsmasq-base", "lighttpd": "lighttpd"}

    def __init__(self) -> None:
        self._lock = Lock()
        self._services: dict[Path, Service] = {}

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[ipxe]``."""
        from terra_ipxe.settings import Settings

        return Settings

    @hookimpl
    def publish_boot(self, boot: NodeBoot, session: Session) -> bool:
        from terra_ipxe.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            return self._service(session).publish(boot, settings, session.report)

    @hookimpl
    def keep_boot(self, boot: NodeBoot, place: Path, session: Session) -> NodeBoot:
        with self._lock:
            return self._service(session).keep(boot, place)

    @hookimpl
    def withdraw_boot(self, hostname: Hostname, mac: Mac, session: Session) -> bool:
        from terra_ipxe.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            return self._service(session).withdraw(hostname, mac, settings)

    @hookimpl
    def install_boot_image(self, tree: Path, session: Session) -> Sequence[str]:
        from terra_ipxe.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            return self._service(session).install(tree, settings, session.report)

    @hookimpl
    def examine_boot(self, nodes: Sequence[NodeBoot], session: Session) -> Sequence[Finding]:
        from terra_ipxe.examining import examine

        return examine(nodes, session)

    @hookimpl
    def start_boot(self, network: BootNetwork, nodes: Sequence[NodeBoot], session: Session) -> bool:
        from terra_ipxe.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            return self._service(session).start(network, settings, nodes, session.report)

    @hookimpl
    def follow_boots(self, position: str, session: Session) -> Sightings:
        from terra_ipxe.settings import Settings

        with self._lock:
            return self._service(session).follow(position, session.settings(NAME, Settings))

    @hookimpl
    def stop_boot(self, session: Session) -> bool:
        with self._lock:
            return self._service(session).stop()

    def _service(self, session: Session) -> Service:
        from terra_ipxe.service import Service

        root = session.paths.root
        if root not in self._services:
            self._services[root] = Service(session.paths)
        return self._services[root]


plugin = IpxePlugin()
