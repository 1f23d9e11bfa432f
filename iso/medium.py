"""The installation medium: ``build/terra.iso``, for BIOS and UEFI, on a CD and on a USB stick.

``python -m iso.medium [--output FILE] [WORD ...]`` writes it; the words stand at the end of its kernel line.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from iso.bootstrap import EPOCH
from iso.build import IMAGES, RECIPES, Say, build
from iso.command import carried_out, say
from iso.recipe import Recipe
from terra_core.errors import TerraError
from terra_core.system.locks import locked
from terra_core.system.process import Argument, run

LABEL = "TERRA"
"""The label of its file system, by which the initial RAM disk finds it."""
LIMIT = 400_000_000
"""The size in bytes that it shall stay below."""
_SECONDS = 1800
_LEVEL = "12"
"""Of zstd: the highest makes the medium smaller by a twentieth, and takes five times as long."""
# The partition types of an ESP, and of data that no other system shall touch.
_ESP_TYPE = "28732ac11ff8d211ba4b00a0c93ec93b"
_DATA_TYPE = "a2a0d0ebe5b9334487c068b6b72699c7"
_WORD = re.compile(r"(?:(?![\"'\\\\])[\x21-\x7e])+")
_OUTPUT = RECIPES.parent / "build" / "terra.iso"


def make(output: Path, arguments: Sequence[str] = (), *, images: Path = IMAGES, say: Say, shown: bool = False) -> Path:
    """Write the medium.

    :param output: the file; it is complete when it gets its name.
    :param arguments: words for the end of its kernel line.
    :param images: where root tars and squashfs are kept between runs.
    :param say: takes a line for a person at the beginning and the end of long work.
    :param shown: let what programs say of their work go to standard error.
    :raises TerraError: when a word is none, or the medium would be larger than :data:`LIMIT`.
    """
    quoted = _quoted(arguments)
    live, boot = Recipe.load(RECIPES / "live"), Recipe.load(RECIPES / "boot")
    layers = [build(recipe, images=images, say=say, shown=shown) for recipe in (live, *live.components())]
    loaders = build(boot, images=images, say=say, shown=shown)
    systems = [_squash(layer, images, say) for layer in layers]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".iso-", dir=output.parent) as directory:
        work = Path(directory)
        run(["tar", "--extract", "--file", loaders, "--directory", work, "./kernel", "./iso"])
        tree = _tree(work, systems, quoted)
        _master(work, tree, work / "terra.iso")
        size = (work / "terra.iso").stat().st_size
        if size > LIMIT:
            raise TerraError(f"the medium has {size // 10**6} MB, more than {LIMIT // 10**6}")
        (work / "terra.iso").rename(output)
    say(f"{output}: {size // 10**6} MB")
    return output


def _quoted(arguments: Sequence[str]) -> str:
    """Return words for single quotes in GRUB's script language, which knows no escape there; refuse others."""
    for word in arguments:
        if not _WORD.fullmatch(word):
            raise TerraError(f"{word!r}: expected a word of printable characters, without quotes, for the kernel line")
    return " ".join(arguments)


def _squash(layer: Path, images: Path, say: Say) -> Path:
    """Return a root tar as a squashfs, without its kernel, which is on the medium by itself."""
    found = layer.with_suffix(".squashfs")
    with locked(images / ".lock", seconds=math.inf):
        if not found.exists():
            say(f"{layer.stem}: compressing it for the medium")
            with tempfile.TemporaryDirectory(prefix=".work-", dir=images) as directory:
                root, result = Path(directory, "root"), Path(directory, "root.squashfs")
                root.mkdir()
                run(["tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./boot/*",
                     "--file", layer, "--directory", root], timeout=_SECONDS)  # fmt: skip
                run(["mksquashfs", root, result, "-noappend", "-no-progress", "-comp", "zstd", "-Xcompression-level", _LEVEL,
                     "-b", "256K"], timeout=_SECONDS, env={"SOURCE_DATE_EPOCH": EPOCH})  # fmt: skip
                result.rename(found)
    return found


def _tree(work: Path, systems: Sequence[Path], arguments: str) -> Path:
    tree = work / "tree"
    for name in ("boot/grub", "live", ".disk"):
        (tree / name).mkdir(parents=True)
    (tree / ".disk/info").write_text("Terra\n")
    for name in ("vmlinuz", "initrd.img"):
        (work / "kernel" / name).rename(tree / "boot" / name)
    for name in ("eltorito.img", "grub.cfg", "unicode.pf2"):
        (work / "iso" / name).rename(tree / "boot/grub" / name)
    shutil.copyfile(RECIPES / "splash.png", tree / "boot/grub/splash.png")
    (tree / "boot/grub/arguments.cfg").write_text(f"set arguments='{arguments}'\n")
    for number, system in enumerate(systems):  # each is laid over the one before it
        os.link(system, tree / f"live/{number}.squashfs")
    return tree


def _master(work: Path, tree: Path, output: Path) -> None:
    """Write one file that is a CD by El Torito and a disk by its first sectors; see xorrisofs(1)."""
    stick: list[Argument] = ["--grub2-mbr", work / "iso/boot_hybrid.img", "--protective-msdos-label", "--mbr-force-bootable"]
    stick += ["-partition_cyl_align", "off", "-partition_offset", "16", "-iso_mbr_part_type", _DATA_TYPE]
    stick += ["-append_partition", "2", _ESP_TYPE, work / "iso/efi.img", "-appended_part_as_gpt"]
    bios: list[Argument] = ["-b", "boot/grub/eltorito.img", "-c", "boot/catalog", "-no-emul-boot", "-boot-load-size", "4"]
    bios += ["-boot-info-table", "--grub2-boot-info"]
    uefi: list[Argument] = ["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    run(["xorriso", "-as", "mkisofs", "-quiet", "-r", "-J", "-V", LABEL, *stick, *bios, *uefi, "-o", output, tree],
        timeout=_SECONDS, env={"SOURCE_DATE_EPOCH": EPOCH})  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Write the medium; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m iso.medium", description="Write the installation medium.")
    parser.add_argument("--output", type=Path, default=_OUTPUT)
    parser.add_argument("arguments", nargs="*", metavar="WORD", help="words for the end of its kernel line")
    given = parser.parse_args(words)
    return carried_out(lambda: print(make(given.output, given.arguments, say=say, shown=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
