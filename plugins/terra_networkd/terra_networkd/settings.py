"""The ``[networkd]`` table of server.toml."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem, too_many
from terra_networkd.between import problems_between
from terra_networkd.link import Link
from terra_networkd.netdev import Netdev
from terra_networkd.network import Network

_MOST_FILES = 512


@frozen(kw_only=True)
class Networkd:
    """``[networkd]``; without any network, every wired interface asks for its addresses.

    :param links: .link files.
    :param netdevs: .netdev files.
    :param networks: .network files.
    :param resolved: whether the image has systemd-resolved, which is enabled then; without it, /etc/resolv.conf gets the name
        servers and domains of all networks.
    """

    links: tuple[Link, ...] = ()
    netdevs: tuple[Netdev, ...] = ()
    networks: tuple[Network, ...] = ()
    resolved: bool = False

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong between the files."""
        for kind in ("links", "netdevs", "networks"):
            yield from too_many(kind, getattr(self, kind, ()), _MOST_FILES)
        links, netdevs, networks = (getattr(self, kind, ()) for kind in ("links", "netdevs", "networks"))
        yield from problems_between(links, netdevs, networks, getattr(self, "resolved", True))
