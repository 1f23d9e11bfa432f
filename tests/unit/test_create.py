"""What ``terra create`` renders and what it refuses; nothing is built here."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
import tomli
from click.testing import CliRunner, Result

from terra_core.cli.create import command
from terra_core.config.loader import Document, make_document
from terra_core.config.problems import DocumentError
from terra_core.config.server import Server, Ssh
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.create import Rendered, render_build
from terra_core.dockerfile import copy_steps, is_continued, write_overlay
from terra_core.documents import settled
from terra_core.errors import ConfigError, NotFoundError, TerraError
from terra_core.hookspecs import RenderedFile, RenderedLink
from terra_core.identity import render_hosts, render_identity
from terra_core.plugins import Plugins
from terra_core.selection import SERVER

SEED = """
hostname = "example"
version = "6"
os = "docker.io/stellarproject/terraos:v11"
repo = "docker.io/stellarproject"
userland = \"\"\"
RUN echo 'terra:terra' | chpasswd
ADD sshd_config /etc/ssh/
\"\"\"

[netplan]
  [[netplan.interfaces]]
    name = "eth0"

[resolvconf]
  nameservers = ["8.8.8.8", "8.8.4.4"]
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAabcdefghijklmnopqrstuvwxyz0123456789ABCDEF me@here"
EXAMPLES = Path(__file__).parents[2] / "examples"


def document(text: str = SEED, changes: Mapping[str, object] = MappingProxyType({})) -> Document[Server]:
    """Return a server.toml."""
    return make_document(tomli.loads(text) | dict(changes), Server, source="server.toml", owners=Plugins.discover().names)


def rendered(context: Path | None = None, option: str | None = None, **changes: object) -> Rendered:
    """Return what is rendered from the seed's server.toml, with changes."""
    return render_build(document(changes=changes), plugins=Plugins.discover(), context=context, userland=option)


def files(result: Rendered) -> dict[str, str]:
    """Return the rendered files' text by path."""
    return {file.path: file.content.decode() for file in result.files}


def test_the_seed() -> None:
    result = rendered()
    assert result.dockerfile == (
        "# Made by Terra.\n"
        "FROM docker.io/stellarproject/terraos:v11\n"
        "COPY .terra/0/ /etc/\n"
        "COPY .terra/1/ /etc/netplan/\n"
        "RUN echo 'terra:terra' | chpasswd\n"
        "ADD sshd_config /etc/ssh/\n"
        'LABEL terra.hostname="example" terra.version="6" terra.os="docker.io/stellarproject/terraos:v11"\n'
        'CMD ["/sbin/init"]\n'
    )
    found = files(result)
    assert sorted(found) == ["etc/hostname", "etc/hosts", "etc/netplan/50-terra.yaml", "etc/resolv.conf"]
    assert found["etc/hostname"] == "example\n"
    assert found["etc/hosts"].splitlines()[:2] == ["127.0.0.1 localhost", "127.0.1.1 example"]
    assert found["etc/resolv.conf"] == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    assert "eth0" in found["etc/netplan/50-terra.yaml"]


def test_every_key() -> None:
    result = rendered(
        hostname="web.example.com",
        init="/lib/systemd/systemd",
        components=["docker.io/stellarproject/containerd:v4", "registry.example:5000/tools@sha256:" + "0" * 64],
        ssh={"keys": [KEY, KEY]},
        resolvconf={"nameservers": ["1.1.1.1"], "search": ["example.com", "example.org"]},
    )
    lines = result.dockerfile.splitlines()
    assert lines[2:7] == [
        "COPY .terra/components/0/ /.terra-components/",
        "RUN sh /.terra-components/units remember",
        "COPY --from=docker.io/stellarproject/containerd:v4 / /",
        f"COPY --from=registry.example:5000/tools@sha256:{'0' * 64} / /",
        "RUN sh /.terra-components/units enable",
    ]
    assert "COPY --chown=terra:terra .terra/1/ /home/terra/" in lines
    assert lines[-1] == 'CMD ["/lib/systemd/systemd"]'
    found = files(result)
    assert "127.0.1.1 web.example.com web\n" in found["etc/hosts"]
    assert found["etc/resolv.conf"] == "nameserver 1.1.1.1\nsearch example.com example.org\n"
    assert found["home/terra/.ssh/authorized_keys"] == f"{KEY}\n"
    modes = {file.path: (file.mode, file.owner) for file in result.files}
    assert modes["home/terra/.ssh/authorized_keys"] == (0o600, "terra:terra")
    assert modes["etc/netplan/50-terra.yaml"] == (0o600, "root:root")


