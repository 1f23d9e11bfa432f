"""``terra provision``: a machine gets its disks."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo
from terra_core.cli.waiting import seconds_of, wait_for_boots, waiting_options

_EXAMPLE = {
    "hostname": "terra-01",
    "mac": "54:b2:03:07:f1:d1",
    "image": "docker.io/stellarproject/example:6",
    "groups": [
        {
            "label": "os",
            "type": "single",
            "stage": "stage1",
            "#filesystem": "btrfs",
            "disk": [{"device": "/dev/sda", "size": 128000, "#allocation": "thin"}],
            "subvolumes": [{"name": "home", "path": "/home"}],
        }
    ],
    "#trust": {"key": "/etc/terra/cosign.pub"},
    "#upgrade": {"keep": ["/etc/app/keys"], "check": ["/usr/local/bin/check"], "timeout": "10m", "versions": 2},
}


@click.command("provision")
@click.option("--dump", is_flag=True, help="Print a commented node.toml with every key and end.")
@waiting_options
@click.argument("source", metavar="node.toml", required=False)
@click.pass_context
def command(ctx: click.Context, dump: bool, wait: str | None, timeout: str, source: str | None) -> None:
    """Give the machine of node.toml (a file, a URL, or - for standard input) its disks, and let it boot."""
    if dump:
        _dump()
        return
    if source is None:
        raise click.UsageError("Missing argument 'node.toml'.")
    import json

    from terra_core.cli.connection import connect, following
    from terra_core.client.answers import as_json
    from terra_core.config.node import NetworkNode
    from terra_core.documents import load

    seconds = seconds_of(timeout)
    document = load(source, NetworkNode)
    client = connect(ctx)
    with following() as report:
        node = client.provision(document, report)
    echo(json.dumps(as_json(node), indent=1))
    echo(f"{node.hostname} is provisioned: switch it on, and let it boot from the network", err=True)
    if wait:
        wait_for_boots(client, [node.hostname], seconds, made=True)


def _dump() -> None:
    from terra_core.candidates import table_examples
    from terra_core.config.example import example
    from terra_core.config.node import Node
    from terra_core.hookspecs import ROLES
    from terra_core.plugins import Plugins
    from terra_core.selection import INSTALLED, PROVISIONED

    roles = {role: ROLES[role].default for role in dict.fromkeys((*PROVISIONED.roles, *INSTALLED.roles))}
    echo("# A machine. Every key is here; those with a \"#\" in front may be left out.\n")
    echo(example(Node, {**_EXAMPLE, "#plugins": roles}), nl=False)
    echo(table_examples(Plugins.discover(), roles), nl=False)
