"""Exporting targets, and taking them away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import Target
from terra_core.system.process import uninterrupted
from terra_core.system.undo import Undo
from terra_iscsi.control import BY_ADDRESS, REFUSED, Control
from terra_iscsi.look import Look
from terra_iscsi.luns import lun_path, luns_of, remove, verify
from terra_iscsi.service import find
from terra_iscsi.shown import Exported


def restore(target: Target, session: Session) -> bool:
    """Export ``target`` to its initiator alone; says whether anything was changed.

    A target that is exported as it should be is not touched, so its machine notices nothing.

    :raises ConflictError: when its number, name or a file belongs to another target.
    :raises TerraError: when a LUN file is not what it was, or tgtd does not answer.
    """
    (done,) = _restore_each([target], session)
    if isinstance(done, TerraError):
        raise done
    return done


def restore_many(targets: Sequence[Target], session: Session) -> list[str]:
    """Export many targets as :func:`restore` does one, with one look at what is there before and one after.

    :returns: for each target, why it cannot be exported; empty where it is.
    :raises TerraError: when tgtd does not answer.
    """
    return [str(done) if isinstance(done, TerraError) else "" for done in _restore_each(targets, session)]


@frozen
class _Done:
    """What was done to a target.

    :param made: it was made.
    :param bound: its initiator was let in, which has to be looked at again.
    :param expelled: others were shut out.
    """

    made: bool = False
    bound: bool = False
    expelled: bool = False


def _restore_each(targets: Sequence[Target], session: Session) -> list[bool | TerraError]:
    """For each target whether anything was changed, or what is wrong with it."""
    control = find(session)
    look: Look | None = None
    found: list[_Done | TerraError] = []
    for target in targets:
        try:
            for lun in target.luns:
                verify(lun, session.paths)
            if control is None:
                raise TerraError("no tgtd answers, so nothing can be exported", hint="the controller starts one when it starts")
            look = look or Look(control.targets())
            found.append(_restore(control, target, look))
        except InterruptedWork:
            raise
        except TerraError as error:
            found.append(error)
    unsure = [at for at, done in enumerate(found) if isinstance(done, _Done) and done.bound]
    if control is not None and unsure:
        after = Look(control.targets())
        for at in unsure:
            try:
                _require_alone(control, targets[at], after, made=found[at] == _Done(made=True, bound=True))
            except InterruptedWork:
                raise
            except TerraError as error:
                found[at] = error
    return [done if isinstance(done, TerraError) else done != _Done() for done in found]


def _restore(control: Control, target: Target, look: Look) -> _Done:
    exported = look.of(target)
    if exported is not None and dict(exported.luns) != _files(target):
        control.take_down(exported)
        look.drop(exported)
        exported = None
    if exported is None:
        _export(control, target)
        look.add(Exported(target.id, target.iqn, luns=_files(target), rules=(target.initiator,)))
        return _Done(made=True, bound=True)
    expelled = _expel(control, target, exported)
    return _Done(bound=_bind(control, target, exported.rules), expelled=expelled)


def release(target: Target, session: Session) -> bool:
    """Take ``target`` away, whoever is logged in, then its LUN files; says whether there was anything.

    :raises TerraError: when tgtd keeps it, or a file can't be removed.
    """
    control = find(session)
    exported = [one for one in control.targets() if one.iqn == target.iqn] if control else []
    if control:
        control.take_down(*exported)
    removed = [remove(lun, session.paths) for lun in target.luns]
    return bool(exported) or any(removed)


def release_host(hostname: Hostname, session: Session) -> bool:
    """Take away whatever is exported from the directory of a host, then its LUN files; says whether there was anything.

    :raises TerraError: when tgtd keeps a target, or a file can't be removed.
    """
    directory = lun_path(session.paths, hostname, 0).parent
    control = find(session)
    everything = control.targets() if control else ()
    exported = [one for one in everything if any(Path(path).parent == directory for path in one.luns.values())]
    if control:
        control.take_down(*exported)
    removed = [remove(lun, session.paths) for lun in luns_of(session.paths, hostname)]
    return bool(exported) or any(removed)


def _files(target: Target) -> dict[int, str]:
    return {lun.id: lun.path for lun in target.luns}


def _export(control: Control, target: Target) -> None:
    number = str(target.id)
    with Undo() as undo:
        control.ask("--mode", "target", "--op", "new", "--tid", number, "--targetname", target.iqn)
        undo.callback(_take_down_whatever_happens, control, Exported(target.id, target.iqn))
        for lun in target.luns:
            words = ("--tid", number, "--lun", str(lun.id), "--backing-store", lun.path)
            control.ask("--mode", "logicalunit", "--op", "new", *words)
        # Last, so that nobody logs in to a part of it.
        control.allow(target.id, target.initiator)
        undo.pop_all()


def _take_down_whatever_happens(control: Control, exported: Exported) -> None:
    with uninterrupted():
        control.take_down(exported)


def _bind(control: Control, target: Target, rules: Sequence[str]) -> bool:
    """Let the initiator in by its name; a name that was bound as if it were an address is shown alike, and lets nobody in.

    :param rules: who may log in so far.
    :returns: whether anything was changed.
    """
    if not control.allow(target.id, target.initiator) and tuple(rules) == (target.initiator,):
        return False
    control.disallow(target.id, target.initiator, (BY_ADDRESS,))
    return True


def _require_alone(control: Control, target: Target, look: Look, *, made: bool) -> None:
    """Make sure that the initiator may log in, and nobody else.

    :param made: whether the target is a new one, which is taken down then: no machine has it yet.
    :raises TerraError: when it is not so.
    """
    shown = look.of(target)
    if shown is not None and shown.rules == (target.initiator,):
        return
    if shown is not None and made:
        _take_down_whatever_happens(control, shown)
    raise TerraError(f"{target.iqn}: tgtd lets in {shown.rules if shown else 'nobody'} instead of {target.initiator} alone")


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