def test_what_is_not_said_is_not_rendered() -> None:
    assert sorted(files(rendered(resolvconf={}))) == ["etc/hostname", "etc/hosts", "etc/netplan/50-terra.yaml"]


@pytest.mark.parametrize(
    "userland",
    [
        "FROM other:1\nRUN true\n",
        "RUN <<EOF\n# not a comment\nCMD nothing\nEOF\n",
        "RUN echo a \\\n  # between\n  && echo b\n",
        "RUN echo '$HOME {{ x }} %s \\\\ \"'\n",
        "# syntax=docker/dockerfile:1\nRUN true\n",
        "RUN printf 'tab\there é'\r\n",
    ],
)
def test_userland_is_taken_as_it_stands(userland: str) -> None:
    text = rendered(userland=userland).dockerfile
    assert userland in text
    assert text.startswith("# Made by Terra.\nFROM "), "no line of the userland is a parser directive"
    assert text.endswith('CMD ["/sbin/init"]\n')
    assert rendered(option=userland).dockerfile == text, "as an option, it takes the place of the file's own"


def test_a_userland_that_is_given_as_an_option_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"server\.toml: userland: .*NUL"):
        rendered(option="RUN true\0")


@pytest.mark.parametrize("userland", ["RUN true \\", "RUN true \\\n", "RUN true \\  \n\n# comment\n", "RUN a\u2028# b \\\r\n"])
def test_userland_cannot_take_in_the_line_after_it(userland: str) -> None:
    assert is_continued(userland)
    with pytest.raises(ConfigError, match=r"server\.toml: userland: its last line ends in"):
        rendered(userland=userland)


def test_userland_without_a_newline_at_its_end() -> None:
    assert "RUN true\nLABEL " in rendered(userland="RUN true").dockerfile


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hostname", "example\nRUN evil"),
        ("hostname", "example evil"),
        ("hostname", "-example"),
        ("hostname", "$(evil)"),
        ("hostname", "a" * 65),
        ("version", "6\nRUN evil"),
        ("version", "6 AS evil"),
        ("os", "debian:12\nRUN evil"),
        ("os", "debian:12 AS evil"),
        ("os", "--platform=evil"),
        ("os", "${EVIL}"),
        ("repo", "docker.io/a\nRUN evil"),
        ("repo", "docker.io/a:1"),
        ("init", '/sbin/init", "evil'),
        ("init", "/sbin/../init"),
        ("init", "sbin/init"),
        ("components", ["a:1 / /\nRUN evil"]),
        ("components", "a:1"),
        ("ssh", {"keys": [f"{KEY}\nRUN evil"]}),
        ("ssh", {"keys": [f'command="evil" {KEY}']}),
        ("ssh", {"github": "../evil"}),
        ("ssh", {"github": "a/b"}),
        ("resolvconf", {"nameservers": ["8.8.8.8\noptions evil"]}),
        ("resolvconf", {"search": ["a b"]}),
        ("userland", "RUN true\0"),
        ("userland", ["RUN true"]),
        ("plugins", {"network": "../evil"}),
        ("plugins", {"network": "not-installed"}),
        ("plugins", {"networking": "netplan"}),
        ("netplan", {"interfaces": [{"name": "eth0\n    evil: true"}]}),
        ("unheard-of", {}),
    ],
)
def test_text_that_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        rendered(None, None, **{key: value})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("server.toml: ")
    assert key in caught.value.problems[0]


def test_files_of_the_context_win(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("10.0.0.1 mine\n")
    (tmp_path / "etc/hosts").chmod(0o666)
    result = rendered(tmp_path)
    (hosts,) = (file for file in result.files if file.path == "etc/hosts")
    assert (hosts.content, hosts.mode) == (b"10.0.0.1 mine\n", 0o644)


def test_a_fifo_does_not_take_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/hosts")
    with pytest.raises(TerraError, match="etc/hosts: cannot take the place of the rendered file: it is a FIFO"):
        rendered(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_hosts_of_an_editor(end: str) -> None:
    text = end.join(["127.0.0.1 localhost", "# a\u2028b\vc", "127.0.1.1 old", ""])
    assert render_hosts(text, Hostname("new")) == "127.0.0.1 localhost\n127.0.1.1 new\n# a\u2028b\vc\n"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "nowhere", "/etc", "hosts"])
def test_links_of_the_context_that_lead_out_do_not(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("outside")
    context = tmp_path / "context"
    context.joinpath("etc").mkdir(parents=True)
    context.joinpath("etc/hosts").symlink_to(target)
    with pytest.raises(TerraError, match="etc/hosts: "):
        rendered(context)


def test_a_directory_of_ours_in_the_context_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".terra").mkdir()
    (tmp_path / ".terra-1").write_text("")
    assert "COPY .terra-2/0/ /etc/\n" in rendered(tmp_path).dockerfile


