"""Killing a controller at every moment of its work, on one site: after a restart, nothing is off and no disk has changed.

    python -m tests.integration.controller.kills COUNT [SEED]

kills it COUNT times while it provisions, changes, deletes and installs boot loaders, and prints the counts.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from attrs import Factory, define, evolve, frozen

from lab.network import ISCSI
from lab.site import CONFIG, Site
from terra_core.config.controller import Paths
from terra_core.doctor import look
from terra_core.doctor.records import read
from terra_core.plugins import Plugins
from terra_core.system.process import run
from terra_core.system.progress import silent
from terra_core.system.waiting import WaitedInVain, wait_until
from tests.integration.controller.sites import SYSTEM, Ground
from tests.unit.oci.making import file, folder

MOMENTS = Path(__file__).parent / "moments/sitecustomize.py"
PXE = (folder(b"kernel"), *(file(name, b"MZ" + name * 100) for name in (
    b"pxelinux.0", b"ldlinux.c32", b"shimx64.efi", b"grubx64.efi", b"kernel/vmlinuz", b"kernel/initrd.img",
)))  # fmt: skip
_HEALTHY = "healthy"
_BLOCK = 4096
_SIZE = 160
_SECONDS = 240
_QUIET_SECONDS = 4
_TRIES = 3
_OF_A_MACHINE = ("apply", "delete")
"""What is done to a machine that is there."""


@frozen
class Moment:
    """Where a controller is killed.

    :param kind: what it does there: ``provision``, ``apply``, ``delete`` or ``pxe``.
    :param step: the step that was reported last.
    :param number: the number of the moment within that step, from 1.
    """

    kind: str
    step: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.step}"


@contextmanager
def killing_ground(database: str | None = None) -> Iterator[Ground]:
    """Yield a site whose controller does eight things at once, and can be held at any moment of each.

    :param database: the URL of an empty database for its state; a SQLite file when left out.
    """
    with tempfile.TemporaryDirectory(prefix="terra-kills-") as directory:
        work = Path(directory)
        work.chmod(0o755)
        place = work / "moments"
        for name in ("orders", "held", "ended"):
            (place / name).mkdir(parents=True)
        shutil.copy(MOMENTS, place)
        config = f"jobs = 8\n{CONFIG}"
        with Site(work / "build", work / "root", label="kills", config=config, plugins=place, database=database) as site:
            yield Ground(site, work)


@define
class Kills:
    """Kills a controller, and looks at what is there afterwards.

    :param ground: the site.
    :param killed: how often, by kind and step.
    :param kills: how many signals were sent.
    """

    ground: Ground
    random: Random
    killed: Counter[str] = Factory(Counter)
    kills: int = 0
    _image: str = ""
    _pxe: str = ""
    _number: int = 0
    _target: str = ""

    def begin(self) -> None:
        """Make what every round needs: boot loaders, and a machine that goes on whatever happens."""
        self._image, self._pxe = self.ground.push("small", SYSTEM), self.ground.push("pxe", PXE)
        self._follow(*self._ask("pxe", self._pxe))
        self._follow(*self._ask("provision", _HEALTHY))
        (node,) = self.ground.nodes()
        disk = Path(node["disk_groups"][0]["disks"][0]["device"])
        shutil.copyfile(disk, self._model)
        (kept,) = read(self.ground.site.database).machines[_HEALTHY].targets
        self._secret.write_text(kept.target.data["secret"])
        self._target = (
            f"driver=iscsi,transport=tcp,portal={ISCSI}:3260,target={node['disk_groups'][0]['target']['iqn']},lun=1,"
            f"initiator-name={node['initiator_iqn']},user={node['initiator_iqn']},password-secret=chap"
        )
        self.require_well("at the beginning")

    def moments(self) -> dict[str, Counter[str]]:
        """Do each kind of work once, and return the moments of each step that it has, by kind."""
        found: dict[str, Counter[str]] = {}
        self._follow(*self._ask("provision", "changed-trial"))
        for kind, subject in (("provision", "trial"), ("delete", "trial"), ("apply", "changed-trial"), ("pxe", self._pxe)):
            self._follow(*self._ask(kind, subject))
            ended = self._place / "ended" / _named(kind, subject)
            wait_until(ended.exists, seconds=_SECONDS, what="its moments to be written", interval=0.01)
            seen = Counter[str](json.loads(ended.read_text()))
            found[kind] = Counter({key.partition("/")[2]: count for key, count in seen.items()})
        self.tidy()
        return found

    def kill_at(self, moments: Sequence[Moment], meanwhile: Callable[[], object] = lambda: None) -> list[Moment]:
        """Hold work at as many of these moments as come, kill the controller, start it, and look at everything.

        :param meanwhile: what is done while the work is held.
        :returns: those that did not come, such as because another one held what they wait for.
        """
        self._clear()
        named = [(moment, self._subject(moment.kind)) for moment in moments]
        for _, subject in [one for one in named if one[0].kind in _OF_A_MACHINE]:
            self._follow(*self._ask("provision", subject))
        for moment, subject in named:
            (self._place / "orders" / _named(moment.kind, subject)).write_text(json.dumps([moment.step, moment.number]))
        for moment, subject in named:
            self._ask(moment.kind, subject)
        names = {_named(moment.kind, subject) for moment, subject in named}
        self._wait_for(names)
        self._write()
        meanwhile()
        held = {path.name for path in (self._place / "held").iterdir()}
        reached = [moment for moment, subject in named if _named(moment.kind, subject) in held]
        self.kill()
        self.killed.update(map(str, reached))
        self.require_well(", ".join(f"{moment}#{moment.number}" for moment in reached) or "no moment")
        return [moment for moment in moments if moment not in reached]

    def kill_whenever(self, most: float) -> None:
        """Begin one to three things, kill the controller after a random time, start it, and look at everything.

        :param most: the longest time, in seconds.
        """
        self._clear()
        kinds = self.random.choices(("provision", "provision", "apply", "delete", "pxe"), k=self.random.randint(1, 3))
        work = list(dict.fromkeys((kind, self._subject(kind)) for kind in kinds))  # boot loaders are installed once at a time
        for _, subject in [one for one in work if one[0] in _OF_A_MACHINE]:
            self._follow(*self._ask("provision", subject))
        for kind, subject in work:
            self._ask(kind, subject)
        self._write()
        pause = self.random.uniform(0, most)
        end = time.monotonic() + pause
        wait_until(lambda: time.monotonic() >= end, seconds=pause + 60, what="the moment to come", interval=0.01)
        self.kill()
        self.killed.update(f"{kind}/at random" for kind, _ in work)
        self.require_well(f"{pause:.2f} s after {work}")

    def kill(self) -> None:
        """Kill the controller, and start it again."""
        controller = self.ground.site.controller
        assert controller is not None
        controller.signal(signal.SIGKILL)
        assert controller.wait(20) == -signal.SIGKILL
        self.kills += 1
        self._clear()
        self.ground.site.start_controller()
        wait_until(
            lambda: "all machines are as the database says" in self.ground.site.log.read_text(errors="replace"),
            seconds=_SECONDS,
            what="the controller to be as its database says",
        )

    def require_well(self, when: str) -> None:
        """Check that the doctor finds nothing, and that the healthy machine's disk is what the machine wrote."""
        with self.ground.site.network.inside():
            found = look(None, Paths(self.ground.site.root), Plugins.discover())
        assert found.off == (), (when, found.off)
        nodes = self.ground.nodes()  # a machine that was seen at its disk a moment ago boots
        assert {node["state"] for node in nodes} <= {"ready", "booting"}, (when, nodes)
        assert not [node for node in nodes if node["problem"]], (when, nodes)
        disk = self.ground.site.root / "iscsi" / _HEALTHY / "0.lun"
        assert run(["cmp", disk, self._model], accept=(0, 1)).code == 0, f"{when}: the disk of a healthy machine has changed"

    def tidy(self) -> None:
        """Delete all machines but the healthy one."""
        self._clear()
        for node in self.ground.nodes():
            if node["hostname"] != _HEALTHY:
                self._follow(*self._ask("delete", node["hostname"]))

    @property
    def _place(self) -> Path:
        return self.ground.site.root.parent / "moments"

    @property
    def _model(self) -> Path:
        return self.ground.site.root.parent / "model"

    @property
    def _secret(self) -> Path:
        return self.ground.site.root.parent / "secret"

    def _clear(self) -> None:
        for name in ("orders", "held", "ended"):
            for path in (self._place / name).iterdir():
                path.unlink()

    def _write(self) -> None:
        """Let the healthy machine write to its disk over the network, and note what it wrote."""
        at, value = self.random.randrange(64, 160) * 1024 * 1024 // _BLOCK * _BLOCK, self.random.randrange(1, 256)
        at = min(at, (_SIZE - 1) * 1024 * 1024)
        secret = ["--object", f"secret,id=chap,file={self._secret}"]
        words = ["qemu-io", *secret, "--image-opts", "-c", f"write -P {value} {at} {_BLOCK}", "-c", "flush", self._target]
        run(self.ground.site.network.command(words), timeout=120)
        with self._model.open("r+b") as file:
            file.seek(at)
            file.write(bytes([value]) * _BLOCK)

    def _subject(self, kind: str) -> str:
        if kind == "pxe":
            return self._pxe
        self._number += 1
        return f"cm-{self._number:03}"

    def _ask(self, kind: str, subject: str) -> tuple[Any, str]:
        with self.ground.site.network.inside():
            client = self.ground.client()
            if kind == "pxe":
                return client, str(client.post("/v1/pxe", {"image": subject})["operation"])
            if kind == "delete":
                return client, str(client.delete(f"/v1/nodes/{subject}")["operation"])
            number = int(subject[3:]) if subject.startswith("cm-") else 0xFFFF00 + len(subject)
            # Each has a layout of its own, so that each lays the image down and makes a clone of it.
            size = _SIZE + number % 64 * (subject != _HEALTHY)
            body: dict[str, Any] = {
                "hostname": subject,
                "mac": "52:54:00:" + ":".join(f"{number >> shift & 255:02x}" for shift in (16, 8, 0)),
                "image": self._image,
                "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": size}]}],
            }
            if kind == "apply":
                body["kernel_arguments"] = ["quiet"]
                body["groups"] = [
                    {"label": "os", "disk": [{"device": "/dev/sda", "size": size + 16}]},
                    {"label": "data", "disk": [{"device": "/dev/sdb", "size": _SIZE}]},
                ]
                return client, str(client.put(f"/v1/nodes/{subject}", body)["operation"])
            return client, str(client.post("/v1/nodes", body)["operation"])

    def _follow(self, client: Any, operation: str) -> None:
        with self.ground.site.network.inside():
            client.follow(operation, silent)

    def _wait_for(self, names: set[str]) -> None:
        """Wait until each piece of work is held or has ended, or nothing has moved for a while."""
        last = [0, time.monotonic()]

        def done() -> bool:
            now = {path.name for name in ("held", "ended") for path in (self._place / name).iterdir()} & names
            if len(now) != last[0]:
                last[:] = [len(now), time.monotonic()]
            # What is held may hold a lock that the others wait for; while nothing is held, nobody waits for ever.
            blocked = any((self._place / "held").iterdir()) and time.monotonic() - last[1] > _QUIET_SECONDS
            return now == names or blocked

        try:
            wait_until(done, seconds=_SECONDS, what="all work to be held")
        except WaitedInVain:
            return


