"""``[[networkd.links]]``: what udev does to an interface when it appears (systemd.link(5))."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import Mac
from terra_networkd.checks import no_name, numbers
from terra_networkd.files import File
from terra_networkd.matching import LinkMatch
from terra_networkd.sections import Section, items, key

NamePolicy = Literal["kernel", "database", "onboard", "slot", "path", "mac", "keep"]
AlternativePolicy = Literal["database", "onboard", "slot", "path", "mac"]
_SIZES = numbers(1, 2**32 - 1)
_QUEUES = numbers(1, 4096)


@frozen(kw_only=True)
class LinkOptions(Section):
    """``link`` of a .link file, its [Link] section."""

    mac_address_policy: Literal["persistent", "random", "none"] | None = key()
    mac_address: Mac | None = key()
    name_policy: tuple[NamePolicy, ...] = items()
    name: str | None = key(no_name)
    alternative_names_policy: tuple[AlternativePolicy, ...] = items()
    alternative_name: tuple[str, ...] = items(no_name)
    mtu_bytes: int | None = key(numbers(68, 65535))
    bits_per_second: int | None = key(numbers(1, 10**15))
    duplex: Literal["half", "full"] | None = key()
    auto_negotiation: bool | None = key()
    wake_on_lan: tuple[Literal["phy", "unicast", "multicast", "broadcast", "arp", "magic", "off"], ...] = items()
    transmit_queues: int | None = key(_QUEUES)
    receive_queues: int | None = key(_QUEUES)
    transmit_queue_length: int | None = key(numbers(0, 2**32 - 2))
    receive_checksum_offload: bool | None = key()
    transmit_checksum_offload: bool | None = key()
    generic_segmentation_offload: bool | None = key()
    generic_receive_offload: bool | None = key()
    large_receive_offload: bool | None = key()
    tcp_segmentation_offload: bool | None = key()
    tcp6_segmentation_offload: bool | None = key()
    rx_channels: int | None = key(_SIZES)
    tx_channels: int | None = key(_SIZES)
    combined_channels: int | None = key(_SIZES)
    rx_buffer_size: int | None = key(_SIZES)
    tx_buffer_size: int | None = key(_SIZES)
    rx_flow_control: bool | None = key()
    tx_flow_control: bool | None = key()

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if getattr(self, "mac_address", None) and getattr(self, "mac_address_policy", None) not in (None, "none"):
            yield Problem("mac_address_policy", 'mac_address is not given then: expected "none", or one of the two')
        if "off" in getattr(self, "wake_on_lan", ()) and len(self.wake_on_lan) > 1:
            yield Problem("wake_on_lan", '"off" stands alone')


@frozen(kw_only=True)
class Link(File):
    """``[[networkd.links]]``: a .link file.

    :param match: the interfaces that it is for.
    :param link: what becomes of them.
    """

    match: LinkMatch
    link: LinkOptions = LinkOptions()

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if not has(self, "match", "link"):
            return
        for name in ("name", "mac_address", "alternative_name"):
            if getattr(self.link, name, None) and not self.match.is_of_one:
                text = "can be of one interface only: match it by one mac_address, permanent_mac_address, path or original_name"
                yield Problem(f"link.{name}", text)
