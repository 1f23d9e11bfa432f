"""The command line of mmdebstrap(1) for a recipe."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from iso.origin import Origin
from iso.recipe import Recipe

EPOCH = "1700000000"
"""The time of every file that has none of its own, in seconds since 1970, so that two builds give the same bytes."""

# A directory that is missing there breaks packages that link into it, and a copyright has to come with what it is about.
_LEFT_OUT = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*/*",
)


_COMPONENT = Path(__file__).parent / "component"


def bootstrap(recipe: Recipe, origin: Origin, tar: Path, options: Path) -> list[str]:
    """Return the command line that makes a recipe's root tar; mirrors may follow it.

    :param tar: the root tar to write.
    :param options: a file of apt.conf(5), in force while the system is made and not in it.
    """
    extracted = recipe.file.variant == "extract"
    return [
        "mmdebstrap",
        f"--variant={recipe.file.variant}",
        f"--components={','.join(origin.components)}",
        f"--include={','.join(recipe.packages_of(origin.distro))}",
        f"--aptopt={options}",
        *(f"--dpkgopt={option}" for option in _LEFT_OUT),
        *(_extract_hooks(recipe, tar) if extracted else _install_hooks(recipe)),
        *(["--format=null", origin.suite, "-"] if extracted else ["--format=tar", origin.suite, str(tar)]),
    ]


def programs(recipe: Recipe) -> list[Path]:
    """Return the programs outside the recipe's folder that its root tar is made by."""
    if recipe.file.wheels:
        return [Path(__file__).with_name("wheels.py")]
    return [_COMPONENT] if recipe.file.variant == "extract" and not (recipe.path / "customize").exists() else []


def _install_hooks(recipe: Recipe) -> list[str]:
    hooks = ['--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"']
    for part in recipe.chain():
        if (part.path / "customize").exists():
            hooks.append(f"--customize-hook={quote(str(part.path / 'customize'))} \"$1\"")
        if (part.path / "files").is_dir():
            # Before the packages are installed: the initial RAM disk is made then, and holds some of these files.
            hooks.append(f'--essential-hook={_laid_over(part.path, "$1")}')
    return hooks


def _extract_hooks(recipe: Recipe, tar: Path) -> list[str]:
    # mmdebstrap calls no other hook for this variant, and would add files of its own to the image's.
    pack = f'tar --sort=name --mtime=@{EPOCH} --owner=0 --group=0 -C "$1/image" -cf {quote(str(tar))} .'
    if (recipe.path / "customize").exists():
        hooks = [f"--extract-hook={quote(str(recipe.path / 'customize'))} \"$1\""]
    else:
        hooks = [f'--extract-hook={quote(str(_COMPONENT))} "$1" {quote(recipe.name)}']
    if (recipe.path / "files").is_dir():
        hooks.append(f'--extract-hook={_laid_over(recipe.path, "$1/image")}')
    if recipe.file.base:
        # apt unpacks only the packages that are missing in the base.
        known = f'tar -xf "${recipe.file.base.upper()}" -C "$1" ./var/lib/dpkg/status'
        hooks.insert(0, f"--setup-hook={known}")
    return [*hooks, f"--extract-hook={pack}"]


def _laid_over(recipe: Path, target: str) -> str:
    pack = f"tar -C {quote(str(recipe / 'files'))} --owner=0 --group=0 --mode=u=rwX,go=rX --mtime=@{EPOCH} -c ."
    return f'{pack} | tar -C "{target}" --no-overwrite-dir -x'
