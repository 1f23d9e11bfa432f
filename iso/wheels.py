"""A tree of this checkout's own packages and of what they need: ``/usr/lib/terra/NAME``, and their commands."""

from __future__ import annotations

import fnmatch
import os
import platform
import re
import shutil
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from pathlib import Path

from iso.bootstrap import EPOCH
from terra_core.errors import TerraError
from terra_core.system.process import Argument, run

TREE = Path(__file__).parent.parent
_BUILD_SECONDS = 900
_LEFT_OUT = {"__pycache__", "tests", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
_OF_INDEX = ("UV_", "PIP_", "SSL_", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_COMMAND = """\
#!{python} -IB
import sys

from {module} import {name}

if __name__ == "__main__":
    sys.exit({call}())
"""


def sources(tree: Path = TREE) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file that decides what is in the wheels."""
    names = ("pyproject.toml", "constraints.txt", "terra_core", "systemd")
    for top in [*(tree / name for name in names), *_members(tree)]:
        for path in sorted(top.rglob("*") if top.is_dir() else [top]):
            parts = path.relative_to(tree).parts
            if path.is_file() and not _LEFT_OUT & set(parts) and not any(part.endswith(".egg-info") for part in parts):
                yield "/".join(parts), path.read_bytes()


def _members(tree: Path) -> list[Path]:
    """Return the directories of the packages beside core: plugins and applications."""
    return [path.parent for top in ("plugins", "apps") for path in sorted(tree.glob(f"{top}/*/pyproject.toml"))]


def write_tree(name: str, wanted: Sequence[str], base: Path, tar: Path, work: Path) -> None:
    """Install distributions of this checkout, and what they need, into a tree of their own.

    :param name: the tree's name below ``/usr/lib/terra``.
    :param wanted: their names, extras included; ``*`` for any word.
    :param base: the root tar of the system that the tree is for, which has the Python that is to run it.
    :param tar: the tar to write.
    :param work: an empty directory.
    """
    version = _python_of(base)
    wheels, image = work / "wheels", work / "image"
    _uv("build", "--quiet", "--wheel", "--all-packages", "--out-dir", wheels)
    home = image / "usr/lib/terra" / name
    packages = home / "lib" / f"python{version}" / "site-packages"
    # The machine that builds may have another Python than the system that the tree is for.
    target: list[Argument] = ["--target", packages, "--python-version", version, "--only-binary", ":all:"]
    target += ["--python-platform", f"{platform.machine()}-manylinux_2_28", "--constraint", TREE / "constraints.txt"]
    found = [f"{entry} @ {wheel.as_uri()}" for entry, wheel in _chosen(wanted, wheels)]
    _uv("pip", "install", "--quiet", "--no-config", *target, *found)
    _make_environment(home, packages, Path("/usr/lib/terra") / name)
    _forget_this_machine(packages)
    shutil.rmtree(packages / "bin", ignore_errors=True)
    (packages / ".lock").unlink(missing_ok=True)
    if (packages / "lib").is_dir():  # files for the system that a wheel brings
        shutil.copytree(packages / "lib", image / "usr/lib", dirs_exist_ok=True)
        shutil.rmtree(packages / "lib")
    _compile(packages, Path("/") / packages.relative_to(image), version)
    _pack(image, tar)


def _compile(packages: Path, place: Path, version: str) -> None:
    """Compile what the commands run, where this machine has the Python that is to run it.

    The commands write no such files themselves (``-B``): they would be changes of the machine, each a line of ``terra diff``.

    :param place: the directory's path in the system.
    :param version: the Python's.
    """
    python = shutil.which(f"python{version}")
    # A name may lead to no Python, such as one of pyenv's for a version that is not chosen.
    if python is not None and run([python, "-I", "-c", ""], accept=range(256)).code == 0:
        words: list[Argument] = ["-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        # One after the other: what a file comes to depends on what its process has compiled before, and two builds are equal.
        # Libraries bring modules for other versions of Python, or as templates, that cannot be compiled.
        run([python, *words, "-s", packages, "-p", place, packages], timeout=_BUILD_SECONDS, accept=(0, 1))


def _forget_this_machine(packages: Path) -> None:
    """Remove the files that name places of the machine that built this, and their lines in the lists of files."""
    for name in ("direct_url.json", "uv_cache.json"):
        for path in packages.glob(f"*.dist-info/{name}"):
            path.unlink()
            record = path.with_name("RECORD")
            lines = record.read_text().splitlines(keepends=True)
            record.write_text("".join(line for line in lines if f"/{name}," not in line))


def _chosen(wanted: Sequence[str], wheels: Path) -> Iterator[tuple[str, Path]]:
    there = {_distribution(wheel): wheel for wheel in sorted(wheels.glob("*.whl"))}
    seen: set[str] = set()
    for entry in wanted:
        names = [name for name in there if fnmatch.fnmatchcase(name, _name_without_extras(entry))]
        if not names:
            raise TerraError(f"there is no distribution {entry!r} in this checkout", hint=f"there are: {', '.join(there)}")
        for name in names:
            if name not in seen:
                seen.add(name)
                yield entry if "*" not in entry else name, there[name]


def _name_without_extras(entry: str) -> str:
    return entry.partition("[")[0]


def _distribution(wheel: Path) -> str:
    return wheel.name.partition("-")[0].replace("_", "-")


def _python_of(base: Path) -> str:
    """Major and minor version of a system's own Python."""
    with tarfile.open(base) as archive:
        for member in archive:
            found = re.fullmatch(r"\./usr/bin/python(3\.[0-9]+)", member.name)
            if found:
                return found[1]
    raise TerraError(f"{base}: the system has no Python, so Terra's commands cannot run on it")


def _make_environment(home: Path, packages: Path, place: Path) -> None:
    """Write a virtual environment (PEP 405) by hand, in a root where Python cannot make one, and links to its commands."""
    (home / "bin").mkdir(parents=True)
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (home / "bin/python3").symlink_to("/usr/bin/python3")
    links = home.parents[2] / "bin"
    links.mkdir()
    for command, target in _commands(packages):
        module, _, call = target.partition(":")
        script = home / "bin" / command
        script.write_text(_COMMAND.format(python=place / "bin/python3", module=module, name=call.partition(".")[0], call=call))
        script.chmod(0o755)
        (links / command).symlink_to(f"../lib/terra/{place.name}/bin/{command}")


def _commands(packages: Path) -> Iterator[tuple[str, str]]:
    """Yield the commands of this checkout's own distributions."""
    for directory in [TREE, *_members(TREE)]:
        name = tomllib.loads((directory / "pyproject.toml").read_text())["project"]["name"].replace("-", "_")
        for path in packages.glob(f"{name}-*.dist-info/entry_points.txt"):
            parser = ConfigParser(delimiters=("=",))
            parser.optionxform = str  # type: ignore[assignment, method-assign]  # names of commands may have capitals
            parser.read_string(path.read_text())
            if parser.has_section("console_scripts"):
                yield from parser.items("console_scripts")


def _pack(image: Path, tar: Path) -> None:
    options = ["--sort=name", f"--mtime=@{EPOCH}", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"]
    run(["tar", *options, "-C", image, "-cf", tar, "."], timeout=_BUILD_SECONDS)


def _uv(*words: Argument) -> None:
    """Run uv, with the package index that its own variables name."""
    own = {name: value for name, value in os.environ.items() if name.startswith(_OF_INDEX)}
    uv = Path(sys.executable).with_name("uv")
    run([uv, *words], timeout=_BUILD_SECONDS, env={**own, "SOURCE_DATE_EPOCH": EPOCH}, cwd=TREE)
