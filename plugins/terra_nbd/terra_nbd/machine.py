"""The machine's side: what connects it to its targets."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from terra_core.hookspecs import BootStep, RenderedFile, Target
from terra_nbd.planning import Access

PROGRAMS = ("qemu-nbd", "nbd-client")
"""What carries the connection, and what hands it to the kernel."""
KEYS = "etc/terra-nbd/keys.psk"
DISCONNECT = "usr/lib/systemd/system-shutdown/terra-nbd"


def connect(targets: Sequence[Target]) -> BootStep:
    """Return the step that connects a machine to its targets.

    :raises TerraError: when the record of one has no key.
    """
    scripts = resources.files(__package__)
    keys = "".join(f"{target.client}:{Access.of(target).key}\n" for target in targets)
    return BootStep(
        script=scripts.joinpath("connect").read_text(),
        modules=("nbd",),
        programs=PROGRAMS,
        files=(RenderedFile(path=KEYS, content=keys.encode(), mode=0o600),),
        system=(RenderedFile(path=DISCONNECT, content=scripts.joinpath("disconnect").read_bytes(), mode=0o755),),
    )
