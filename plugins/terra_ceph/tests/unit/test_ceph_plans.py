"""The table, names of volumes, and what is read from the output of Ceph's programs."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from attrs import define, field

from terra_ceph import opening, plugin
from terra_ceph.fencing import parse_fenced
from terra_ceph.opening import kernel_has_rbd
from terra_ceph.room import parse_room
from terra_ceph.settings import Settings
from terra_ceph.shown import (
    Image,
    Name,
    Parent,
    Snapshot,
    differs,
    next_snapshot,
    parse_image,
    parse_names,
    parse_snapshots,
    parse_trash,
)
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import ConfigError, NotFoundError, TerraError, result_or_reason
from terra_core.hookspecs import Backing, Volume, VolumeRequest
from terra_core.system.process import Completed

MB = 1024 * 1024

INFO = {
    "name": "cm-01.0",
    "id": "106cd98aa1fb",
    "size": 536870912,
    "snapshot_count": 0,
    "features": ["layering", "operations"],
    "parent": {"pool": "rbd", "pool_namespace": "", "image": "golden.0", "id": "1066", "snapshot": "d0e3", "trash": True},
}
"""Of ``rbd info --format json``, Ceph 16.2, of a clone whose origin was removed."""


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"pool": "a b"}, "pool"),
        ({"pool": "a/b"}, "pool"),
        ({"pool": "-a"}, "pool"),
        ({"pool": ""}, "pool"),
        ({"user": "a;conf=/x"}, "user"),
        ({"user": "client.terra-a"}, "user"),
        ({"config": "ceph.conf"}, "config"),
        ({"config": "/a;id=admin"}, "config"),
        ({"reserve": "much"}, "reserve"),
        ({"cluster": "ceph"}, "cluster"),
    ],
)
def test_a_table_that_is_wrong(table: dict[str, object], key: str, tmp_path: Path) -> None:
    session = Session(source="controller.toml", tables={"ceph": table}, paths=Paths(tmp_path))
    request = VolumeRequest(hostname=Hostname("cm-01"), number=0, size=16)
    with pytest.raises(ConfigError, match=rf"controller.toml: ceph\.{key}"):
        plugin.plan_volume(request, session)


def test_a_disk_in_full_is_refused_before_the_cluster_is_asked(tmp_path: Path) -> None:
    request = VolumeRequest(hostname=Hostname("cm-01"), number=0, size=16, full=True)
    with pytest.raises(TerraError, match=r"terra/cm-01\.0: the store ceph makes no disk that has all of its room"):
        plugin.plan_volume(request, Session(paths=Paths(tmp_path)))


@pytest.mark.parametrize(("reserve", "kept"), [("5%", 50), ("0%", 0), ("3MiB", 3 * 1024 * 1024)])
def test_how_much_is_kept_free(reserve: str, kept: int) -> None:
    assert Settings(reserve=reserve).reserved(1000) == kept


def test_a_name_names_its_pool() -> None:
    name = Name.parse("terra/golden_0123456789abcdef.0")
    assert name == Name("terra", "golden_0123456789abcdef.0")
    assert str(name) == "terra/golden_0123456789abcdef.0"


@pytest.mark.parametrize(
    "text", ["", "cm-01.0", "/iscsi/cm-01/0.lun", "a/b/c", "a/b@c", "-a/b", "a/-b", "a/b c", "a/b\n", "a/"]
)
def test_what_is_no_name_is_given_to_no_program(text: str) -> None:
    with pytest.raises(TerraError, match="is no volume of this store"):
        Name.parse(text)


def test_an_image_and_what_it_is_a_clone_of() -> None:
    assert parse_image(json.dumps(INFO)) == Image("106cd98aa1fb", 536870912, False, Parent("rbd", "1066", True))
    alone = {key: value for key, value in INFO.items() if key != "parent"} | {"snapshot_count": 2}
    assert parse_image(json.dumps(alone)) == Image("106cd98aa1fb", 536870912, True, None)


def test_only_snapshots_of_terra_are_looked_at_and_the_newest_is_the_last() -> None:
    rows = [{"id": 9, "name": "terra-10"}, {"id": 4, "name": "terra-2"}, {"id": 11, "name": "of-somebody"}]
    assert parse_snapshots(json.dumps(rows)) == [Snapshot(4, "terra-2"), Snapshot(9, "terra-10")]
    assert next_snapshot(parse_snapshots(json.dumps(rows))) == "terra-11"
    assert next_snapshot([]) == "terra-1"


def test_names_and_differences() -> None:
    assert parse_names('["cm-01.0","x"]') == ["cm-01.0", "x"]
    names = ("golden_0a1b.12", "cm-01.0", "golden_0a1b", "xgolden_0.0")
    trash = json.dumps([{"id": name, "name": name} for name in names])
    assert parse_trash(trash) == ["golden_0a1b.12"], "what is no golden volume is somebody else's"
    assert differs("[]") is False
    assert differs('[{"offset":0,"length":4194304,"exists":"true"}]') is True


@define
class Pools:
    """What stands in for ``rbd``: the images of pools with their bytes, and what was asked.

    :param broken: whether it fails to open some image of a pool, so that it lists none of them in full.
    """

    images: dict[str, dict[str, int]]
    broken: bool = False
    asked: list[tuple[str, ...]] = field(factory=list)

    def run(self, args: Sequence[str], **_: object) -> Completed:
        words = tuple(args[args.index("--client_mount_timeout=20") + 1 :])
        self.asked.append(words)
        verb, pool, name = words[0], *words[1].partition("/")[::2]
        code, shown = 0, object()
        if pool not in self.images:
            return Completed(tuple(args), 2, b"", f"rbd: error opening pool '{pool}'".encode())
        own = self.images[pool]
        if verb == "info":
            code = 0 if name in own else 2
            shown = {"id": "1", "size": own.get(name), "snapshot_count": 0}
        elif "--long" in words:
            code = 5 if self.broken else 0
            heads = [{"image": name, "size": size} for name, size in own.items()]
            shown = [*heads, *({**head, "snapshot": "terra-1", "size": 1} for head in heads)]
        else:
            shown = sorted(own)
        return Completed(tuple(args), code, json.dumps(shown).encode(), b"")


def volumes_of(pool: str, count: int) -> list[Volume]:
    return [Volume(name=f"{pool}/cm-{at:03}.0", size=16) for at in range(count)]


@pytest.mark.parametrize(
    ("strangers", "broken", "programs"),
    [(0, False, 2), (700, False, 2), (701, False, 101), (0, True, 102)],
)
def test_the_images_of_many_machines_are_looked_at_by_one_program_unless_the_pool_has_too_many(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strangers: int, broken: bool, programs: int
) -> None:
    volumes = volumes_of("terra", 100)
    images = {volume.name.partition("/")[2]: 16 * MB for volume in volumes} | {f"x-{at}": MB for at in range(strangers)}
    rbd = Pools({"terra": images}, broken)
    monkeypatch.setattr("terra_ceph.cluster.run", rbd.run)
    session = Session(paths=Paths(tmp_path))
    many = plugin.reach_volumes(volumes, session)
    assert len(rbd.asked) == programs
    assert many == [plugin.reach_volume(volume, session) for volume in volumes]


def test_of_many_images_each_that_is_not_right_is_said_as_if_it_were_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, there, nowhere = volumes_of("terra", 4), volumes_of("other", 1), volumes_of("nowhere", 2)
    rbd = Pools({"terra": {"cm-000.0": 16 * MB, "cm-001.0": 17 * MB, "cm-003.0": 16 * MB}, "other": {"cm-000.0": 16 * MB}})
    monkeypatch.setattr("terra_ceph.cluster.run", rbd.run)
    session = Session(paths=Paths(tmp_path))
    volumes = [*here, Volume(name="/iscsi/cm-01/0.lun", size=16), *there, *nowhere]
    answers = plugin.reach_volumes(volumes, session)
    assert answers == [result_or_reason(partial(plugin.reach_volume, volume, session)) for volume in volumes]
    assert [type(answer) for answer in answers] == [Backing, str, str, Backing, str, Backing, str, str]


def test_a_cluster_that_does_not_answer_is_asked_once_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def silent(args: Sequence[str], **_: object) -> Completed:
        asked.append(args)
        return Completed(tuple(args), errno.ETIMEDOUT, b"", b"")

    monkeypatch.setattr("terra_ceph.cluster.run", silent)
    with pytest.raises(TerraError, match="does not answer"):
        plugin.reach_volumes(volumes_of("terra", 100), Session(paths=Paths(tmp_path)))
    assert len(asked) == 1


def test_the_room_of_a_pool() -> None:
    shown = json.dumps({"stats": {}, "pools": [{"name": "terra", "stats": {"stored": 19, "max_avail": 4133568768}}]})
    assert parse_room(shown, "terra") == {"size": 4133568787, "free": 4133568768}
    with pytest.raises(NotFoundError, match="the cluster has no pool 'other'"):
        parse_room(shown, "other")


def test_hosts_that_are_fenced_and_programs_that_are() -> None:
    rows = [
        {"addr": "10.0.10.31:0/0", "until": "2036-11-23T10:00:00.000000+0000"},
        {"addr": "10.0.10.32:0/1234", "until": "x"},
        {"addr": "[fd00::1]:0/0", "until": "y"},
    ]
    assert parse_fenced(f"\n{json.dumps(rows)}listed 3 entries\n") == {
        "10.0.10.31": "2036-11-23T10:00:00.000000+0000",
        "fd00::1": "y",
    }


def test_the_client_of_the_kernel_is_used_where_this_process_may_write_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_KERNEL", tmp_path)
    assert kernel_has_rbd() is False
    (tmp_path / "add").touch()
    assert kernel_has_rbd() is True
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as on a file system that is mounted to read only
    assert kernel_has_rbd() is False
