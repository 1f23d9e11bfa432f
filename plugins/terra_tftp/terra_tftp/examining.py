"""What ``terra doctor`` finds of the boot service: files and processes, read apart from the code that writes and starts them.

Other boot plugins look at their own trees by :func:`examine_tree` and at their dnsmasq by :func:`examine_dnsmasq`.
"""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.hookspecs import Finding, NodeBoot
from terra_core.system.evidence import processes, unfinished_files
from terra_tftp.settings import Settings

_PORT = 69
_SECONDS = 3.0
_LONGEST, _LONGEST_OF_ALL = 1 << 20, 1 << 26
_FEWEST_WORDS = 2
_OTHERS, _OWNER = 0o004, 0o400
_SECRET = ("steps.img", "report.img")
_LOADERS = ("pxelinux.0", "ldlinux.c32", "shimx64.efi", "grubx64.efi")
_FILES = re.compile(r"(?:nodes|kernel)/[^\s,]+")
MENDS = "the controller mends that within a minute where it runs; terra doctor --fix asks it to do it now"
_LOST = "nothing makes it again: put it back from a backup, or delete the machine and provision it again"
_STRANGE = "where nobody needs it, remove it by hand: the machine may be of a later database than this one"


@frozen(kw_only=True)
class Tree:
    """A directory that machines boot from.

    :param root: the directory.
    :param node: gives the name of a machine's directory below ``nodes``.
    :param hostname: gives the machine of such a directory.
    :param menus: gives the paths of the menus of an interface.
    :param every_menu: the patterns of all machines' menus.
    :param heading: what a menu of a machine begins with, with ``{}`` for its name.
    """

    root: Path
    node: Callable[[str], str]
    hostname: Callable[[str], str]
    menus: Callable[[str], Sequence[str]]
    every_menu: Sequence[str]
    heading: str


def examine(nodes: Sequence[NodeBoot], session: Session) -> list[Finding]:
    """Return what keeps machines from booting, see :meth:`terra_core.hookspecs.Boot.examine_boot`."""
    settings = session.settings("tftp", Settings)
    root = session.paths.tftp
    tree = Tree(
        root=root,
        node=str,
        hostname=str,
        menus=lambda mac: (f"pxelinux.cfg/01-{mac.replace(':', '-')}", f"grub/{mac}.cfg"),
        every_menu=("pxelinux.cfg/01-*", "grub/*:*.cfg"),
        heading="# {}\n",
    )
    found = [
        *examine_tree(tree, nodes, settings.kernel_arguments),
        *examine_dnsmasq(session.paths, root, "pxelinux.cfg/default", nodes),
    ]
    lacking = [name for name in _LOADERS if not (root / name).is_file()]
    if nodes and lacking:
        found.append(missing_loaders(lacking, "install them with: terra pxe IMAGE"))
    return found


def missing_loaders(names: Sequence[str], hint: str) -> Finding:
    """Return what to say of boot loaders that are not installed."""
    return Finding(problem=f"no machine can boot: the boot loaders {', '.join(names)} are not installed", hint=hint)


def examine_tree(tree: Tree, nodes: Sequence[NodeBoot], configured: Sequence[str]) -> Iterator[Finding]:
    """Yield what is wrong with the boot files of machines, and those of machines that there are not.

    :param configured: kernel arguments of every machine.
    """
    for node in nodes:
        yield from _of_node(tree, node, configured)
    known = {node.hostname for node in nodes}
    for place in sorted((tree.root / "nodes").iterdir()) if (tree.root / "nodes").is_dir() else ():
        owner = tree.hostname(place.name)
        if owner not in known:
            yield Finding(hostname=owner, problem=f"{place}: boot files of a machine that the database has not", hint=_STRANGE)
    menus = {str(tree.root / name) for node in nodes for name in tree.menus(node.mac)}
    for path in sorted(path for pattern in tree.every_menu for path in tree.root.glob(pattern)):
        if str(path) not in menus:
            yield Finding(
                hostname=_owner(tree, path), problem=f"{path}: the menu of a machine that there is not", hint=_STRANGE
            )
    for path in unfinished_files(tree.root):
        yield Finding(problem=f"{path}: was left half-written", hint=f"the controller removes it when it starts; or: rm {path}")


