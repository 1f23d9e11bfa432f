"""Exporting targets, and taking them away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import Connected, Export, Served, Target
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event
from terra_core.system.undo import Undo
from terra_iscsi.control import BY_ADDRESS, RBD, REFUSED, Control
from terra_iscsi.look import Look
from terra_iscsi.names import host_prefix, initiator_name
from terra_iscsi.planning import secret_of
from terra_iscsi.service import find
from terra_iscsi.settings import NAME, Settings
from terra_iscsi.shown import Exported


def restore(export: Export, session: Session) -> bool:
    """Export a target to its initiator alone; return whether anything was changed.

    A target that is exported as it should be is not touched, so its machine notices nothing.

    :raises ConflictError: when its number, name or a file belongs to another target.
    :raises TerraError: when tgtd does not support a backing, or does not answer.
    """
    (done,) = _restore_each([export], session)
    if isinstance(done, TerraError):
        raise done
    return done


def restore_many(exports: Sequence[Export], session: Session) -> list[str]:
    """Export many targets as :func:`restore` does one, with one look at what is there before and one after.

    :returns: for each target, why it cannot be exported; empty where it is.
    :raises TerraError: when tgtd does not answer.
    """
    reasons = []
    for export, done in zip(exports, _restore_each(exports, session), strict=True):
        reasons.append(str(done) if isinstance(done, TerraError) else "")
        if done is True:
            session.report(Event("mend", f"{export.target.name} is exported to {export.target.client} again"))
    return reasons


def count_served(session: Session) -> dict[int, Served]:
    """Return what was read from and written to each target, by its number; nothing where no tgtd answers.

    :raises TerraError: when tgtd hangs.
    """
    control = find(session)
    counted = control.served() if control is not None else {}
    return {number: Served(read=read, written=written) for number, (read, written) in counted.items()}


def find_connected(session: Session) -> dict[int, tuple[Connected, ...]]:
    """Return who is logged in to each target, by its number; nothing where no tgtd answers.

    :raises TerraError: when tgtd hangs.
    """
    control = find(session)
    exported = control.targets() if control is not None else ()
    return {
        one.id: tuple(Connected(name=nexus.initiator, address=nexus.address) for nexus in one.sessions)
        for one in exported
        if one.sessions
    }


@frozen
class _Done:
    """What was done to a target.

    :param made: whether it was made.
    :param bound: whether its initiator was admitted, which has to be checked again.
    :param expelled: whether others were shut out.
    """

    made: bool = False
    bound: bool = False
    expelled: bool = False


def _restore_each(exports: Sequence[Export], session: Session) -> list[bool | TerraError]:
    """Export targets; return for each whether anything was changed, or what is wrong with it."""
    control = find(session)
    look = _looked(control) if exports else None
    found: list[_Done | TerraError] = []
    for export in exports:
        try:
            files = _files(export)
            if control is None or look is None:
                raise TerraError("no tgtd answers, so nothing can be exported", hint="the controller starts one when it starts")
            if isinstance(look, TerraError):
                raise look
            found.append(_restore(control, export, files, look))
        except InterruptedWork:
            raise
        except TerraError as error:
            found.append(error)
    unsure = [at for at, done in enumerate(found) if isinstance(done, _Done) and done.bound]
    if control is not None and unsure:
        after = Look(control.real_targets())
        for at in unsure:
            try:
                _require_alone(control, exports[at], after, made=found[at] == _Done(made=True, bound=True))
            except InterruptedWork:
                raise
            except TerraError as error:
                found[at] = error
    return [done if isinstance(done, TerraError) else done != _Done() for done in found]


def _looked(control: Control | None) -> Look | TerraError | None:
    """Return what is exported, or why that cannot be told; to ask again for each target would take quadratic time."""
    try:
        return None if control is None else Look(control.real_targets())
    except InterruptedWork:
        raise
    except TerraError as error:
        return error


def _restore(control: Control, export: Export, files: Mapping[int, str], look: Look) -> _Done:
    target = export.target
    exported = look.of(target, files.values())
    if exported is not None and dict(exported.luns) != files:
        control.take_down(exported)
        look.drop(exported)
        exported = None
    known = look.has_account(target.client)
    if exported is None:
        _export(control, export, known=known)
        look.add(Exported(target.id, target.name, luns=files, accounts=_accounts(target), rules=(target.client,)))
        return _Done(made=True, bound=True)
    secured = _secure(control, target, exported.accounts, known=known)
    expelled = _expel(control, target, exported)
    return _Done(bound=_bind(control, target, exported.rules) or secured, expelled=expelled)


def release(target: Target, session: Session) -> bool:
    """Take ``target`` away, whoever is logged in; return whether it was there.

    :raises TerraError: when tgtd keeps it.
    """
    control = find(session)
    found = _release(control, lambda one: one.iqn == target.name)
    if control is not None and secret_of(target):
        _drop_unused(control, [target.client])
    return found


def release_host(hostname: Hostname, session: Session) -> bool:
    """Take away whatever is exported for a host; return whether there was anything.

    :raises TerraError: when tgtd keeps a target.
    """
    settings = session.settings(NAME, Settings)
    prefix, own = host_prefix(settings, hostname), initiator_name(settings, hostname, generation=1)
    control = find(session)
    found = _release(control, lambda one: one.iqn.startswith(prefix))
    if control is not None:
        _drop_unused(control, sorted(name for name in control.accounts() if name == own or name.startswith(f"{own}:")))
    return found


def _release(control: Control | None, meant: Callable[[Exported], bool]) -> bool:
    exported = [one for one in control.targets() if meant(one)] if control else []
    if control:
        control.take_down(*exported)
    return bool(exported)


def _drop_unused(control: Control, accounts: Sequence[str]) -> None:
    """Remove accounts of machines that no target asks for: a machine has one for all of its targets."""
    look = Look(control.targets())
    for account in accounts:
        if not look.has_account(account):
            control.drop_account(account)


def _files(export: Export) -> dict[int, str]:
    """Return the file or image behind each LUN; LUN 0 is the controller of every target of tgtd."""
    strange = {backing.kind for backing in export.backings} - {"file", RBD}
    if strange:
        raise TerraError(
            f"{export.target.name}: tgtd is asked for volumes of the kind {', '.join(sorted(strange))}, not file or {RBD}",
            hint="choose a store of such volumes, such as store = \"file\" or \"ceph\", or another storage plugin",
        )
    return {at: backing.address for at, backing in enumerate(export.backings, 1)}


def _export(control: Control, export: Export, *, known: bool) -> None:
    target = export.target
    number = str(target.id)
    with Undo() as undo:
        control.ask("--mode", "target", "--op", "new", "--tid", number, "--targetname", target.name)
        undo.callback(_take_down_whatever_happens, control, Exported(target.id, target.name))
        for lun, backing in enumerate(export.backings, 1):
            control.add_unit(target.id, lun, backing)
        _secure(control, target, (), known=known)
        # Last, so that nobody logs in to an incomplete target, or without the secret.
        control.allow(target.id, target.client)
        undo.pop_all()


def _take_down_whatever_happens(control: Control, exported: Exported) -> None:
    with uninterrupted():
        control.take_down(exported)


def _accounts(target: Target) -> tuple[str, ...]:
    """Return the accounts that a target shall have: that of its machine, or none."""
    return (target.client,) if secret_of(target) else ()


def _secure(control: Control, target: Target, accounts: Sequence[str], *, known: bool) -> bool:
    """Have the target ask for the secret of its machine and no other one; return whether anything was changed.

    :param accounts: those that it has so far.
    :param known: whether a target has the machine's account already.
    """
    wanted = _accounts(target)
    if tuple(accounts) == wanted:
        return False
    for account in set(wanted) - set(accounts):
        control.require_secret(target.id, account, secret_of(target), known=known)
    for account in set(accounts) - set(wanted):
        control.release_account(target.id, account)
    return True


def _bind(control: Control, target: Target, rules: Sequence[str]) -> bool:
    """Let the initiator in by its name; a name that was bound as if it were an address is shown alike, and lets nobody in.

    :param rules: who may log in so far.
    :returns: whether anything was changed.
    """
    if not control.allow(target.id, target.client) and tuple(rules) == (target.client,):
        return False
    control.disallow(target.id, target.client, (BY_ADDRESS,))
    return True


def _require_alone(control: Control, export: Export, look: Look, *, made: bool) -> None:
    """Make sure that the initiator may log in, and nobody else.

    :param made: whether the target is a new one, which is taken down then: no machine has it yet.
    :raises TerraError: when it is not so.
    """
    target = export.target
    shown = look.of(target, _files(export).values())
    if shown is not None and shown.rules == (target.client,) and shown.accounts == _accounts(target):
        return
    if shown is not None and made:
        _take_down_whatever_happens(control, shown)
    if shown is not None and shown.rules == (target.client,):
        raise TerraError(f"{target.name}: tgtd asks for the secrets of {shown.accounts} instead of {_accounts(target)}")
    raise TerraError(f"{target.name}: tgtd lets in {shown.rules if shown else 'nobody'} instead of {target.client} alone")


def _expel(control: Control, target: Target, exported: Exported) -> bool:
    """Take everybody else's permission away, and close their sessions."""
    strangers = set(exported.rules) - {target.client}
    for rule in strangers:
        control.disallow(target.id, rule)
    sessions = [one for one in exported.sessions if one.initiator != target.client]
    for session in sessions:
        for connection in session.connections:
            words = ("--tid", str(target.id), "--sid", str(session.id), "--cid", str(connection))
            control.ask("--mode", "conn", "--op", "delete", *words, accept=(0, REFUSED))
    return bool(strangers or sessions)
