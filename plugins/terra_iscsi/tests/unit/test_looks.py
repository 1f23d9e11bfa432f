"""How often tgtd is asked about all that it exports: counted, since a look at hundreds of targets takes a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import define, field

from terra_core.config.controller import Paths
from terra_core.config.node import OS_LABEL
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname
from terra_core.hookspecs import Backing, Export, TargetRequest, Volume
from terra_core.system.process import Completed
from terra_iscsi import plugin
from terra_iscsi.control import REFUSED
from terra_iscsi.management import NO_TARGET, Change

MANY = 100
_ACCOUNTS = "    Account information:"
_RULES = "    ACL information:"


@define
class Tgtadm:
    """What stands in for tgtadm and the management socket: targets as tgtd shows them, and how often each thing was asked."""

    asked: Counter[tuple[str, str]] = field(factory=Counter)
    targets: dict[str, list[str]] = field(factory=dict)

    def run(self, args: Sequence[str], **_: object) -> Completed:
        given = dict(zip(args[5::2], args[6::2], strict=True))
        mode, verb, number = given["--mode"], given["--op"], given.get("--tid", "")
        self.asked[mode, verb] += 1
        code = 0
        if (mode, verb) == ("target", "new"):
            heading = f"Target {number}: {given['--targetname']}"
            sections = ("    System information:", "    I_T nexus information:", "    LUN information:", _ACCOUNTS, _RULES)
            self.targets[number] = [heading, *sections]
        elif (mode, verb) == ("logicalunit", "new"):
            self.targets[number][4:4] = [
                f"        LUN: {given['--lun']}",
                f"            Backing store path: {given['--backing-store']}",
            ]
        elif (mode, verb) == ("target", "bind"):
            line = f"        {given['--initiator-name']}"
            rules = self.targets[number][self.targets[number].index(_RULES) :]
            code = REFUSED if line in rules else 0
            self.targets[number] += [] if code else [line]
        elif (mode, verb) == ("target", "unbind"):
            code = REFUSED
        shown = "\n".join(line for lines in self.targets.values() for line in lines) if verb == "show" else ""
        return Completed(tuple(args), code, shown.encode(), b"")


    def change_account(self, _: Path, change: Change, user: str, *, target: int = NO_TARGET, **more: object) -> bool:
        self.asked["account", change.name] += 1
        if change is Change.BIND:
            lines = self.targets[str(target)]
            lines.insert(lines.index(_ACCOUNTS) + 1, f"        {user}")
        return change is not Change.DELETE


@pytest.fixture
def tgtadm(monkeypatch: pytest.MonkeyPatch) -> Tgtadm:
    """Return what stands in for tgtadm."""
    made = Tgtadm()
    monkeypatch.setattr("terra_iscsi.control.run", made.run)
    monkeypatch.setattr("terra_iscsi.control.change_account", made.change_account)
    return made


def export(number: int, session: Session) -> Export:
    """Return what a machine's target is made of."""
    volume = Volume(name=f"/iscsi/node-{number}/0.lun", size=16)
    request = TargetRequest(
        hostname=Hostname(f"node-{number}"),
        number=number,
        generation=1,
        label=OS_LABEL,
        volumes=(volume,),
        boot=True,
        portal=Address("10.0.10.4"),
    )
    return Export(target=plugin.plan_target(request, session), backings=(Backing(kind="file", address=volume.name),))


def test_tgtd_is_asked_for_all_targets_once_before_and_once_after(tgtadm: Tgtadm, tmp_path: Path) -> None:
    session = Session(paths=Paths(tmp_path))
    exports = [export(number, session) for number in range(1, MANY + 1)]
    assert set(plugin.restore_targets(exports, session)) == {""}
    assert tgtadm.asked["target", "show"] == 2
    assert tgtadm.asked["target", "new"] == tgtadm.asked["logicalunit", "new"] == tgtadm.asked["target", "bind"] == MANY
    assert tgtadm.asked["account", "NEW"] == tgtadm.asked["account", "BIND"] == MANY
    tgtadm.asked.clear()
    assert set(plugin.restore_targets(exports, session)) == {""}
    assert tgtadm.asked["target", "show"] == 1, "all of it was there"
    assert tgtadm.asked.total() <= MANY + 2
