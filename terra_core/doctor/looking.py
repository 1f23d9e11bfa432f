"""Looking at everything that a controller has, and comparing it with the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, frozen

from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import Document
from terra_core.doctor.finding import Off, found_in
from terra_core.doctor.hosts import examine_hosts, of_attempts
from terra_core.doctor.places import Running, examine_mark, examine_places
from terra_core.doctor.programs import examine_programs
from terra_core.doctor.records import UNFINISHED, Known, file_of, has_password, read
from terra_core.documents import load, make
from terra_core.errors import TerraError
from terra_core.hookspecs import Boot, Filesystem, Finding, Registry, Role, Storage, Store, Target, Volume
from terra_core.plugins import Plugins

R = TypeVar("R", bound=Role)
_ROLES: tuple[type[Role], ...] = (Registry, Filesystem, Store, Storage, Boot)
_RESUMED = "the controller finishes or undoes that when it starts"


@frozen(kw_only=True)
class Looked:
    """What a look has found.

    :param off: what is off.
    :param notes: what a person should know besides.
    :param machines: how many machines there are in the database.
    :param controller: the id of the controller's process; ``None`` when it does not run.
    """

    off: tuple[Off, ...]
    notes: tuple[str, ...] = ()
    machines: int = 0
    controller: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as ``terra doctor -o json`` prints it."""
        return {
            "controller": self.controller,
            "machines": self.machines,
            "off": [one.as_json() for one in self.off],
            "notes": list(self.notes),
        }


def look(source: Path | None, paths: Paths, plugins: Plugins) -> Looked:
    """Compare the database with all that there is; nothing is changed.

    What is found while the controller works may be work that goes on: it counts when a second look finds it, too.

    :param source: controller.toml, if another one than that of ``paths``.
    :raises ConfigError: when controller.toml is wrong.
    """
    standard = paths.etc / "controller.toml"
    if source is None and not standard.exists():
        document = make({}, Controller, source=str(standard), plugins=plugins)
    else:
        document = load(source or standard, Controller, plugins=plugins)
    found = _Look(document, paths, plugins).all()
    if found.off and found.controller is not None:
        again = _Look(document, paths, plugins).all()
        keys = {one.key for one in found.off}
        return evolve(again, off=tuple(one for one in again.off if one.key in keys))
    return found


class _Look:
    """One look.

    :param document: controller.toml.
    """

    def __init__(self, document: Document[Controller], paths: Paths, plugins: Plugins) -> None:
        self._config = document.value
        self._session = document.session(paths=paths)
        self._paths = paths
        self._plugins = plugins
        self._notes: list[str] = []
        self._host = self._config.own_name if self._config.local_store else ""

    def all(self) -> Looked:
        """Look at everything."""
        running = Running.of(self._paths)
        url = self._config.database or f"sqlite:///{self._paths.state / 'terra.db'}"
        file = file_of(url)
        volumes = self._volume_directory()
        if file is not None and not file.exists():
            self._notes.append(f"{file}: there is no database yet")
            off = [*self._programs(Known()), *examine_mark(volumes, "")]
            return self._looked(off, Known(), running)
        try:
            everything = read(url)
            before = everything.of(self._host) if self._host else everything
        except TerraError as error:
            return self._looked([Off(part="database", problem=error.message, hint=error.hint)], Known(), running)
        found = list(self._everything(before, everything, running, volumes))
        try:
            after = read(url)
            after = after.of(self._host) if self._host else after
        except TerraError as error:
            return self._looked([Off(part="database", problem=error.message, hint=error.hint)], before, running)
        moving = _moving(before, after)
        found = [one for one in found if one.part == "hosts" or not (of_attempts(before, one) or of_attempts(after, one))]
        off = [one for one in found if one.hostname not in moving]
        return self._looked([*off, *_of_rows(after, {one.hostname for one in off}, running)], after, running)

    def _looked(self, off: Sequence[Off], known: Known, running: Running | None) -> Looked:
        if running is None:
            self._notes.append("the controller does not run: machines go on, and what is off is mended when it is started")
        return Looked(
            off=tuple(off),
            notes=tuple(self._notes),
            machines=len(known.machines),
            controller=None if running is None else running.process.pid,
        )

    def _everything(
        self, known: Known, everywhere: Known, running: Running | None, volumes: Path | None
    ) -> Iterator[Off]:  # fmt: skip
        chosen = self._config.plugins
        yield from self._programs(known)
        yield from examine_hosts(everywhere)
        yield from examine_mark(volumes, f"{known.identity} {self._host}" if self._host else known.identity)
        for name, owned in _volumes(known, chosen.get(Store.role, Store.default)).items():
            look = partial(Store.examine_volumes, volumes=owned, session=self._session)
            yield from self._ask(Store, name, "volumes", look)
        for name, targets in _targets(known, chosen.get(Storage.role, Storage.default)).items():
            look = partial(Storage.examine_targets, targets=targets, session=self._session)
            yield from self._ask(Storage, name, "targets", look)
        yield from self._of_boot(everywhere, chosen.get(Boot.role, Boot.default))
        yield from examine_places(self._paths, known, running, volumes, list(self._secrets()))

    def _of_boot(self, everywhere: Known, name: str) -> Iterator[Off]:
        """Look at the boot service and the boot files of all machines, which one host has for all."""
        if self._host and everywhere.leader not in ("", self._host):
            self._notes.append(f"{everywhere.leader} has the network boot service, and is to be asked about it and boot files")
            return
        nodes = [machine.boot for machine in everywhere.machines.values()]
        look = partial(Boot.examine_boot, nodes=nodes, session=self._session)
        yield from self._ask(Boot, name, "boot", look)

    def _secrets(self) -> Iterator[Path]:
        """Yield the files of the configuration that hold a secret."""
        if self._config.tls is not None:
            yield Path(self._config.tls.key)
        if has_password(self._config.database or ""):
            yield Path(self._session.source)

    def _ask(self, role: type[R], name: str, part: str, hook: partial[Sequence[Finding]]) -> Iterator[Off]:
        """Ask a plugin what it finds; one that cannot be loaded has been named where programs were looked for."""
        with suppress(TerraError):
            filled = self._plugins.named(role, name, source=self._session.source)
            asked = hook.func.__name__
            if not filled.brings(asked):
                self._notes.append(f"{part} of the plugin {name!r} are not looked at: it has no hook {asked}")
                return
            try:
                yield from found_in(part, getattr(filled, asked)(**hook.keywords))
            except TerraError as error:
                yield Off(part=part, problem=f"the plugin {name!r} cannot look: {error.message}", hint=error.hint)

    def _programs(self, known: Known) -> Iterator[Off]:
        chosen = {self._config.plugins.get(role.role, role.default) for role in _ROLES}
        kept = [kept for machine in known.machines.values() for kept in machine.targets]
        used = {name for one in kept for name in (one.storage, one.store)}
        of_machines = {name for machine in known.machines.values() for name in machine.filesystems}
        return examine_programs(self._plugins, chosen | used | of_machines | {one.store for one in known.laid.values()})

    def _volume_directory(self) -> Path | None:
        with suppress(TerraError):
            store = self._plugins.fill(Store, self._config.plugins, source=self._session.source)
            return store.volume_directory(self._session)
        return None


