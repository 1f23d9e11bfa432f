"""Keeping a host from writing: the cluster takes nothing more from its address (``ceph osd blocklist``).

Whoever opens a volume after :func:`fence` has returned is safe from the host. The OSDs learn of it from the monitors, and at
the latest from the first request of somebody who knows it already, before they do what that one asks for. What the host
had written before is kept; what it writes from then on fails, and each program that had a volume open has to be started again.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping

from terra_ceph.cluster import Cluster
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.errors import TerraError

_FOREVER = 10 * 365 * 24 * 3600
"""Ceph's own hour would let a host in again that was only paused."""


def fence(address: Address, session: Session, *, seconds: int = _FOREVER) -> None:
    """Have the cluster refuse all that comes from a host, until :func:`unfence`.

    The profile ``rbd`` allows a user of the store to do so.

    :param address: that by which the host reaches the cluster.
    :param seconds: after which it is let in again; ten years when left out.
    :raises TerraError: when the cluster does not do so.
    """
    entry = _entry(address)
    done = Cluster.of(session).ceph("osd", "blocklist", "add", entry, str(seconds))
    if entry not in done.text + done.stderr.decode(errors="replace"):  # to ask again would cost machines a second
        raise TerraError(f"the cluster does not say that it refuses {address}", hint="ceph osd blocklist ls")


def unfence(address: Address, session: Session) -> bool:
    """Let a host in again; return whether it was refused.

    The profile ``rbd`` does not allow that: the user also needs ``mon 'allow command "osd blocklist"'``.

    :raises TerraError: when the cluster does not do so.
    """
    if address not in fenced(session):
        return False
    Cluster.of(session).ceph("osd", "blocklist", "rm", _entry(address))
    return True


def fenced(session: Session) -> Mapping[Address, str]:
    """Return the hosts that the cluster refuses, and until when, in its own words.

    :raises TerraError: when the cluster does not answer.
    """
    return parse_fenced(Cluster.of(session).ceph("osd", "blocklist", "ls", "--format", "json").text)


def parse_fenced(text: str) -> dict[Address, str]:
    """Return the whole hosts in the output of ``ceph osd blocklist ls``; single programs have a port or a number."""
    listed, _ = json.JSONDecoder().raw_decode(text.lstrip())  # "listed 1 entries" follows
    rows = [(str(row["addr"]), str(row["until"])) for row in listed]
    return {Address(addr.removesuffix(":0/0").strip("[]")): until for addr, until in rows if addr.endswith(":0/0")}


def _entry(address: Address) -> str:
    return f"[{address}]:0/0" if ipaddress.ip_address(address).version == 6 else f"{address}:0/0"
