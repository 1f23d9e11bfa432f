"""``terra list``: the machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.answers import NodeShown

_NAMED = 5
"""The most machines with the same problem that are listed in a line each."""
_WIDE = ("STATE", "SINCE", "UPGRADE", "ADDRESSES", "DIGEST")


@click.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="The same as -o json.")
@click.option("-o", "form", type=click.Choice(("table", "wide", "json")), default="table", help="How to print them.")
@click.pass_context
def command(ctx: click.Context, json_wanted: bool, form: str) -> None:
    """List the machines of the controller; wide is with their states, upgrades, addresses and the digests of their images."""
    import json

    from terra_core.cli.connection import connect
    from terra_core.cli.tables import print_table
    from terra_core.client.answers import as_json

    nodes = connect(ctx).nodes()
    if json_wanted or form == "json":
        echo(json.dumps([as_json(node) for node in nodes], indent=1))
        return
    wide, own = form == "wide", any(node.host for node in nodes)
    print_table(
        ("HOSTNAME", "MAC", "IMAGE", "INITIATOR", "TARGET", *(("HOST",) if own else ()), *(_WIDE if wide else ())),
        [
            (
                node.hostname,
                node.mac,
                node.image,
                node.initiator_iqn,
                ",".join(group.target.iqn for group in node.disk_groups),
                *((node.host or "-",) if own else ()),
                *(_wide(node) if wide else ()),
            )
            for node in nodes
        ],
    )
    said: dict[str, list[str]] = {}
    for node in nodes:
        if said_of := _said_of(node):
            said.setdefault(said_of, []).append(node.hostname)
    for text, names in said.items():  # a problem of all machines is printed once
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        for name in names if len(names) <= _NAMED else [f"{', '.join(names[:_NAMED])}{more}"]:
            echo(f"{name} {text}", err=True)


def _wide(node: NodeShown) -> tuple[str, ...]:
    phase = node.upgrade.phase if node.upgrade is not None else "-"
    return (node.state, node.since or "-", phase, ",".join(node.addresses) or "-", node.digest or "-")


def _said_of(node: NodeShown) -> str:
    """Return what a person has to know of a machine; nothing when all is well."""
    if node.state in ("provisioning", "deleting"):
        return f"is {node.state}"
    if node.problem.startswith("cannot be taken away"):
        return node.problem
    if node.problem.startswith("its record"):
        return f"is set aside: {node.problem}; terra delete takes it away"
    return f"cannot boot: {node.problem}" if node.problem else ""
