"""The leak check sees what is left, and the fixtures fail what they have to."""

from pathlib import Path

import pytest

from lab.daemons import start
from lab.leaks import difference, snapshot
from lab.network import Network
from terra_core.system.process import run

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
            assert difference(before, snapshot()) == [
                f"loop device {loop} ({file})",
                f"mount {point} (none)",
                f"network namespace {network.name}",
                f"process {daemon.pid}: dnsmasq --keep-in-foreground --port=0",
            ]
        finally:
            daemon.stop()
            run(["umount", point])
            run(["losetup", "--detach", loop])
    assert difference(before, snapshot()) == []


@pytest.fixture
def repository(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty repository whose tests have the fixtures."""
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.delenv("TERRA_LEAKS", raising=False)
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
    try:
        result = repository.runpytest_subprocess("--basetemp", repository.path / "temporary")
    finally:
        run(["umount", repository.path / "temporary" / "left0"])

    assert result.parseoutcomes() == {"passed": 2, "errors": 1}
    result.stdout.fnmatch_lines([f"*{said}", "*mount */left0 (left-by-a-test)"])
