"""Where an image is kept while it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import cast

import pytest

from terra_core.config.values import parse_image_reference
from terra_core.images import Images
from terra_core.install.image import FoundImage, kept
from terra_core.oci.source import ImageSource


class Offering:
    """A registry whose image is one file."""

    def pull(self, _: object, layout: Path) -> AbstractContextManager[ImageSource]:
        @contextmanager
        def pulled() -> Iterator[ImageSource]:
            layout.mkdir()
            (layout / "blob").write_text("a layer")
            yield cast(ImageSource, layout)

        return pulled()


def found(size: int) -> FoundImage:
    reference = parse_image_reference("r.example/i@sha256:" + "0" * 64)
    return FoundImage(reference=reference, bytes=size, registry=cast(Images, Offering()))


@pytest.fixture(autouse=True)
def _roomy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_it_is_kept_as_long_as_the_installation_lasts(tmp_path: Path) -> None:
    with kept(found(1000)) as source:
        assert source is not None
        (work,) = tmp_path.iterdir()
        assert {path.name for path in work.iterdir()} == {"layout"}
        assert work.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_it_goes_when_the_installation_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), kept(found(1000)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_without_room_nothing_is_kept(tmp_path: Path) -> None:
    with kept(found(1 << 60)) as source:
        assert source is None
    assert list(tmp_path.iterdir()) == []
