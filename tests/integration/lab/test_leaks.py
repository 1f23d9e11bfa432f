"""The leak check sees what is left, and the fixtures fail what they have to."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from iso.daemons import start
from lab.isolation import Isolation
from lab.leaks import difference, snapshot
from lab.network import Network
from lab.processes import running
from terra_core.system.mounts import loop_devices
from terra_core.system.process import clean_environment, run
from terra_core.system.waiting import wait_until

pytest_plugins = ["pytester"]


def test_mounts_loops_namespaces_and_daemons_are_seen(tmp_path: Path) -> None:
    before = snapshot()
    file, point = tmp_path / "disk", tmp_path / "mount point"
    file.write_bytes(bytes(1 << 20))
    point.mkdir()
    with Network("seen") as network:
        loop = run(["losetup", "--find", "--show", file]).text.strip()
        run(["mount", "-t", "tmpfs", "none", point])
        daemon = start(network.command(["dnsmasq", "--keep-in-foreground", "--port=0"]), log=tmp_path / "log")
        try:
            began = Path(f"/proc/{daemon.pid}/comm")
            wait_until(lambda: began.read_text().strip() == "dnsmasq", seconds=60, what="dnsmasq to be executed")
            assert difference(before, snapshot()) == [
                f"loop device {loop} ({file})",
                f"mount {point} (none)",
                f"network namespace {network.name}",
                f"process {daemon.pid}: dnsmasq --keep-in-foreground --port=0",
            ]
        finally:
            daemon.stop()
            run(["umount", point])
            run(["losetup", "--detach", loop])  # it goes when nobody looks at it any more, and others look at all devices
    wait_until(lambda: difference(before, snapshot()) == [], seconds=60, what="everything to be gone")


def test_what_a_test_gives_to_programs_moves_no_files_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python keeps the first directory for temporary files that it finds, for all tests after that one, too."""
    assert Isolation.current is not None
    assert tempfile.tempdir == str(Isolation.current.directory)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert tempfile.gettempdir() == str(Isolation.current.directory)


def test_what_others_make_meanwhile_is_not_seen(tmp_path_factory: pytest.TempPathFactory) -> None:
    before = snapshot()
    theirs = Path(run(["mktemp", "--directory", "/var/tmp/others-XXXXXX"], env={"TMPDIR": ""}).text.strip())
    outside = ["nsenter", f"--mount=/proc/{os.getppid()}/ns/mnt", "--", "env", "--unset=TMPDIR"]
    script = f"""
        truncate --size 1M {theirs}/disk; losetup --find --show {theirs}/disk >{theirs}/loop
        mount -t tmpfs others {theirs}/mount
        ip netns add others-{os.getpid()}
        dnsmasq --port=0 --pid-file={theirs}/pid --conf-file=/dev/null --no-hosts --interface=lo --bind-interfaces
    """
    (theirs / "mount").mkdir()
    try:
        run([*outside, "sh", "-ec", script])
        wait_until((theirs / "pid").exists, seconds=60, what="their dnsmasq to be there")
        assert difference(before, snapshot()) == []
    finally:
        script = f"""
            kill "$(cat {theirs}/pid)"; losetup --detach "$(cat {theirs}/loop)"; umount {theirs}/mount
            ip netns delete others-{os.getpid()}; rm -r {theirs}
        """
        run([*outside, "sh", "-c", script])


@pytest.mark.parametrize("kept", ["mounts", "environment"])
def test_a_daemon_that_left_its_parents_is_seen(tmp_path: Path, kept: str) -> None:
    before = snapshot()
    outside = [] if kept == "mounts" else ["nsenter", f"--mount=/proc/{os.getppid()}/ns/mnt", "--"]
    clean = ["env", "--unset=TMPDIR"] if kept == "mounts" else []
    pid = Path("/run/dnsmasq-left.pid")
    run([*outside, *clean, "setsid", "dnsmasq", "--port=0", f"--pid-file={pid}", "--conf-file=/dev/null"])
    try:
        number = wait_until(lambda: pid.read_text().strip(), seconds=60, what="dnsmasq to be there")
        (seen,) = difference(before, snapshot())
        assert seen.startswith(f"process {number}: dnsmasq")
    finally:
        os.kill(int(number), signal.SIGKILL)
        pid.unlink()
    wait_until(lambda: difference(before, snapshot()) == [], seconds=60, what="dnsmasq to be gone")


