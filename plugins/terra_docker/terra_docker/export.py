"""Exporting an image that was built: an OCI archive, or a tree of files."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from terra_core.errors import TerraError
from terra_core.image import apply_layers
from terra_core.oci import Layout
from terra_core.system.files import output_file
from terra_core.system.progress import Report
from terra_core.system.undo import undoing


def write_archive(layout: Path, out: BinaryIO) -> None:
    """Write an OCI image layout as a tar archive; the same layout gives the same bytes.

    :param out: may be a pipe.
    :raises TerraError: when it can't be written.
    """
    try:
        _write(layout, out)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TerraError(f"the archive cannot be written: {error.strerror}") from error


def _write(layout: Path, out: BinaryIO) -> None:
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(layout.rglob("*"), key=lambda path: path.relative_to(layout).parts):
            info = tarfile.TarInfo(str(path.relative_to(layout)))
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                continue
            info.size, info.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                archive.addfile(info, content)


@contextmanager
def archive_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that gets its name when all of it is written, and not before; a device or pipe is written to as it is.

    :raises TerraError: when it cannot be written.
    """
    with _written(path), output_file(path) as file:
        yield file


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TerraError(f"{path}: cannot be written: {error.strerror}") from error


def check_file(path: Path) -> None:
    """Check that an archive can be written, before a build is spent on it.

    :raises TerraError: when there is no such directory, or when the path is one itself.
    """
    if not path.parent.is_dir():
        raise TerraError(f"{path}: there is no directory {path.parent}")
    if path.is_dir():
        raise TerraError(f"{path}: is a directory, where a file is to be written")


def check_directory(directory: Path) -> None:
    """Check that a tree can be exported to a directory: it is empty, or does not exist yet.

    :raises TerraError: when it is something else.
    """
    try:
        if directory.exists() and any(directory.iterdir()):
            raise TerraError(f"{directory}: is not empty, and what is in it would be mixed with the image's files")
    except NotADirectoryError as error:
        raise TerraError(f"{directory}: is no directory") from error
    if os.geteuid() != 0:
        raise TerraError("only root can give files their owners", hint="run this as root, or export an archive by --oci")


def export_tree(layout: Path, directory: Path, report: Report) -> None:
    """Write an image's file system to a directory, with owners, modes and extended attributes.

    :param layout: the OCI image layout that has the image, and no other.
    :param directory: as :func:`check_directory` wants it; it is as it was when this fails.
    """
    made = not directory.exists()
    with _written(directory):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        apply_layers(Layout(layout).image(), directory, report=report)
    except BaseException as error:
        with undoing(error):
            for path in directory.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if made:
                directory.rmdir()
        raise


