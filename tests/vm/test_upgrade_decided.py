"""The next version of a machine, started: what is healthy stays; all else, and whatever lost its power, is left by itself.

The disks are laid down and upgraded here, once for all and then copied, so that a machine boots for the decision alone. The
last test prints how often what happened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest
from attrs import define, field, frozen

from lab.machine import Machine
from lab.network import Network
from lab.registry import Registry
from lab.shelf import Shelf
from terra_core.hookspecs import StartChoice
from tests.unit.oci.making import Item
from tests.vm.live import say
from tests.vm.tried import (
    ADDRESS,
    ALONE,
    BOOT_SECONDS,
    BROKEN,
    CHECK,
    CHECKED,
    FULL,
    HANG,
    HOSTNAME,
    PANIC,
    SLOW,
    Disks,
    Images,
    installed,
    tries,
    upgraded,
    wait_for_former,
)  # fmt: skip
from tests.vm.upgrades import DECIDED, versions

_BUILD = Path(__file__).parent.parent.parent / "build"
_UPGRADE_SECONDS = 1800
_TIMES = {"patient": "20m", "hasty": "3m"}
_UNKNOWN = "did not come up"


@frozen(kw_only=True)
class Case:
    """A version that is tried.

    :param name: what is the matter with it, in words.
    :param firmware: what the machine starts with.
    :param pair: whether its system is on a mirror.
    :param away: whether the first disk of that is away.
    :param filesystem: the type of the file system of its root.
    :param image: what its image has.
    :param cut: the machine loses its power, once, when its console has this text.
    :param reason: what ``terra versions`` says of it then, as a regular expression; empty when it is kept.
    :param hasty: whether it has little time, as nothing happens in it.
    """

    name: str
    firmware: str = "bios"
    pair: bool = False
    away: bool = False
    filesystem: str = "btrfs"
    image: tuple[Item, ...] = ()
    cut: str = ""
    reason: str = ""
    hasty: bool = False


class Way(Enum):
    """What came of a version."""

    KEPT = "kept"
    BACK = "back on the former version"
    WHOLE = "cut before it was tried, and started the former version"


GOOD = Case(name="good")
CASES = (
    Case(name="its check fails", image=BROKEN, reason="the application is broken"),
    Case(name="good, by UEFI", firmware="uefi"),
    Case(name="its kernel panics", firmware="uefi", image=PANIC, reason=_UNKNOWN),
    Case(name="good, with Secure Boot, on a mirror with a disk away", firmware="secure", pair=True, away=True),
    Case(
        name="its check fails, with Secure Boot, on a mirror with a disk away",
        firmware="secure", pair=True, away=True, image=BROKEN, reason="the application is broken",
    ),
    Case(name="power cut while it starts", cut="Run /init as init process", reason=_UNKNOWN),
    Case(name="power cut while it is decided", firmware="uefi", cut=CHECKED, image=SLOW, reason=_UNKNOWN),
    Case(name="its disk fills up", firmware="secure", image=FULL, reason="its disk takes no 16 MB more|degraded"),
    Case(name="its init hangs", image=HANG, reason=_UNKNOWN),
    Case(name="its network is broken", image=ALONE, reason="no default route", hasty=True),
    Case(name="good, on ext4", filesystem="ext4"),
    Case(name="its check fails, on ext4", filesystem="ext4", image=BROKEN, reason="the application is broken"),
    Case(name="good, on xfs, by UEFI", firmware="uefi", filesystem="xfs"),
    Case(
        name="its check fails, on xfs, by UEFI", firmware="uefi", filesystem="xfs", image=BROKEN,
        reason="the application is broken",
    ),
)  # fmt: skip


@define
class Bench:
    """The machines that are installed, to be copied, and what came of each copy."""

    network: Network
    images: Images
    directory: Path
    serial: Path
    came: list[tuple[str, Way, str]] = field(factory=list)
    _made: dict[str, Disks] = field(factory=dict)
    _first: str = ""

    def disks(self, name: str, *, pair: bool = False, time: str = "patient", filesystem: str = "btrfs") -> Disks:
        """Return the disks of a further machine.

        :param name: of the directory.
        """
        kind = f"{'pair' if pair else 'one'}-{time}-{filesystem}"
        if kind not in self._made:
            self._first = self._first or self.images.push("1")
            table = f'check = ["/{CHECK}"]\ntimeout = "{_TIMES[time]}"'
            self._made[kind] = installed(
                self.network, self.directory / kind, self._first, 2 if pair else 1, table, filesystem=filesystem
            )
        return self._made[kind].copied(self.directory / name)

    def machine(self, disks: Disks, firmware: str, name: str) -> Machine:
        """Return a machine with disks."""
        log = self.serial / f"decided-{name}.log"
        return Machine(self.network, "52:54:00:00:0e:21", log, firmware=firmware, disks=disks.plugged())

    def note(self, what: str, way: Way, told: str = "") -> None:
        """Take note of what came of a version."""
        self.came.append((what, way, told))
        say(f"{what}: {way.value} {told}")


@pytest.fixture(scope="module")
def bench(network: Network, registry: Registry, lab_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Return where machines are made."""
    images = Images(network, registry, lab_key.with_suffix(".pub").read_text().strip())
    with Shelf(_BUILD) as shelf:
        yield Bench(network, images, tmp_path_factory.mktemp("machines"), shelf.path / "serial")


def test_what_is_healthy_is_kept(bench: Bench) -> None:
    """The short one."""
    is_decided(bench, GOOD)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(",", "").replace(" ", "-"))
def test_each_version_is_decided(bench: Bench, case: Case) -> None:
    is_decided(bench, case)