def test_a_file_that_was_deleted_still_names_its_loop_device(tmp_path: Path) -> None:
    before = snapshot()
    file = tmp_path / "disk"
    file.write_bytes(bytes(1 << 20))
    loop = run(["losetup", "--find", "--show", file]).text.strip()
    file.unlink()
    try:
        assert difference(before, snapshot()) == [f"loop device {loop} ({file} (deleted))"]
    finally:
        run(["losetup", "--detach", loop])


KILLED = """
import os, signal, subprocess
from lab.isolation import isolated

with isolated() as own:
    disk = own.directory / "disk"
    disk.write_bytes(bytes(1 << 20))
    subprocess.run(["losetup", "--find", disk], check=True)
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print(own.directory, process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_the_next_one_takes_away(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(Path.cwd())}
    output = tmp_path / "output"
    with output.open("wb") as file:
        killed = subprocess.run([sys.executable, "-c", KILLED], env=clean_environment(environment), stdout=file)
    assert killed.returncode == -signal.SIGKILL
    directory, sleeper = output.read_text().split()
    assert Path(directory, "disk") in {device.file for device in loop_devices()}

    run([sys.executable, "-c", "from lab.isolation import isolated\nwith isolated(): pass"], env=environment)

    assert not Path(directory).exists()
    assert Path(directory, "disk") not in {device.file for device in loop_devices()}
    assert not running(lambda process: process.pid == int(sleeper))


@pytest.fixture
def repository(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Make an empty repository whose tests have the fixtures."""
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    pytester.makeini("[pytest]\naddopts = -p lab.fixtures\n")
    for directory in ("unit", "integration"):
        pytester.mkdir(directory)
    return pytester


STARTERS = """
import os, subprocess, threading, pytest

def in_a_thread():
    thread = threading.Thread(target=subprocess.run, args=(["true"],))
    thread.start()
    thread.join()

def swallowed():
    try:
        subprocess.run(["true"])
    except BaseException:
        pass

@pytest.mark.parametrize("start", [
    lambda: subprocess.run(["true"]), lambda: os.system("true"), lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: os.execv("/bin/true", ["true"]), in_a_thread, swallowed,
])
def test_start(start):
    start()
"""


def test_a_unit_test_that_starts_a_program_fails(repository: pytest.Pytester) -> None:
    (repository.path / "unit" / "test_start.py").write_text(STARTERS)
    (repository.path / "integration" / "test_run.py").write_text("import os\ndef test_run():\n    os.system('true')\n")

    result = repository.runpytest_subprocess("-W", "ignore::pytest.PytestUnhandledThreadExceptionWarning")

    assert result.parseoutcomes() == {"failed": 6, "passed": 1}
    result.stdout.fnmatch_lines(["*a unit test started a program: subprocess.Popen*"])


def test_a_run_that_begins_with_a_unit_test_is_isolated_all_the_same(repository: pytest.Pytester) -> None:
    (repository.path / "unit" / "test_pure.py").write_text("def test_pure():\n    pass\n")
    (repository.path / "integration" / "test_run.py").write_text("import os\ndef test_run():\n    os.system('true')\n")

    result = repository.runpytest_subprocess("unit", "integration")

    assert result.parseoutcomes() == {"passed": 2}


LEFT = """
import subprocess, pytest

@pytest.fixture(scope="{scope}")
def disk(tmp_path_factory):
    directory = tmp_path_factory.mktemp("left")
    subprocess.run(["mount", "-t", "tmpfs", "left-by-a-test", directory], check=True)
    yield

def test_first():
    pass

def test_second(disk):
    pass
"""


@pytest.mark.parametrize(("scope", "said"), [("module", "test_left.py left behind:"), ("session", "the run left behind:")])
def test_what_a_module_or_a_run_leaves_makes_it_fail(repository: pytest.Pytester, scope: str, said: str) -> None:
    (repository.path / "integration" / "test_left.py").write_text(LEFT.format(scope=scope))
    result = repository.runpytest_subprocess("--basetemp", repository.path / "temporary")

    assert result.parseoutcomes() == {"passed": 2, "errors": 1}
    result.stdout.fnmatch_lines([f"*{said}", "*mount */left0 (left-by-a-test)"])
