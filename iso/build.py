"""Building base images from a distribution's packages.

``python -m iso.build [NAME ...]`` builds the named images, or all of them, as root tars in ``build/images``. A tar is built
once and then kept under the hash of its recipe. DISTRO and SUITE choose the distribution; MIRROR, where the packages come from
instead of the host's own apt configuration.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import Factory, frozen

from terra_core.config.loader import load
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_core.system.signals import terminating

RECIPES = Path(__file__).parent
IMAGES = RECIPES.parent / "build" / "images"
_SUITES = {"debian": "bookworm", "ubuntu": "noble"}
_BUILD_SECONDS = 3600
_EPOCH = "1700000000"


@frozen(kw_only=True)
class Image:
    """``[image]``.

    :param changes: Dockerfile instructions for the image that is made of the root tar.
    """

    changes: tuple[str, ...] = ()


@frozen(kw_only=True)
class RecipeFile:
    """recipe.toml.

    :param packages: packages of every distribution.
    :param distribution: further packages, by distribution.
    :param variant: how much of a system is made; see mmdebstrap(1). With ``extract`` the packages are only unpacked, and the
        image is what the customize program puts into the directory ``image`` there.
    :param needs: recipes whose root tars the customize program reads, each in a variable of its upper-case name.
    :param image: about the image.
    """

    packages: tuple[str, ...]
    distribution: Mapping[str, tuple[str, ...]] = Factory(dict)
    variant: str = "minbase"
    needs: tuple[str, ...] = ()
    image: Image = Image()


@frozen
class Recipe:
    """The recipe of one image: a folder with ``recipe.toml``, ``files`` to lay over the system, and a ``customize`` program.

    :param path: the folder.
    :param file: what recipe.toml says.
    """

    path: Path
    file: RecipeFile

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe.

        :raises ConfigError: with every problem of recipe.toml.
        """
        return cls(path, load(path / "recipe.toml", RecipeFile).value)

    @property
    def name(self) -> str:
        """The image's name."""
        return self.path.name

    @property
    def changes(self) -> tuple[str, ...]:
        """Dockerfile instructions for the image that is made of the root tar."""
        return self.file.image.changes

    def digest(self, origin: Origin) -> str:
        """A hash over all that decides what is built: this program, the recipe and those it needs, the origin."""
        digest = hashlib.sha256(repr((origin, platform.machine())).encode() + Path(__file__).read_bytes())
        for path in sorted(self.path.rglob("*")):
            found = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
            digest.update(f"{path.relative_to(self.path)}\0{found.st_mode:o}\0{len(content)}\0".encode() + content)
        for name in self.file.needs:
            digest.update(Recipe.load(self.path.parent / name).digest(origin).encode())
        return digest.hexdigest()[:16]


@frozen(kw_only=True)
class Origin:
    """Where packages come from.

    :param distro: ``debian`` or ``ubuntu``.
    :param suite: the release, by code name.
    :param mirror: a mirror's URL; empty for what the host's apt configuration says.
    """

    distro: str
    suite: str
    mirror: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Origin:
        """What DISTRO, SUITE and MIRROR say.

        :raises TerraError: when DISTRO is not known.
        """
        distro = environment.get("DISTRO") or "debian"
        if distro not in _SUITES:
            raise TerraError(f"DISTRO={distro}: expected one of {', '.join(_SUITES)}")
        return cls(distro=distro, suite=environment.get("SUITE") or _SUITES[distro], mirror=environment.get("MIRROR", ""))


