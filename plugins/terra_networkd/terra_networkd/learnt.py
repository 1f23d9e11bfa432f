"""What an interface asks of DHCP and routers, and what it takes of their answers; systemd-networkd decides what is left out."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from terra_core.config.values import Hostname
from terra_networkd.checks import numbers
from terra_networkd.routes import TABLES
from terra_networkd.sections import Section, key

_METRICS = numbers(0, 2**32 - 1)


@frozen(kw_only=True)
class DhcpV4(Section):
    """``dhcpv4``, the [DHCPv4] section.

    :param client_identifier: how the machine names itself; when left out, Terra says ``mac``, as boot firmware does, so that a
        machine gets the address that it booted with.
    """

    client_identifier: Literal["mac", "duid"] | None = key()
    send_hostname: bool | None = key()
    hostname: Hostname | None = key()
    use_dns: bool | None = key()
    routes_to_dns: bool | None = key()
    use_ntp: bool | None = key()
    use_mtu: bool | None = key()
    use_hostname: bool | None = key()
    use_domains: Literal[True, False, "route"] | None = key()
    use_routes: bool | None = key()
    use_gateway: bool | None = key()
    use_timezone: bool | None = key()
    route_metric: int | None = key(_METRICS)
    route_table: int | None = key(TABLES)
    request_broadcast: bool | None = key()
    send_release: bool | None = key()
    max_attempts: int | None = key(numbers(1, 2**32 - 1))


@frozen(kw_only=True)
class DhcpV6(Section):
    """``dhcpv6``, the [DHCPv6] section."""

    use_address: bool | None = key()
    use_dns: bool | None = key()
    use_ntp: bool | None = key()
    use_hostname: bool | None = key()
    use_domains: Literal[True, False, "route"] | None = key()
    use_delegated_prefix: bool | None = key()
    rapid_commit: bool | None = key()
    without_ra: Literal["no", "solicit", "information-request"] | None = key()


@frozen(kw_only=True)
class RouterAdvertisements(Section):
    """``ipv6_accept_ra``, the [IPv6AcceptRA] section; the key of that name is in ``network``."""

    use_dns: bool | None = key()
    use_domains: Literal[True, False, "route"] | None = key()
    use_mtu: bool | None = key()
    use_gateway: bool | None = key()
    use_route_prefix: bool | None = key()
    use_autonomous_prefix: bool | None = key()
    use_on_link_prefix: bool | None = key()
    route_metric: int | None = key(_METRICS)
    route_table: int | None = key(TABLES)
    dhcpv6_client: Literal[True, False, "always"] | None = key()
