"""What the agent's API answers, as models: they describe it, and tests hold the answers against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class ContainerShown:
    """A container and its status.

    :param id: its name.
    :param image: its image.
    :param status: running, connecting, starting, waiting, stopping, stopped, deleting, or unknown.
    :param addresses: its addresses, each with its prefix length; host where it shares the host's network.
    :param cpu: its share of a processor in percent; null when it does not run.
    :param memory: what it has of memory, in bytes; null when it does not run.
    :param pids: how many processes it has; null when it does not run.
    :param size: what it has written to its own file system, in bytes; null until that was measured.
    :param revisions: how many revisions of it are kept.
    :param restarts: how often it was started again.
    :param problem: what is wrong with it; empty when it is well.
    """

    id: str
    image: str
    status: str
    addresses: tuple[str, ...]
    cpu: float | None
    memory: int | None
    pids: int | None
    size: int | None
    revisions: int
    restarts: int
    problem: str


@frozen(kw_only=True)
class NetworkShown:
    """A connection of a container.

    :param interface: its name in the container.
    :param network: the network.
    :param type: how it is connected.
    :param mac: its hardware address.
    :param addresses: its addresses, each with its prefix length.
    """

    interface: str
    network: str
    type: str
    mac: str
    addresses: tuple[str, ...]


@frozen(kw_only=True)
class RevisionShown:
    """A revision of a container.

    :param revision: its number.
    :param image: its image.
    :param created: when it was made, in seconds since 1970.
    """

    revision: int
    image: str
    created: float


@frozen(kw_only=True)
class ContainerDetails(ContainerShown):
    """A container, with all that is known of it.

    :param uid: what it is called where its name may be that of a later one.
    :param image_id: the engine's id of its image.
    :param revision: the revision that runs.
    :param created: when it was made, in seconds since 1970.
    :param pid: its process on the host; 0 when it does not run.
    :param health: healthy, unhealthy or starting; empty when nothing looks after it.
    :param networks: its connections.
    :param services: the ports that it serves on, with what their checks found.
    :param history: its revisions.
    :param config: its vhost.toml.
    """

    uid: str
    image_id: str
    revision: int
    created: float
    pid: int
    health: str
    networks: tuple[NetworkShown, ...]
    services: tuple[Mapping[str, Any], ...]
    history: tuple[RevisionShown, ...]
    config: Mapping[str, Any]


@frozen(kw_only=True)
class MemoryShown:
    """Whether what programs have in memory can be stored and brought back here.

    :param problem: why not; empty when it can.
    """

    problem: str