def build(recipe: Recipe, *, images: Path = IMAGES, say: Callable[[str], None] = lambda line: None) -> Path:
    """Build an image, or find it built.

    :param images: the directory of the root tars.
    :param say: takes a line for a person at the beginning and the end of long work.
    :returns: the root tar.
    :raises TerraError: with the end of what the bootstrap said; nothing is left of it.
    """
    origin = Origin.of(os.environ)
    tar = images / f"{recipe.name}-{recipe.digest(origin)}.tar"
    if tar.exists():
        say(f"{recipe.name}: is there: {tar}")
        return tar
    needed = {
        name.upper(): str(build(Recipe.load(recipe.path.parent / name), images=images, say=say)) for name in recipe.file.needs
    }
    images.mkdir(parents=True, exist_ok=True)
    say(f"{recipe.name}: bootstrapping {origin.distro} {origin.suite} from packages; this takes minutes")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f".{recipe.name}-", dir=images) as work:
        fresh = Path(work) / "root.tar"
        run(
            _bootstrap(recipe, origin, fresh),
            timeout=_BUILD_SECONDS,
            env={**needed, "SOURCE_DATE_EPOCH": _EPOCH, "TMPDIR": work},
        )
        fresh.rename(tar)
    say(f"{recipe.name}: built in {time.monotonic() - began:.0f} s: {tar}")
    return tar


def _bootstrap(recipe: Recipe, origin: Origin, tar: Path) -> list[str]:
    packages = [*recipe.file.packages, *recipe.file.distribution.get(origin.distro, ())]
    command = [
        # Mounts and processes of its own, which end with it: removing the work of a bootstrap that was interrupted would
        # otherwise reach into the host's /dev by the mounts that it left.
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--"),
        "mmdebstrap",
        f"--variant={recipe.file.variant}",
        f"--include={','.join(packages)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ]
    files, customize = recipe.path / "files", recipe.path / "customize"
    if files.is_dir():
        pack = f"tar -C '{files}' --owner=0 --group=0 --mode=u+rw,go-w -c ."
        command.append(f'--essential-hook={pack} | tar -C "$1" --no-overwrite-dir -x')
    if recipe.file.variant == "extract":
        # mmdebstrap calls no other hook for this variant, and would put files of its own beside the image's.
        pack = f"tar --sort=name --mtime=@{_EPOCH} --owner=0 --group=0 -C \"$1/image\" -cf '{tar}' ."
        return [
            *command,
            f"--extract-hook={customize}",
            f"--extract-hook={pack}",
            "--format=null",
            origin.suite,
            "-",
            *_mirrors(origin),
        ]
    if customize.exists():
        command.append(f"--customize-hook={customize}")
    return [*command, origin.suite, str(tar), *_mirrors(origin)]


def _mirrors(origin: Origin) -> list[str]:
    if origin.mirror:
        return [origin.mirror]
    fields = "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"
    listing = run(["apt-get", "indextargets", "--format", fields]).text
    return host_mirrors(listing.splitlines(), origin)


def host_mirrors(lines: Sequence[str], origin: Origin) -> list[str]:
    """The lines for sources.list(5) that the host's apt knows for a suite, its updates and its security fixes.

    :param lines: of ``apt-get indextargets``, as ``CREATED_BY|ORIGIN|CODENAME|REPO_URI|COMPONENT``.
    :returns: none when the host knows no such suite: the bootstrap then goes to the distribution's own servers.
    """
    wanted = (origin.suite, f"{origin.suite}-updates", f"{origin.suite}-security")
    components: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        kind, _, rest = line.partition("|")
        name, codename, uri, component = [*rest.split("|"), "", "", ""][:4]
        if kind == "Packages" and name.lower() == origin.distro and codename in wanted:
            listed = components.setdefault((uri, codename), [])
            if component not in listed:
                listed.append(component)
    return [f"deb {uri} {codename} {' '.join(listed)}" for (uri, codename), listed in components.items()]


def main(names: Sequence[str]) -> int:
    """Build the named images, or all; gives the exit code."""
    recipes = {path.parent.name: path.parent for path in sorted(RECIPES.glob("*/recipe.toml"))}
    try:
        with terminating():
            _build_all(names, recipes)
    except TerraError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _build_all(names: Sequence[str], recipes: Mapping[str, Path]) -> None:
    unknown = [name for name in names if name not in recipes]
    if unknown:
        raise TerraError(f"no recipe {', '.join(unknown)}", hint=f"there are: {', '.join(recipes)}")
    for name in names or recipes:
        print(build(Recipe.load(recipes[name]), say=lambda line: print(line, file=sys.stderr, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
