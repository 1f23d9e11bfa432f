"""From ``[networkd]`` to the files of systemd-networkd, and the links that enable it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs
from attrs import evolve

from terra_core.config.problems import DocumentError
from terra_core.config.server import Server
from terra_core.config.structure import Problem
from terra_core.hookspecs import RenderedFile, RenderedLink
from terra_networkd.files import File
from terra_networkd.learnt import DhcpV4
from terra_networkd.link import Link, LinkOptions
from terra_networkd.matching import NetworkMatch
from terra_networkd.netdev import Netdev
from terra_networkd.network import LinkSection, Network, NetworkSection
from terra_networkd.sections import Section, lines_of_section
from terra_networkd.settings import Networkd

DIRECTORY = "etc/systemd/network"
SUFFIXES = {Link: "link", Netdev: "netdev", Network: "network"}
_HEAD = "# Made by Terra from the [networkd] table of server.toml.\n"
_ROOT = "root:root"
_UNITS = "/usr/lib/systemd/system"
_NETPLAN = "etc/systemd/system-generators/netplan"
_WANTED = {
    "multi-user.target": "systemd-networkd.service",
    "sockets.target": "systemd-networkd.socket",
    "network-online.target": "systemd-networkd-wait-online.service",
}
_ALIASES = {
    "dbus-org.freedesktop.network1.service": "systemd-networkd.service",
    "dbus-org.freedesktop.resolve1.service": "systemd-resolved.service",
}
_RESOLVED = {"sysinit.target": "systemd-resolved.service"}
_STUB = "../run/systemd/resolve/stub-resolv.conf"
_NAMES = LinkOptions(
    name_policy=("keep", "kernel", "database", "onboard", "slot", "path"),
    alternative_names_policy=("database", "onboard", "slot", "path"),
)
"""The content of systemd's own 99-default.link, which is not read for an interface that another file matches."""


def render(networkd: Networkd, server: Server, *, source: str) -> list[RenderedFile | RenderedLink]:
    """Render the files that configure the machine's network, and the links that enable the units which read them.

    :param source: the name of server.toml.
    :raises ConfigError: when the table contradicts the rest of server.toml.
    """
    names_are_cores = bool(server.resolvconf.nameservers or server.resolvconf.search)
    if networkd.resolved and names_are_cores:
        text = "makes /etc/resolv.conf a link to what systemd-resolved writes, and [resolvconf] says what stands there: use one"
        raise DocumentError(source, [Problem("networkd.resolved", text)])
    # Those of root alone first: whoever owns the first file owns the directory, where the image has none.
    files = sorted(_files(networkd), key=lambda file: file.owner != _ROOT)
    rendered: list[RenderedFile | RenderedLink] = [*files, *_enabled(_WANTED), _alias("systemd-networkd.service")]
    # netplan's files in the image must not describe the same interfaces (systemd.generator(7)).
    rendered.append(RenderedLink(path=_NETPLAN, target="/dev/null"))
    if networkd.resolved:
        rendered += [*_enabled(_RESOLVED), _alias("systemd-resolved.service")]
        rendered.append(RenderedLink(path="etc/resolv.conf", target=_STUB))
    elif not names_are_cores and (text := _resolv_conf(networkd.networks)):
        rendered.append(RenderedFile(path="etc/resolv.conf", content=text.encode()))
    return rendered


def entries(networkd: Networkd) -> Iterator[tuple[str, str, File]]:
    """Find every file: the path of its table in server.toml, its path in the machine, and what it says."""
    for kind in ("links", "netdevs", "networks"):
        for at, entry in enumerate(getattr(networkd, kind)):
            yield f"networkd.{kind}[{at}]", f"{DIRECTORY}/{entry.file}.{SUFFIXES[type(entry)]}", entry


def _files(networkd: Networkd) -> Iterator[RenderedFile]:
    for _, path, entry in entries(networkd):
        secret = isinstance(entry, Netdev) and entry.has_secrets
        mode, owner = (0o640, "root:systemd-network") if secret else (0o644, _ROOT)
        yield RenderedFile(path=path, content=text_of(entry).encode(), mode=mode, owner=owner)
    if not networkd.networks:
        yield RenderedFile(path=f"{DIRECTORY}/80-terra-wired.network", content=text_of(_EVERY_WIRED_ONE).encode())


def text_of(entry: File) -> str:
    """Return the text of a file."""
    if isinstance(entry, Network):
        entry = _steady(entry)
    elif isinstance(entry, Link):
        entry = _named(entry)
    blocks = []
    for field in attrs.fields(type(entry)):
        value = getattr(entry, field.name)
        sections = value if isinstance(value, tuple) else (value,)
        for section in sections:
            if isinstance(section, Section) and not section.is_empty:
                apart = isinstance(section, NetworkSection)
                blocks.append("\n".join(lines_of_section(field.name, section, apart=apart)))
    return _HEAD + "".join(f"\n{block}\n" for block in blocks)


def _steady(network: Network) -> Network:
    """Keep the address that a machine booted with, and ask for the same one: its root disk may lie behind the interface."""
    own = network.network
    if own.keep_configuration is None and not own.is_port and (own.dhcp or network.addresses):
        own = evolve(own, keep_configuration=True)
    dhcpv4 = network.dhcpv4
    if own.asks_for_ipv4 and dhcpv4.client_identifier is None:
        dhcpv4 = evolve(dhcpv4, client_identifier="mac")
    return evolve(network, network=own, dhcpv4=dhcpv4)


def _named(link: Link) -> Link:
    """Let udev name an interface as if the file did not exist, unless the file says how."""
    own = link.link
    if own.name is None and not own.name_policy:
        own = evolve(own, name_policy=_NAMES.name_policy)
    if not own.alternative_names_policy:
        own = evolve(own, alternative_names_policy=_NAMES.alternative_names_policy)
    if own.mac_address is None and own.mac_address_policy is None:
        own = evolve(own, mac_address_policy="persistent")
    return evolve(link, link=own)


def _enabled(wanted: dict[str, str]) -> Iterator[RenderedLink]:
    for target, unit in wanted.items():
        yield RenderedLink(path=f"etc/systemd/system/{target}.wants/{unit}", target=f"{_UNITS}/{unit}")


def _alias(unit: str) -> RenderedLink:
    name = next(alias for alias, own in _ALIASES.items() if own == unit)
    return RenderedLink(path=f"etc/systemd/system/{name}", target=f"{_UNITS}/{unit}")


def _resolv_conf(networks: Sequence[Network]) -> str:
    """Write resolv.conf(5), which says nothing of interfaces: what all networks say together."""
    servers = _distinct(server for network in networks for server in network.network.dns)
    domains = _distinct(domain for network in networks for domain in network.network.domains)
    return "".join(f"nameserver {server}\n" for server in servers) + (f"search {' '.join(domains)}\n" if domains else "")


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


_EVERY_WIRED_ONE = Network(
    file="80-terra-wired",
    match=NetworkMatch(name=("en*", "eth*")),
    link=LinkSection(required_for_online=False),
    network=NetworkSection(dhcp="ipv4"),
    dhcpv4=DhcpV4(),
)
"""A machine whose file says nothing of its network shall still be reached, and start with any of its ports unplugged."""
