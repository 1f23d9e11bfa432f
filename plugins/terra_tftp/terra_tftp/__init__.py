"""The boot role by TFTP: boot loaders, menus, kernels, and the dnsmasq that serves them.

Other boot plugins build on its parts: :class:`terra_tftp.service.Service`, a dnsmasq that serves boot loaders by TFTP and
answers by DHCP, with :class:`terra_tftp.settings.Settings` and :class:`terra_tftp.configuration.Loaders`;
:class:`terra_tftp.tree.BootTree`, the kernels and menus of machines, with a :class:`terra_tftp.tree.Layout`;
:mod:`terra_tftp.files`, :mod:`terra_tftp.access` and :mod:`terra_tftp.listening`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from terra_core.config.session import Session
from terra_core.config.values import Hostname, Mac
from terra_core.hookspecs import CONTRACT, BootNetwork, Finding, NodeBoot, Sightings, hookimpl

if TYPE_CHECKING:
    from terra_tftp.service import Service
    from terra_tftp.settings import Settings
    from terra_tftp.tree import BootTree

NAME = "tftp"
"""The plugin's name, and that of its table."""


class TftpPlugin:
    """The plugin. One hook works at a time: they share a tree, and a machine's kernel may be a link to another's."""

    contract = CONTRACT
    programs: ClassVar[Mapping[str, str]] = {"dnsmasq": "dnsmasq-base"}

    def __init__(self) -> None:
        self._lock = Lock()
        self._services: dict[Path, Service] = {}

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[tftp]``."""
        from terra_tftp.settings import Settings

        return Settings

    @hookimpl
    def publish_boot(self, boot: NodeBoot, session: Session) -> bool:
        from terra_tftp.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            changed = self._tree(session).publish(boot, settings.kernel_arguments, session.report, settings.user)
            return self._service(session).reserve(boot.hostname, boot.mac, settings) or changed

    @hookimpl
    def keep_boot(self, boot: NodeBoot, place: Path, session: Session) -> NodeBoot:
        with self._lock:
            return self._tree(session).keep(boot, place)

    @hookimpl
    def withdraw_boot(self, hostname: Hostname, mac: Mac, session: Session) -> bool:
        from terra_tftp.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            changed = self._tree(session).withdraw(hostname, mac)
            return self._service(session).unreserve(hostname, settings) or changed

    @hookimpl
    def install_boot_image(self, tree: Path, session: Session) -> Sequence[str]:
        from terra_tftp.loaders import install

        with self._lock:
            self._tree(session).prepare()
            return install(tree, session.paths, session.report)

    @hookimpl
    def examine_boot(self, nodes: Sequence[NodeBoot], session: Session) -> Sequence[Finding]:
        from terra_tftp.examining import examine

        return examine(nodes, session)

    @hookimpl
    def start_boot(self, network: BootNetwork, nodes: Sequence[NodeBoot], session: Session) -> bool:
        from terra_tftp.layout import loaders_of
        from terra_tftp.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            return self._service(session).start(network, settings, loaders_of(session.paths.tftp), nodes, session.report)

    @hookimpl
    def follow_boots(self, position: str, session: Session) -> Sightings:
        from terra_tftp.settings import Settings

        settings = session.settings(NAME, Settings)
        with self._lock:
            return self._service(session).follow(position, session.paths.tftp, settings)

    @hookimpl
    def stop_boot(self, session: Session) -> bool:
        with self._lock:
            return self._service(session).stop()

    def _service(self, session: Session) -> Service:
        from terra_tftp.service import Service

        return self._services.setdefault(session.paths.root, Service(session.paths, self._tree(session)))

    def _tree(self, session: Session) -> BootTree:
        from terra_tftp.layout import MenuLayout
        from terra_tftp.tree import BootTree

        return BootTree(session.paths.tftp, MenuLayout())


plugin = TftpPlugin()
