"""docs/writing-a-plugin.md, as tests run it: its commands and files, and the plugin that it begins with."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from lab.site import terra_command
from terra_core.system.process import Completed, run

PAGE = Path(__file__).parents[1] / "docs/writing-a-plugin.md"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEhqBPtGVXFMWoEdnTpFgTgbqOXxC8zJLtcrhyqmXQ8s me"
"""The key that the page lets in, in the place of the reader's own."""
_UV = Path(sys.executable).with_name("uv")
_INDEX = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_"))}


def blocks(kind: str) -> list[str]:
    """Return the page's blocks of a kind, such as sh."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Return the page's commands, in their order."""
    return [line for block in blocks("sh") for line in block.splitlines()]


def controller_toml() -> str:
    """Return the page's controller.toml."""
    return blocks("toml")[0]


def server_toml(key: str) -> str:
    """Return the page's server.toml with another key in it."""
    assert KEY in blocks("toml")[1]
    return blocks("toml")[1].replace(KEY, key)


def node_toml() -> str:
    """Return the page's node.toml."""
    return blocks("toml")[2]


def terra(*words: str | Path, site: Path, cwd: Path) -> Completed:
    """Run ``terra`` with the packages of a directory."""
    return run([terra_command(), *words], env={"PYTHONPATH": str(site)}, cwd=cwd)


def install(package: Path, site: Path) -> None:
    """Install a package where only who has the directory on PYTHONPATH sees it."""
    words = ["pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(site), str(package)]
    run([_UV, *words], timeout=300, env=_INDEX)


def make_plugin(work: Path) -> Path:
    """Make the page's plugin and install it, as the page begins.

    :param work: an empty directory.
    :returns: the directory that it is installed in, see :func:`install`.
    """
    site = work / "site"
    made, installed, *_ = commands()
    terra(*made.split()[1:], site=site, cwd=work)
    assert installed == "pip install --no-deps --editable ./terra-vault"
    install(work / "terra-vault", site)
    return site
