"""The network boot service: terra_tftp's dnsmasq, and a lighttpd beside it. Both outlive the controller."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from terra_core.config.controller import Paths
from terra_core.config.values import Hostname, Mac
from terra_core.hookspecs import BootNetwork, NodeBoot, Sightings
from terra_core.system.progress import Report
from terra_ipxe import loaders
from terra_ipxe.former import FormerFiles
from terra_ipxe.http import HttpServer
from terra_ipxe.layout import BootPaths, ScriptLayout
from terra_ipxe.requests import requests
from terra_ipxe.scripts import START
from terra_ipxe.settings import Settings
from terra_tftp import service as tftp
from terra_tftp.files import make_directory
from terra_tftp.listening import find_listening
from terra_tftp.sightings import Owners
from terra_tftp.tree import BootTree


class Service:
    """The service of one controller.

    :param paths: the controller's paths.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = BootPaths(paths)
        self._tree = BootTree(self._paths.tree, ScriptLayout(self._paths))
        self._former = FormerFiles(self._paths)
        self._dnsmasq = tftp.Service(paths, self._tree)
        self._http = HttpServer(self._paths.tree, self._paths.directory)

    def publish(self, boot: NodeBoot, settings: Settings, report: Report) -> bool:
        """Let a machine boot; return whether anything was changed."""
        if self._former.are_left and self._tree.mac_of(boot.hostname) is None:
            self._former.take_kernel(report)
            boot = self._former.completed(boot)
        changed = self._tree.publish(boot, settings.kernel_arguments, report, settings.http_user)
        self._former.forget(boot.hostname)
        return self._dnsmasq.reserve(boot.hostname, boot.mac, settings) or changed

    def keep(self, boot: NodeBoot, place: Path) -> NodeBoot:
        """Give the files that a machine boots further names; return what it boots with them."""
        return self._tree.keep(boot, place)

    def withdraw(self, hostname: Hostname, mac: Mac, settings: Settings) -> bool:
        """Let a machine boot no longer; return whether there was anything."""
        changed = self._tree.withdraw(hostname, mac)
        self._former.forget(hostname)
        return self._dnsmasq.unreserve(hostname, settings) or changed

    def install(self, tree: Path, settings: Settings, report: Report) -> list[str]:
        """Install iPXE and the kernel of an unpacked pxe image; return the names of the files."""
        self._prepare()
        installed = loaders.install_kernel(tree, self._paths.tree, report)
        return sorted([*installed, *loaders.install_loaders(Path(settings.loaders), self._paths.loaders)])

    def start(self, network: BootNetwork, settings: Settings, nodes: Sequence[NodeBoot], report: Report) -> bool:
        """Start dnsmasq and lighttpd unless they run as configured; return whether one of them was started."""
        listening = find_listening(network.address, settings)
        self._prepare()
        loaders.refresh(Path(settings.loaders), self._paths.loaders)
        # dnsmasq sends machines to the HTTP server.
        started = self._http.start(listening.address, settings, report)
        offered = loaders.loaders_of(self._paths.loaders, f":{settings.port}/{START}")
        return self._dnsmasq.start(network, settings, offered, nodes, report) or started

    def follow(self, position: str, settings: Settings) -> Sightings:
        """Return what both saw machines do; see :meth:`terra_core.hookspecs.Boot.follow_boots`."""
        first, _, second = position.partition(" ")
        seen = self._dnsmasq.follow(first, self._paths.loaders, settings)
        lines, read = self._http.requests.read(second)
        owners = self._dnsmasq.owners(settings) if lines else Owners({})
        both = [*seen.seen, *requests(lines, owners, time.time())]
        return Sightings(position=f"{seen.position} {read}", seen=tuple(sorted(both, key=lambda one: one.time)))

    def stop(self) -> bool:
        """End both if they are this controller's; return whether one of them ran."""
        stopped = self._dnsmasq.stop()
        return self._http.stop() or stopped

    def _prepare(self) -> None:
        make_directory(self._paths.place)
        self._tree.prepare()
        loaders.prepare(self._paths.loaders)