def is_decided(bench: Bench, case: Case) -> None:
    """Upgrade a machine, start it, and see which version it starts from then on, and what is said of the other one."""
    name = re.sub(r"\W+", "-", case.name)
    time = "hasty" if case.hasty else "patient"
    whole = bench.disks(name, pair=case.pair, time=time, filesystem=case.filesystem)
    upgraded(bench.network, whole, bench.images.push(name, *case.image))
    disks = whole.without_first() if case.away else whole
    with bench.machine(disks, case.firmware, name) as machine:
        if case.cut:
            machine.wait_for_console(case.cut, seconds=BOOT_SECONDS)
            machine.reset()
        if case.reason:
            told = machine.wait_for_match(r"os\.1 is given up: ([^\n]*)", seconds=BOOT_SECONDS)[1]
            wait_for_former(machine)
        else:
            # It loses its power as soon as it has decided.
            machine.wait_for_console("os.1 is healthy, and is started from now on", seconds=BOOT_SECONDS)
            told = ""
        assert tries(machine) == 1, "it is started once"
    now = disks.state()
    assert now.choices == (StartChoice(kept="os" if case.reason else "os.1"),) * len(disks.files), now
    if case.reason:
        assert re.search(case.reason, now.failed["os.1"].reason)
        bench.note(case.name, Way.BACK, told)
    else:
        assert now.failed == {}
        bench.note(case.name, Way.KEPT)
    whole.remove()


_STOPPED = """\
# Upgrade, and stop for good at a moment.
import pathlib, signal, sys

import terra_core.upgrade.trial as trial
import terra_core.upgrade.use as use

moment, image = sys.argv[1:]

def stopping(name, action):
    def stopped(*words, **named):
        done = action(*words, **named)
        if name == moment:
            with open("/dev/console", "w") as console:
                print(f"STOPPED {name}", file=console, flush=True)
            signal.pause()
        return done
    return stopped

use.share = stopping("laying", use.share)
trial.write_starts = stopping("written", trial.write_starts)
own = pathlib.Path.rename
pathlib.Path.rename = lambda path, to: stopping("renaming" if path.name == "new" else "", own)(path, to)

from terra_core.cli import main

sys.argv = ["terra", "upgrade", "--http", image]
sys.exit(main())
"""


@pytest.mark.long
def test_a_machine_that_upgrades_itself_may_lose_its_power_at_any_time(bench: Bench, lab_key: Path) -> None:
    """While the version is laid down, when it gets its name, and when the next start is told to try it."""
    disks = bench.disks("cut")
    image = bench.images.push("cut")
    with bench.machine(disks, "bios", "cut") as machine:
        for moment, allowed in (("laying", [["os"]]), ("renaming", [["os"], ["os", "os.1"]])):
            upgrade_until(machine, lab_key, moment, image)
            machine.reset()
            let_in(machine, lab_key, "os")
            found = [row["version"] for row in versions(machine)]
            assert found in allowed
            assert machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text == "running\n"
            bench.note(f"power cut, {moment}", Way.WHOLE, " and ".join(found))
        upgrade_until(machine, lab_key, "written", image)
        machine.reset()
        let_in(machine, lab_key, "os.1")
        machine.wait_for_console("os.1 is healthy, and is started from now on", seconds=BOOT_SECONDS)
        assert tries(machine) == 1
        watched = machine.ssh("systemctl show --property RuntimeWatchdogUSec; cat /sys/class/watchdog/watchdog0/state").text
        assert watched == "RuntimeWatchdogUSec=0\ninactive\n", "its watchdog was for the trial"
        assert machine.ssh("cat /etc/build").text == "cut\n"
        bench.note("power cut, written", Way.KEPT)
    now = disks.state()
    assert (now.choices, now.failed) == ((StartChoice(kept="os.1"),), {})
    disks.remove()


def upgrade_until(machine: Machine, key: Path, moment: str, image: str) -> None:
    """Upgrade a machine in itself until a moment at which it stops, with what it has not yet written in its memory alone."""
    let_in(machine, key, "os")
    machine.ssh(f"cat > upgrade.py <<'END'\n{_STOPPED}END")
    python = "sudo /usr/lib/terra/machine/bin/python3 -IB upgrade.py"
    early = "sudo cp said /dev/console; echo STOPPED early | sudo tee /dev/console"
    machine.ssh(f"nohup sh -c '{python} {moment} {image} > said 2>&1; {early}' > /dev/null 2>&1 < /dev/null &")
    found = machine.wait_for_match(f"STOPPED ({moment}|early)", seconds=_UPGRADE_SECONDS)
    assert found[1] == moment, machine.console()


def let_in(machine: Machine, key: Path, version: str) -> None:
    """Wait until somebody can log in to a machine, which has looked at what it starts, and runs a version."""
    machine.wait_for_ssh(ADDRESS, "terra", key, seconds=BOOT_SECONDS)
    line = f"tr ' ' '\\n' < /proc/cmdline | grep --quiet --line-regexp version={version}"
    machine.wait_for_answer(f"{line} && {DECIDED} && hostname", HOSTNAME, seconds=BOOT_SECONDS)


def test_what_came_of_each(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Print how often what happened."""
    ways = Counter(way for _, way, _ in bench.came)
    counted = "; ".join(f"{number} {way.value}" for way, number in ways.items())
    with capsys.disabled():
        print(f"\nstarts that were decided: {ways[Way.KEPT] + ways[Way.BACK]}. {counted}")  # noqa: T201  # asked for
        for what, way, told in bench.came:
            print(f"  {what}: {way.value}. {told}".rstrip())  # noqa: T201  # as above
    assert bench.came
