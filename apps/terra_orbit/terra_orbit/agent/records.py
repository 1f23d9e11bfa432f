"""What the agent knows of a container: its record, its revisions, its connections."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import frozen

from terra_orbit.vhost import Vhost


class State(Enum):
    """The intended state of a container."""

    RUNNING = "running"
    STOPPED = "stopped"
    DELETING = "deleting"


@frozen(kw_only=True)
class Revision:
    """One configuration of a container, with the image it was made of.

    :param number: counts from 1.
    :param document: its vhost.toml, as parsed.
    :param vhost: the same, structured.
    :param image: the engine's id of its image.
    :param created: when, in seconds since the epoch.
    """

    number: int
    document: Mapping[str, Any]
    vhost: Vhost
    image: str
    created: float


@frozen(kw_only=True)
class Move:
    """The move of a container to another agent, from the request to that agent until it is known where the container is.

    :param url: the other agent.
    :param token: its token.
    :param ref: the image that the container travels as.
    :param state: what the container was meant to be here before.
    """

    url: str
    token: str
    ref: str
    state: State


@frozen(kw_only=True)
class Record:
    """A container that the agent knows.

    :param uid: its identity: a later container with the same id has another one.
    :param id: the name that its user gave it.
    :param state: its intended state.
    :param revisions: those that are kept, in order.
    :param revision: the number of the current one.
    :param restarts: how often it was brought back.
    :param problem: its present problem, if any.
    :param macs: the hardware addresses of its connections.
    :param created: when, in seconds since the epoch.
    :param move: set while it is not known whether it is here or there; nothing of it may run here then.
    """

    uid: str
    id: str
    state: State
    revisions: tuple[Revision, ...]
    revision: int
    restarts: int
    problem: str
    macs: tuple[str, ...]
    created: float
    move: Move | None = None

    @property
    def current(self) -> Revision:
        """The revision that counts."""
        return next(one for one in self.revisions if one.number == self.revision)

    @property
    def former(self) -> Revision | None:
        """The one before it."""
        earlier = [one for one in self.revisions if one.number < self.revision]
        return earlier[-1] if earlier else None


@frozen(kw_only=True)
class Attachment:
    """A connection that exists, or may exist.

    :param interface: its name in the container.
    :param revision: the revision whose container it belongs to.
    :param conf: what the plugin was given.
    :param pid: the container's first process.
    :param started: when that started, in clock ticks since boot; with ``pid``, it names the process for good.
    :param addresses: what it got, with prefix lengths; empty until the plugin was done.
    :param mac: its hardware address.
    :param keeper: the DHCP daemon that keeps its lease, if one does.
    """

    interface: str
    revision: int
    conf: Mapping[str, Any]
    pid: int
    started: str
    addresses: tuple[str, ...] = ()
    mac: str = ""
    keeper: str = ""
