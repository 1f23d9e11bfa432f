"""``ob exec`` on a terminal, and over TLS."""

from __future__ import annotations

import os
import pty
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.network import Network
from orbit_lab.agent import Agent
from terra_core.client.connection import Client
from terra_core.config.controller import Paths
from terra_core.service.tokens import read_token
from terra_core.system.process import Daemon, clean_environment, run
from terra_core.system.waiting import wait_until
from terra_orbit.service import AGENT


class Terminal:
    """A program on a terminal.

    :param words: the program and its arguments.
    :param env: environment variables on top of the clean ones.
    """

    def __init__(self, words: list[str], env: dict[str, str]) -> None:
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.execvpe(words[0], words, clean_environment(env))  # noqa: S606  # the terminal's end has to be this very process
        os.set_blocking(self._descriptor, False)
        self.text = b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, keys)

    def shows(self, text: bytes) -> bool:
        """Return whether a text has been on the screen."""
        try:
            self.text += os.read(self._descriptor, 65536)
        except BlockingIOError:
            pass
        except OSError:
            return text in self.text
        return text in self.text

    def wait(self) -> int:
        """Wait for its end; return its exit code."""

        def ended() -> tuple[int, int] | None:
            self.shows(b"")
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            return (pid, status) if pid else None

        try:
            _, status = wait_until(ended, seconds=60, what="the program to end")
        except BaseException:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            raise
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def running(agent: Agent, vhost: Path) -> Agent:
    """Return an agent with the container ``one``."""
    agent.ob("create", vhost)
    return agent


def test_a_terminal_here_is_a_terminal_there(running: Agent) -> None:
    script = "test -t 0 && echo a terminal; read line; echo got $line; exit 5"
    terminal = Terminal(running.words("exec", "one", "sh", "-c", script), running.environment())
    wait_until(lambda: terminal.shows(b"a terminal"), seconds=60, what="the program to greet")
    terminal.type(b"hello\r")
    assert terminal.wait() == 5
    assert b"got hello" in terminal.text


def test_ctrl_c_is_for_the_program_there(running: Agent) -> None:
    script = 'trap "echo interrupted; exit 9" INT; echo ready; while true; do sleep 0.1; done'
    terminal = Terminal(running.words("exec", "one", "sh", "-c", script), running.environment())
    wait_until(lambda: terminal.shows(b"ready"), seconds=60, what="the program to be ready")
    terminal.type(b"\x03")
    assert terminal.wait() == 9
    assert b"interrupted" in terminal.text


@contextmanager
def secure_agent(work: Path) -> Iterator[tuple[str, str, Path]]:
    """Start an agent with TLS and without an engine; yield its URL, its token and the certificate to trust."""
    certificate, key = work / "cert.pem", work / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    run([*words, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate])
    config = work / "orbit.toml"
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    config.write_text(f'port = 19100\nengine = "unix://{work}/none.sock"\n{tls}')
    server = Path(sys.executable).parent / "orbit-server"
    daemon = Daemon([server, "--config", config, "--root", work / "root"], log=work / "log")
    try:
        wait_until(lambda: "ready" in daemon.tail() or not daemon.alive, seconds=30, what="the agent to be ready")
        yield "https://localhost:19100", read_token(Paths(work / "root").token), certificate
    finally:
        daemon.stop()


def test_tls_is_for_every_stream_and_an_engine_that_is_not_there_is_said(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with network.inside(), secure_agent(tmp_path) as (url, token, certificate):
        ob = str(Path(sys.executable).parent / "ob")
        env = {"TERRA_TOKEN": token, "AGENT_ADDR": url}
        distrusted = run([ob, "exec", "one", "true"], env=env, accept=[1])
        assert b"certificate" in distrusted.stderr
        env["REQUESTS_CA_BUNDLE"] = str(certificate)
        assert b"no container is named 'one'" in run([ob, "exec", "one", "true"], env=env, accept=[1]).stderr
        vhost = tmp_path / "vhost.toml"
        vhost.write_text('id = "one"\nimage = "tiny:1"\n')
        assert b"no Docker Engine answers" in run([ob, "create", vhost], env=env, accept=[1]).stderr
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert Client(url, token=token, service=AGENT).get("/v1/containers") == []
