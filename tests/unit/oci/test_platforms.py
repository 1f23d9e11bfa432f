"""Which entry of an index is taken: architectures and variants, for the machine that runs it and for any other of its kind."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from terra_core.errors import NotFoundError, TerraError
from terra_core.oci import Layout, media, platforms, this_platform
from terra_core.oci.platforms import amd64_level, processor_level
from tests.unit.oci.making import LayoutMaker, file, tar

V2 = "fpu sse2 cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.fixture
def maker(tmp_path: Path) -> LayoutMaker:
    return LayoutMaker(tmp_path / "layout")


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, flags: str | None = None) -> None:
    """Run on such a machine."""
    monkeypatch.setattr(platform, "machine", lambda: name)
    info = tmp_path / "cpuinfo"
    if flags is not None:
        info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbogomips: 1\n")
    monkeypatch.setattr(platforms, "_CPUINFO", info)


def chosen(maker: LayoutMaker, listed: str) -> str:
    """Return the entry chosen from an index of these platforms, each ``architecture`` or ``architecture/variant``."""
    entries = {}
    for name in listed.split():
        architecture, _, variant = name.partition("/")
        there = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        described = maker.image([tar(file(b"level", name.encode()))], architecture=architecture)
        entries[described["digest"]] = (name, {**described, "annotations": {}, "platform": there})
    document = {"schemaVersion": 2, "manifests": [entry for _, entry in entries.values()]}
    maker.index([maker.document(document, media.OCI_INDEX)])
    return entries[str(Layout(maker.path).image().digest)][0]


@pytest.mark.parametrize(
    ("name", "flags", "listed", "taken"),
    [
        ("x86_64", V4, "amd64/v3 amd64", "amd64"),
        ("x86_64", V4, "amd64/v4 amd64/v1 amd64/v3", "amd64/v1"),
        ("x86_64", V4, "arm64 amd64/v4 amd64/v2 amd64/v3", "amd64/v2"),
        ("x86_64", V3, "amd64/v4 amd64/v3", "amd64/v3"),
        ("x86_64", V3, "amd64/newest amd64/v3", "amd64/v3"),
        ("x86_64", None, "amd64/v4 amd64/v3", "amd64/v3"),
        ("x86_64", V2, "amd64/V2", "amd64/V2"),
        ("x86_64", V2, "x86_64/v2", "x86_64/v2"),
        ("aarch64", None, "amd64 arm/v7 arm64/v8", "arm64/v8"),
        ("aarch64", None, "arm64/v9 arm64/v8.2 arm64", "arm64"),
        ("aarch64", None, "arm64/v9 arm64/v8.2 arm64/8", "arm64/8"),
        ("aarch64", None, "arm64/v9 arm64/v8.10 arm64/v8.2", "arm64/v8.2"),
        ("armv7l", None, "arm/v5 arm/v6 arm/v7 arm64", "arm/v7"),
        ("armv7l", None, "arm/v5 arm/v6", "arm/v6"),
        ("armv6l", None, "arm arm/v7 arm/v6 arm/v5", "arm/v6"),
        ("armv8l", None, "arm/v8 arm", "arm"),
    ],
)
def test_the_baseline_is_taken_and_nothing_that_the_processor_cannot_run(
    maker: LayoutMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, flags: str | None, listed: str, taken: str
) -> None:
    machine(monkeypatch, tmp_path, name, flags)
    assert chosen(maker, listed) == taken
    assert chosen(maker, " ".join(reversed(listed.split()))) == taken, "the order of an index says nothing"


def test_what_the_processor_cannot_run_is_refused_unless_named_by_its_digest(
    maker: LayoutMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, tmp_path, "x86_64", V2)
    with pytest.raises(NotFoundError, match="not built for linux/amd64") as caught:
        chosen(maker, "amd64/v4 amd64/v3")
    assert "it is built for linux/amd64/v3, linux/amd64/v4, which this processor does not run" in caught.value.hint
    assert "by its digest" in caught.value.hint
    listed = Layout(maker.path)
    for digest in (path.name for path in (maker.path / "blobs/sha256").iterdir() if b'"layers": [{' in path.read_bytes()):
        assert str(listed.image(f"sha256:{digest}").digest) == f"sha256:{digest}"


def test_several_images_of_a_layout_are_no_variants_of_one(maker: LayoutMaker) -> None:
    here = {"os": "linux", "architecture": this_platform().architecture}
    named = [{**maker.image([tar(file(b"f", name.encode()))], name), "platform": here} for name in "ab"]
    named[0]["platform"] = {**here, "variant": "v9"}
    maker.index(named)
    with pytest.raises(TerraError, match="several"):
        Layout(maker.path).resolve()
    for entry in named:
        entry["annotations"] = {}
    maker.index(named)
    assert str(Layout(maker.path).resolve().digest) == named[1]["digest"]


@pytest.mark.parametrize(("flags", "level"), [("fpu sse2", 1), (V2, 2), (V3, 3), (V4, 4), ("avx avx2", 1)])
def test_levels_of_processors(flags: str, level: int) -> None:
    assert amd64_level(set(flags.split())) == (level, 0)


def test_this_processor_has_a_level() -> None:
    level = processor_level()
    assert (level is None) == (platform.machine() != "x86_64" and not platform.machine().startswith("arm"))
