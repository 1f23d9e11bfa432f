"""``terra plugins``: the installed plugins and their roles."""

from __future__ import annotations

import click

from terra_core.cli.forms import json_option
from terra_core.cli.terminal import echo


@click.command("plugins")
@json_option()
@click.option(
    "--config", "source", metavar="FILE", help="A TOML file whose [plugins] table selects; the defaults when left out."
)
def command(json_wanted: bool, source: str | None) -> None:
    """List the installed plugins, their roles, and which are selected."""
    import json

    from terra_core.candidates import candidates
    from terra_core.cli.tables import print_table
    from terra_core.config.loader import selected_plugins
    from terra_core.plugins import Plugins

    rows = candidates(Plugins.discover(), selected_plugins(source) if source else {}, source=source or "")
    if json_wanted:
        echo(json.dumps([row.as_json() for row in rows], indent=1))
        return
    print_table(
        ("ROLE", "NAME", "DISTRIBUTION", "VERSION", "SELECTED"),
        [(row.role or "-", row.name, row.distribution, row.version, "yes" if row.selected else "") for row in rows],
    )
    for name, problem in {row.name: row.problem for row in rows if row.problem}.items():
        echo(f"{name} cannot be used: {problem}", err=True)
