"""What is asked of mkfs, mount and the machine, and what is refused."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from terra_core.config.kernel_line import is_argument
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.errors import ConfigError
from terra_core.hookspecs import Mount
from terra_ext4 import DiskPlugin, plugin, xfs
from terra_ext4.groups import kernel_arguments_of, mounts_of, refuse
from terra_ext4.kinds import KINDS, Kind, ext4_command, xfs_command

ID = UUID("82a1032c-a1d4-4ae5-ab07-eb4e9dbb2198")
DEVICE = Path("/dev/loop0")
EXT4, XFS = KINDS["ext4"], KINDS["xfs"]


def group(label: str = "os", kind: str = "single", disks: int = 1, *, subvolumes: str = "", **more: object) -> DiskGroup:
    """Return a group; ``subvolumes`` are words such as ``home:/home``."""
    raw = {
        "label": label,
        "type": kind,
        "disk": [{"device": f"/dev/sd{letter}"} for letter in "abcdef"[:disks]],
        "subvolumes": [{"name": name, "path": path} for name, _, path in (word.partition(":") for word in subvolumes.split())],
        **more,
    }
    return structure(raw, DiskGroup)


def test_ext4_is_made_with_what_every_reader_knows() -> None:
    command = ext4_command("os", ID, DEVICE)
    features = command[command.index("-O") + 1].split(",")
    assert features[0] == "none", "what the defaults of this machine have must not come along"
    assert {"has_journal", "extent", "64bit", "metadata_csum"} <= set(features)
    assert not {"orphan_file", "metadata_csum_seed", "casefold", "inline_data", "encrypt", "large_dir"} & set(features)
    assert command[-5:] == ["-L", "os", "-U", str(ID), "/dev/loop0"]


@pytest.mark.parametrize(
    ("usage", "later"),
    [
        ("[-i perblock=n|size=num,maxpct=n,sparse=0|1,nrext64=0|1]\n[-n size=num,ftype=0|1]", []),
        ("nrext64=0|1,exchange=0|1] ... ftype=0|1,parent=0|1]", ["-i", "exchange=0", "-n", "parent=0"]),
    ],
)
def test_xfs_leaves_away_what_a_later_mkfs_would_add(usage: str, later: list[str]) -> None:
    command = xfs_command("os", ID, DEVICE, usage)
    assert f"uuid={ID}" in command[command.index("-m") + 1].split(",")
    assert "nrext64=0" in command[command.index("-i") + 1].split(",")
    assert command[-3 - len(later) :] == [*later, "-L", "os", "/dev/loop0"]


def test_the_system_and_its_subvolumes_are_directories_beside_each_other() -> None:
    root, whole, *bound = mounts_of(EXT4, group(subvolumes="home:/home log:/var/log", options=["noatime"]), DEVICE, ID)
    assert root == Mount(
        path="/", device=DEVICE, filesystem="ext4", options=("noatime",), source=f"UUID={ID}", directory="os"
    )
    assert (whole.path, whole.options, whole.directory) == ("/run/terra/groups/os", ("noatime", "X-mount.mkdir"), "")
    assert [(mount.path, mount.bound) for mount in bound] == [
        ("/home", f"{whole.path}/home"),
        ("/var/log", f"{whole.path}/log"),
    ]
    assert [mount.path for mount in mounts_of(EXT4, group(), DEVICE, ID)] == ["/"], "nothing has to be mounted for none"


def test_a_system_that_an_earlier_terra_made_is_all_of_its_file_system() -> None:
    wanted = group(subvolumes="home:/home", options=["noatime"])
    made = mounts_of(EXT4, wanted, DEVICE, ID, undivided=True)
    assert made == (Mount(path="/", device=DEVICE, filesystem="ext4", options=("noatime",), source=f"UUID={ID}"),)
    assert kernel_arguments_of(group(), ID, undivided=True) == (f"terra.uuid={ID}",)


def test_a_file_system_on_a_disk_that_terra_makes_grows_with_it() -> None:
    disk = [{"device": "/dev/sda", "size": 256}]
    root, whole, _ = mounts_of(EXT4, group(subvolumes="home:/home", disk=disk), DEVICE, ID)
    assert (root.options, whole.options) == (("x-systemd.growfs",), ("X-mount.mkdir",))
    whole, _ = mounts_of(XFS, group("data", subvolumes="luns:/iscsi", disk=disk), DEVICE, ID)
    assert whole.options == ("x-systemd.growfs", "X-mount.mkdir")


def test_those_of_another_group_are_bound_from_a_place_of_its_own() -> None:
    whole, *bound = mounts_of(XFS, group("data", subvolumes="luns:/iscsi www:/srv/www", options=["noatime"]), DEVICE, ID)
    assert whole == Mount(
        path="/run/terra/groups/data",
        device=DEVICE,
        filesystem="xfs",
        options=("noatime", "X-mount.mkdir"),
        source=f"UUID={ID}",
    )
    assert [(mount.path, mount.bound, mount.source, mount.filesystem) for mount in bound] == [
        ("/iscsi", f"{whole.path}/luns", f"{whole.path}/luns", "none"),
        ("/srv/www", f"{whole.path}/www", f"{whole.path}/www", "none"),
    ]


def test_a_group_without_subvolumes_is_mounted_nowhere() -> None:
    assert mounts_of(EXT4, group("data"), DEVICE, ID) == ()


def test_the_root_is_found_by_its_uuid_and_mounted_with_its_options() -> None:
    assert kernel_arguments_of(group(), ID) == (f"terra.uuid={ID}", "terra.subvol=os")
    words = kernel_arguments_of(group(options=["noatime", "user", "logbsize=256k", "prjquota"]), ID)
    assert words == (f"terra.uuid={ID}", "terra.subvol=os", "rootflags=noatime,logbsize=256k,prjquota")
    assert all(is_argument(word) for word in words)


REFUSED = [
    (EXT4, group(kind="raid1", disks=2), 'type: ext4 has no raid1: say filesystem = "btrfs" for this group, or name one disk'),
    (XFS, group(kind="raid10", disks=4), "type: xfs has no raid10"),
    (EXT4, group(disks=2), 'disk: ext4 is on one disk, and 2 are named: name one, or say filesystem = "btrfs"'),
    (XFS, group(compression="zstd:3"), 'compression: xfs compresses nothing: leave it out, or say filesystem = "btrfs"'),
    (EXT4, group("a-very-long-label"), "label: ext4 takes at most 16 characters, and this has 17"),
    (XFS, group("long-xfs-name"), "label: xfs takes at most 12 characters, and this has 13"),
]


@pytest.mark.parametrize(("kind", "wanted", "text"), REFUSED)
def test_what_it_cannot_do_is_refused_with_what_to_use_instead(kind: Kind, wanted: DiskGroup, text: str) -> None:
    filler = plugin if kind is EXT4 else xfs
    for ask in (
        lambda: filler.check_disks(wanted, [0] * len(wanted.disk), Session(source="node.toml")),
        lambda: filler.prepare_disks(wanted, [DEVICE], Path("/nowhere"), Session(source="node.toml")),
    ):
        with pytest.raises(ConfigError) as told:
            ask()
        (problem,) = told.value.problems
        assert problem.startswith(f'node.toml: group "{wanted.label}": {text}')


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        refuse(XFS, group("long-xfs-name", "raid1", 2, compression="zstd"), Session())
    assert [problem.split(": ")[1:3] for problem in told.value.problems] == [
        ['group "long-xfs-name"', "type"],
        ['group "long-xfs-name"', "compression"],
        ['group "long-xfs-name"', "label"],
    ]


@pytest.mark.parametrize(("filler", "programs"), [(plugin, ("e2fsck",)), (xfs, ())])
def test_the_step_that_mounts_the_root(filler: DiskPlugin, programs: tuple[str, ...]) -> None:
    step = filler.mount_root(group(), Session())
    assert step.script.startswith(f"terra_type={filler.name}\n")
    assert (step.modules, step.programs, step.needs) == ((filler.name,), programs, ("blkid",))
