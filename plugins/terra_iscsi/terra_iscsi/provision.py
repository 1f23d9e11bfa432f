"""Giving a machine the files of its targets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import Lun, Target, TargetRequest
from terra_core.system.progress import Event
from terra_core.system.undo import Undo
from terra_iscsi.luns import MB, allocate, free_bytes, lun_path, remove, require_absent
from terra_iscsi.names import initiator_name, target_name
from terra_iscsi.settings import NAME, Settings

PORT = 3260
"""The port of every portal (RFC 7143 section 4.2.7.1)."""
_STEP = "allocate"


@contextmanager
def provision(target: Target, session: Session) -> Iterator[Target]:
    """Allocate the LUN files of a planned target; they stay, unless the work that follows fails."""
    size = sum(lun.size for lun in target.luns)
    free = free_bytes(session.paths) // MB
    if free < size:
        session.report(Event(_STEP, f"warning: {size} MB are promised to {target.iqn}, and {free} MB are free"))
    session.report(Event(_STEP, f"allocating {size} MB for {target.iqn}"))
    with Undo() as undo:
        for lun in target.luns:
            allocate(lun, session.paths)
            undo.callback(remove, lun, session.paths)
        yield target
        undo.pop_all()


def plan(request: TargetRequest, session: Session) -> Target:
    """What a group's target will be; nothing is touched.

    :raises ConflictError: when a file is there already. Here, because once core has stored the plan, undoing it removes the
        files of these names, and they must not be somebody else's.
    """
    settings = session.settings(NAME, Settings)
    iqn = target_name(settings, request.hostname, request.group.label, boot=request.boot, generation=request.generation)
    initiator = initiator_name(settings, request.hostname, generation=request.generation)
    return Target(
        label=request.group.label,
        iqn=iqn,
        id=request.number,
        initiator=initiator,
        portal=request.portal,
        luns=tuple(_luns(request, session)),
        kernel_arguments=_kernel_arguments(request, iqn, initiator),
    )


def _luns(request: TargetRequest, session: Session) -> Iterator[Lun]:
    for at, disk in enumerate(request.group.disk):
        if disk.size is None:
            raise TerraError(f'group "{request.group.label}": disk {at} has no size', hint="size says it in MB")
        path = lun_path(session.paths, request.hostname, request.first_lun + at)
        # LUN 0 is the controller of every target of tgtd.
        lun = Lun(id=at + 1, path=str(path), size=disk.size)
        require_absent(lun)
        yield lun


def _kernel_arguments(request: TargetRequest, iqn: str, initiator: str) -> tuple[str, ...]:
    if not request.boot:
        return (f"terra.target={iqn}",)
    return (
        f"ISCSI_INITIATOR={initiator}",
        f"ISCSI_TARGET_NAME={iqn}",
        f"ISCSI_TARGET_IP={request.portal}",
        f"ISCSI_TARGET_PORT={PORT}",
    )
