"""``terra controller``: the daemon."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from terra_core.cli.terminal import echo


@click.command("controller")
@click.option("--gateway", metavar="IP", help="The gateway that machines are told of.")
@click.option("--iscsi", metavar="IP", help="The address of the iSCSI portal; the controller's own when left out.")
@click.option(
    "--config",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration; /etc/terra/controller.toml when left out.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    metavar="DIR",
    help="Put all that the controller owns under DIR.",
)
@click.option("--stop", is_flag=True, help="Stop the storage and boot services that outlive the controller, and end.")
@click.pass_obj
def command(
    options: dict[str, object], gateway: str | None, iscsi: str | None, source: Path | None, root: Path, stop: bool
) -> None:
    """Give machines their disks and boot them.

    The storage and boot services go on when the controller ends, so that no machine notices; --stop ends them.
    """
    from terra_core.cli.values import option_value
    from terra_core.config.controller import Paths
    from terra_core.config.values import parse_address, parse_host_address
    from terra_core.errors import TerraError
    from terra_core.plugins import Plugins

    try:
        from terra_core.controller import daemon
        from terra_core.service.running import configure_logging
    except ModuleNotFoundError as error:
        raise TerraError(
            f"the controller needs {error.name}, which is not installed",
            hint=f"install what it needs with: {sys.executable} -m pip install 'terra-core[service]'",
        ) from error
    paths, plugins = Paths(root.absolute()), Plugins.discover()
    document = daemon.load_config(source, paths, plugins)
    config = document.value.overridden(
        address=option_value("--controller", options["address"], parse_address),
        gateway=option_value("--gateway", gateway, parse_host_address),
        storage_address=option_value("--iscsi", iscsi, parse_host_address),
    )
    configure_logging(bool(options["debug"]))
    if stop:
        stopped = daemon.stop_services(document, config, paths, plugins)
        echo(f"stopped: {', '.join(stopped) or 'nothing ran'}", err=True)
    else:
        daemon.run_controller(document, config, paths, plugins)
