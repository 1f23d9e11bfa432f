"""``terra list``: the machines."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with where each machine stands.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the machines of the controller."""
    import json

    from terra_core.cli.connection import connect
    from terra_core.cli.tables import print_table

    nodes = connect(ctx).get("/v1/nodes")
    if as_json:
        echo(json.dumps(nodes, indent=1))
        return
    print_table(
        ("HOSTNAME", "MAC", "IMAGE", "INITIATOR", "TARGET"),
        [
            (
                node["hostname"],
                node["mac"],
                node["image"],
                node["initiator_iqn"],
                ",".join(group["target"]["iqn"] for group in node["disk_groups"]),
            )
            for node in nodes
        ],
    )
    for node in nodes:
        if node["state"] == "ready" and node["problem"]:
            echo(f"{node['hostname']} cannot boot: {node['problem']}", err=True)
        elif node["state"] == "set-aside":
            echo(f"{node['hostname']} is set aside: {node['problem']}; terra delete takes it away", err=True)
        elif node["state"] != "ready":
            trouble = f", and {node['problem']}" if node["problem"] else ""
            echo(f"{node['hostname']} is {node['state']}{trouble}", err=True)
