"""Exporting targets, and taking them away."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from terra_core.config.session import Session
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Target
from terra_core.system.process import uninterrupted
from terra_iscsi.control import BY_ADDRESS, REFUSED, Control
from terra_iscsi.luns import remove, verify
from terra_iscsi.service import find
from terra_iscsi.shown import Exported


def restore(target: Target, session: Session) -> bool:
    """Export ``target`` to its initiator alone; says whether anything was changed.

    A target that is exported as it should be is not touched, so its machine notices nothing.

    :raises ConflictError: when its number, name or a file belongs to another target.
    :raises TerraError: when a LUN file is not what it was, or tgtd does not answer.
    """
    for lun in target.luns:
        verify(lun, session.places)
    control = find(session)
    if control is None:
        raise TerraError("no tgtd answers, so nothing can be exported", hint="the controller starts one when it starts")
    exported = _own(target, control.targets())
    if exported is not None and dict(exported.luns) != _files(target):
        control.take_down(exported)
        exported = None
    if exported is None:
        _export(control, target)
        return True
    expelled = _expel(control, target, exported)
    return _bind(control, target, exported.rules) or expelled


def release(target: Target, session: Session) -> bool:
    """Take ``target`` away, whoever is logged in, then its LUN files; says whether there was anything.

    :raises TerraError: when tgtd keeps it, or a file can't be removed.
    """
    control = find(session)
    exported = [one for one in control.targets() if one.iqn == target.iqn] if control else []
    if control:
        for one in exported:
            control.take_down(one)
    removed = [remove(lun, session.places) for lun in target.luns]
    return bool(exported) or any(removed)


def _own(target: Target, everything: Sequence[Exported]) -> Exported | None:
    """The target as it is exported now, if it is."""
    for one in everything:
        if (one.id == target.id) != (one.iqn == target.iqn):
            raise ConflictError(
                f"{target.iqn} cannot be exported as target {target.id}: tgtd has {one.iqn} as target {one.id}",
                hint=f"if nobody needs that one: tgtadm --lld iscsi --mode target --op delete --force --tid {one.id}",
            )
        if one.id != target.id and (shared := set(one.luns.values()) & set(_files(target).values())):
            raise ConflictError(f"{', '.join(sorted(shared))}: is exported by {one.iqn} as well, and two writers destroy it")
    return next((one for one in everything if one.id == target.id), None)


def _files(target: Target) -> dict[int, str]:
    return {lun.id: lun.path for lun in target.luns}


def _export(control: Control, target: Target) -> None:
    number = str(target.id)
    with ExitStack() as undo:
        control.ask("--mode", "target", "--op", "new", "--tid", number, "--targetname", target.iqn)
        undo.callback(_take_down_whatever_happens, control, Exported(target.id, target.iqn))
        for lun in target.luns:
            words = ("--tid", number, "--lun", str(lun.id), "--backing-store", lun.path)
            control.ask("--mode", "logicalunit", "--op", "new", *words)
        # Last, so that nobody logs in to a part of it.
        _bind(control, target)
        undo.pop_all()


def _take_down_whatever_happens(control: Control, exported: Exported) -> None:
    with uninterrupted():
        control.take_down(exported)


def _bind(control: Control, target: Target, rules: Sequence[str] = ()) -> bool:
    """Let the initiator in by its name; a name that was bound as if it were an address is shown alike, and lets nobody in.

    :param rules: who may log in so far.
    """
    if not control.allow(target.id, target.initiator) and tuple(rules) == (target.initiator,):
        return False
    control.disallow(target.id, target.initiator, (BY_ADDRESS,))
    shown = _own(target, control.targets())
    if shown is None or shown.rules != (target.initiator,):
        raise TerraError(f"{target.iqn}: tgtd lets in {shown.rules if shown else 'nobody'} instead of {target.initiator} alone")
    return True


def _expel(control: Control, target: Target, exported: Exported) -> bool:
    """Take everybody else's permission away, and close their sessions."""
    strangers = set(exported.rules) - {target.initiator}
    for rule in strangers:
        control.disallow(target.id, rule)
    sessions = [one for one in exported.sessions if one.initiator != target.initiator]
    for session in sessions:
        for connection in session.connections:
            words = ("--tid", str(target.id), "--sid", str(session.id), "--cid", str(connection))
            control.ask("--mode", "conn", "--op", "delete", *words, accept=(0, REFUSED))
    return bool(strangers or sessions)
