"""How an interface is a port of a bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config.structure import Problem
from terra_networkd.checks import no_vlan_range, numbers
from terra_networkd.sections import Section, key


@frozen(kw_only=True)
class BridgePort(Section):
    """``bridge`` of a .network file, its [Bridge] section."""

    unicast_flood: bool | None = key()
    multicast_flood: bool | None = key()
    multicast_to_unicast: bool | None = key()
    neighbor_suppression: bool | None = key()
    learning: bool | None = key()
    hair_pin: bool | None = key()
    isolated: bool | None = key()
    use_bpdu: bool | None = key()
    fast_leave: bool | None = key()
    allow_port_to_be_root: bool | None = key()
    multicast_router: Literal["no", "query", "permanent", "temporary"] | None = key()
    cost: int | None = key(numbers(1, 65535))
    priority: int | None = key(numbers(0, 63))


@frozen(kw_only=True)
class BridgeVlan(Section):
    """``[[networkd.networks.bridge_vlan]]``, a [BridgeVLAN] section; a range of VLANs is written ``"10-20"``."""

    vlan: str | None = key(no_vlan_range)
    egress_untagged: str | None = key(no_vlan_range)
    pvid: int | None = key(numbers(1, 4094))

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if getattr(self, "vlan", "") is getattr(self, "egress_untagged", "") is getattr(self, "pvid", "") is None:
            yield Problem("", "expected vlan, egress_untagged or pvid")
