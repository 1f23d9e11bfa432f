"""What registries.conf says of an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.config.values import parse_image_reference
from terra_core.errors import ConfigError, TerraError
from terra_podman import registries
from terra_podman.registries import Registries, parse_registries, read_registries

PATH = Path("/etc/containers/registries.conf")
DIGEST = f"sha256:{'0' * 64}"


def read(text: str) -> Registries:
    return parse_registries(text.encode(), PATH)


def places(text: str, name: str) -> list[tuple[str, bool]]:
    """Return where an image is pulled from, and whether TLS may be missing there."""
    return [(place.reference.text, place.insecure) for place in read(text).places(parse_image_reference(name))]


MIRRORED = """
[[registry]]
prefix = "example.com/team"
location = "internal.example/mirrored/"
insecure = true
[[registry.mirror]]
location = "one.example:5000/team"
[[registry.mirror]]
location = "two.example"
insecure = true
"""


def test_an_image_that_nothing_is_said_of() -> None:
    assert places("", "example.com/a:1") == [("example.com/a:1", False)]
    assert places(MIRRORED, "example.com/teams/a:1") == [("example.com/teams/a:1", False)]
    assert places(MIRRORED, "sub.example.com/team/a:1") == [("sub.example.com/team/a:1", False)]


def test_a_location_and_mirrors_take_the_place_of_the_prefix() -> None:
    assert places(MIRRORED, "example.com/team/a:1") == [
        ("one.example:5000/team/a:1", False),
        ("two.example/a:1", True),
        ("internal.example/mirrored/a:1", True),
    ]
    assert places(MIRRORED, f"example.com/team/a@{DIGEST}")[-1] == (f"internal.example/mirrored/a@{DIGEST}", True)


def test_the_longest_prefix_counts() -> None:
    text = "".join(f'[[registry]]\nlocation = "{place}"\ninsecure = {flag}\n' for place, flag in (
        ("example.com", "true"), ("example.com/a", "false"), ("example.com/a/b", "true"),
    ))  # fmt: skip
    assert [places(text, f"example.com/{name}:1")[0][1] for name in ("x", "a", "a/x", "a/b", "ab")] == [
        True, False, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "blocked"),
    [
        ("example.com/a:1", False),
        ("a.example.com/a:1", True),
        ("a.b.example.com:5000/a:1", True),
        ("a.example.com.evil.org/a:1", False),
        ("evil.org/a.example.com/a:1", False),
    ],
)
def test_every_host_of_a_domain(name: str, blocked: bool) -> None:
    text = '[[registry]]\nprefix = "*.example.com"\nblocked = true\n'
    if blocked:
        with pytest.raises(TerraError, match=rf"{name}: the registry \*\.example\.com is blocked in {PATH}"):
            places(text, name)
    else:
        assert places(text, name) == [(name, False)]


def test_a_domain_that_is_elsewhere() -> None:
    text = '[[registry]]\nprefix = "*.example.com"\nlocation = "proxy.site:5000/example"\n'
    assert places(text, "a.example.com/b/c:1") == [("proxy.site:5000/example/b/c:1", False)]


def test_a_mirror_or_a_location_that_is_blocked() -> None:
    blocked = '[[registry]]\nlocation = "{}"\nblocked = true\n'
    assert places(MIRRORED + blocked.format("two.example"), "example.com/team/a:1") == [
        ("one.example:5000/team/a:1", False),
        ("internal.example/mirrored/a:1", True),
    ]
    with pytest.raises(TerraError, match=r"^example\.com/team/a:1: the registry internal\.example is blocked"):
        places(MIRRORED + blocked.format("internal.example"), "example.com/team/a:1")


def test_docker_io_is_named_whole() -> None:
    text = '[[registry]]\nprefix = "docker.io"\nlocation = "hub.site:5000"\n'
    assert places(text, "debian:12") == [("hub.site:5000/library/debian:12", False)]
    assert places(text, "docker.io/stellarproject/terraos:v11") == [("hub.site:5000/stellarproject/terraos:v11", False)]


@pytest.mark.parametrize(
    ("registry", "mirror", "tag", "digest"),
    [
        ("", "", 2, 2),
        ("mirror-by-digest-only = true", "", 1, 2),
        ("", 'pull-from-mirror = "digest-only"', 1, 2),
        ("", 'pull-from-mirror = "tag-only"', 2, 1),
        ("", 'pull-from-mirror = "all"', 2, 2),
    ],
)
def test_mirrors_of_tags_and_of_digests(registry: str, mirror: str, tag: int, digest: int) -> None:
    text = f'[[registry]]\nlocation = "a.example"\n{registry}\n[[registry.mirror]]\nlocation = "b.example"\n{mirror}\n'
    assert len(places(text, "a.example/a:1")) == tag
    assert len(places(text, f"a.example/a@{DIGEST}")) == digest


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('[registries.search]\nregistries = ["a"]\n', ["registries: is version 1"]),
        ("[[registry]]\n", ["registry[0]: has neither a location nor a prefix"]),
        ('[[registry]]\nprefix = "a.b"\n', ["registry[0].location: is missing"]),
        ('[[registry]]\nlocation = "https://a.b"\n', ["registry[0].location: expected a host without http:// or https://"]),
        ('[[registry]]\nlocation = "a.*.b"\n', ["registry[0].prefix: expected a star in front only"]),
        ('[[registry]]\nlocation = "a.b"\ninsecure = "false"\n', ['registry[0].insecure: expected true or false, got "false"']),
        ('[registry]\nlocation = "a.b"\n', ["registry: expected tables, each under [[registry]]"]),
        ('[[registry]]\nlocation = "a.b"\nmirror = ["c.d"]\n', ["registry[0].mirror: expected tables"]),
        ('[[registry]]\nlocation = "a.b"\n[[registry.mirror]]\n', ["registry[0].mirror[0].location: is missing"]),
        (
            '[[registry]]\nlocation = "a.b"\nmirror-by-digest-only = true\nblocked = 1\n'
            '[[registry.mirror]]\nlocation = "c.d"\npull-from-mirror = "never"\n',
            ["pull-from-mirror: expected one of all", "pull-from-mirror: cannot stand beside", "blocked: expected"],
        ),
        ('unqualified-search-registries = "docker.io"\n', ["unqualified-search-registries: expected a list of strings"]),
        ("[aliases]\na = 1\n", ["aliases.a: expected the whole name of an image"]),
        ("[[registry]\n", ["is no TOML: "]),
    ],
)
def test_every_problem_is_named(text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert len(caught.value.problems) == len(problems)
    for found, expected in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(f"{PATH}: ")
        assert expected in found


def test_a_file_that_is_no_text() -> None:
    with pytest.raises(ConfigError, match="is no TOML: is not UTF-8"):
        parse_registries(b"# \xff\n", PATH)


def test_a_name_that_an_entry_makes_none_of() -> None:
    with pytest.raises(TerraError, match=f"{PATH} makes another name of it"):
        places('[[registry]]\nprefix = "a.example"\nlocation = "NOT A NAME"\n', "a.example/a:1")


@pytest.mark.parametrize(
    ("text", "name", "whole"),
    [
        ("", "debian:12", ""),
        ('unqualified-search-registries = ["docker.io"]\n', "debian:12", ""),
        ('[aliases]\n"debian" = "docker.io/library/debian"\n', "debian:12", ""),
        ('[aliases]\n"debian" = "other.example/debian"\n', "debian:12", "other.example/debian:12"),
        ('[aliases]\n"debian" = "other.example/debian"\n', "docker.io/library/debian:12", ""),
        ('[aliases]\n"debian" = "other.example/debian"\n', "team/debian:12", ""),
        ('unqualified-search-registries = ["a.example", "docker.io"]\n', "debian:12", "a.example/debian:12"),
        ('unqualified-search-registries = ["a.example"]\n', "team/debian", "a.example/team/debian"),
        ('unqualified-search-registries = ["a.example"]\n', f"debian@{DIGEST}", f"a.example/debian@{DIGEST}"),
        ('unqualified-search-registries = ["a.example"]\n', "localhost/debian:12", ""),
        ("unqualified-search-registries = []\n", "debian:12", ""),
    ],
)
def test_a_name_without_a_registry(text: str, name: str, whole: str) -> None:
    reference, found = parse_image_reference(name), read(text)
    if not whole:
        found.check_whole(reference)
        return
    with pytest.raises(TerraError, match="names no registry") as caught:
        found.check_whole(reference)
    assert whole in caught.value.hint.split()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of the machine's files; the user's are below ``home``."""
    monkeypatch.setattr(registries, "SYSTEM", tmp_path / "registries.conf")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CONTAINERS_REGISTRIES_CONF", raising=False)
    for directory in ("registries.conf.d", "home/.config/containers/registries.conf.d"):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


