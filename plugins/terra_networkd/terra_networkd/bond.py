"""``bond``: https://docs.kernel.org/networking/bonding.html."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Literal

from attrs import frozen

from terra_core.config.structure import Problem
from terra_core.config.values import Address, Mac
from terra_networkd.checks import no_ipv4, numbers, seconds
from terra_networkd.sections import Section, items, key

Mode = Literal["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]
_LACP = {"802.3ad"}
_WITH_PRIMARY = {"active-backup", "balance-tlb", "balance-alb"}
_WITH_ARP = {"balance-rr", "active-backup", "balance-xor", "broadcast"}
_ONLY_IN: Mapping[str, Set[str]] = {
    "lacp_transmit_rate": _LACP,
    "ad_select": _LACP,
    "ad_actor_system_priority": _LACP,
    "ad_user_port_key": _LACP,
    "ad_actor_system": _LACP,
    "min_links": _LACP,
    "transmit_hash_policy": {"balance-xor", "802.3ad", "balance-tlb"},
    "primary_reselect_policy": _WITH_PRIMARY,
    "fail_over_mac_policy": {"active-backup"},
    "gratuitous_arp": {"active-backup"},
    "learn_packet_interval_sec": {"balance-tlb", "balance-alb"},
    "dynamic_transmit_load_balancing": {"balance-tlb"},
    "packets_per_slave": {"balance-rr"},
    "arp_interval_sec": _WITH_ARP,
    "arp_ip_targets": _WITH_ARP,
    "arp_validate": _WITH_ARP,
    "arp_all_targets": {"active-backup"},
}
_TARGETS = 16
_MINUTE = seconds(0, 60)


@frozen(kw_only=True)
class Bond(Section):
    """``bond``, the [Bond] section; the kernel decides what is left out."""

    mode: Mode | None = key()
    transmit_hash_policy: Literal["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"] | None = key()
    lacp_transmit_rate: Literal["slow", "fast"] | None = key()
    mii_monitor_sec: float | None = key(_MINUTE)
    up_delay_sec: float | None = key(_MINUTE)
    down_delay_sec: float | None = key(_MINUTE)
    learn_packet_interval_sec: float | None = key(seconds(1, 2**31 - 1))
    ad_select: Literal["stable", "bandwidth", "count"] | None = key()
    ad_actor_system_priority: int | None = key(numbers(1, 65535))
    ad_user_port_key: int | None = key(numbers(0, 1023))
    ad_actor_system: Mac | None = key()
    fail_over_mac_policy: Literal["none", "active", "follow"] | None = key()
    arp_validate: Literal["none", "active", "backup", "all"] | None = key()
    arp_interval_sec: float | None = key(_MINUTE)
    arp_ip_targets: tuple[Address, ...] = items(no_ipv4)
    arp_all_targets: Literal["any", "all"] | None = key()
    primary_reselect_policy: Literal["always", "better", "failure"] | None = key()
    resend_igmp: int | None = key(numbers(0, 255))
    packets_per_slave: int | None = key(numbers(0, 65535))
    gratuitous_arp: int | None = key(numbers(0, 255))
    all_slaves_active: bool | None = key()
    dynamic_transmit_load_balancing: bool | None = key()
    min_links: int | None = key(numbers(0, 255))

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        mode = getattr(self, "mode", None) or "balance-rr"
        for name, modes in _ONLY_IN.items():
            if getattr(self, name, None) not in (None, ()) and mode not in modes and hasattr(self, "mode"):
                yield Problem(name, f"means nothing in mode {mode}, only in {', '.join(sorted(modes))}")
        watched, asked = getattr(self, "mii_monitor_sec", None), getattr(self, "arp_interval_sec", None)
        targets = getattr(self, "arp_ip_targets", ())
        if bool(asked) != bool(targets):
            yield Problem("arp_interval_sec", "arp_interval_sec and arp_ip_targets need each other")
        if len(targets) > _TARGETS:
            yield Problem("arp_ip_targets", f"expected at most {_TARGETS}, got {len(targets)}")
        if watched and asked:
            yield Problem("arp_interval_sec", "a link is watched by mii_monitor_sec or by arp_interval_sec, not by both")
        for name in ("up_delay_sec", "down_delay_sec"):
            if getattr(self, name, None) and not watched:
                yield Problem(name, "needs mii_monitor_sec")
