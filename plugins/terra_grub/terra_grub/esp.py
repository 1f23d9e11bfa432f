"""The EFI system partition: the signed shim and the signed GRUB (UEFI specification, section 3.5.1.1)."""

from __future__ import annotations

import re
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_grub.environment import PLACE

SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
MOK_MANAGER = Path("/usr/lib/shim/mmx64.efi.signed")
GRUB = Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
"""Where Debian and Ubuntu keep them: the packages shim-signed, shim-helpers-amd64-signed and grub-efi-amd64-signed."""

LABEL = "TERRA-ESP"
DIRECTORY = "EFI/terra"
"""The directory that entries of the firmware's boot menu name."""

_FALLBACK = "EFI/BOOT"
_PREFIX = re.compile(rb"\0/(EFI/[A-Za-z0-9_-]{1,32})\0")
_FORMAT_SECONDS = 120
_COPY_SECONDS = 120


def require_files() -> None:
    """Refuse to go on without the boot loaders.

    :raises TerraError: naming what is missing and the package that has it.
    """
    packages = {SHIM: "shim-signed", MOK_MANAGER: "shim-helpers-amd64-signed", GRUB: "grub-efi-amd64-signed"}
    for path, package in packages.items():
        if not path.is_file():
            raise TerraError(f"{path}: is not there, and UEFI machines start by it", hint=f"install the package {package}")


def configuration_directory(grub: bytes) -> str:
    """Return the directory where a signed GRUB looks for its configuration: that of the distribution that signed it.

    :raises TerraError: when the program does not say.
    """
    found = _PREFIX.search(grub)
    if found is None:
        raise TerraError(f"{GRUB}: does not say where it looks for its configuration", hint="install grub-efi-amd64-signed")
    return found[1].decode()


def make_tree(menu: str, block: bytes, work: Path, *, uefi: bool) -> Path:
    """Lay out the files of a machine's EFI system partitions; return their directory.

    :param menu: what GRUB runs first.
    :param block: GRUB's environment block, which says what the disk starts.
    :param work: a directory for it.
    :param uefi: whether UEFI firmware starts by it; a BIOS needs the environment block alone.
    """
    _put(work / PLACE, block)
    if not uefi:
        return work / "EFI"
    for directory in (DIRECTORY, _FALLBACK):
        _put(work / directory / "grubx64.efi", GRUB.read_bytes())
        _put(work / directory / "mmx64.efi", MOK_MANAGER.read_bytes())
    _put(work / DIRECTORY / "shimx64.efi", SHIM.read_bytes())
    _put(work / _FALLBACK / "BOOTX64.EFI", SHIM.read_bytes())
    _put(work / configuration_directory(GRUB.read_bytes()) / "grub.cfg", menu.encode())
    return work / "EFI"


def write(esp: Path, tree: Path) -> None:
    """Format an EFI system partition and fill it; by mtools(1), so that the kernel need not know FAT.

    :param esp: its block device or image.
    :param tree: from :func:`make_tree`.
    :raises TerraError: when a tool fails.
    """
    # Clusters of one sector, whatever its size: a partition with fewer than FAT32 has would be taken for FAT16.
    run(["mkfs.fat", "-F", "32", "-s", "1", "-n", LABEL, esp], timeout=_FORMAT_SECONDS)
    run(["mcopy", "-s", "-Q", "-i", esp, tree, "::/"], timeout=_COPY_SECONDS)
    run(["sync", esp], timeout=_COPY_SECONDS)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
