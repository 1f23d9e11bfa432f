"""An engine that is not there, may not be used, or is too old."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

from lab.engine import Engine
from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_docker import plugin

NOBODY = 65534
_ASK = """
import sys
from terra_core.errors import TerraError
from terra_docker.engine import connected
from terra_docker.settings import Docker
try:
    with connected(Docker(engine=sys.argv[1])):
        pass
except TerraError as error:
    print(error)
"""


def ask(session: Session) -> None:
    """Ask for something that needs an engine."""
    plugin.try_image("a/b:1", 1, session)


def ask_at(engine: str) -> None:
    """Ask an engine that is configured."""
    ask(Session(tables={"docker": {"engine": engine}}))


def test_no_engine(tmp_path: Path) -> None:
    where = f"unix://{tmp_path}/docker.sock"
    with pytest.raises(TerraError) as caught:
        ask_at(where)
    assert caught.value.message == f"no Docker Engine answers at {where}: No such file or directory"
    assert "systemctl start docker" in caught.value.hint
    assert "apt-get install docker.io" in caught.value.hint


def test_an_engine_that_died(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    with pytest.raises(TerraError, match=r"no Docker Engine answers at .*: Connection refused"):
        ask_at(f"unix://{path}")


def test_an_engine_elsewhere_that_does_not_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(TerraError, match="no Docker Engine answers at tcp://"):
        ask_at(f"tcp://127.0.0.1:{port}")


def test_docker_host_is_asked_when_nothing_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/elsewhere.sock")
    with pytest.raises(TerraError, match=r"elsewhere\.sock"):
        ask(Session())


def test_no_permission_on_the_socket(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    done = run([*nobody, sys.executable, "-c", _ASK, engine.host], cwd=Path("/"), env={"HOME": "/nonexistent"})
    said, hint = done.text.strip().split("\n")
    assert said == f"the Docker Engine at {engine.host} may not be used by this user: permission denied"
    assert "adduser USER docker" in hint


@contextmanager
def engine_of(version: str) -> Iterator[str]:
    """Something that says it is an engine of that API version: no such engine can be had for today's machines."""

    class Old(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            body = json.dumps({"ApiVersion": version, "Version": "1"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
            return

        def address_string(self) -> str:
            return "unix"

    directory = Path("/run") / f"terra-old-{threading.get_native_id()}"
    directory.mkdir()
    try:
        with UnixStreamServer(str(directory / "docker.sock"), Old) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"unix://{directory}/docker.sock"
            server.shutdown()
            thread.join()
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("version", ["1.12", "1.24", "1.31"])
def test_an_engine_that_is_too_old(version: str) -> None:
    with engine_of(version) as where, pytest.raises(TerraError) as caught:
        ask_at(where)
    assert caught.value.message == f"the Docker Engine at {where} is older than 17.09, which Terra needs"
    assert "upgrade" in caught.value.hint
