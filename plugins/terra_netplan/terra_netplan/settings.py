"""The ``[netplan]`` table of server.toml: its devices; :mod:`terra_netplan.topology` has what must be right between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from attrs import frozen

from terra_core.config.addresses import problems_of_name
from terra_core.config.structure import Problem, has
from terra_core.config.values import Mac, shown
from terra_netplan.devices import Device
from terra_netplan.parameters import BondParameters, BridgeParameters
from terra_netplan.routes import TABLES, Route, Rule
from terra_netplan.topology import problems_between
from terra_netplan.tunnels import Tunnel

_PATTERN = re.compile(r"[A-Za-z0-9*?\[][A-Za-z0-9._*?\[\]-]{0,63}")
_WILDCARDS = set("*?[")
_VLAN = range(1, 4095)
"""IEEE 802.1Q: 0 is no VLAN, 4095 is reserved."""
KINDS = ("interfaces", "bonds", "tunnels", "vlans", "bridges", "vrfs")
"""The lists of devices."""


@frozen(kw_only=True)
class Match:
    """``match``: which of the machine's interfaces is meant, where its name is not what tells.

    :param macaddress: its hardware address.
    :param name: its name as the kernel or udev gives it; ``*``, ``?`` and ``[...]`` as in glob(7).
    :param driver: the name of its driver; wildcards as for ``name``.
    """

    macaddress: Mac | None = None
    name: str | None = None
    driver: str | None = None

    @property
    def is_of_one(self) -> bool:
        """Whether it can mean no more than one interface."""
        return self.macaddress is not None or (self.name is not None and not _WILDCARDS & set(self.name))

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        for key in ("name", "driver"):
            value = getattr(self, key, None)
            if value is not None and not _PATTERN.fullmatch(value):
                yield Problem(key, f'expected a name with or without wildcards, such as "enp3*", got {shown(value)}')
        if has(self, "macaddress", "name", "driver") and self.macaddress is self.name is self.driver is None:
            yield Problem("", "matches nothing: expected macaddress, name or driver")


@frozen(kw_only=True)
class Interface(Device):
    """``[[netplan.interfaces]]``: a network interface.

    :param match: which interface it is, when not the one called ``name``.
    :param set_name: the name that it gets.
    """

    match: Match | None = None
    set_name: str | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from super().problems()
        if has(self, "set_name") and self.set_name is not None:
            yield from problems_of_name("set_name", self.set_name)
            if has(self, "match") and (self.match is None or not self.match.is_of_one):
                yield Problem("set_name", "one name needs a match that means one interface: by macaddress, or by a whole name")


@frozen(kw_only=True)
class Vlan(Device):
    """``[[netplan.vlans]]``: a VLAN by IEEE 802.1Q.

    :param id: its number.
    :param link: the device that carries it.
    """

    id: int
    link: str

    @property
    def below(self) -> tuple[str, ...]:
        """The device that carries it."""
        return (self.link,)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from super().problems()
        if has(self, "id") and self.id not in _VLAN:
            yield Problem("id", f"expected from {_VLAN.start} to {_VLAN.stop - 1}, got {shown(self.id)}")


@frozen(kw_only=True)
class Bond(Device):
    """``[[netplan.bonds]]``: several interfaces as one.

    :param interfaces: their names.
    :param parameters: how it works.
    """

    interfaces: tuple[str, ...]
    parameters: BondParameters = BondParameters()

    @property
    def below(self) -> tuple[str, ...]:
        """Its interfaces."""
        return self.interfaces

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from super().problems()
        if not self.interfaces:
            yield Problem("interfaces", "a bond needs an interface")
        primary = self.parameters.primary
        if primary is not None and primary not in self.interfaces:
            yield Problem("parameters.primary", f"{shown(primary)} is no interface of this bond")


@frozen(kw_only=True)
class Bridge(Device):
    """``[[netplan.bridges]]``: a switch in the machine.

    :param interfaces: the names of the devices that are plugged in.
    :param parameters: how it works.
    """

    interfaces: tuple[str, ...] = ()
    parameters: BridgeParameters = BridgeParameters()

    @property
    def below(self) -> tuple[str, ...]:
        """The devices that are plugged in."""
        return self.interfaces

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from super().problems()
        for key in ("path_cost", "port_priority"):
            for name in getattr(self.parameters, key):
                if name not in self.interfaces:
                    yield Problem(f"parameters.{key}", f"{shown(name)} is no interface of this bridge")


@frozen(kw_only=True)
class Vrf:
    """``[[netplan.vrfs]]``: a table of routes of its own for the devices in it (virtual routing and forwarding).

    :param name: its name in the machine.
    :param table: the number of the table.
    :param interfaces: the names of the devices that are in it; they keep their addresses.
    :param routes: routes in the table.
    :param routing_policy: rules that lead to the table.
    """

    name: str
    table: int
    interfaces: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    routing_policy: tuple[Rule, ...] = ()

    @property
    def below(self) -> tuple[str, ...]:
        """The devices that are in it."""
        return self.interfaces

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        if has(self, "name"):
            yield from problems_of_name("name", self.name)
        if not has(self, "table"):
            return
        if self.table not in TABLES:
            yield Problem("table", f"expected from {TABLES.start} to {TABLES.stop - 1}, got {shown(self.table)}")
        for key in ("routes", "routing_policy"):
            for at, item in enumerate(getattr(self, key, ())):
                if getattr(item, "table", None) not in (None, self.table):
                    yield Problem(f"{key}[{at}].table", f"expected {self.table}, the table of the VRF, or nothing")


@frozen(kw_only=True)
class Netplan:
    """``[netplan]``; without any device, every wired interface asks for its addresses.

    :cvar example: what ``terra create --dump`` shows.
    :param interfaces: the machine's interfaces.
    :param vlans: VLANs on other devices.
    :param bonds: interfaces taken together.
    :param bridges: switches in the machine.
    :param tunnels: ways through other networks.
    :param vrfs: devices with a table of routes of their own.
    """

    example: ClassVar[Mapping[str, object]] = {
        "interfaces": [{
            "name": "eth0",
            "#dhcp4": True,
            "#addresses": ["10.0.10.20/24"],
            "#routes": [{"to": "10.0.0.0/8", "via": "10.0.10.2", "metric": 100, "on_link": False}],
            "#mtu": 1500,
            "#set_name": "lan0",
        }],
        "#vlans": [{"#name": "vlan20", "#id": 20, "#link": "eth0", "#addresses": ["10.0.20.20/24"]}],
        "#bonds": [{"#name": "bond0", "#interfaces": ["eth0", "eth1"]}],
        "#bridges": [{"#name": "br0", "#interfaces": ["eth2"]}],
    }  # fmt: skip

    interfaces: tuple[Interface, ...] = ()
    vlans: tuple[Vlan, ...] = ()
    bonds: tuple[Bond, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    vrfs: tuple[Vrf, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the devices."""
        return problems_between({kind: getattr(self, kind, ()) for kind in KINDS})
