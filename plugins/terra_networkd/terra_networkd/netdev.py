"""``[[networkd.netdevs]]``: devices that the machine makes itself (systemd.netdev(5))."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from attrs import frozen

from terra_core.config.addresses import PORTS, is_wireguard_key, no_endpoint
from terra_core.config.structure import Problem, has
from terra_core.config.values import Address, Mac
from terra_networkd.bond import Bond
from terra_networkd.bridge import Bridge
from terra_networkd.checks import no_address_of_one, no_allowed_ip, no_key_file, no_name, numbers, seconds
from terra_networkd.files import File
from terra_networkd.sections import Section, items, key, needed

Kind = Literal["bond", "bridge", "dummy", "ipvlan", "macvlan", "veth", "vlan", "vrf", "vxlan", "wireguard"]
STACKED = ("vlan", "macvlan", "ipvlan", "vxlan")
"""Kinds that are made upon another device, whose .network file names them."""
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "bond": ("bond",),
    "bridge": ("bridge",),
    "ipvlan": ("ipvlan",),
    "macvlan": ("macvlan",),
    "veth": ("peer",),
    "vlan": ("vlan",),
    "vrf": ("vrf",),
    "vxlan": ("vxlan",),
    "wireguard": ("wireguard", "wireguard_peer"),
}
_REQUIRED = ("peer", "vlan", "vrf", "vxlan", "wireguard")
_MARKS = numbers(1, 2**32 - 1)


@frozen(kw_only=True)
class Device(Section):
    """``netdev``, the [NetDev] section.

    :param name: the name of the device.
    :param kind: what it is.
    """

    name: str = needed(no_name)
    kind: Kind = needed()
    mac_address: Mac | None = key()
    mtu_bytes: int | None = key(numbers(68, 65535))


@frozen(kw_only=True)
class Vlan(Section):
    """``vlan``: IEEE 802.1Q, of which 0 is no VLAN and 4095 is reserved."""

    id: int = needed(numbers(1, 4094))
    protocol: Literal["802.1q", "802.1ad"] | None = key()
    gvrp: bool | None = key()
    mvrp: bool | None = key()
    loose_binding: bool | None = key()
    reorder_header: bool | None = key()


@frozen(kw_only=True)
class Macvlan(Section):
    """``macvlan``."""

    mode: Literal["private", "vepa", "bridge", "passthru", "source"] | None = key()
    source_mac_address: tuple[Mac, ...] = items()

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong between the values."""
        yield from super().problems()
        if getattr(self, "source_mac_address", ()) and getattr(self, "mode", "source") != "source":
            yield Problem("source_mac_address", 'means nothing unless mode = "source"')


@frozen(kw_only=True)
class Ipvlan(Section):
    """``ipvlan``."""

    mode: Literal["L2", "L3", "L3S"] | None = key()
    flags: Literal["bridge", "private", "vepa"] | None = key()


@frozen(kw_only=True)
class Vrf(Section):
    """``vrf``: a table of routes of its own for the devices in it."""

    table: int = needed(numbers(1, 2**32 - 1))


