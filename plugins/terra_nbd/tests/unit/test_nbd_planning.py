"""What targets are planned to be, and what a machine is told of them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import Target, TargetRequest, Volume
from terra_nbd import plugin
from terra_nbd.planning import Access

LOOPBACK = Address("127.0.0.1")


def session(root: Path, **settings: object) -> Session:
    return Session(tables={"nbd": settings}, paths=Paths(root))


def request(number: int = 7, *, disks: int = 1, label: str = "os", portal: Address = LOOPBACK) -> TargetRequest:
    return TargetRequest(
        hostname=Hostname("cm-01"),
        number=number,
        generation=1,
        label=Label(label),
        volumes=tuple(Volume(name=f"/iscsi/cm-01/{at}.lun", size=16) for at in range(disks)),
        boot=label == "os",
        portal=portal,
    )


def test_a_target_of_two_disks(tmp_path: Path) -> None:
    target = plugin.plan_target(request(disks=2), session(tmp_path))
    assert target.name == "nbds://cm-01.7@127.0.0.1:20007"
    assert target.client == "cm-01.7"
    assert target.kernel_arguments == ("terra.nbd=127.0.0.1,20007,cm-01.7,0", "terra.nbd=127.0.0.1,20007,cm-01.7,1")
    assert (target.id, target.label, len(target.volumes)) == (7, "os", 2)
    assert list(tmp_path.iterdir()) == [], "nothing is touched"


def test_an_address_of_ipv6_is_written_as_uris_and_kernel_lines_have_it(tmp_path: Path) -> None:
    target = plugin.plan_target(request(portal=Address("::1")), session(tmp_path))
    assert target.name == "nbds://cm-01.7@[::1]:20007"
    assert target.kernel_arguments == ("terra.nbd=::1,20007,cm-01.7,0",)


def test_a_key_has_256_bits_and_is_drawn_for_each_target(tmp_path: Path) -> None:
    keys = {plugin.plan_target(request(), session(tmp_path)).data["key"] for _ in range(20)}
    assert len(keys) == 20
    assert {len(bytes.fromhex(key)) for key in keys} == {32}


def test_a_key_is_nowhere_but_in_what_core_gives_back(tmp_path: Path) -> None:
    target = plugin.plan_target(request(), session(tmp_path))
    key = target.data["key"]
    assert key not in target.name + target.client + "".join(target.kernel_arguments)


def test_numbers_that_are_given_one_after_another_have_ports_of_their_own(tmp_path: Path) -> None:
    of = session(tmp_path, first_port=24000, last_port=24003)
    ports = [Access.of(plugin.plan_target(request(number), of)).port for number in range(1, 6)]
    assert ports == [24001, 24002, 24003, 24000, 24001]


def test_a_port_that_somebody_listens_on_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        one = session(tmp_path, first_port=port, last_port=port)
        with pytest.raises(TerraError, match=rf"none of the 1 ports from {port} to {port} is free") as refused:
            plugin.plan_target(request(), one)
        assert "[nbd]" in refused.value.hint


@pytest.mark.parametrize(
    ("first", "last", "key"),
    [
        (0, 100, "first_port"),
        (70000, 70001, "first_port"),
        (3000, 2999, "last_port"),
        (3000, 65536, "last_port"),
        ("x", 0, "last_port"),
    ],
)
def test_ports_that_are_none(tmp_path: Path, first: object, last: int, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"nbd\.{key}: expected a port"):
        plugin.plan_target(request(), session(tmp_path, first_port=first, last_port=last))


def test_a_machine_gets_the_keys_of_all_of_its_targets_and_no_others(tmp_path: Path) -> None:
    requests = (request(7), request(8, label="data"))
    targets = [plugin.plan_target(one, session(tmp_path)) for one in requests]
    step = plugin.connect_root(targets, session(tmp_path))
    (keys,) = step.files
    lines = keys.content.decode().splitlines()
    assert lines == [f"{target.client}:{target.data['key']}" for target in targets]
    assert keys.mode == 0o600
    assert step.modules == ("nbd",)
    assert step.programs == ("qemu-nbd", "nbd-client")
    assert step.needs == (), "an image needs no program for it"


@pytest.mark.parametrize("data", [{}, {"port": "20007"}, {"port": "x", "key": "00"}, {"key": "00"}])
def test_a_record_that_lost_its_key_or_port_is_said_to_have_none(tmp_path: Path, data: dict[str, str]) -> None:
    target = Target(label=Label("os"), name="nbds://cm-01.7@h:1", id=7, portal=LOOPBACK, volumes=(), data=data)
    with pytest.raises(TerraError, match=r"nbds://cm-01\.7@h:1: its record has no port or no key"):
        plugin.connect_root([target], session(tmp_path))
