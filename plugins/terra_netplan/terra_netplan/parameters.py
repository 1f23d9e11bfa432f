"""How a bond and a bridge work: https://docs.kernel.org/networking/bonding.html, IEEE 802.1D."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Literal

from attrs import Factory, frozen

from terra_core.config.structure import Problem, not_in, out_of_range, path_of_key
from terra_core.config.values import Address, shown

Mode = Literal["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]

_LACP = {"802.3ad"}
_WITH_PRIMARY = {"active-backup", "balance-tlb", "balance-alb"}
_WITH_HASH = {"balance-xor", "802.3ad", "balance-tlb"}
_WITH_ARP = {"balance-rr", "active-backup", "balance-xor", "broadcast"}
_ONLY_IN: Mapping[str, Set[str]] = {
    "lacp_rate": _LACP,
    "ad_select": _LACP,
    "min_links": _LACP,
    "transmit_hash_policy": _WITH_HASH,
    "primary": _WITH_PRIMARY,
    "primary_reselect_policy": _WITH_PRIMARY,
    "fail_over_mac_policy": {"active-backup"},
    "gratuitous_arp": {"active-backup"},
    "arp_interval": _WITH_ARP,
    "arp_ip_targets": _WITH_ARP,
}
_BOND_RANGES = {
    "mii_monitor_interval": range(1, 60_001),
    "up_delay": range(60_001),
    "down_delay": range(60_001),
    "min_links": range(1, 256),
    "arp_interval": range(1, 60_001),
    "gratuitous_arp": range(1, 256),
}
_BRIDGE_RANGES = {
    "priority": range(65_536),
    "forward_delay": range(2, 31),
    "hello_time": range(1, 11),
    "max_age": range(6, 41),
    "ageing_time": range(1_000_001),
}
_ANY_DELAY = {"forward_delay": range(1_000_001)}
_PORT_RANGES = {"path_cost": range(1, 65_536), "port_priority": range(64)}
_ARP_TARGETS = 16


@frozen(kw_only=True)
class BondParameters:
    """``parameters`` of a bond; the kernel decides what is left out.

    :param mode: how the interfaces share the work.
    :param mii_monitor_interval: how often it is looked whether a cable is in, in milliseconds.
    :param up_delay: how long a cable has to be in before it is used, in milliseconds.
    :param down_delay: how long a cable has to be out before it is not used, in milliseconds.
    :param lacp_rate: how often LACP asks the other side.
    :param ad_select: how LACP chooses among aggregates.
    :param min_links: how many cables have to be in.
    :param transmit_hash_policy: what decides which interface a packet leaves by.
    :param primary: the interface that is used whenever it can be.
    :param primary_reselect_policy: when it is gone back to.
    :param fail_over_mac_policy: whose hardware address the bond has.
    :param gratuitous_arp: how many announcements follow a change of the interface.
    :param arp_interval: how often ``arp_ip_targets`` are asked, in milliseconds.
    :param arp_ip_targets: IPv4 addresses that answer while the link works.
    """

    mode: Mode | None = None
    mii_monitor_interval: int | None = None
    up_delay: int | None = None
    down_delay: int | None = None
    lacp_rate: Literal["slow", "fast"] | None = None
    ad_select: Literal["stable", "bandwidth", "count"] | None = None
    min_links: int | None = None
    transmit_hash_policy: Literal["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"] | None = None
    primary: str | None = None
    primary_reselect_policy: Literal["always", "better", "failure"] | None = None
    fail_over_mac_policy: Literal["none", "active", "follow"] | None = None
    gratuitous_arp: int | None = None
    arp_interval: int | None = None
    arp_ip_targets: tuple[Address, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from out_of_range(self, _BOND_RANGES)
        mode = self.mode or "balance-rr"
        for key, modes in _ONLY_IN.items():
            if getattr(self, key) and mode not in modes:
                yield Problem(key, f"means nothing in mode {mode}, only in {', '.join(sorted(modes))}")
        yield from self._problems_of_watching()

    def _problems_of_watching(self) -> Iterator[Problem]:
        if bool(self.arp_interval) != bool(self.arp_ip_targets):
            yield Problem("arp_interval", "arp_interval and arp_ip_targets need each other")
        if len(self.arp_ip_targets) > _ARP_TARGETS:
            yield Problem("arp_ip_targets", f"at most {_ARP_TARGETS} addresses, got {len(self.arp_ip_targets)}")
        yield from (
            Problem(f"arp_ip_targets[{at}]", f"{shown(address)} is no IPv4 address")
            for at, address in enumerate(self.arp_ip_targets)
            if ":" in address
        )
        if self.mii_monitor_interval is not None and self.arp_interval is not None:
            yield Problem("arp_interval", "a link is watched by mii_monitor_interval or by arp_interval, not by both")
        yield from (
            Problem(key, "needs mii_monitor_interval")
            for key in ("up_delay", "down_delay")
            if getattr(self, key) and self.mii_monitor_interval is None
        )


@frozen(kw_only=True)
class BridgeParameters:
    """``parameters`` of a bridge; netplan and the kernel decide what is left out.

    :param stp: whether it speaks the spanning tree protocol, which keeps networks from going in circles.
    :param priority: the smallest of a network becomes the root of the tree.
    :param forward_delay: how long a port listens before it forwards, in seconds.
    :param hello_time: how often it speaks, in seconds.
    :param max_age: how long what it heard holds, in seconds.
    :param ageing_time: how long a hardware address is remembered, in seconds.
    :param path_cost: what the way over an interface costs, by name.
    :param port_priority: which interface is preferred at equal cost, by name.
    """

    stp: bool | None = None
    priority: int | None = None
    forward_delay: int | None = None
    hello_time: int | None = None
    max_age: int | None = None
    ageing_time: int | None = None
    path_cost: Mapping[str, int] = Factory(dict)
    port_priority: Mapping[str, int] = Factory(dict)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from out_of_range(self, self._ranges())
        for key, allowed in _PORT_RANGES.items():
            for name, value in getattr(self, key).items():
                if wrong := not_in(allowed, value):
                    yield Problem(f"{key}.{path_of_key(name)}", wrong)
        yield from self._problems_of_times()

    def _ranges(self) -> Mapping[str, range]:
        """Without STP, nothing waits: the kernel takes any delay, and networkd passes no 0 on of the other two."""
        if getattr(self, "stp", None) is not False:
            return _BRIDGE_RANGES
        left_out = {key for key in ("hello_time", "max_age") if getattr(self, key, None) == 0}
        return {key: allowed for key, allowed in (_BRIDGE_RANGES | _ANY_DELAY).items() if key not in left_out}

    def _problems_of_times(self) -> Iterator[Problem]:
        """IEEE 802.1D section 8.10.2: 2 * (forward_delay - 1) >= max_age >= 2 * (hello_time + 1)."""
        age = 20 if self.max_age is None else self.max_age
        delay = 15 if self.forward_delay is None else self.forward_delay
        hello = 2 if self.hello_time is None else self.hello_time
        if not self.stp and self.stp is not None:
            return
        if 2 * (delay - 1) < age and {self.max_age, self.forward_delay} != {None}:
            yield Problem("max_age", f"{age} s are more than a forward_delay of {delay} s allows: {2 * (delay - 1)} s")
        if age < 2 * (hello + 1) and {self.max_age, self.hello_time} != {None}:
            yield Problem("max_age", f"{age} s are less than a hello_time of {hello} s needs: {2 * (hello + 1)} s")