def entry(place: str, more: str = "") -> str:
    return f'[[registry]]\nlocation = "{place}"\n{more}\n'


def test_files_of_the_machine_and_of_the_user(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_registries().entries == {}
    (files / "registries.conf").write_text('unqualified-search-registries = ["a.example"]\n' + entry("a") + entry("b"))
    (files / "registries.conf.d/2.conf").write_text(entry("b", "blocked = true") + '[aliases]\n"x" = "y.z/x"\n')
    (files / "registries.conf.d/1.conf").write_text(entry("b", "insecure = true"))
    (files / "registries.conf.d/other").write_text("[[")
    (files / "home/.config/containers/registries.conf.d/9.conf").write_text(entry("c"))
    found = read_registries()
    assert [(name, one.insecure, one.blocked) for name, one in found.entries.items()] == [
        ("a", False, False), ("b", False, True), ("c", False, False),
    ]  # fmt: skip
    assert found.search == ("a.example",)
    assert found.aliases == {"x": "y.z/x"}
    (files / "home/.config/containers/registries.conf").write_text(entry("own"))
    assert sorted(read_registries().entries) == ["b", "c", "own"]
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(files / "named"))
    with pytest.raises(ConfigError, match="named: is not there, and CONTAINERS_REGISTRIES_CONF names it"):
        read_registries()
    (files / "named").write_text(entry("named"))
    assert sorted(read_registries().entries) == ["b", "c", "named"]


def test_a_file_that_is_none(files: Path) -> None:
    (files / "registries.conf").mkdir()
    with pytest.raises(ConfigError, match=r"registries\.conf: cannot be read: "):
        read_registries()
