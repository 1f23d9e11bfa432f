"""What a .dockerignore leaves out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from terra_core.building.ignore import parse_rules, read_rules, walk
from terra_core.building.patterns import matcher
from terra_core.errors import ConfigError

# Files, most of them generated, and the numbers of the names in the tree that they leave out, or null where they are refused:
# what moby/patternmatcher 0.5 said of them in the walk that BuildKit does.
CORPUS: dict[str, Any] = json.loads(Path(__file__).with_name("dockerignore.json").read_text())


def make_tree(root: Path) -> list[str]:
    """Make the tree of the corpus; return the names in it."""
    for name in CORPUS["tree"]:
        if name.endswith("/"):
            (root / name).mkdir()
        else:
            (root / name).write_text("")
    return [name.rstrip("/") for name in CORPUS["tree"]]


def test_the_corpus_is_left_out_as_docker_does_it(tmp_path: Path) -> None:
    names = make_tree(tmp_path)
    wrong = []
    for content, expected in CORPUS["cases"]:
        try:
            kept = set(walk(tmp_path, parse_rules(content.encode(), "file")))
            left_out: list[str] | None = [name for name in names if name not in kept]
        except ConfigError:
            left_out = None
        if left_out != (None if expected is None else [names[number] for number in expected]):
            wrong.append((content, left_out))
    assert wrong == []


def left_out(root: Path, content: bytes) -> list[str]:
    """Return the names of one directory that ``content`` leaves out."""
    kept = set(walk(root, parse_rules(content, "file")))
    return sorted(path.name for path in root.iterdir() if path.name not in kept)


@pytest.mark.parametrize(
    "content",
    [
        b"secret.env\n", b"secret.env", b"\xef\xbb\xbfsecret.env\n", b"\xef\xbb\xbf# a\nsecret.env\n", b"secret.env\r\n",
        b"x\r\nsecret.env\r\ny", b"\v\f secret.env\xc2\x85\n",
        b"x\xe2\x80\xa8\nsecret.env\xe2\x80\xa9", b"SECRET.ENV\nsecret.*\n",
        b"\xff\nsecret.env\n", b"/secret.env\n", b"./secret.env/\n", b"**/secret.env\n", b"secret?env\n",
        b"*.pem|*.env\n", b"*.env|*.pem\n", b"id_*|secret.env|*.pem\n", b"secret.[e]n{1}v\n", b"[a-z]{6}.env\n",
    ],
)  # fmt: skip
def test_a_secret_stays_out_whatever_the_editor_made_of_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret.env").write_text("k")
    (tmp_path / "other").write_text("o")
    assert left_out(tmp_path, content) == ["secret.env"]


@pytest.mark.parametrize("pattern", ["*.env", "secret?env", "[s]ecret.env", "*/../*.env"])
def test_a_mark_where_files_were_joined_switches_no_stars_off(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "secret.env").write_text("k")
    (tmp_path / "\ufeffa.env").write_text("a")
    assert "secret.env" in left_out(tmp_path, f"x\n\ufeff{pattern}\n".encode())
    assert left_out(tmp_path, b"x\n\xef\xbb\xbfsecret.env\n") == [], "docker compares a name without stars as it stands"


def test_a_line_ends_where_docker_ends_it(tmp_path: Path) -> None:
    for name in ("a", "b", "a\u2028b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb", "a\rb"):
        (tmp_path / name).write_text("")
    for name in ("a\u2028b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb", "a\rb"):
        assert left_out(tmp_path, f"{name}\n".encode()) == [name]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"\xff", b"\xfe", b"x\xff", b"plain"):
        Path(bytes(tmp_path).decode(), name.decode(errors="surrogateescape")).write_text("")
    assert len(left_out(tmp_path, b"\xff\n")) == 2, "as to Go, all bytes that are not UTF-8 are one character"
    assert len(left_out(tmp_path, b"x?\n")) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"ok\n[z-a]\n!\n", ['line 2: "[z-a]"', 'line 3: "!"']),
        (b"[a", ['line 1: "[a"']),
        (b"a\\\n", ['line 1: "a\\\\"']),
        (b"*{2}\nx|{2}*\n", ["{2} repeats nothing", "{2} repeats nothing"]),
        (b"[a]{65}\n?{60,}?{5}\n?{3,2}\n", ["{65} repeats what is before it", "{5} repeats", "{3,2} repeats"]),
        (b"?{" + b"9" * 5000 + b"}\n", ["repeats what is before it"]),
        (b"s\x00e\x00c\x00r\x00e\x00t\x00\n".join([b"\xff\xfe", b""]), ["is UTF-16"]),
    ],
)
def test_what_is_no_pattern_is_named(content: bytes, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rules(content, ".dockerignore")
    assert len(caught.value.problems) == len(expected)
    assert all(part in problem for part, problem in zip(expected, caught.value.problems, strict=True))


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 40 + "b", "**/" * 300 + "x", "[^/]*" * 60, "*a" * 2000, "a*" * 300 + "[b-c]", "*z|" * 300 + "b", "?{0,64}b"],
)
def test_many_stars_cost_no_more_than_their_number(pattern: str) -> None:
    begun = time.process_time()
    assert not matcher(pattern)("a" * 250 + "/" + "a" * 250)
    assert time.process_time() - begun < 5


def test_deep_trees(tmp_path: Path) -> None:
    names = [Path(f"{tmp_path}{'/d' * depth}") for depth in range(1, 1201)]
    for name in names:
        name.mkdir()
    assert list(walk(tmp_path, parse_rules(b"*\n!**/x\n", "file"))) == []
    assert len(list(walk(tmp_path, ()))) == len(names)
    for name in reversed(names):  # pytest's own clean-up goes less deep
        name.rmdir()


def test_no_file_leaves_nothing_out(tmp_path: Path) -> None:
    assert read_rules(tmp_path / "nothing") == ()