@frozen(kw_only=True)
class Vxlan(Section):
    """``vxlan``: RFC 7348.

    :param independent: it is made by itself, and no .network file has to name it.
    """

    vni: int = needed(numbers(1, 2**24 - 1))
    remote: Address | None = key(no_address_of_one)
    group: Address | None = key()
    local: Address | None = key(no_address_of_one)
    tos: int | None = key(numbers(1, 255))
    ttl: int | None = key(numbers(0, 255))
    mac_learning: bool | None = key()
    fdb_ageing_sec: float | None = key(seconds(0, 2**31))
    maximum_fdb_entries: int | None = key(numbers(1, 2**32 - 1))
    destination_port: int | None = key(numbers(PORTS.start, PORTS.stop - 1))
    independent: bool | None = key()

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong between the values."""
        yield from super().problems()
        if getattr(self, "remote", None) and getattr(self, "group", None):
            yield Problem("group", "a VXLAN has a remote or a group, not both")


@frozen(kw_only=True)
class Peer(Section):
    """``peer``: the other end of a veth."""

    name: str = needed(no_name)
    mac_address: Mac | None = key()


@frozen(kw_only=True)
class WireGuard(Section):
    """``wireguard``.

    :param private_key: the key itself, which everybody who can pull the image can read.
    :param private_key_file: the path of a file of the machine that holds it.
    """

    private_key: str | None = key()
    private_key_file: str | None = key(no_key_file)
    listen_port: int | None = key(numbers(PORTS.start, PORTS.stop - 1))
    firewall_mark: int | None = key(_MARKS)

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        yield from _no_secret(self, "private_key")
        if has(self, "private_key", "private_key_file") and self.private_key is self.private_key_file is None:
            yield Problem("private_key_file", "is required and missing")


@frozen(kw_only=True)
class WireGuardPeer(Section):
    """``[[networkd.netdevs.wireguard_peer]]``: another end of a WireGuard tunnel.

    :param public_key: its public key, in base64.
    :param allowed_ips: the networks behind it.
    :param preshared_key: a secret that both know, which everybody who can pull the image can read.
    :param preshared_key_file: the path of a file of the machine that holds it.
    """

    public_key: str
    allowed_ips: tuple[str, ...] = items(no_allowed_ip)
    endpoint: str | None = key(no_endpoint)
    preshared_key: str | None = key()
    preshared_key_file: str | None = key(no_key_file)
    persistent_keepalive: int | None = key(numbers(1, 65535))

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if has(self, "public_key") and not is_wireguard_key(self.public_key):
            yield Problem("public_key", "expected the public key of a WireGuard peer, 44 characters of base64")
        yield from _no_secret(self, "preshared_key")


@frozen(kw_only=True)
class Netdev(File):
    """``[[networkd.netdevs]]``: a .netdev file.

    :param netdev: name and kind of the device.
    :param wireguard_peer: the other ends of a WireGuard tunnel.
    """

    netdev: Device
    bond: Bond | None = None
    bridge: Bridge | None = None
    ipvlan: Ipvlan | None = None
    macvlan: Macvlan | None = None
    peer: Peer | None = None
    vlan: Vlan | None = None
    vrf: Vrf | None = None
    vxlan: Vxlan | None = None
    wireguard: WireGuard | None = None
    wireguard_peer: tuple[WireGuardPeer, ...] = ()

    @property
    def has_secrets(self) -> bool:
        """Whether the file itself holds a key that others must not read."""
        own = self.wireguard is not None and self.wireguard.private_key is not None
        return own or any(peer.preshared_key is not None for peer in self.wireguard_peer)

    @property
    def needs_a_carrier(self) -> bool:
        """Whether it is only made when a .network file names it."""
        kind = self.netdev.kind
        return kind in STACKED and not (kind == "vxlan" and bool(getattr(self.vxlan, "independent", False)))

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if not has(self, "netdev") or not has(self.netdev, "kind"):
            return
        own = _OF_KIND.get(self.netdev.kind, ())
        for name in own:
            if name in _REQUIRED and getattr(self, name, ...) is None:
                yield Problem(name, f"is required and missing: a device of kind {self.netdev.kind} needs it")
        for name in sorted({section for some in _OF_KIND.values() for section in some} - set(own)):
            if getattr(self, name, None) not in (None, ()):
                kinds = [kind for kind, sections in _OF_KIND.items() if name in sections]
                yield Problem(name, f"means nothing in a device of kind {self.netdev.kind}, only in {', '.join(kinds)}")


def _no_secret(section: Section, name: str) -> Iterator[Problem]:
    """Find what is wrong with a secret and the file that may stand in its place; the secret is not shown."""
    secret, file = getattr(section, name, None), getattr(section, f"{name}_file", None)
    if secret is not None and not is_wireguard_key(secret):
        yield Problem(name, f"expected a key of WireGuard's, 44 characters of base64; {name}_file takes the path of a file")
    if secret is not None and file is not None:
        yield Problem(f"{name}_file", f"stands in the place of {name}: expected one of the two")