def planned(found: dict[str, Counter[str]], random: Random, each: int) -> list[Moment]:
    """Return moments of every step: the first one, one of the last, and others at random.

    :param each: how many of each step, at most.
    """
    moments = []
    for kind, steps in found.items():
        for step, count in steps.items():
            numbers = [1, max(1, count * 9 // 10), *random.sample(range(1, count + 1), count)]
            moments += [Moment(kind, step, number) for number in list(dict.fromkeys(numbers))[:each]]
    return moments


def rounds_of(kills: Kills, moments: Sequence[Moment], *, at_once: int) -> list[Moment]:
    """Kill at every one of these moments, several in each round.

    :returns: those that never came.
    """
    left, missed = list(moments), Counter[Moment]()
    alone: set[str] = set()  # steps that wait for each other
    while left:
        chosen: list[Moment] = []
        for moment in left:
            one_of_a_kind = moment.kind == "pxe" or str(moment) in alone
            taken = any(one.kind == "pxe" if moment.kind == "pxe" else str(one) in alone for one in chosen)
            if len(chosen) < at_once and not (one_of_a_kind and taken) and not missed[moment]:
                chosen.append(moment)
        chosen = chosen or left[:1]
        again = kills.kill_at(chosen)
        missed.update(again)
        alone.update(map(str, again))
        left = [one for one in left if one not in chosen or (one in again and missed[one] < _TRIES)]
        # A step tells how far it is by the clock: where it was slow when the moments were counted, it has fewer of them now.
        left += [evolve(one, number=one.number // 2) for one in again if missed[one] >= _TRIES and one.number > 1]
        kills.tidy()
    return [moment for moment, count in missed.items() if count >= _TRIES and moment.number == 1]


def _named(kind: str, subject: str) -> str:
    return f"{kind}-{subject}".replace("/", "_")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a program of its own


def main(words: Sequence[str]) -> int:
    """Run the campaign; print its counts."""
    count, seed = int(words[0]) if words else 200, int(words[1]) if len(words) > 1 else time.time_ns() % 1_000_000
    random = Random(seed)  # noqa: S311  # no secret
    _say(f"{count} kills from seed {seed}")
    with killing_ground() as ground:
        kills = Kills(ground, random)
        kills.begin()
        began = time.monotonic()
        found = kills.moments()
        most = max(time.monotonic() - began, 1.0)
        _say(f"moments: { ({kind: dict(steps) for kind, steps in found.items()}) }")
        every = [moment for moment in planned(found, random, 1000) if moment.kind != "pxe"]
        try:
            while kills.kills < count:
                if kills.kills % 2:
                    kills.kill_whenever(most)
                else:
                    kills.kill_at([random.choice(every) for _ in range(random.randint(1, 4))])
                kills.tidy()
                _say(f"{kills.kills} kills, nothing was off")
        finally:
            _say(f"{kills.kills} kills of the controller; work that they hit, by kind and step:")
            for key, number in sorted(kills.killed.items()):
                _say(f"  {key:<28}{number:>5}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
