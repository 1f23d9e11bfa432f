"""What Terra leaves out of a build, beside what the docker command does."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker import DockerClient

from lab.engine import Engine
from lab.network import Network
from terra_core.building.ignore import read_rules, walk
from terra_core.system.process import run
from terra_docker.buildkit import find_buildkit
from terra_docker.settings import Docker

NAMES = (
    "README.md", "#hash", "!bang", "[odd].txt", "o.txt", "a.txt", "a b", "a\u2028b", ".env", "secret.env", "back\\slash",
    "a/.env", "a/b/.env", "a/b/x.go", "a/b/x_test.go", "a/README.md", "b/secret.env", "node_modules/m/index.js",
)  # fmt: skip
CASES = {
    "windows": "\ufeffsecret.env\r\n*.md\r\n",
    "case": "readme.md\nSecret.env\n",
    "escapes": "\\#hash\n\\!bang\n\\[odd\\].txt\nback\\\\slash\n",
    "classes": "[!a]*.txt\n[^a]*.env\n",
    "stars": "**/.env\n*/*.md\na b*\n",
    "exceptions": "*\n!a/b/*.go\na/b/*_test.go\n!README.md\n",
    "exceptions-below": "**\n!b\n",
    "slashes": "/secret.env\n./a/../b/\nnode_modules/\n# x\n",
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_is_left_out_as_by_the_docker_command(
    case: str, context: Path, engine: Engine, network: Network, client: DockerClient, tmp_path: Path
) -> None:
    for name in NAMES:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / ".dockerignore").write_bytes(CASES[case].encode())
    buildkit = find_buildkit(Docker(engine=engine.host), client.api, "this test")
    command = [word for word in buildkit.command if word != "--load"]
    run([*command, f"--output=type=local,dest={tmp_path / 'image'}", context], env=buildkit.environment, timeout=120)
    sent = {str(path.relative_to(tmp_path / "image")) for path in (tmp_path / "image").rglob("*")}
    assert set(walk(context, read_rules(context / ".dockerignore"))) == sent