def through(answer: Sequence[object], monkeypatch: pytest.MonkeyPatch) -> Rendered:
    """Render with a network plugin that answers so."""
    monkeypatch.setattr("terra_netplan.NetplanPlugin.render_network", _hook(lambda session: answer))
    return rendered()


def _hook(function: Callable[[Session], object]) -> object:
    from terra_core.hookspecs import hookimpl

    def render_network(self: object, server: Server, session: Session) -> object:
        return function(session)

    return hookimpl(render_network)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (["etc/hosts"], "[0]: expected a RenderedFile"),
        ([None], "[0]: expected a RenderedFile"),
        ([RenderedFile(path="/etc/x", content=b"")], "its path is"),
        ([RenderedFile(path="../x", content=b"")], "its path is"),
        ([RenderedFile(path="etc/./x", content=b"")], "its path is"),
        ([RenderedFile(path="etc/x /\nRUN evil", content=b"")], "its path is"),
        ([RenderedFile(path="", content=b"")], "its path is"),
        ([RenderedFile(path="etc/*", content=b"")], "its path is"),
        ([RenderedFile(path="etc/x", content=b"", owner="root root")], "owner"),
        ([RenderedFile(path="etc/x", content=b"", mode=0o100644)], "mode"),
        ([RenderedFile(path=Path("etc/x"), content=b"")], "[0].path: expected a str"),  # type: ignore[arg-type]
        ([RenderedFile(path="etc/x", content="text")], "[0].content: expected a bytes"),  # type: ignore[arg-type]
        ([RenderedFile(path="etc/x", content=b"", mode="0644")], "[0].mode: expected an int"),  # type: ignore[arg-type]
        ([RenderedFile(path="etc/x", content=b"", owner=None)], "[0].owner: expected a str"),  # type: ignore[arg-type]
        ([RenderedFile(path="etc", content=b"")], "the directory of a rendered file"),
        ([RenderedFile(path="etc/hosts", content=b"")], "rendered already"),
        ([RenderedFile(path="etc/x", content=b""), RenderedFile(path="etc/x", content=b"")], "rendered already"),
        ([RenderedLink(path="../x", target="y")], "its path is"),
        ([RenderedLink(path="etc/x", target="")], 'etc/x points to ""'),
        ([RenderedLink(path="etc/x", target="y\nz")], "where a path of plain characters is expected"),
        ([RenderedLink(path="etc/x", target="y z")], "where a path of plain characters is expected"),
        ([RenderedLink(path="etc/x", target="y" * 4096)], "where a path of plain characters is expected"),
        ([RenderedLink(path="etc/x", target=Path("y"))], "[0].target: expected a str"),  # type: ignore[arg-type]
        ([RenderedLink(path="etc", target="usr/etc")], "the directory of a rendered file"),
        ([RenderedLink(path="etc/x", target="y"), RenderedFile(path="etc/x", content=b"")], "rendered already"),
        (None, "expected a list, got null"),
        ("etc/x", "expected a list"),
        (7, "expected a list"),
    ],
)
def test_a_network_plugin_that_gives_nonsense(
    answer: Sequence[object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TerraError, match="plugin 'netplan'") as caught:
        through(answer, monkeypatch)
    assert words in caught.value.message


def test_a_network_plugin_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(session: Session) -> object:
        raise KeyError("oops")

    monkeypatch.setattr("terra_netplan.NetplanPlugin.render_network", _hook(broken))
    with pytest.raises(TerraError, match="plugin 'netplan' failed in render_network: KeyError"):
        rendered()


def test_files_are_copied_by_directory_and_owner() -> None:
    made = [
        RenderedFile(path="top", content=b""),
        RenderedFile(path="etc/a", content=b""),
        RenderedFile(path="etc/deep/b", content=b""),
        RenderedFile(path="etc/c", content=b""),
        RenderedFile(path="home/terra/.ssh/k", content=b"", owner="terra:terra"),
    ]
    assert [str(step) for step in copy_steps(made, ".terra")] == [
        "COPY .terra/0/ /",
        "COPY .terra/1/ /etc/",
        "COPY .terra/2/ /etc/deep/",
        "COPY --chown=terra:terra .terra/3/ /home/terra/",
    ]


def test_a_file_of_roots_that_a_group_may_read_leaves_its_directory_as_it_is(tmp_path: Path) -> None:
    secret = RenderedFile(path="etc/daemon/key", content=b"k", mode=0o640, owner="root:daemon")
    (step,) = copy_steps([secret], ".terra")
    assert str(step) == "COPY --chown=root:daemon .terra/0/ /etc/daemon/"
    write_overlay(tmp_path, ".terra", "FROM x\n", [step])
    assert (tmp_path / ".terra/0").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / ".terra/0/key").stat().st_mode & 0o777 == 0o640


