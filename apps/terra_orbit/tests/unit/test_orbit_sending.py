"""vhost.toml on its way: files are read where ob runs, and no path of a client's by the agent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from terra_core.config.loader import Document, make_document
from terra_core.errors import ConfigError
from terra_orbit.sending import SentVhost, with_contents
from terra_orbit.vhost import CONFIG_LIMIT, Vhost


def document(**configs: dict[str, Any]) -> Document[Vhost]:
    """Return a vhost.toml with these files."""
    return make_document({"id": "one", "image": "tiny:1", "configs": configs}, Vhost, source="vhost.toml")


def test_a_file_is_sent_as_its_text(tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("Welcome, größer.\n")
    given = document(
        motd={"path": "/etc/motd", "source": str(tmp_path / "motd"), "mode": "0600"}, own={"path": "/a", "content": "b"}
    )
    sent = with_contents(given)
    assert sent["configs"] == {
        "motd": {"path": "/etc/motd", "content": "Welcome, größer.\n", "mode": "0600"},
        "own": {"path": "/a", "content": "b"},
    }
    assert make_document(sent, SentVhost, source="request").value.configs["motd"].content == "Welcome, größer.\n"


def test_without_files_it_is_sent_as_it_stands() -> None:
    raw = {"id": "one", "image": "tiny:1"}
    assert with_contents(make_document(raw, Vhost, source="vhost.toml")) == raw


def test_what_is_no_text_file_is_named_with_all_others(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * (CONFIG_LIMIT + 1))
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    names = ("fifo", "large", "bytes", "missing")
    with pytest.raises(ConfigError) as caught:
        with_contents(document(**{name: {"path": f"/{name}", "source": str(tmp_path / name)} for name in names}))
    said = dict(zip(names, caught.value.problems, strict=True))
    assert said["fifo"].endswith("configs.fifo.source: " + f"{tmp_path}/fifo: cannot be read: it is a FIFO, and no file")
    assert "is larger than 512 KiB" in said["large"]
    assert "is not UTF-8" in said["bytes"]
    assert "No such file" in said["missing"]


@pytest.mark.parametrize("path", ["/etc/hostname", "/dev/ptmx", "/no/such/file"])
def test_a_path_is_nothing_that_an_agent_takes(path: str) -> None:
    raw = {"id": "one", "image": "tiny:1", "configs": {"a": {"path": "/a", "source": path}}}
    with pytest.raises(ConfigError) as caught:
        make_document(raw, SentVhost, source="vhost.toml")
    assert caught.value.problems == (
        "vhost.toml: configs.a.source: is read where ob runs, and its text sent as content: a path means nothing to the agent",
    )
