"""The ``terra`` command. Each subcommand is one module here with a click command named ``command``."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, NoReturn

gc.disable()  # most of a start is this import, and nothing that it makes is garbage
import click  # noqa: E402  # see above

gc.enable()

from terra_core.cli.terminal import echo  # noqa: E402  # see above

_COMMANDS = {
    "create": "Build a machine's image from server.toml.",
    "controller": "Give machines their disks and boot them.",
    "apply": "Make machines what their files say.",
    "provision": "Give the machine of node.toml its disks.",
    "list": "List the machines of the controller.",
    "status": "Show how a machine is, and why.",
    "logs": "Show what happened to a machine.",
    "hosts": "List the hosts of the controller's database.",
    "host": "Drain a host for maintenance, and let it lead again.",
    "info": "Show what the controller is and does.",
    "delete": "Take machines' boot files, targets and disks away.",
    "token": "Give and revoke tokens of the controller's API.",
    "audit": "Show who changed what, when and from where.",
    "images": "List the images that machines are clones of.",
    "pxe": "Install the network boot loaders of a pxe image.",
    "diff": "List what was changed since the image was laid down.",
    "upgrade": "Lay the next version of a system down, and try it at the next start.",
    "versions": "List the versions of this machine's system.",
    "rollback": "Go back to the former version of a system.",
    "unpack": "Unpack an image into a directory.",
    "doctor": "Look whether everything is as the controller's database says.",
    "backup": "Write what a controller knows to a file.",
    "restore": "Put back what terra backup wrote.",
    "validate": "Check files of Terra's, and show all their problems.",
    "plugins": "List the installed plugins and their roles.",
    "plugin": "Begin a plugin of your own.",
}


def _width() -> int:
    """Return the width of help: that of the terminal, between 50 and 78 columns; click would import half of shutil to ask."""
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size().columns
    except (OSError, ValueError):
        columns = 80
    return max(min(columns, 80) - 2, 50)


class LazyGroup(click.Group):
    """A group whose commands are modules, imported when they are asked for.

    :param package: the package of the modules, each with a click command named ``command``.
    :param commands: the modules' names with their summaries, so that a list of commands does not import them all.
    """

    def __init__(self, *args: Any, package: str, commands: Mapping[str, str], **kwargs: Any) -> None:  # click's own
        super().__init__(*args, **kwargs)
        self._package = package
        self._summaries = commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in their order."""
        return [*self._summaries]  # list is a module here, once its command was asked for

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name."""
        if cmd_name not in self._summaries:
            return None
        command: click.Command = import_module(f"{self._package}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([*self._summaries.items()])


CONTEXT = {"help_option_names": ["-h", "--help"], "terminal_width": _width()}
"""The settings of every command of Terra's."""


@click.group(cls=LazyGroup, package=__name__, commands=_COMMANDS, context_settings=CONTEXT)
@click.option("--debug", is_flag=True, help="Show more, and a traceback when something fails.")
@click.option(
    "--controller",
    "address",
    envvar="TERRA_CONTROLLER",
    default=None,
    metavar="ADDRESS",
    help="Where the controller is, or answers when it is started: an address, or an https:// URL. Default: this machine's own",
)
@click.version_option(package_name="terra-core", prog_name="terra")
@click.pass_context
def terra(ctx: click.Context, debug: bool, address: str | None) -> None:
    """One TOML file, one running machine."""
    if address == "":  # as of a variable that is not set: another controller than was meant would be asked
        raise click.BadParameter("It is empty.", ctx, param_hint="'--controller'")
    ctx.obj = {"debug": debug, "address": address}


def main(arguments: list[str] | None = None) -> None:
    """Run the ``terra`` command: exit code 0 when done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    end(run(terra, arguments))


def end(code: int) -> NoReturn:
    """End the process without a last look for garbage, which takes a tenth of a command, and a quarter of a daemon's start.

    :param code: its exit code.
    """
    gc.freeze()
    sys.exit(code)


def run(command: click.Command, arguments: list[str] | None = None) -> int:
    """Run a click command as every command of Terra's ends: errors on standard error, no traceback without ``--debug``.

    :param arguments: the command line without the program's name; the process's own when left out.
    :returns: the exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    _replace_closed_streams()
    try:
        return _run(command, words, debug=debug)
    except OSError as error:  # the error could not be printed either
        if debug or not _is_of_output(error):
            raise
        _let_go_of_output()
        return 1


def _replace_closed_streams() -> None:
    """Lead a stream that was closed before the start (``>&-``) nowhere, so that no file gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # open as long as Terra runs


def _run(command: click.Command, words: list[str], *, debug: bool) -> int:
    try:
        code = command.main(words, standalone_mode=False)  # what a command exits with, or nothing
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        echo("interrupted", err=True)
        return 130
    except Exception as error:  # the boundary where every error becomes a message
        if debug:
            sys.excepthook = _show_traceback
            raise
        return _tell(error)
    return code if isinstance(code, int) else 0


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    import traceback  # here, because most runs end well

    echo("".join(traceback.format_exception(kind, error, trace)), nl=False, err=True)


def _tell(error: Exception) -> int:
    from terra_core.errors import TerraError  # here, because most runs end well

    if isinstance(error, OSError) and _is_of_output(error):
        _let_go_of_output()
        if isinstance(error, BrokenPipeError):
            return 1
        error = TerraError(f"the output cannot be written: {error.strerror}")
    return _say(error)


def _is_of_output(error: OSError) -> bool:
    """Return whether an error was raised by what writes to the terminal, and not by the work of a command."""
    trace, module = error.__traceback__, ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return module.startswith(("click.", "rich.", "terra_core.cli"))


def _let_go_of_output() -> None:
    """Lead what cannot be written nowhere, as the interpreter would try it again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _say(error: Exception) -> int:
    from terra_core.errors import MACHINES_OWN, TerraError, error_of_machine  # see above

    if isinstance(error, OSError) and error.errno in MACHINES_OWN:
        error = error_of_machine(error)
    if isinstance(error, TerraError):
        echo(f"Error: {error}", err=True)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return 1
    echo(f"Error: this is a defect of Terra's: {type(error).__name__}: {error}", err=True)
    echo("Run the command again with --debug and report what it prints.", err=True)
    return 1