def test_links_go_with_the_files_of_their_directory_and_are_never_followed(tmp_path: Path) -> None:
    pieces: list[RenderedFile | RenderedLink] = [
        RenderedFile(path="etc/a", content=b"a"),
        RenderedLink(path="etc/b", target="/does/not/exist"),
        RenderedLink(path="etc/c", target="../../../.."),
        RenderedLink(path="etc/d/e", target=str(tmp_path)),
    ]
    steps = copy_steps(pieces, ".terra")
    assert [str(step) for step in steps] == ["COPY .terra/0/ /etc/", "COPY .terra/1/ /etc/d/"]
    write_overlay(tmp_path, ".terra", "FROM x\n", steps)
    overlay = tmp_path / ".terra"
    assert [str(path.readlink()) for path in (overlay / "0/b", overlay / "0/c", overlay / "1/e")] == [
        "/does/not/exist", "../../../..", str(tmp_path),
    ]  # fmt: skip


def test_a_link_of_the_network_plugin_is_a_part_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    link = RenderedLink(path="etc/systemd/system/multi-user.target.wants/a.service", target="/usr/lib/systemd/system/a.service")
    result = through([link], monkeypatch)
    assert result.links == (link,)
    assert "COPY .terra/1/ /etc/systemd/system/multi-user.target.wants/\n" in result.dockerfile


@contextmanager
def github(status: int, body: bytes) -> Iterator[str]:
    """Start a server on loopback that answers as GitHub does; yield its URL."""

    class Answer(Silent):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(status if self.path == "/octo-cat.keys" else 500)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(body)

    with served(Answer) as url:
        yield url


class Silent(BaseHTTPRequestHandler):
    """What answers, and says nothing of it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        return


@contextmanager
def served(handler: type[Silent]) -> Iterator[str]:
    """Start a server on loopback; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def authorized(url: str, *keys: str) -> str:
    """Return authorized_keys of a machine whose file names an account and keys."""
    server = document(changes={"ssh": {"github": "octo-cat", "keys": list(keys)}}).value
    assert server.ssh == Ssh(github="octo-cat", keys=keys)  # type: ignore[arg-type]  # the values' types are strings
    return {file.path: file.content for file in render_identity(server, github=url)}["home/terra/.ssh/authorized_keys"].decode()


def test_keys_of_an_account() -> None:
    other = KEY.replace("me@here", "").strip().replace("AAAAC3", "AAAAC4")
    for sent in (f"{KEY}\n{other}\n", f"\ufeff{KEY}\r\n{other}\r\n"):
        with github(200, sent.encode()) as url:
            assert authorized(url, KEY) == f"{KEY}\n{other}\n"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"Not Found", "no GitHub account 'octo-cat'"),
        (200, b"", "has no public keys"),
        (200, b"\n\n", "has no public keys"),
        (200, b"<!doctype html>", "something else than public keys"),
        (200, b'command="evil" ' + KEY.encode(), "something else than public keys"),
        (200, b"\xff\xfe", "something else than public keys"),
        (302, b"", "answered 302"),
        (503, b"", "answered 503"),
        (200, b"x" * 300_000, "longer than"),
    ],
)
def test_an_account_without_keys_is_an_error(status: int, body: bytes, words: str) -> None:
    with github(status, body) as url, pytest.raises(TerraError) as caught:
        authorized(url)
    assert words in caught.value.message
    assert isinstance(caught.value, NotFoundError) == (status == 404)


def test_github_that_does_not_answer() -> None:
    with pytest.raises(TerraError, match="cannot be fetched") as caught:
        authorized("http://127.0.0.1:1")
    assert "keys = " in caught.value.hint


