"""``terra validate``: all that is wrong with files."""

from __future__ import annotations

from collections.abc import Sequence

import click

from terra_core.cli.forms import json_option
from terra_core.cli.terminal import echo

_KINDS = ("server", "node", "controller")


@click.command("validate")
@click.option("--kind", type=click.Choice(_KINDS), help="What the files are. Default: what their keys tell.")
@json_option("Print JSON: each file with its problems.", otherwise="text")
@click.option("--schema", type=click.Choice(_KINDS), help="Print the JSON Schema of a kind of file, for editors, and end.")
@click.argument("sources", metavar="FILE...", nargs=-1)
def command(kind: str | None, json_wanted: bool, schema: str | None, sources: Sequence[str]) -> int:
    """Check server.toml, node.toml and controller.toml, and show all their problems; exit code 2 when there are any.

    FILE is a file, a URL, or - for standard input. The tables of plugins are checked too. No engine, registry or disk is asked.
    """
    import json

    from terra_core.config.fetch import shown_source
    from terra_core.errors import InterruptedWork, TerraError
    from terra_core.plugins import Plugins
    from terra_core.validation import FileKind, json_schema, validate

    plugins = Plugins.discover()
    if schema is not None:
        echo(json.dumps(json_schema(FileKind(schema), plugins=plugins), indent=1))
        return 0
    if not sources:
        raise click.UsageError("Missing argument 'FILE...'.")
    rows: list[dict[str, object]] = []
    code = 0
    for source in sources:
        try:
            found = validate(source, FileKind(kind) if kind else None, plugins=plugins)
        except InterruptedWork:
            raise
        except TerraError as error:  # it cannot be read or fetched, and the other files can
            code = max(code, error.exit_code)
            echo(str(error), err=True)
            rows.append({"source": shown_source(source), "kind": kind, "problems": [{"path": "", "text": str(error)}]})
            continue
        problems = [{"path": problem.path, "text": problem.text} for problem in found.problems]
        rows.append({"source": found.source, "kind": found.kind, "problems": problems})
        if problems:
            code = max(code, found.error.exit_code)
            echo(str(found.error), err=True)
        elif not json_wanted:
            echo(f"{found.source}: is a valid {found.kind}.toml")
    if json_wanted:
        echo(json.dumps(rows, indent=1))
    return code
