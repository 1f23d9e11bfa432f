"""What is sent to the engine."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.hookspecs import BuildRequest
from terra_core.system.progress import Event, Report, silent
from terra_docker.context import stream_context


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    return directory


def members(context: Path, overlay: Path | None = None, report: Report = silent) -> dict[str, tarfile.TarInfo]:
    """The tar's members by name."""
    with tarfile.open(fileobj=io.BytesIO(sent(context, overlay, report))) as archive:
        return {member.name: member for member in archive}


def sent(context: Path, overlay: Path | None = None, report: Report = silent) -> bytes:
    build = BuildRequest(
        context=context, overlay=overlay, dockerfile=".terra/Dockerfile", reference=parse_image_reference("a:1")
    )
    return b"".join(stream_context(build, report))


def test_files_directories_and_modes(context: Path) -> None:
    (context / "a").mkdir(mode=0o700)
    (context / "a/b").write_text("x" * 1000)
    (context / "a/b").chmod(0o751)
    (context / "empty").write_text("")
    found = members(context)
    assert {name: (member.mode, member.size, member.uid) for name, member in found.items()} == {
        "a": (0o700, 0, 0),
        "a/b": (0o751, 1000, 0),
        "empty": (0o644, 0, 0),
    }


def test_links_are_links(context: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (context / "directory").symlink_to(outside)
    (context / "file").symlink_to(outside / "secret")
    (context / "dangling").symlink_to("nowhere")
    found = members(context)
    assert sorted(found) == ["dangling", "directory", "file"]
    assert all(member.issym() for member in found.values())
    assert b"secret" not in sent(context).replace(str(outside / "secret").encode(), b"")


def test_sockets_and_devices_stay_out(context: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(context / "socket"))
        os.mkfifo(context / "fifo")
        assert sorted(members(context)) == ["fifo"]


def test_names_that_are_long_or_not_utf8(context: Path) -> None:
    long = "n" * 200
    (context / long).mkdir()
    (context / long / long).write_text("deep")
    Path(os.fsdecode(bytes(context) + b"/\xff\xfe")).write_text("bytes")
    found = members(context)
    assert f"{long}/{long}" in found
    assert os.fsdecode(b"\xff\xfe") in found


def test_dockerignore_does_not_hold_for_the_overlay(context: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    (overlay / ".terra").mkdir(parents=True)
    (overlay / ".terra/Dockerfile").write_text("FROM scratch")
    (context / ".dockerignore").write_text("# everything\n*\n!keep/*.txt\n")
    (context / "keep").mkdir()
    (context / "keep/a.txt").write_text("a")
    (context / "keep/b.bin").write_text("b")
    (context / "gone").write_text("gone")
    assert sorted(members(context, overlay)) == [".dockerignore", ".terra", ".terra/Dockerfile", "keep/a.txt"]


def test_progress_ends_at_the_whole(context: Path) -> None:
    (context / "big").write_bytes(bytes(3_000_000))
    (context / "small").write_bytes(b"1")
    events: list[Event] = []
    members(context, report=events.append)
    assert [event.done for event in events] == sorted(event.done or 0 for event in events)
    assert (events[0].done, events[-1].done, events[-1].total) == (0, 3_000_001, 3_000_001)


def test_a_file_that_shrinks_while_it_is_read(context: Path) -> None:
    (context / "a").write_bytes(bytes(3_000_000))

    def shrink(event: Event) -> None:
        if event.done:
            os.truncate(context / "a", 10)

    with pytest.raises(TerraError, match="became shorter"):
        sent(context, report=shrink)


def test_a_file_that_becomes_a_link_while_others_are_read(context: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (context / "a").write_bytes(bytes(1000))
    (context / "b").write_text("harmless")

    def swap(event: Event) -> None:
        if event.done == 1000:
            (context / "b").unlink()
            (context / "b").symlink_to(tmp_path / "secret")

    with pytest.raises(TerraError, match="cannot be read"):
        sent(context, report=swap)


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TerraError, match="cannot be read for the build"):
        sent(tmp_path / "nothing")
