"""What mmdebstrap(1) is asked to do for a recipe."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from iso.origin import Origin
from iso.recipe import RecipeFile

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


def bootstrap(file: RecipeFile, origin: Origin, recipe: Path, tar: Path, options: Path) -> list[str]:
    """The command line that makes a recipe's root tar; mirrors may follow it.

    :param file: what the recipe says.
    :param recipe: the recipe's folder.
    :param tar: the root tar to write.
    :param options: a file of apt.conf(5), in force while the system is made and not in it.
    """
    extracted = file.variant == "extract"
    return [
        "mmdebstrap",
        f"--variant={file.variant}",
        f"--components={','.join(origin.components)}",
        f"--include={','.join(file.packages_of(origin.distro))}",
        f"--aptopt={options}",
        *(f"--dpkgopt={option}" for option in _LEFT_OUT),
        *(_extract_hooks(recipe, tar) if extracted else _install_hooks(recipe)),
        *(["--format=null", origin.suite, "-"] if extracted else ["--format=tar", origin.suite, str(tar)]),
    ]


def _install_hooks(recipe: Path) -> list[str]:
    hooks = ['--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"']
    if (recipe / "customize").exists():
        hooks.append(f"--customize-hook={quote(str(recipe / 'customize'))} \"$1\"")
    if (recipe / "files").is_dir():
        pack = f"tar -C {quote(str(recipe / 'files'))} --owner=0 --group=0 --mode=u=rwX,go=rX --mtime=@{EPOCH} -c ."
        # Before the packages are installed: the initial RAM disk is made then, and holds some of these files.
        hooks.append(f'--essential-hook={pack} | tar -C "$1" --no-overwrite-dir -x')
    return hooks


def _extract_hooks(recipe: Path, tar: Path) -> list[str]:
    # mmdebstrap calls no other hook for this variant, and would put files of its own beside the image's.
    pack = f'tar --sort=name --mtime=@{EPOCH} --owner=0 --group=0 -C "$1/image" -cf {quote(str(tar))} .'
    return [f"--extract-hook={quote(str(recipe / 'customize'))} \"$1\"", f"--extract-hook={pack}"]
