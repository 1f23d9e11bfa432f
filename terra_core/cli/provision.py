"""``terra provision``: a machine gets its disks."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo

_EXAMPLE = """\
# A machine that boots over the network from disks that the controller holds.
hostname = "terra-01"

# The address of the interface it boots from, in any usual spelling.
mac = "54:b2:03:07:f1:d1"

# What `terra create --push` made.
image = "docker.io/stellarproject/example:6"

# Take the image only when it is signed with the private half of this key, as `cosign sign --key` does.
# [trust]
#   key = "/etc/terra/cosign.pub"

# A file system each. One is labelled "os": the system.
[[groups]]
  label = "os"
  # How data lies on the disks: single, raid0, raid1, raid1c3, raid1c4, raid5, raid6, raid10.
  type = "single"
  stage = "stage1"

  [[groups.disk]]
    device = "/dev/sda"
    # In MB of 1024 * 1024 bytes, or as "128GiB".
    size = 128000

  [[groups.subvolumes]]
    name = "home"
    path = "/home"
"""


@click.command("provision")
@click.option("--dump", is_flag=True, help="Print a complete, commented node.toml and end.")
@click.argument("source", metavar="node.toml", required=False)
@click.pass_context
def command(ctx: click.Context, dump: bool, source: str | None) -> None:
    """Give the machine of node.toml (a file, a URL, or - for standard input) its disks, and let it boot."""
    if dump:
        echo(_EXAMPLE, nl=False)
        return
    if source is None:
        raise click.UsageError("Missing argument 'node.toml'.")
    import json

    from terra_core.cli.connection import carry_out, connect
    from terra_core.config.loader import config_error, load
    from terra_core.config.node import Node, provision_problems
    from terra_core.config.trust import with_key
    from terra_core.plugins import Plugins

    document = load(source, Node, owners=Plugins.discover().names)
    problems = list(provision_problems(document.value))
    if problems:
        raise config_error(document.source, problems)
    client = connect(ctx)
    body = with_key(document.raw, document.value.trust)
    node = carry_out(client, lambda: client.post("/v1/nodes", body))
    echo(json.dumps(node, indent=1))
    echo(f"{node['hostname']} is provisioned: switch it on, and let it boot from the network", err=True)
