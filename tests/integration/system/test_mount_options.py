"""Mount options, as the kernel of this machine takes and refuses them."""

from __future__ import annotations

import pytest

from terra_core.system.mount_options import refused_options, takes


@pytest.mark.parametrize(
    ("filesystem", "options"),
    [
        ("ext4", ("noatime", "nodev", "commit=60", "data=journal", "lazytime", "user")),
        ("xfs", ("noatime", "logbsize=256k", "prjquota")),
        ("btrfs", ("noatime", "ssd", "commit=60")),
        ("ext4", ()),
    ],
)
def test_what_the_kernel_takes(filesystem: str, options: tuple[str, ...]) -> None:
    assert refused_options(filesystem, options) == ()


def test_what_it_refuses_is_told_in_its_words() -> None:
    assert refused_options("ext4", ("ssd", "noatime", "data=paper")) == (
        "\"ssd\": ext4: Unknown parameter 'ssd'",
        "\"data=paper\": ext4: Bad value for 'data'",
    )
    assert refused_options("xfs", ("commit=60",)) == ("\"commit=60\": xfs: Unknown parameter 'commit'",)


def test_a_file_system_that_the_kernel_does_not_know() -> None:
    assert refused_options("paperfs", ("fold=1",)) == ("the kernel of this machine knows no paperfs",)


@pytest.mark.parametrize(
    ("filesystem", "option", "taken"),
    [
        ("ext4", "errors=remount-ro", True),
        ("ext4", "errors=paper", False),
        ("xfs", "errors=remount-ro", False),
        ("tmpfs", "errors=remount-ro", False),
        ("paperfs", "errors=remount-ro", False),
    ],
)
def test_what_a_file_system_takes_is_known(filesystem: str, option: str, taken: bool) -> None:
    assert takes(filesystem, option) is taken
