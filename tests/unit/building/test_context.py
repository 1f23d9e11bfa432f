"""What is sent to the engine."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from terra_core.building.context import dockerfile_text, lay_context, stream_context
from terra_core.building.instructions import read_dockerfile
from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.hookspecs import BuildRequest
from terra_core.system.progress import Event, Report, silent
from terra_docker.assemble import request


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    return directory


def members(context: Path, overlay: Path | None = None, report: Report = silent) -> dict[str, tarfile.TarInfo]:
    """Return the tar's members by name."""
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
    (context / "keep").chmod(0o750)
    found = members(context, overlay)
    assert sorted(found) == [".dockerignore", ".terra", ".terra/Dockerfile", "keep", "keep/a.txt"]
    assert found["keep"].mode == 0o750, "as BuildKit has it: the directory of what is kept is its own"


def test_the_file_beside_the_dockerfile_goes_before_that_of_the_context(context: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "Dockerfile"):
        (context / name).write_text(name)
    (context / ".dockerignore").write_text("a\n")
    (context / "Dockerfile.dockerignore").write_text("b\nDockerfile*\n")
    build = BuildRequest(context=context, dockerfile="Dockerfile", reference=None)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream_context(build, silent)))) as archive:
        assert sorted(archive.getnames()) == [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "a"]


def test_a_dockerfile_outside_of_the_context_has_its_own_file_beside_it(context: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM scratch\n")
    (place / "Dockerfile.dockerignore").write_text("secret\n")
    (context / ".dockerignore").write_text("public\n")
    for name in ("secret", "public"):
        (context / name).write_text(name)
    with request(context, place) as prepared:
        sent = b"".join(stream_context(prepared(reference=None), silent))
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        assert sorted(archive.getnames()) == [".dockerignore", ".vab", ".vab/Dockerfile", "public"]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_fifo, "it is a FIFO, and no file"),
        (make_socket, "it is a socket, and no file"),
        (make_device, "it is a device, and no file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, and no file"),
        (Path.mkdir, "it is a directory, and no file"),
        (lambda path: path.symlink_to(path.name), "Too many levels"),
        (lambda path: path.write_bytes(bytes(20_000_000)), "it is larger than"),
    ],
)
@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile"])
def test_what_is_no_file_is_not_read_as_one(context: Path, make: Callable[[Path], object], said: str, name: str) -> None:
    make(context / name)
    build = BuildRequest(context=context, dockerfile="Dockerfile", reference=None)
    with pytest.raises(TerraError, match=said):
        dockerfile_text(build) if name == "Dockerfile" else sent(context)


def test_a_dockerfile_is_read_as_docker_reads_it(context: Path) -> None:
    (context / "Dockerfile").write_bytes(b"\xef\xbb\xbfFROM a\r\nRUN b\x0cc\n")
    build = BuildRequest(context=context, dockerfile="Dockerfile", reference=None)
    assert dockerfile_text(build) == "FROM a\r\nRUN b\x0cc\n"
    assert [(step.name, step.words) for step in read_dockerfile(dockerfile_text(build) or "").instructions] == [
        ("FROM", "a"), ("RUN", "b\x0cc")]  # fmt: skip


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


def laid(context: Path, target: Path, overlay: Path | None = None) -> dict[str, tuple[str, int, int]]:
    """Return what lies in a directory then: kind and content, mode and time of every file."""
    target.mkdir()
    build = BuildRequest(
        context=context,
        overlay=overlay,
        dockerfile=".terra/Dockerfile",
        reference=parse_image_reference("a:1"),
        epoch=1_000_000_000,
    )
    lay_context(build, target, silent)
    found = {}
    for path in target.rglob("*"):
        status = path.lstat()
        what = (
            str(path.readlink())
            if path.is_symlink()
            else path.read_text()
            if path.is_file()
            else stat.filemode(status.st_mode)[0]
        )
        found[str(path.relative_to(target))] = (what, stat.S_IMODE(status.st_mode), int(status.st_mtime))
    return found


def test_a_context_is_laid_as_it_is_sent(context: Path, tmp_path: Path) -> None:
    overlay, old, now = tmp_path / "overlay", 900_000_000, 1_000_000_000
    (overlay / ".terra").mkdir(parents=True)
    (overlay / ".terra/Dockerfile").write_text("FROM scratch\n")
    (context / "private").mkdir(mode=0o700)
    (context / "private/file").write_text("text")
    (context / "private/file").chmod(0o4755)
    (context / "link").symlink_to("/etc/shadow")
    os.mkfifo(context / "pipe", 0o640)
    (context / "left-out").write_text("secret")
    (context / ".dockerignore").write_text("left-out\n.dockerignore\n")
    os.utime(context / "private/file", (old, old))
    assert laid(context, tmp_path / "laid", overlay) == {
        ".terra": ("d", 0o755, now),
        ".terra/Dockerfile": ("FROM scratch\n", 0o644, now),
        "private": ("d", 0o700, now),
        "private/file": ("text", 0o4755, old),
        "link": ("/etc/shadow", 0o777, now),
        "pipe": ("p", 0o640, now),
    }


def test_nothing_is_laid_through_a_link(context: Path, tmp_path: Path) -> None:
    overlay, outside = tmp_path / "overlay", tmp_path / "outside"
    (overlay / "etc").mkdir(parents=True)
    (overlay / "etc/passwd").write_text("root")
    outside.mkdir()
    (context / "etc").symlink_to(outside)
    assert laid(context, tmp_path / "laid", overlay)["etc/passwd"][0] == "root"
    assert list(outside.iterdir()) == []
