"""Names for a shell's completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

_PATIENCE_SECONDS = 1.5
"""A person waits at the prompt."""


def hostnames(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the machines that a word may become; none where no controller answers at once."""
    import threading
    from contextlib import suppress

    from terra_core.client.controller import ControllerClient

    found: list[str] = []

    def ask() -> None:
        with suppress(Exception):  # whatever it is, the command itself will say it
            found.extend(node.hostname for node in ControllerClient(ctx.find_root().params.get("address")).nodes())

    thread = threading.Thread(target=ask, daemon=True)  # the shell does not wait for one that hangs
    thread.start()
    thread.join(_PATIENCE_SECONDS)
    return [name for name in found if name.startswith(incomplete)]
