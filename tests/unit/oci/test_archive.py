"""A file of ``docker save``: what is none."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.oci.archive import DockerArchive


@pytest.mark.parametrize(("program", "compress"), [("xz", lzma.compress), ("bzip2", bz2.compress)])
def test_a_compression_that_is_not_read_is_named(program: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    path.write_bytes(compress(bytes(10240)))
    with pytest.raises(TerraError, match=f"is compressed by {program}") as caught:
        DockerArchive(path)
    assert caught.value.hint == f"inflate it first, with {program} -d"
