"""The recipe of an image: a folder with ``recipe.toml``, ``files`` to lay over the system, and a ``customize`` program."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import Factory, frozen

from terra_core.config.loader import load
from terra_core.errors import TerraError

_DOCUMENTATION = ("README.md",)


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

    def packages_of(self, distro: str) -> tuple[str, ...]:
        """The packages of the image that is made of that distribution."""
        return (*self.packages, *self.distribution.get(distro, ()))


@frozen
class Recipe:
    """The recipe of one image.

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

    def needs(self, _above: tuple[str, ...] = ()) -> tuple[Recipe, ...]:
        """The recipes that this one needs, as recipe.toml names them.

        :raises TerraError: when one is not there, or needs this one in its turn.
        """
        way = (*_above, self.name)
        found = []
        for name in self.file.needs:
            path = self.path.parent / name
            if name in way:
                raise TerraError(f"{self.path / 'recipe.toml'}: needs: {' needs '.join((*way, name))}")
            if not (path / "recipe.toml").is_file():
                raise TerraError(f"{self.path / 'recipe.toml'}: needs: there is no recipe {name!r} beside this one")
            recipe = Recipe.load(path)
            recipe.needs(way)
            found.append(recipe)
        return tuple(found)

    def contents(self) -> Iterator[bytes]:
        """All that the folder holds, but for what only a person reads, in a form that differs when anything differs."""
        for path in sorted(self.path.rglob("*")):
            if path.name in _DOCUMENTATION and path.parent == self.path:
                continue
            mode = path.lstat().st_mode
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
            target = str(path.readlink()) if stat.S_ISLNK(mode) else ""
            kind = f"{stat.S_IFMT(mode):o}\0{bool(mode & stat.S_IXUSR)}"
            yield f"{path.relative_to(self.path)}\0{kind}\0{target}\0{len(content)}\0".encode() + content