def _volumes(known: Known, chosen: str) -> Mapping[str, Mapping[str, Sequence[Volume]]]:
    """Return the volumes of each store, by owner; every owner is named to each of them."""
    stores = {chosen} | {kept.store for machine in known.machines.values() for kept in machine.targets}
    stores |= {one.store for one in known.laid.values()}
    found: dict[str, dict[str, list[Volume]]] = {
        store: {owner: [] for owner in (*known.machines, *known.laid)} for store in stores
    }
    for machine in known.machines.values():
        for kept in (*machine.targets, *machine.resting):
            found[kept.store][machine.hostname].extend(kept.target.volumes)
    for one in known.laid.values():
        found[one.store][one.owner].extend(one.volumes)
    return found


def _targets(known: Known, chosen: str) -> Mapping[str, Mapping[str, Sequence[Target]]]:
    """Return the targets of each storage plugin, by machine; every machine is named to each of them."""
    storages = {chosen} | {kept.storage for machine in known.machines.values() for kept in machine.targets}
    found: dict[str, dict[str, list[Target]]] = {name: {hostname: [] for hostname in known.machines} for name in storages}
    for machine in known.machines.values():
        for kept in machine.targets:
            found[kept.storage][machine.hostname].append(kept.target)
    return found


def _moving(before: Known, after: Known) -> set[str]:
    """Return whose things cannot be compared: work goes on there, or was not finished, or the row cannot be read."""
    found = set()
    for one, other in ((before, after), (after, before)):
        for name, machine in one.machines.items():
            if not machine.settled or other.machines.get(name) != machine:
                found.add(name)
        for name, laid in one.laid.items():
            if laid.state != "ready" or laid.unreadable or other.laid.get(name) != laid:
                found.add(name)
    return found


def _of_rows(known: Known, named: Collection[str], running: Running | None) -> Iterator[Off]:
    """Yield what is off with the database's own rows.

    :param named: of whom something was found already.
    """
    for machine in known.machines.values():
        if machine.unreadable:
            said = f"the record of {machine.hostname} cannot be read: {machine.unreadable}"
            hint = f"terra delete {machine.hostname} takes it away"
            yield Off(part="database", hostname=machine.hostname, problem=said, hint=hint)
        elif machine.state in UNFINISHED and (running is None or machine.problem):
            more = f": {machine.problem}" if machine.problem else ""
            said = f"{machine.hostname} was {machine.state}, which was not finished{more}"
            yield Off(part="database", hostname=machine.hostname, problem=said, hint=_RESUMED)
        elif machine.unmade and running is None:
            said = f"{machine.hostname} was being changed, which was not finished"
            yield Off(part="database", hostname=machine.hostname, problem=said, hint=_RESUMED)
        elif machine.problem and machine.hostname not in named:
            said = f"the controller has noted of {machine.hostname}: {machine.problem}"
            yield Off(part="database", hostname=machine.hostname, problem=said, hint="terra doctor --fix asks it to look again")
    for one in known.laid.values():
        if one.unreadable:
            said = f"the row of {one.owner} cannot be read: {one.unreadable}"
            yield Off(part="database", hostname=one.owner, problem=said, hint="the next machine of its image removes it")
        elif one.state != "ready" and running is None:
            said = f"{one.image} was being laid down and it was not finished"
            yield Off(part="database", hostname=one.owner, problem=said, hint=_RESUMED)
