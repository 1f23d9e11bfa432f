"""Taking over files of a root into another one, whatever users of the machine have made there."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.image.carry import carry
from terra_core.image.contained import ContainedRoot
from terra_core.system.mounts import bound
from terra_core.system.namespaces import private_mounts


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("former", "new"):
        (tmp_path / name).mkdir()
    return tmp_path / "former", tmp_path / "new"


def carried(roots: tuple[Path, Path], *paths: str) -> None:
    with ContainedRoot(roots[0]) as former, ContainedRoot(roots[1]) as new:
        carry(paths, former, new, say=print)


@contextmanager
def deep(place: Path, levels: int = 40) -> Iterator[None]:
    """Make directories that are deeper than a path may be long, for the time of a block."""
    top = here = os.open(place, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("x" * 200, dir_fd=here)
        here = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
    try:
        yield
    finally:
        for _ in range(levels):
            above = os.open("..", os.O_RDONLY, dir_fd=here)
            os.close(here)
            os.rmdir("x" * 200, dir_fd=above)
            here = above
        os.close(here)
        os.close(top)


def test_what_is_deeper_than_a_path_holds_nothing_up(roots: tuple[Path, Path]) -> None:
    (roots[0] / "srv/app").mkdir(parents=True)
    (roots[0] / "srv/app/zz").write_text("what is behind it")
    with deep(roots[0] / "srv/app"):
        carried(roots, "srv/app")
    assert (roots[1] / "srv/app/zz").read_text() == "what is behind it"


def test_things_of_every_kind_are_taken_over(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    place = roots[0] / "srv/app"
    place.mkdir(parents=True)
    os.mkfifo(place / "fifo")
    (place / "link").symlink_to("/nowhere")
    (place / "line\nfeed").write_text("1")
    (place / "twin").hardlink_to(place / "line\nfeed")
    (place / "setuid").write_text("")
    os.chown(place / "setuid", 7, 8)
    (place / "setuid").chmod(0o4755)
    monkeypatch.chdir(place)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        carried(roots, "srv/app", "srv/none")
    new = roots[1] / "srv/app"
    assert {path.name: stat.S_IFMT(path.lstat().st_mode) for path in new.iterdir()} == {
        path.name: stat.S_IFMT(path.lstat().st_mode) for path in place.iterdir()
    }
    assert (new / "twin").samefile(new / "line\nfeed")
    assert (new / "setuid").stat().st_uid == 7
    assert stat.S_IMODE((new / "setuid").stat().st_mode) == 0o4755


def test_what_is_of_another_kind_in_the_next_version_is_replaced(roots: tuple[Path, Path]) -> None:
    (roots[0] / "etc").mkdir()
    (roots[0] / "etc/app").write_text("a file")
    (roots[1] / "etc/app/more").mkdir(parents=True)
    (roots[0] / "etc/keys").mkdir()
    (roots[1] / "etc/keys").symlink_to("/outside")
    carried(roots, "etc/app", "etc/keys")
    assert (roots[1] / "etc/app").read_text() == "a file"
    assert (roots[1] / "etc/keys").is_dir()
    assert not (roots[1] / "etc/keys").is_symlink()


def test_links_of_either_root_lead_nowhere_else(roots: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/keys").write_text("a secret of this host")
    for root in roots:
        (root / "srv").mkdir()
        (root / "srv/app").symlink_to(tmp_path / "outside")
    carried(roots, "srv/app/keys")
    carried(roots, "srv/app")
    assert (roots[1] / "srv/app").readlink() == tmp_path / "outside"
    assert (tmp_path / "outside/keys").read_text() == "a secret of this host"


def test_no_link_leads_anywhere_while_others_write_to_the_former_root(roots: tuple[Path, Path], tmp_path: Path) -> None:
    """What cp(1) took for a directory is a link by then: a mount that lets no link lead anywhere says so to it."""
    app, bare, secret = roots[0] / "srv/app", tmp_path / "bare", tmp_path / "secret"
    for place in (app / "own", bare, secret, roots[0] / "usr/lib/more"):
        place.mkdir(parents=True)
    (secret / "key").write_text("root's")
    (app / "own/link").symlink_to("/nowhere")
    (app / "mine").symlink_to(secret)
    (roots[0] / "lib").symlink_to("usr/lib")
    (roots[0] / "usr/lib/more/file").write_text("more")
    with private_mounts(), bound(roots[0], bare, for_reading=True, links=False):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            os.listdir(bare / "srv/app/mine")  # noqa: PTH208  # as cp(1) does
        with ContainedRoot(roots[0]) as former, ContainedRoot(roots[1]) as new:
            carry(["lib/more", "srv/app"], former, new, say=print, bare=bare)
    assert (roots[1] / "srv/app/own/link").readlink() == Path("/nowhere")
    assert (roots[1] / "srv/app/mine").readlink() == secret
    assert (roots[1] / "lib/more/file").read_text() == "more", "links above what is named are those of the machine"


def test_a_file_in_the_way_is_named(roots: tuple[Path, Path]) -> None:
    (roots[0] / "etc/app").mkdir(parents=True)
    (roots[0] / "etc/app/keys").write_text("mine")
    (roots[1] / "etc").mkdir()
    (roots[1] / "etc/app").write_text("a file by now")
    with pytest.raises(TerraError, match="/etc/app of the tree cannot be opened: Not a directory"):
        carried(roots, "etc/app/keys")
