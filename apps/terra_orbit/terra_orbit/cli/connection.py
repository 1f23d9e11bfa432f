"""Connecting to an agent, for every command that needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from terra_core.cli.values import option_value
from terra_core.client.connection import Client
from terra_core.config.values import parse_label
from terra_orbit.service import AGENT

if TYPE_CHECKING:
    from collections.abc import Mapping


def connect(ctx: click.Context) -> Client:
    """Return the client of the agent that ``--address`` and ``--port`` name."""
    return Client(str(ctx.obj["address"]), port=int(ctx.obj["port"]), service=AGENT)


def container(name: str) -> str:
    """Return the id of a container, as it stands in a path of the API.

    :raises ConfigError: when it is none.
    """
    return str(option_value("ID", name, parse_label))


def ask(ctx: click.Context, name: str, action: str, body: Mapping[str, Any] | None = None) -> Any:  # JSON
    """Ask an agent to do something with a container, and follow it to its end."""
    from terra_core.cli.connection import carry_out

    client, path = connect(ctx), f"/v1/containers/{container(name)}/{action}"
    return carry_out(client, lambda: client.post(path, body or {}))
