"""``terra controller``: the daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.config.controller import Paths


@click.group("controller", invoke_without_command=True)
@click.option("--gateway", metavar="IP", help="The gateway that machines are told of.")
@click.option("--iscsi", metavar="IP", help="The address of the iSCSI portal; the controller's own when left out.")
@click.option(
    "--config",
    "source",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="The configuration; /etc/terra/controller.toml when left out.",
)
@click.option(
    "--root",
    type=NamedPath(path_type=Path, file_okay=False),
    default=Path("/"),
    metavar="DIR",
    help="Put all that the controller owns under DIR.",
)
@click.option("--stop", is_flag=True, help="Stop the storage and boot services that outlive the controller, and end.")
@click.pass_context
def command(ctx: click.Context, gateway: str | None, iscsi: str | None, source: Path | None, root: Path, stop: bool) -> None:
    """Give machines their disks and boot them.

    The storage and boot services go on when the controller ends, so that no machine notices; --stop ends them.
    """
    options: dict[str, object] = ctx.obj
    if ctx.invoked_subcommand is not None:
        ctx.obj = {**options, "root": root, "source": source}
        return
    from terra_core.cli.values import option_value
    from terra_core.config.controller import Paths
    from terra_core.config.values import parse_address, parse_host_address
    from terra_core.plugins import Plugins
    from terra_core.system.imports import absent

    with _explaining_what_is_missing(), absent("rich"):  # for tracebacks in colours, which no log of a daemon has
        from terra_core.controller.configuration import load_config
        from terra_core.service.running import configure_logging
    paths, plugins = Paths(root.absolute()), Plugins.discover()
    document = load_config(source, paths, plugins)
    config = document.value.overridden(
        address=option_value("--controller", options["address"], parse_address),
        gateway=option_value("--gateway", gateway, parse_host_address),
        storage_address=option_value("--iscsi", iscsi, parse_host_address),
    )
    configure_logging(bool(options["debug"]))
    if stop:
        from terra_core.controller.stopping import stop_services

        stopped = stop_services(document, config, paths, plugins)
        echo(f"stopped: {', '.join(stopped) or 'nothing ran'}", err=True)
        return
    from terra_core.system.garbage import uncollected

    with _explaining_what_is_missing(), uncollected():
        from terra_core.controller.daemon import run_controller
    run_controller(document, config, paths, plugins, _end_at_once)


@command.command("init")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A host name or an address by which clients reach the controller, beside those that Terra knows; may be repeated.",
)
@click.option(
    "--root", "own_root", type=NamedPath(path_type=Path, file_okay=False), metavar="DIR", help="As for the controller itself."
)
@click.pass_obj
def init(options: dict[str, object], names: tuple[str, ...], own_root: Path | None) -> None:
    """Make a certificate authority, a certificate and the first token, so that the API is served by TLS.

    A second run changes nothing, except that it replaces a certificate that ends soon, and adds names to it.
    """
    from terra_core.cli.values import option_value
    from terra_core.config.controller import Paths
    from terra_core.config.values import parse_address
    from terra_core.plugins import Plugins

    with _explaining_what_is_missing():
        from terra_core.controller.certificates import parse_name
        from terra_core.controller.configuration import load_config
        from terra_core.controller.initialising import initialise
    paths = Paths((own_root or Path(str(options["root"]))).absolute())
    source = options["source"]
    document = load_config(source if isinstance(source, Path) else None, paths, Plugins.discover())
    config = document.value.overridden(address=option_value("--controller", options["address"], parse_address))
    wanted = [parsed for name in names if (parsed := option_value("--name", name, parse_name)) is not None]
    made = initialise(config, paths, wanted)
    for line in made.lines:
        echo(line)
    _say_how_to_go_on(paths, made.url, tls_from_files=config.tls is not None)


@command.command("keepalived")
@click.pass_obj
def keepalived(options: dict[str, object]) -> None:
    """Print keepalived.conf for this host, by which the storage address follows the lead; see [failover] in controller.toml."""
    from terra_core.cli.values import option_value
    from terra_core.config.controller import Paths
    from terra_core.config.values import parse_address
    from terra_core.errors import TerraError
    from terra_core.plugins import Plugins

    with _explaining_what_is_missing():
        from terra_core.controller.configuration import load_config
        from terra_core.controller.keepalived import render
        from terra_core.controller.portal import require_named
    paths, source = Paths(Path(str(options["root"])).absolute()), options["source"]
    document = load_config(source if isinstance(source, Path) else None, paths, Plugins.discover())
    config = document.value.overridden(address=option_value("--controller", options["address"], parse_address))
    if config.failover is None:
        hint = "docs/several-hosts.md says what it needs"
        raise TerraError(f"{document.source}: has no [failover], so the storage address stays where it is", hint=hint)
    require_named(config.failover, config.own_name)
    echo(render(config.failover, config.own_name, config.portal, paths).rstrip("\n"))


def _say_how_to_go_on(paths: Paths, url: str, *, tls_from_files: bool) -> None:
    if tls_from_files:
        echo("\ncontroller.toml names a certificate in [tls]: the API is served with that one.")
        return
    elsewhere = "" if paths.root == Path("/") else f" --root {paths.root}"
    echo(
        f"""
Start the controller again if it runs: from then on, its API is served by TLS only. On this machine, root needs nothing more.
For another machine, make a token for it, and copy that and the authority's certificate there:

    terra token create NAME --role provision --output NAME.token
    scp {paths.authority} NAME.token MACHINE:

and on that machine:

    export TERRA_CONTROLLER={url}
    export TERRA_CA=$HOME/{paths.authority.name}
    export TERRA_TOKEN_FILE=$HOME/NAME.token

A further name or address of the controller: terra controller{elsewhere} init --name NAME"""
    )


def _end_at_once() -> None:
    """End this process as if it had been killed: nothing that it had begun goes on, and nothing of it is undone."""
    os._exit(1)


@contextmanager
def _explaining_what_is_missing() -> Iterator[None]:
    from terra_core.errors import TerraError

    try:
        yield
    except ModuleNotFoundError as error:
        raise TerraError(
            f"the controller needs {error.name}, which is not installed",
            hint=f"install what it needs with: {sys.executable} -m pip install 'terra-core[service]'",
        ) from error
