"""Building base images from a distribution's packages.

``python -m iso.build [NAME ...]`` builds the named images, or all of them, as root tars in ``build/images``, and prints where
they are. A tar is built once and then kept under the hash of its recipe. DISTRO and SUITE choose the distribution; MIRROR,
where the packages come from instead of the host's own apt configuration.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from iso.bootstrap import EPOCH, bootstrap, programs
from iso.command import carried_out, say
from iso.origin import Origin, host_options
from iso.recipe import Recipe
from iso.wheels import sources, write_tree
from terra_core.errors import TerraError
from terra_core.system.locks import locked
from terra_core.system.process import run

__all__ = ["IMAGES", "Recipe", "build", "digest", "main"]

RECIPES = Path(__file__).parent
IMAGES = RECIPES.parent / "build" / "images"
_BUILD_SECONDS = 3600
# Own namespaces for mounts and processes, which end with it and with this process: removing the work of a bootstrap that was
# interrupted would otherwise reach into the host's /dev by the mounts that it left.
_CONTAINED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--")

Say = Callable[[str], None]


def _silent(line: str) -> None:
    """Print nothing."""


def digest(recipe: Recipe, origin: Origin) -> str:
    """Return a hash over all that decides what is built: the recipe and those that it needs, the origin, and the request."""
    found = hashlib.sha256(repr((origin, platform.machine(), _asked(recipe, origin))).encode())
    for part in recipe.chain():
        for content in part.contents():
            found.update(content)
    for program in programs(recipe):
        found.update(program.read_bytes())
    for need in recipe.needs():
        found.update(digest(need, origin).encode())
    return found.hexdigest()[:16]


def _asked(recipe: Recipe, origin: Origin) -> object:
    if recipe.file.wheels:
        return recipe.file.wheels, sorted(sources())
    words = bootstrap(recipe, origin, Path("tar"), Path("options"))
    for part in recipe.chain():
        words = [word.replace(str(part.path), "") for word in words]
    return [word.replace(str(RECIPES), "") for word in words]


def build(recipe: Recipe, *, images: Path = IMAGES, say: Say = _silent, shown: bool = False) -> Path:
    """Build an image, or find it built.

    :param images: the directory of the root tars.
    :param say: takes a line for a person at the beginning and the end of long work.
    :param shown: let the output of the bootstrap go to standard error.
    :returns: the root tar.
    :raises TerraError: with the end of the bootstrap's output; nothing is left of it.
    """
    origin = Origin.of(os.environ)
    tar = images / f"{recipe.name}-{digest(recipe, origin)}.tar"
    if tar.exists():
        say(f"{recipe.name}: is there: {tar}")
        return tar
    needed = {need.name.upper(): str(build(need, images=images, say=say, shown=shown)) for need in recipe.needs()}
    images.mkdir(parents=True, exist_ok=True)
    with _alone(images, say):
        if not tar.exists():
            make = _install if recipe.file.wheels else _make
            make(recipe, origin, tar, needed, say=say, shown=shown)
    return tar


@contextmanager
def _alone(images: Path, say: Say) -> Iterator[None]:
    """Let one build run at a time; remove what a killed one left."""

    @cache  # said once
    def waiting() -> None:
        say("waiting for another build to end")

    with locked(images / ".lock", seconds=math.inf, waiting=waiting):
        for left in images.glob(".work-*"):
            shutil.rmtree(left)
        yield


def _make(recipe: Recipe, origin: Origin, tar: Path, needed: dict[str, str], *, say: Say, shown: bool) -> None:
    what = "unpacking packages of" if recipe.file.variant == "extract" else "bootstrapping"
    say(f"{recipe.name}: {what} {origin.distro} {origin.suite} from packages; this takes minutes")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".work-", dir=tar.parent) as directory:
        work = Path(directory)
        options = work / "apt.conf"
        options.write_text(host_options())
        command = bootstrap(recipe, origin, work / "root.tar", options)
        run(
            [*_CONTAINED, *command, *origin.mirrors()],
            timeout=_BUILD_SECONDS,
            env={**needed, "SOURCE_DATE_EPOCH": EPOCH, "TMPDIR": directory},
            shown=shown,
        )
        (work / "root.tar").rename(tar)
    _say_built(recipe, tar, began, say)


def _install(recipe: Recipe, origin: Origin, tar: Path, needed: dict[str, str], *, say: Say, shown: bool) -> None:
    """Make a tree of this checkout's own packages."""
    say(f"{recipe.name}: installing {', '.join(recipe.file.wheels)} from this checkout")
    began = time.monotonic()
    base = Path(needed[str(recipe.file.base).upper()])
    with tempfile.TemporaryDirectory(prefix=".work-", dir=tar.parent) as directory:
        work = Path(directory)
        write_tree(recipe.name, recipe.file.wheels, base, work / "tree.tar", work)
        if (recipe.path / "files").is_dir():
            run(["tar", "-C", recipe.path / "files", "--owner=0", "--group=0", "--mode=u=rwX,go=rX", f"--mtime=@{EPOCH}",
                 "-rf", work / "tree.tar", "."])  # fmt: skip
        (work / "tree.tar").rename(tar)
    _say_built(recipe, tar, began, say)


def _say_built(recipe: Recipe, tar: Path, began: float, say: Say) -> None:
    megabytes = tar.stat().st_size // (1024 * 1024)
    say(f"{recipe.name}: built in {time.monotonic() - began:.0f} s, {megabytes} MB: {tar}")


def main(names: Sequence[str]) -> int:
    """Build the named images, or all; return the exit code."""
    recipes = {path.parent.name: path.parent for path in sorted(RECIPES.glob("*/recipe.toml"))}

    def work() -> None:
        unknown = [name for name in names if name not in recipes]
        if unknown:
            raise TerraError(f"no recipe {', '.join(unknown)}", hint=f"there are: {', '.join(recipes)}")
        for name in names or recipes:
            print(build(Recipe.load(recipes[name]), say=say, shown=True))

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
