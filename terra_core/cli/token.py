"""``terra token``: who may use the controller's API, and for what."""

from __future__ import annotations

import json
from pathlib import Path

import click

from terra_core.cli.forms import NamedPath, json_option
from terra_core.cli.terminal import echo

_ROLES = ("read", "provision", "admin")


@click.group("token")
def command() -> None:
    """Give and revoke tokens of the controller's API.

    The role read may look, provision may also make and delete machines, and admin may do everything.
    """


@command.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="read", show_default=True, help="What the token may do.")
@click.option("--days", type=click.IntRange(1, 3650), help="For how many days it is valid; without end when left out.")
@click.option(
    "--output",
    type=NamedPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the token to a new file that only you may read, in place of standard output.",
)
@click.pass_context
def create(ctx: click.Context, name: str, role: str, days: int | None, output: Path | None) -> None:
    """Make a token of a NAME, such as that of a person or a program, and print it: nobody can be told it again."""
    from terra_core.cli.connection import connect
    from terra_core.errors import TerraError
    from terra_core.system.files import write_file

    if output is not None and output.exists():
        raise TerraError(f"{output}: is there already", hint="choose another file, or remove it")
    client = connect(ctx)
    made = client.create_token(name, role, days)
    if output is None:
        echo(made.token)
    else:
        try:
            write_file(output, f"{made.token}\n".encode(), mode=0o600, new=True)
        except OSError as error:
            client.revoke_token(name)
            hint = f"the token is revoked again, and its name used up: choose another than {name}"
            raise TerraError(f"{output}: cannot be written: {error.strerror}", hint=hint) from error
    until = f" until {made.expires}" if made.expires else ""
    where = f"in {output}" if output else "above, and shown this once"
    echo(f"{made.name} has the role {made.role}{until}; the token is {where}: set TERRA_TOKEN_FILE to a file of it", err=True)


@command.command("list")
@json_option()
@click.pass_context
def list_tokens(ctx: click.Context, json_wanted: bool) -> None:
    """List the tokens, without their secrets; the one of the controller's own host is in a file there, and not among them."""
    from terra_core.cli.connection import connect
    from terra_core.cli.tables import print_table
    from terra_core.client.answers import as_json

    tokens = connect(ctx).tokens()
    if json_wanted:
        echo(json.dumps([as_json(token) for token in tokens], indent=1))
        return
    print_table(
        ("NAME", "ROLE", "CREATED", "LAST USED", "EXPIRES", "REVOKED"),
        [
            (token.name, token.role, token.created, token.last_used or "never", token.expires or "never", token.revoked or "no")
            for token in tokens
        ],
    )


@command.command("revoke")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.pass_context
def revoke(ctx: click.Context, names: tuple[str, ...]) -> int:
    """Take the rights of tokens away, at once; their names are not given again.

    Of several, one that cannot be revoked is named, and the others are revoked all the same. Exit code 1 when there was any.
    """
    from terra_core.cli.connection import connect
    from terra_core.errors import ConflictError, NotFoundError

    client, failed = connect(ctx), False
    for name in dict.fromkeys(names):
        try:
            echo(f"{client.revoke_token(name).name} is revoked", err=True)
        except (NotFoundError, ConflictError) as error:  # all else is the same for every name
            echo(f"Error: {error}", err=True)
            failed = True
    return 1 if failed else 0
