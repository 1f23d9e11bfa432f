"""Files that can't be read, and files that are not what they claim to be."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from terra_core.config.loader import load, make_document, received_document, selected_plugins
from terra_core.config.node import NetworkNode, Node, SentNode
from terra_core.config.problems import DocumentError
from terra_core.errors import ConfigError
from terra_core.system.progress import Event

NODE = b'hostname = "a"\nimage = "b"\n[[groups]]\nlabel = "os"\n[[groups.disk]]\ndevice = "/dev/sda"\n'
NOBODY = 65534


def refusal(source: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(source, Node)
    assert caught.value.exit_code == 2
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'hostname = "a"\nimage = \n', "is not TOML: Invalid value (at line 2, column 9)"),
        (b'hostname = "a"\nhostname = "b"\n', "is not TOML: Cannot overwrite a value (at line 2, column 15)"),
        (b"[a]\n[a]\n", "is not TOML: Cannot declare ('a',) twice (at line 2, column 3)"),
        (b'hostname = "a\nb"\n', "is not TOML: "),
        (b"<html><body>not found</body></html>", "is not TOML: Invalid statement (at line 1, column 1)"),
        (b'{"hostname": "a"}', "is not TOML: Invalid statement (at line 1, column 1)"),
        (b'hostname = "\xff"', "is not UTF-8 (byte 12)"),
        ("hostname = 'a'".encode("utf-16"), "is UTF-16, where UTF-8 is expected"),
        (b"a = " + b"[" * 100_000, "is nested too deeply"),
        (b"a = " + b"{a=" * 100_000, "is nested too deeply"),
        (b"a = " + b"9" * 10_000, "is not TOML: "),
        (b"a = '\0'", "is not TOML: "),
        (
            b'hostname = "a"\n\xef\xbb\xbfimage = "b"\n',
            "is not TOML: Invalid statement (at line 2, column 1); line 2 begins with a byte order mark, as where two files",
        ),
        (
            b'hostname = "a"\rimage = "b"\r',
            "is not TOML: Expected newline or end of document after a statement (at line 1, column 15); "
            "line 1 has a carriage return alone",
        ),
    ],
)
def test_what_is_not_toml_is_refused_with_its_place(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: {expected}")


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_editors_put_around_the_text_has_no_meaning(tmp_path: Path, ends: bytes, mark: bytes) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(mark + NODE.replace(b"\n", ends))
    assert load(path, Node).value.hostname == "a"
    path.write_bytes(mark + ends.join([b"[plugins]", b'boot = "tftp"']))
    assert selected_plugins(path) == {"boot": "tftp"}


def test_separators_that_are_no_line_ends_of_toml_are_text(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(NODE + "# a\u2028b = 1\u0085c = 2\n".encode())
    assert load(path, Node).value.hostname == "a"


def test_a_key_of_a_hundred_thousand_dots_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b'image = "b"\ngroups = []\nhostname' + b".a" * 100_000 + b" = 1\n")
    with pytest.raises(ConfigError, match=r"node.toml: "):
        load(path, Node)


def test_a_file_of_50_mb_is_refused_and_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    assert refusal(path) == f"{path}: is larger than 1024 KiB, which no configuration of Terra's is"
    assert refusal("/dev/zero") == "/dev/zero: is larger than 1024 KiB, which no configuration of Terra's is"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "node.toml") == f"{tmp_path}/node.toml: no such file"
    assert refusal(tmp_path / "a" / "b.toml") == f"{tmp_path}/a/b.toml: no such file"


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


@contextmanager
def unprivileged() -> Iterator[None]:
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if privileged:
            os.seteuid(0)


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(NODE)
    path.chmod(0)
    with unprivileged():
        assert refusal(path) == f"{path}: cannot be read: Permission denied"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://nodes/node.toml", "tftp://nodes/node.toml"])
def test_no_url_but_http(url: str) -> None:
    assert refusal(url) == f"{url}: is neither a file nor an http:// or https:// URL"


def give_standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    give_standard_input(monkeypatch, NODE)
    document = load("-", Node)
    assert (document.value.hostname, document.source) == ("a", "standard input")
    give_standard_input(monkeypatch, b"hostname = ")
    assert refusal("-").startswith("standard input: is not TOML: ")


def test_the_selection_of_plugins_is_read_whatever_else_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('colour = "red"\n[plugins]\nnetwork = "paper"\n')
    assert selected_plugins(path) == {"network": "paper"}
    path.write_text("")
    assert selected_plugins(path) == {}
    path.write_text("[plugins]\nnetwork = 1\n")
    with pytest.raises(ConfigError) as caught:
        selected_plugins(path)
    assert caught.value.problems == (f'{path}: plugins.network: expected the name of a plugin, such as "ext4", got 1',)


def test_what_a_client_sends_is_the_same_as_what_a_file_says() -> None:
    disk = {"device": "/dev/sda", "size": 1}
    sent = {"hostname": "a", "image": "b", "mac": "54:b2:03:07:f1:d1", "groups": [{"label": "os", "disk": [disk]}]}
    read = make_document(sent, NetworkNode, source="node.toml")
    assert received_document(sent, SentNode, NetworkNode, source="node.toml") == read
    with pytest.raises(ConfigError, match=r"trust\.key"):
        received_document({**sent, "trust": {"key": "/etc/hostname"}}, SentNode, NetworkNode, source="node.toml")


def test_the_problems_of_a_file_are_objects_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(NODE.replace(b'"a"', b"1") + b'more = "x"\n')
    with pytest.raises(DocumentError) as caught:
        load(path, Node)
    assert caught.value.source == str(path)
    assert [problem.path for problem in caught.value.found] == ["hostname", "groups[0].disk[0].more"]
    assert caught.value.problems == tuple(f"{path}: {problem}" for problem in caught.value.found)


def test_a_document_gives_the_session_of_its_own_file(tmp_path: Path) -> None:
    path, heard = tmp_path / "node.toml", list[Event]()
    path.write_bytes(NODE + b"[ext4]\nlabel = 1\n")
    document = load(path, Node, owners=["ext4"])
    session = document.session(heard.append, plain_http=True)
    assert (session.source, session.tables, session.plain_http) == (str(path), {"ext4": {"label": 1}}, True)
    session.report(Event("a", "b"))
    assert heard == [Event("a", "b")]
