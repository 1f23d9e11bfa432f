"""What a daemon tells systemd: that it is ready, how it does, and its log with fields."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from terra_core.service.journal import JournalLogger, entry, goes_to_journal
from terra_core.service.notifying import Notifier
from terra_core.system import process


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "socket"))
        made.setblocking(False)
        yield made


def told(listener: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(listener.recv(65536).decode())
    except BlockingIOError:
        return found


def test_a_service_manager_is_told_and_the_watchdog_fed(listener: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environment)
    assert environment == {}, "programs that it starts speak for themselves"
    assert notifier.pause == 1
    notifier.ready()
    notifier.beat("serves machines", lively=True)
    notifier.beat("serves machines", lively=True)
    notifier.beat("storage: it hangs\nREADY=1", lively=False)
    notifier.stopping()
    first, *rest = told(listener)
    assert first == "READY=1"
    assert rest == ["STATUS=serves machines", "WATCHDOG=1", "WATCHDOG=1", "STATUS=storage: it hangs\\nREADY=1", "STOPPING=1"]


def test_without_a_watchdog_only_the_status_is_told(listener: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"})
    assert notifier.pause == 10
    notifier.beat("serves machines", lively=True)
    assert told(listener) == ["STATUS=serves machines"]


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_nobody_to_tell_is_no_fault(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "nonsense"})
    notifier.ready()
    notifier.beat("serves machines", lively=True)


def test_an_entry_has_what_it_is_about_as_fields() -> None:
    event = {
        "event": "quarantined",
        "hostname": "cm-01",
        "some key=x": 1,
        "level": "error",
        "timestamp": "now",
        "exception": "a\nb",
    }
    lines = entry(event, "terra").split(b"\n")
    assert lines[0] == b"MESSAGE"
    size = int.from_bytes(b"\n".join(lines[1:]).partition(b"quarantined")[0], "little")
    assert size == len("quarantined hostname=cm-01 some key=x=1\na\nb")
    assert lines[-5:] == [b"PRIORITY=3", b"SYSLOG_IDENTIFIER=terra", b"TERRA_HOSTNAME=cm-01", b"TERRA_SOME_KEY_X=1", b""]


def test_a_value_with_lines_makes_no_fields_of_its_own() -> None:
    data = entry({"event": "e", "level": "info", "reason": "no\nPRIORITY=0"}, "terra")
    assert data.endswith(b"TERRA_REASON\n" + (13).to_bytes(8, "little") + b"no\nPRIORITY=0\n")


def test_entries_go_to_the_journals_socket(listener: socket.socket, tmp_path: Path) -> None:
    JournalLogger(tmp_path / "socket").info(b"MESSAGE=x\n")
    JournalLogger(tmp_path / "nowhere").info(b"MESSAGE=x\n")
    assert told(listener) == ["MESSAGE=x\n"]


def test_the_journal_is_told_by_its_stream() -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        status = os.fstat(stream.fileno())
        assert goes_to_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not goes_to_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not goes_to_journal(stream, {"JOURNAL_STREAM": "nonsense"})
        assert not goes_to_journal(stream, {})
    assert not goes_to_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})


def test_a_daemon_that_outlives_its_unit_gets_a_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process._in_scope("dnsmasq") == ()
    monkeypatch.setenv("TERRA_SLICE", "terra.slice")
    words = process._in_scope("/usr/sbin/dnsmasq")
    assert words[:2] == ("systemd-run", "--scope")
    assert "--slice=terra.slice" in words
    assert any(word.startswith("--unit=terra-dnsmasq-") and word.endswith(".scope") for word in words)
    assert words[-1] == "--"
