"""``bridge`` of a .netdev file: IEEE 802.1D."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_networkd.checks import numbers, seconds
from terra_networkd.sections import Section, key


@frozen(kw_only=True)
class Bridge(Section):
    """``bridge``, the [Bridge] section of a device; the kernel decides what is left out."""

    hello_time_sec: float | None = key(seconds(1, 10))
    max_age_sec: float | None = key(seconds(6, 40))
    forward_delay_sec: float | None = key(seconds(0, 30))
    ageing_time_sec: float | None = key(seconds(0, 1_000_000))
    priority: int | None = key(numbers(0, 65535))
    group_forward_mask: int | None = key(numbers(0, 65535))
    default_pvid: int | None = key(numbers(1, 4094))
    multicast_querier: bool | None = key()
    multicast_snooping: bool | None = key()
    vlan_filtering: bool | None = key()
    vlan_protocol: Literal["802.1q", "802.1ad"] | None = key()
    stp: bool | None = key()
    multicast_igmp_version: Literal[2, 3] | None = key()

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them; the kernel refuses such times only with STP."""
        yield from super().problems()
        if not has(self, "stp", "max_age_sec", "forward_delay_sec", "hello_time_sec") or not self.stp:
            return
        age = 20 if self.max_age_sec is None else self.max_age_sec
        delay = 15 if self.forward_delay_sec is None else self.forward_delay_sec
        hello = 2 if self.hello_time_sec is None else self.hello_time_sec
        # IEEE 802.1D section 8.10.2
        if 2 * (delay - 1) < age:
            yield Problem("max_age_sec", f"{age:g} s are more than forward_delay_sec = {delay:g} allows: {2 * (delay - 1):g} s")
        if age < 2 * (hello + 1):
            yield Problem("max_age_sec", f"{age:g} s are less than hello_time_sec = {hello:g} needs: {2 * (hello + 1):g} s")
