"""What ``terra doctor`` finds of targets: asked of tgtd and read from /proc, apart from the code that makes them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from attrs import Factory, define

from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import Finding, Target
from terra_core.system.evidence import processes
from terra_core.system.process import run
from terra_iscsi.settings import NAME, PORT, Settings

_HEADING = re.compile(r"Target (\d+): (\S+)")
_SECONDS = 20
_MAKER = "look which alias goes on in lines of its own, and switch that machine off: tgtadm --lld iscsi --mode target --op show"
_MENDS = "the controller mends that within a minute where it runs; terra doctor --fix asks it to do it now"


@define
class _Shown:
    """What ``tgtadm --mode target --op show`` says of a target: the words below each of its headings.

    :param luns: by number, what is said of each logical unit but the first, which is tgtd's own.
    :param admitted: who may log in.
    :param accounts: whose secret has to be known in order to log in; none has, without one.
    """

    id: int
    name: str
    state: str = ""
    luns: dict[int, dict[str, str]] = Factory(lambda: defaultdict(dict))
    admitted: list[str] = Factory(list)
    accounts: list[str] = Factory(list)
    _lun: int = 0

    def take(self, section: str, line: str) -> None:
        """Take note of a line.

        :param section: the heading that it is below.
        """
        key, _, value = line.partition(": ")
        if section.startswith("ACL"):
            self.admitted.append(line)
        elif section.startswith("Account"):
            self.accounts.append(line)
        elif section.startswith("System") and key == "State":
            self.state = value
        elif section.startswith("LUN"):
            self._lun = int(value) if key == "LUN" else self._lun
            if self._lun > 0:
                self.luns[self._lun][key] = value


def examine(targets: Mapping[str, Sequence[Target]], session: Session) -> list[Finding]:
    """Return what is wrong with targets, see :meth:`terra_core.hookspecs.Storage.examine_targets`."""
    wanted = [(owner, target) for owner, own in targets.items() for target in own]
    settings = session.settings(NAME, Settings)
    asked = _Tgtd.of(session, settings)
    if asked is None:
        problem = "no tgtd answers, which gives machines their disks"
        return [Finding(problem=problem, hint=_MENDS)] if wanted else []
    listed = asked.targets()
    shown = {one.name: one for one in listed}
    if not all(one.id < other.id for one, other in pairwise(listed)) or len(shown) < len(listed):
        said = "tgtd shows targets twice, or in another order than their numbers have"
        return [Finding(problem=f"{said}: a machine that is logged in makes them up by its alias", hint=_MAKER)]
    return [
        *_wrong(wanted, shown),
        *_replaced(wanted, shown),
        *_closed({target.portal for _, target in wanted}, asked),
        *_strange({target.name for _, target in wanted}, shown, settings, own=asked.own),
    ]


class _Tgtd:
    """A tgtd that answers on its control socket.

    :param own: whether it is the controller's own, and not the system's.
    """

    def __init__(self, port: int, environment: Mapping[str, str], *, own: bool) -> None:
        self._port, self._environment, self.own = port, environment, own

    @classmethod
    def of(cls, session: Session, settings: Settings) -> _Tgtd | None:
        """Return the one that serves a controller, if one answers."""
        socket = session.paths.run.absolute() / "tgtd/socket"
        candidates = [cls(settings.control_port, {"TGT_IPC_SOCKET": str(socket)}, own=True)]
        if session.paths.root.absolute() == Path("/"):
            candidates.append(cls(settings.control_port, {}, own=False))
        return next((one for one in candidates if one._ask("system") is not None), None)

    def targets(self) -> list[_Shown]:
        """Return every target as it is shown."""
        return list(_parsed(self._ask("target") or ""))

    def portals(self) -> str:
        """Return what it says of its portals."""
        return self._ask("portal") or ""

    def _ask(self, mode: str) -> str | None:
        args = ["tgtadm", "-C", str(self._port), "--lld", "iscsi", "--mode", mode, "--op", "show"]
        try:
            done = run(args, env=self._environment, accept=range(256), timeout=_SECONDS)
        except TerraError:  # it hangs, or tgtadm is not installed, which is found elsewhere
            return None
        return done.text if done.code == 0 else None


def _parsed(text: str) -> Iterator[_Shown]:
    blocks = re.split(r"^(?=Target )", text, flags=re.MULTILINE)
    for heading, *lines in (block.split("\n") for block in blocks):
        found = _HEADING.fullmatch(heading.rstrip())
        if found is None:
            continue
        one, section = _Shown(int(found[1]), found[2]), ""
        for line in filter(str.strip, lines):
            if len(line) - len(line.lstrip()) == 4:
                section = line.strip()
            else:
                one.take(section, line.strip())
        yield one


def _wrong(wanted: Sequence[tuple[str, Target]], shown: Mapping[str, _Shown]) -> Iterator[Finding]:
    for owner, target in wanted:
        one = shown.get(target.name)
        for problem in [f"{target.name}: tgtd does not export it"] if one is None else _differences(target, one):
            yield Finding(hostname=owner, problem=problem, hint=_MENDS)


def _differences(target: Target, one: _Shown) -> Iterator[str]:
    if one.id != target.id:
        yield f"{target.name}: tgtd has it as target {one.id}, and the database as {target.id}"
    if one.state != "ready":
        yield f"{target.name}: tgtd has it in the state {one.state!r}, and nobody can log in"
    if one.admitted != [target.client]:
        yield f"{target.name}: tgtd lets in {', '.join(one.admitted) or 'nobody'}, and not {target.client} alone"
    accounts = [target.client] if target.data.get("secret") else []
    if one.accounts != accounts:
        wanted = "with the secret of its machine alone" if accounts else "without a secret"
        yield f"{target.name}: tgtd lets in with the accounts {one.accounts}, and the database {wanted}"
    numbers = list(range(1, len(target.volumes) + 1))
    if sorted(one.luns) != numbers:
        yield f"{target.name}: tgtd has the LUNs {sorted(one.luns)}, and the database {numbers}"
    for number, volume in zip(numbers, target.volumes, strict=True):
        lun = one.luns.get(number, {})
        path = lun.get("Backing store path", "")
        if lun and volume.name.startswith("/") and path != volume.name:
            yield f"{target.name}: LUN {number} is {path}, and not {volume.name}"
        if lun and (lun.get("Online"), lun.get("Readonly")) != ("Yes", "No"):
            yield f"{target.name}: LUN {number} is offline, or cannot be written to"


def _replaced(wanted: Sequence[tuple[str, Target]], shown: Mapping[str, _Shown]) -> Iterator[Finding]:
    """Find volumes that were replaced while tgtd serves what they were."""
    held = {file for process in processes("tgtd") for file in process.open_files()}
    for owner, target in wanted:
        for path in (volume.name for volume in target.volumes if target.name in shown and volume.name.startswith("/")):
            try:
                status = Path(path).stat()
            except OSError:  # that it is missing is found where volumes are looked at
                continue
            if (status.st_dev, status.st_ino) not in held:
                yield Finding(
                    hostname=owner,
                    problem=f"{path}: tgtd has another file open in its place, which was removed or replaced",
                    hint="switch the machine off before its target is taken down: what it writes is lost with the former file",
                )


def _closed(portals: set[str], asked: _Tgtd) -> Iterator[Finding]:
    said = asked.portals()
    for portal in sorted(portals):
        everything = "[::]" if ":" in portal else "0.0.0.0"  # noqa: S104  # compared, not bound
        address = f"[{portal}]" if ":" in portal else portal
        if not any(re.search(rf"Portal: {re.escape(one)}:{PORT},", said) for one in (address, everything)):
            yield Finding(problem=f"{address}:{PORT}: tgtd does not answer there, where machines are sent", hint=_MENDS)


def _strange(known: set[str], shown: Mapping[str, _Shown], settings: Settings, *, own: bool) -> Iterator[Finding]:
    prefix = re.compile(rf"iqn\.{settings.year}\.san\.{re.escape(str(settings.domain))}\.([^:]+):.+")
    for name, one in shown.items():
        found = prefix.fullmatch(name)
        if name not in known and (own or found):
            yield Finding(
                hostname=found[1] if found else "",
                problem=f"{name}: tgtd exports it, and no machine of the database has it",
                hint=f"if no machine uses it: tgtadm --lld iscsi --mode target --op delete --force --tid {one.id}",
            )
