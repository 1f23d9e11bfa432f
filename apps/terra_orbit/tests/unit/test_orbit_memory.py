"""What CRIU stored, as a layer of an image: written, named, and read again with nothing else in it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from terra_core.errors import TerraError
from terra_orbit.agent import memory

FILES = {"pages-1.img": b"\0secret" * 5000, "core-1.img": b"core", "criu.work/dump.log": b"log"}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Write files such as an engine gets from CRIU."""
    for name, content in FILES.items():
        path = tmp_path / "stored" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "stored"


def image(**more: object) -> dict[str, Any]:
    return {
        "Id": "sha256:1",
        "Architecture": "amd64",
        "Os": "linux",
        "Created": "2026-01-01T00:00:00Z",
        "Config": {"Cmd": ["sleep"], "Labels": {"a": "b"}, **more},
        "RootFS": {"Type": "layers", "Layers": ["sha256:aa", "sha256:bb"]},
    }


def archive(*entries: tuple[str, bytes | None]) -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/shadow"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    data = buffer.getvalue()
    return [data[at : at + 700] for at in range(0, len(data), 700)]


def test_a_layer_holds_every_file_for_root_alone_and_is_the_same_each_time(stored: Path, tmp_path: Path) -> None:
    digest = memory.write_layer(stored, tmp_path / "1.tar")
    assert digest == memory.write_layer(stored, tmp_path / "2.tar")
    assert digest == "sha256:" + hashlib.sha256((tmp_path / "1.tar").read_bytes()).hexdigest()
    assert (tmp_path / "1.tar").stat().st_mode & 0o077 == 0
    with tarfile.open(tmp_path / "1.tar") as tar:
        held = {entry.name: entry for entry in tar}
        assert {f".orbit/memory/{name}" for name in FILES} | {".orbit", ".orbit/memory"} == set(held)
        assert all(entry.mode & 0o077 == 0 and entry.uid == 0 for entry in held.values())


def test_what_was_stored_is_what_is_read(stored: Path, tmp_path: Path) -> None:
    pieces = archive(*((f"memory/{name}", content) for name, content in FILES.items()))
    memory.read_files(pieces, tmp_path / "read")
    assert {name: (tmp_path / "read" / name).read_bytes() for name in FILES} == FILES
    assert (tmp_path / "read").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "entries",
    [
        [("memory/../../escape", b"x")],
        [("memory//etc/passwd", b"x"), ("memory/ok/../../x", b"x")],
        [("memory/link", None)],
        [("memory/a\nb", b"x")],
        [("memory/-rf", b"x")],
        [("memory/a", b"x"), ("memory/a", b"y")],
        [],
    ],
)
def test_an_archive_that_is_none_of_criu_is_refused(entries: list[tuple[str, bytes | None]], tmp_path: Path) -> None:
    with pytest.raises(TerraError, match="memory"):
        memory.read_files(archive(*entries), tmp_path / "read")
    assert not (tmp_path / "escape").exists()


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = b"".join(archive(("memory/a", b"x" * 5000)))
    with pytest.raises(TerraError, match="cannot be read"):
        memory.read_files([whole[:2000]], tmp_path / "read")


def test_nothing_but_files_is_stored(stored: Path, tmp_path: Path) -> None:
    (stored / "link").symlink_to("/etc/shadow")
    with pytest.raises(TerraError, match="expected a file of CRIU's"):
        memory.write_layer(stored, tmp_path / "1.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TerraError, match="stored no memory"):
        memory.write_layer(tmp_path / "empty", tmp_path / "2.tar")


def test_an_image_with_memory_and_without_it_again_is_what_it_was() -> None:
    with_memory = json.loads(memory.with_memory(image(), "sha256:cc"))
    assert with_memory["rootfs"]["diff_ids"] == ["sha256:aa", "sha256:bb", "sha256:cc"]
    assert with_memory["config"]["Labels"] == {"a": "b", "io.terra.orbit.memory": "sha256:cc"}
    described = image(Labels=with_memory["config"]["Labels"])
    described["RootFS"]["Layers"].append("sha256:cc")
    assert memory.layer_of(described) == "sha256:cc"
    without = json.loads(memory.without_memory(described, "a1"))
    assert without["rootfs"]["diff_ids"] == ["sha256:aa", "sha256:bb"]
    assert without["config"] == image(Labels={"a": "b", "io.terra.orbit.passing": "a1"})["Config"]
    assert memory.layer_of(image()) is None


def test_a_label_that_names_another_layer_is_refused() -> None:
    with pytest.raises(TerraError, match="does not name its last layer"):
        memory.layer_of(image(Labels={"io.terra.orbit.memory": "sha256:aa"}))


def test_an_archive_for_the_engine_has_the_one_layer_that_it_needs(stored: Path, tmp_path: Path) -> None:
    digest = memory.write_layer(stored, tmp_path / "layer.tar")
    configuration = memory.with_memory(image(), digest)
    memory.write_archive(configuration, tmp_path / "image.tar", layer=tmp_path / "layer.tar", name="a/b:1")
    with tarfile.open(tmp_path / "image.tar") as tar:
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
        assert manifest[0]["RepoTags"] == ["a/b:1"]
        assert len(manifest[0]["Layers"]) == 3
        assert tar.getnames() == ["manifest.json", "config.json", manifest[0]["Layers"][-1]]
    assert memory.identity(configuration) == "sha256:" + hashlib.sha256(configuration).hexdigest()