@pytest.mark.parametrize("head", [True, False])
def test_github_that_never_comes_to_an_end(head: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_core.identity._GITHUB_SECONDS", 0.2)
    with trickling(head=head) as url, pytest.raises(TerraError, match=r"took longer than 0\.2 seconds"):
        authorized(url)


@contextmanager
def trickling(*, head: bool) -> Iterator[str]:
    """Start a server on loopback that sends a byte again and again, of its head or of its body; yield its URL."""
    ended = threading.Event()

    class Answer(Silent):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(200)
            if head:
                self.flush_headers()
                self.wfile.write(b"X: ")
            else:
                self.end_headers()
            with suppress(OSError):
                while not ended.wait(0.05):
                    self.wfile.write(b"y" if head else b"\n")

    with served(Answer) as url:
        try:
            yield url
        finally:
            ended.set()


@pytest.fixture(autouse=True)
def without_netplan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the program that reads the rendered files: whether it is asked is a matter of the integration tests."""
    monkeypatch.setattr("terra_netplan.generator.GENERATORS", ())


def terra(*words: str, text: str | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, words, input=text, obj={"debug": False})


def test_dry_prints_everything_and_needs_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    source = tmp_path / "server.toml"
    source.write_text(SEED)
    result = terra("--dry", str(source))
    assert result.exit_code == 0
    headers = [line for line in result.stdout.splitlines() if line.startswith("--- ")]
    assert headers == [
        "--- Dockerfile",
        "--- /etc/hostname (0644 root:root)",
        "--- /etc/hosts (0644 root:root)",
        "--- /etc/resolv.conf (0644 root:root)",
        "--- /etc/netplan/50-terra.yaml (0600 root:root)",
    ]
    assert rendered().dockerfile in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["server.toml"]


def test_dry_from_standard_input_with_another_userland(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("RUN something else")
    result = terra("-n", "-u", str(lines), "-", text=SEED)
    assert "RUN something else\nLABEL" in result.stdout
    assert "chpasswd" not in result.stdout


def test_the_context_is_the_directory_of_the_file_unless_another_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other"
    for directory, name in ((tmp_path, "first"), (other, "second")):
        (directory / "etc").mkdir(parents=True)
        (directory / "etc/hosts").write_text(f"10.0.0.1 {name}\n")
    (tmp_path / "server.toml").write_text(SEED)
    assert "10.0.0.1 first\n" in terra("-n", str(tmp_path / "server.toml")).stdout
    assert "10.0.0.1 second\n" in terra("-n", "-c", str(other), str(tmp_path / "server.toml")).stdout


def test_userland_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_bytes(b"\xef\xbb\xbf" + SEED.encode())
    (tmp_path / "lines").write_bytes(b"\xef\xbb\xbfRUN true\n")
    assert "\nRUN true\n" in terra("-n", "-u", str(tmp_path / "lines"), str(tmp_path / "server.toml")).stdout
    (tmp_path / "lines").write_bytes("RUN true".encode("utf-16"))
    result = CliRunner().invoke(command, ["-n", "-u", str(tmp_path / "lines"), str(tmp_path / "server.toml")])
    assert "lines: is UTF-16" in str(result.exception)


def test_dump_loads_as_it_stands() -> None:
    result = terra("--dump")
    assert result.exit_code == 0
    found = document(result.stdout)
    assert str(found.value.image) == "docker.io/stellarproject/example:6"
    known = {line.lstrip("# ").split(" ")[0] for line in result.stdout.splitlines()}
    assert {"init", "components", "keys", "github", "nameservers", "search", "dhcp4", "gateway", "insecure", "engine"} <= known


def opened(text: str) -> str:
    """Return a dump with every line that is commented out taken in."""
    lines = [re.sub(r"^( *)# ( *(?:# )?(?:\[|[a-z0-9_]+ = ))", r"\1\2", line) for line in text.split("\n")]
    return "\n".join(lines)


def test_the_comments_of_the_dump_load_too() -> None:
    dump = opened(terra("--dump").stdout)
    found = document(dump.partition("# The table of")[0])
    assert found.value.components
    assert found.value.plugins == {"network": "netplan", "builder": "docker", "registry": "docker"}
    assert found.value.ssh.github
    with pytest.raises(DocumentError) as caught:  # keys that exclude each other, and none that is not there
        settled(document(dump), SERVER, Plugins.discover(), {})
    assert not [problem for problem in caught.value.found if "no such key" in problem.text]


def test_what_the_dump_says_of_the_network_is_rendered() -> None:
    text = terra("--dump").stdout.replace("# addresses", "addresses")
    rendered = render_build(document(text), plugins=Plugins.discover())
    assert "10.0.10.20/24" in files(rendered)["etc/netplan/50-terra.yaml"]


def test_the_example_is_right() -> None:
    result = terra("-n", str(EXAMPLES / "server.toml"))
    assert result.exit_code == 0, result.output
    assert "ADD sshd_config /etc/ssh/" in result.stdout
    assert (EXAMPLES / "sshd_config").is_file()


def test_no_file_at_all() -> None:
    result = terra()
    assert result.exit_code == 2
    assert "Missing argument 'server.toml'" in result.stderr