def examine_dnsmasq(paths: Paths, root: Path, known: str, nodes: Sequence[NodeBoot]) -> Iterator[Finding]:
    """Yield what is wrong with the dnsmasq of a controller.

    :param root: the directory that it serves.
    :param known: a file in it that is smaller than a block.
    """
    place = paths.run / "tftp"
    configuration = place / "dnsmasq.conf"
    running = [one for one in processes("dnsmasq") if f"--conf-file={configuration}" in one.arguments]
    if len(running) != 1:
        if nodes or running:
            yield Finding(problem=f"{len(running)} dnsmasq run with {configuration}, and not one", hint=MENDS)
        return
    lines = text_of(configuration).split("\n")
    if f"tftp-root={root}" not in lines:
        yield Finding(problem=f"{configuration}: dnsmasq does not serve {root}", hint=MENDS)
    address = next((line.partition("=")[2] for line in lines if line.startswith("listen-address=")), "")
    if _fetched(address, known) != text_of(root / known).encode():
        yield Finding(problem=f"dnsmasq does not send {known} by TFTP from {address}", hint=MENDS)
    reserved = place / "reservations"
    every = [line.split(",") for line in text_of(reserved, longest=_LONGEST_OF_ALL).split("\n")]
    reservations = {words[-2].removesuffix(".terra"): words[0] for words in every if len(words) > _FEWEST_WORDS}
    for node in nodes:
        if reservations.pop(node.hostname, "") != node.mac:
            yield Finding(hostname=node.hostname, problem=f"{reserved}: no reservation of its address", hint=MENDS)
    for name in sorted(reservations):
        yield Finding(hostname=name, problem=f"{reserved}: a reservation for a machine that there is not", hint=MENDS)


def _of_node(tree: Tree, node: NodeBoot, configured: Sequence[str]) -> Iterator[Finding]:
    place = tree.root / "nodes" / tree.node(node.hostname)
    if not place.is_dir():
        yield Finding(hostname=node.hostname, problem=f"{place}: its boot files are missing", hint=_LOST)
        return
    image = text_of(place / "image").strip()
    own = ["vmlinuz", "initrd.img"] if image == node.image else []
    needed = [place / name for name in (*own, *(["steps.img"] if (place / "steps").exists() else []))]
    if image not in (node.image, "none"):
        yield Finding(
            hostname=node.hostname, problem=f"{place}: its kernel is of {image or 'nothing'}, not {node.image}", hint=_LOST
        )
    for path in needed:
        if not _is_served(path):
            yield Finding(
                hostname=node.hostname, problem=f"{path}: is missing, empty or not readable for the service", hint=_LOST
            )
    for path in (place / name for name in _SECRET if _is_open(place / name)):
        yield Finding(
            hostname=node.hostname, problem=f"{path}: holds secrets, and others than the service may read it", hint=MENDS
        )
    if text_of(place / "mac").strip() != node.mac:
        yield Finding(hostname=node.hostname, problem=f"{place / 'mac'}: does not say {node.mac}", hint=MENDS)
    for name in tree.menus(node.mac):
        for problem in _of_menu(tree, tree.root / name, node, configured):
            yield Finding(hostname=node.hostname, problem=f"{tree.root / name}: {problem}", hint=MENDS)


def _of_menu(tree: Tree, path: Path, node: NodeBoot, configured: Sequence[str]) -> Iterator[str]:
    if not _is_served(path):
        yield "the menu is missing, empty or not readable for the service"
        return
    text = text_of(path)
    if not text.startswith(tree.heading.format(node.hostname)):
        yield f"is no menu of {node.hostname}"
    lacking = [word for word in (*node.kernel_arguments, *configured) if word not in text.split()]
    if lacking:
        yield f"the kernel line lacks {' '.join(lacking)}"
    lost = sorted(name for name in set(_FILES.findall(text)) if not _is_served(tree.root / name))
    if lost:
        yield f"names {', '.join(lost)}, which cannot be loaded"


def _owner(tree: Tree, path: Path) -> str:
    before, _, after = tree.heading.partition("{}")
    text = text_of(path)
    return text.removeprefix(before).partition(after)[0] if text.startswith(before) else ""


def _is_served(path: Path) -> bool:
    """Return whether a file has something in it that the service may read: everybody may, or a user whose it is."""
    try:
        status = path.lstat()
    except OSError:
        return False
    readable = status.st_mode & _OTHERS or (status.st_uid and status.st_mode & _OWNER)
    return stat.S_ISREG(status.st_mode) and bool(status.st_size and readable)


def _is_open(path: Path) -> bool:
    """Return whether others than its owner may read a file."""
    try:
        return bool(path.lstat().st_mode & 0o077)
    except OSError:
        return False


def text_of(path: Path, *, longest: int = _LONGEST) -> str:
    """Return what a small file holds; nothing when it cannot be read, or is no file.

    :param longest: how much of it is read, in bytes.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return ""
        with path.open("rb") as file:
            return file.read(longest).decode(errors="replace")
    except OSError:
        return ""


def _fetched(address: str, name: str) -> bytes | None:
    """Return a file that is less than a block from a TFTP server (RFC 1350)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(_SECONDS)
        try:
            client.sendto(b"\0\1" + name.encode() + b"\0octet\0", (address, _PORT))
            answer, server = client.recvfrom(1024)
            client.sendto(b"\0\4" + answer[2:4], server)
        except OSError:
            return None
    return answer[4:] if answer[:2] == b"\0\3" else None
