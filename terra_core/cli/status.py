"""``terra status``: how one machine is, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from terra_core.cli.completion import hostnames
from terra_core.cli.terminal import echo
from terra_core.cli.upgrades import since_of, upgrade_line

if TYPE_CHECKING:
    from terra_core.client.answers import StatusShown


@click.command("status")
@click.argument("hostname", shell_complete=hostnames)
@click.option("-o", "form", type=click.Choice(("text", "json")), default="text", help="How to print it.")
@click.pass_context
def command(ctx: click.Context, hostname: str, form: str) -> None:
    """Show how a machine is: its state and why, what it reported, who is connected to its disks, and what happened last.

    Times are of UTC.
    """
    import json

    from terra_core.cli.connection import connect
    from terra_core.cli.logs import line_of
    from terra_core.client.answers import as_json
    from terra_core.system.text import joined

    found = connect(ctx).status(hostname)
    if form == "json":
        echo(json.dumps(as_json(found), indent=1))
        return
    facts = facts_of(found)
    width = max(map(len, facts))
    for name, text in facts.items():
        echo(f"{name.ljust(width)}   {joined(text)}")
    if found.happenings:
        echo("\nWhat happened last:")
    for one in found.happenings:
        echo(f"  {line_of(one)}")


_UNREPORTED = "none of this boot yet, and it is connected to its disks: an image without terra-report.service never reports"


def facts_of(found: StatusShown) -> dict[str, str]:
    """Return what a person wants to know of a machine, by its name; what is not known is left out."""
    state = f"{found.state}{f' since {found.since}' if found.since else ''}"
    report, operation = found.report, found.operation
    system = str(report.get("state") or "")
    failed = report.get("failed")
    if failed and isinstance(failed, list):
        system += f"; failed: {', '.join(map(str, failed))}"
    facts = {
        "machine": found.hostname,
        "state": state,
        "reason": found.problem,
        "trouble": found.trouble,
        "image": f"{found.image} {found.digest}".strip(),
        "upgrade": f"{upgrade_line(found.upgrade)}; since {since_of(found.upgrade)}" if found.upgrade else "",
        "mac": found.mac,
        "host": found.host,
        "addresses": ", ".join(found.addresses),
        "kernel": str(report.get("kernel") or ""),
        "system": system,
        "report": _UNREPORTED if found.state == "booting" and found.connected else "",
        "disks": ", ".join(f"{group.label}: {group.target.iqn}" for group in found.disk_groups),
        "connected": ", ".join(" from ".join(filter(None, (one.name or "somebody", one.address))) for one in found.connected),
        "operation": f"{operation.kind}: {operation.state}" if operation else "",
    }
    return {name: text for name, text in facts.items() if text} | ({} if found.connected else {"connected": "nobody"})
