"""The recipe of an image: a folder with ``recipe.toml``, ``files`` to lay over the system, and a ``customize`` program."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import Factory, frozen

from terra_core.config.loader import load
from terra_core.config.structure import Problem
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
        image is what the customize program puts into the directory ``image`` there, or all of it when there is none.
    :param extends: a recipe whose packages, files and customize program come before this one's own.
    :param base: a recipe whose packages are there already, and are not unpacked again; with ``extract``.
    :param needs: recipes whose root tars the customize program reads, each in a variable of its upper-case name.
    :param wheels: distributions of this tree, installed with what they need instead of packages; ``*`` for any word.
    :param components: recipes whose images are laid over this one's.
    :param image: about the image.
    """

    packages: tuple[str, ...] = ()
    distribution: Mapping[str, tuple[str, ...]] = Factory(dict)
    variant: str = "minbase"
    extends: str | None = None
    base: str | None = None
    needs: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    image: Image = Image()

    def packages_of(self, distro: str) -> tuple[str, ...]:
        """Return the packages of the image for a distribution."""
        return (*self.packages, *self.distribution.get(distro, ()))

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        if not self.packages and not self.wheels:
            yield Problem("packages", "expected packages or wheels")
        if self.wheels and (self.packages or not self.base):
            yield Problem("wheels", "are installed on a base, and without packages")


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

    def chain(self) -> tuple[Recipe, ...]:
        """Return the recipes that this one extends, the one that extends nothing first, and this one.

        :raises TerraError: when one is not there, or extends this one in its turn.
        """
        found: list[Recipe] = [self]
        while (above := found[0].file.extends) is not None:
            if above in [recipe.name for recipe in found]:
                raise TerraError(f"{self.path / 'recipe.toml'}: extends: {above} extends itself")
            found.insert(0, self._beside(above, "extends"))
        return tuple(found)

    def needs(self, _above: tuple[str, ...] = ()) -> tuple[Recipe, ...]:
        """Return the recipes whose root tars this one needs: those that recipe.toml names, and its base.

        :raises TerraError: when one is not there, or needs this one in its turn.
        """
        way = (*_above, self.name)
        found = []
        for name in dict.fromkeys((*self.file.needs, *([self.file.base] if self.file.base else []))):
            if name in way:
                raise TerraError(f"{self.path / 'recipe.toml'}: needs: {' needs '.join((*way, name))}")
            recipe = self._beside(name, "needs")
            recipe.needs(way)
            found.append(recipe)
        return tuple(found)

    def components(self) -> tuple[Recipe, ...]:
        """Return the recipes whose images are laid over this one's."""
        return tuple(self._beside(name, "components") for name in self.file.components)

    def packages_of(self, distro: str) -> tuple[str, ...]:
        """Return the packages of the image for a distribution, those of what it extends included."""
        return tuple(dict.fromkeys(package for recipe in self.chain() for package in recipe.file.packages_of(distro)))

    def _beside(self, name: str, key: str) -> Recipe:
        path = self.path.parent / name
        if not (path / "recipe.toml").is_file():
            raise TerraError(f"{self.path / 'recipe.toml'}: {key}: there is no recipe {name!r} beside this one")
        return Recipe.load(path)

    def contents(self) -> Iterator[bytes]:
        """Yield all that the folder holds, except documentation, in a form that differs when anything differs."""
        for path in sorted(self.path.rglob("*")):
            if path.name in _DOCUMENTATION and path.parent == self.path:
                continue
            mode = path.lstat().st_mode
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
            target = str(path.readlink()) if stat.S_ISLNK(mode) else ""
            kind = f"{stat.S_IFMT(mode):o}\0{bool(mode & stat.S_IXUSR)}"
            yield f"{path.relative_to(self.path)}\0{kind}\0{target}\0{len(content)}\0".encode() + content
