"""The mounts of a machine: their order, and what fstab says."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from terra_core.errors import PluginError, TerraError
from terra_core.hookspecs import Mount
from terra_core.mounting import in_order, render_fstab, render_mount_words


def mount(path: str, *options: str, label: str = "os", bound: str = "") -> Mount:
    return Mount(
        path=path, device=Path("/dev/loop0"), filesystem="btrfs", options=options, source=bound or f"LABEL={label}", bound=bound
    )


def test_fstab_names_every_mount_and_only_the_file_system_of_the_root_has_to_be_there() -> None:
    mounts = [
        mount("/", "subvol=/os"),
        mount("/home", "subvol=/home"),
        mount("/data", label="data"),
        mount("/srv", bound="/data/srv"),
    ]
    assert render_fstab(mounts) == (
        "# Written by Terra when the image was laid down.\n"
        "LABEL=os / btrfs subvol=/os 0 0\n"
        "LABEL=os /home btrfs subvol=/home 0 0\n"
        "LABEL=data /data btrfs nofail 0 0\n"
        "/data/srv /srv none bind,nofail 0 0\n"
    )


def test_what_is_mounted_from_the_file_system_of_the_root_has_to_be_there() -> None:
    mounts = [evolve(mount("/"), directory="os"), mount("/run/os", "X-mount.mkdir"), mount("/home", bound="/run/os/home")]
    assert render_fstab(mounts).splitlines()[1:] == [
        "LABEL=os / btrfs defaults 0 0",
        "LABEL=os /run/os btrfs X-mount.mkdir 0 0",
        "/run/os/home /home none bind 0 0",
    ]


def test_only_a_root_is_a_directory_of_a_file_system() -> None:
    with pytest.raises(PluginError, match="/home: only a root can be a directory"):
        in_order([mount("/"), evolve(mount("/home"), directory="home")])


def test_fstab_without_options_has_the_defaults() -> None:
    assert render_fstab([mount("/")]).splitlines()[1:] == ["LABEL=os / btrfs defaults 0 0"]
    assert render_fstab([]).splitlines() == ["# Written by Terra when the image was laid down."]


@pytest.mark.parametrize(
    ("mounts", "paths"),
    [
        ([mount("/var/log"), mount("/var"), mount("/"), mount("/var-1")], ["/", "/var", "/var/log", "/var-1"]),
        (
            [mount("/iscsi", bound="/run/groups/a/luns"), mount("/run/groups/a"), mount("/")],
            ["/", "/run/groups/a", "/iscsi"],
        ),
        (
            [mount("/a/b"), mount("/a", bound="/z/y/a"), mount("/z", bound="/zz/x"), mount("/zz"), mount("/")],
            ["/", "/zz", "/z", "/a", "/a/b"],
        ),
        ([mount("/b", bound="/a"), mount("/a"), mount("/")], ["/", "/a", "/b"]),
    ],
)
def test_a_mount_comes_after_what_it_is_on(mounts: list[Mount], paths: list[str]) -> None:
    for given in (mounts, mounts[::-1]):
        assert [one.path for one in in_order(given)] == paths


@pytest.mark.parametrize(
    ("mounts", "problem"),
    [
        ([mount("/a", bound="/b/x"), mount("/b", bound="/a/y")], "/a: is mounted from a directory that only it leads to"),
        ([mount("/a", bound="/a/x")], "/a: is mounted from a directory that only it leads to"),
        ([mount("/a"), mount("/a", label="data")], "/a: two plugins want to mount something there"),
    ],
)
def test_mounts_that_cannot_be_made(mounts: list[Mount], problem: str) -> None:
    with pytest.raises(PluginError, match=f"^{problem}"):
        in_order(mounts)


def test_the_words_of_a_further_mount() -> None:
    said: list[str] = []
    words = render_mount_words(
        [mount("/srv", "subvol=/srv", "compress=zstd:3", label="data"), mount("/x", bound="/srv/x")],
        lambda event: said.append(event.text),
    )
    assert words == (
        "systemd.mount-extra=LABEL=data:/srv:btrfs:subvol=/srv,nofail",
        "systemd.mount-extra=/srv/x:/x:none:bind,nofail",
    )
    assert said == ["warning: /srv is mounted without compress=zstd:3, which no kernel line can say"]
    for wrong in (mount("/a:b"), mount("/srv", bound="/a:b")):
        with pytest.raises(TerraError, match="/a:b: a colon ends a part"):
            render_mount_words([wrong], lambda event: None)
