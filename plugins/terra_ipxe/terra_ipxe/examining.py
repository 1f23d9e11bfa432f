"""What ``terra doctor`` finds of network boot by iPXE, apart from the code that writes its files and starts its services."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from terra_core.config.session import Session
from terra_core.hookspecs import Finding, NodeBoot
from terra_core.system.evidence import processes
from terra_ipxe.settings import Settings
from terra_tftp.examining import MENDS, Tree, examine_dnsmasq, examine_tree, missing_loaders, text_of

_START = "boot.ipxe"
_LOADERS = ("undionly.kpxe", "snponly.efi")
_SECONDS = 3.0


def examine(nodes: Sequence[NodeBoot], session: Session) -> list[Finding]:
    """Return what keeps machines from booting, see :meth:`terra_core.hookspecs.Boot.examine_boot`."""
    settings = session.settings("ipxe", Settings)
    root = session.paths.tftp / "ipxe"
    try:
        key = (root / "key").read_bytes()
    except OSError:
        key = b""
    tree = Tree(
        root=root / "http",
        node=lambda hostname: f"{hostname}.{hmac.digest(key, hostname.encode(), hashlib.sha256).hex()[:32]}",
        hostname=lambda node: node.rpartition(".")[0],
        menus=lambda mac: (f"machines/01-{mac.replace(':', '-')}.ipxe",),
        every_menu=("machines/01-*.ipxe",),
        heading="#!ipxe\n# {}\n",
    )
    found = [
        *examine_tree(tree, nodes, settings.kernel_arguments),
        *examine_dnsmasq(session.paths, root / "tftp", "terra.txt", nodes),
        *_http(session.paths.run / "ipxe/lighttpd.conf", tree.root, nodes),
    ]
    found.extend(_former(session.paths.root / "srv/ipxe/http/nodes"))
    lacking = [name for name in _LOADERS if not (root / "tftp" / name).is_file()]
    if nodes and lacking:
        found.append(missing_loaders(lacking, "install the package ipxe"))
    return found


def _former(place: Path) -> Iterator[Finding]:
    names = sorted(path.name.rpartition(".")[0] for path in place.iterdir()) if place.is_dir() else []
    if names:
        named = ", ".join(names[:3]) + " and others" * (len(names) > 3)
        yield Finding(
            problem=f"{place}: an earlier version has left boot files there, of {named}",
            hint="a controller takes over those of its machines when it starts; remove what no machine needs",
        )


def _http(configuration: Path, root: Path, nodes: Sequence[NodeBoot]) -> Iterator[Finding]:
    running = [one for one in processes("lighttpd") if str(configuration) in one.arguments]
    if len(running) != 1:
        if nodes or running:
            yield Finding(problem=f"{len(running)} lighttpd run with {configuration}, and not one", hint=MENDS)
        return
    said = dict(
        line.split(" = ", 1) for line in text_of(configuration).split("\n") if line.startswith("server.") and " = " in line
    )
    address, port = said.get("server.bind", "").strip('"'), said.get("server.port", "")
    if _fetched(address, port) != text_of(root / _START).encode():
        yield Finding(problem=f"lighttpd does not send {_START} from {address}:{port}", hint=MENDS)


def _fetched(address: str, port: str) -> bytes | None:
    try:
        connection = HTTPConnection(address, int(port), timeout=_SECONDS)
    except ValueError:
        return None
    try:
        connection.request("GET", f"/{_START}", headers={"Connection": "close"})
        return connection.getresponse().read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
