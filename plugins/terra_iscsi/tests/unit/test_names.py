"""Names of targets and initiators, and what a target is planned to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address, Domain, Hostname, Label, parse_hostname, parse_label
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import TargetRequest, Volume
from terra_iscsi import plugin
from terra_iscsi.names import initiator_name, target_name
from terra_iscsi.planning import secret_of
from terra_iscsi.settings import Settings

SETTINGS = Settings(domain=Domain("crosbymichael.com"))
HOST = Hostname("cm-01")


VOLUMES = (Volume(name="/iscsi/cm-01/0.lun", size=128000), Volume(name="/iscsi/cm-01/1.lun", size=1024))


def request(label: str = "os", *, generation: int = 1) -> TargetRequest:
    return TargetRequest(
        hostname=HOST,
        number=2,
        generation=generation,
        label=Label(label),
        volumes=VOLUMES,
        boot=label == "os",
        portal=Address("10.0.10.4"),
    )


def session(root: Path, **table: object) -> Session:
    return Session(source="controller.toml", tables={"iscsi": table}, paths=Paths(root))


def test_names_as_the_document_has_them() -> None:
    assert target_name(SETTINGS, HOST, Label("os"), boot=True, generation=1) == "iqn.2024.san.crosbymichael.com.cm-01:fs"
    assert target_name(SETTINGS, HOST, Label("data"), boot=False, generation=1) == "iqn.2024.san.crosbymichael.com.cm-01:data"
    assert initiator_name(SETTINGS, HOST, generation=1) == "iqn.2024.node.crosbymichael.com:cm-01"


def test_names_of_later_generations() -> None:
    assert target_name(SETTINGS, HOST, Label("os"), boot=True, generation=2) == "iqn.2024.san.crosbymichael.com.cm-01:fs:2"
    assert initiator_name(SETTINGS, HOST, generation=12) == "iqn.2024.node.crosbymichael.com:cm-01:12"


hostnames = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?(\.[a-z][a-z0-9]{0,4})?", fullmatch=True).map(parse_hostname)
labels = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,6}", fullmatch=True).map(parse_label).filter(lambda label: label != "fs")
targets = st.tuples(hostnames, labels, st.integers(1, 20))


@settings(max_examples=50, deadline=None)  # a busy machine is no failure
@given(one=targets, other=targets)
def test_no_two_targets_share_a_name(one: tuple[Hostname, Label, int], other: tuple[Hostname, Label, int]) -> None:
    names = [
        (
            target_name(SETTINGS, host, label, boot=label == "os", generation=generation),
            initiator_name(SETTINGS, host, generation=generation),
        )
        for host, label, generation in (one, other)
    ]
    assert (names[0][0] == names[1][0]) is (one == other)
    assert (names[0][1] == names[1][1]) is (one[::2] == other[::2])


def test_a_group_that_would_take_the_name_of_the_boot_disk() -> None:
    with pytest.raises(TerraError, match='group "fs": its target would be named like the disk that cm-01 boots from'):
        target_name(SETTINGS, HOST, Label("fs"), boot=False, generation=1)


@pytest.mark.parametrize("label", ["Storage", "my_data"])
def test_a_label_that_no_name_can_have(label: str) -> None:
    with pytest.raises(TerraError, match=f'group "{label}": ".*:{label}" is no iSCSI name'):
        target_name(SETTINGS, HOST, Label(label), boot=False, generation=1)


def test_a_name_that_gets_too_long() -> None:
    long = Settings(domain=Domain(".".join(["a" * 60] * 4)))
    with pytest.raises(TerraError, match="and 223 are the most"):
        initiator_name(long, HOST, generation=1)


def test_what_is_planned_for_the_boot_disk(tmp_path: Path) -> None:
    target = plugin.plan_target(request(), session(tmp_path, domain="crosbymichael.com"))
    assert (target.label, target.id, target.portal) == ("os", 2, "10.0.10.4")
    assert target.volumes == VOLUMES
    assert target.kernel_arguments == (
        "ISCSI_INITIATOR=iqn.2024.node.crosbymichael.com:cm-01",
        "ISCSI_TARGET_NAME=iqn.2024.san.crosbymichael.com.cm-01:fs",
        "ISCSI_TARGET_IP=10.0.10.4",
        "ISCSI_TARGET_PORT=3260",
    )
    assert not list(tmp_path.iterdir())


def test_what_is_planned_for_another_group(tmp_path: Path) -> None:
    target = plugin.plan_target(request("storage", generation=3), session(tmp_path, year=2026))
    assert target.name == "iqn.2026.san.terra.internal.cm-01:storage:3"
    assert target.client == "iqn.2026.node.terra.internal:cm-01:3"
    assert target.kernel_arguments == (f"terra.target={target.name}",)


def test_a_machine_has_a_secret_of_its_own_that_is_told_to_nobody(tmp_path: Path) -> None:
    own = session(tmp_path)
    boot, other = plugin.plan_target(request(), own), plugin.plan_target(request(), own)
    data = plugin.plan_target(evolve(request("data"), planned=(boot,)), own)
    assert secret_of(boot) == secret_of(data) != secret_of(other)
    assert len(secret_of(boot)) == 32, "128 bits, in characters that no shell and no tool takes for anything else"
    assert secret_of(boot).isalnum()
    assert secret_of(boot) not in repr(boot)
    assert secret_of(boot) not in " ".join(boot.kernel_arguments)


def test_a_site_can_do_without_secrets(tmp_path: Path) -> None:
    without = session(tmp_path, chap=False)
    target = plugin.plan_target(request(), without)
    assert target.data == {}
    assert plugin.connect_root([target], without).files == ()
    further = plugin.plan_target(evolve(request("data"), planned=(target,)), session(tmp_path))
    assert further.data == {}, "the machine has no secret, and its RAM disk is made already"


def test_a_machine_gets_its_secret_in_files_of_its_ram_disk(tmp_path: Path) -> None:
    own = session(tmp_path)
    boot = plugin.plan_target(request(), own)
    data = plugin.plan_target(evolve(request("data"), planned=(boot,)), own)
    step = plugin.connect_root([boot, data], own)
    account = f"ISCSI_USERNAME={boot.client}\nISCSI_PASSWORD={secret_of(boot)}\n".encode()
    assert {file.path: file.content for file in step.files} == {
        "etc/terra-iscsi/account": account,
        "etc/iscsi.initramfs": account,
    }
    assert {file.mode for file in step.files} == {0o600}
    assert step.system == ()
    assert secret_of(boot) not in step.script
    assert step == plugin.connect_root([boot], own), "a further group needs no other RAM disk"


def test_settings_that_are_wrong_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        plugin.plan_target(request(), session(tmp_path, domain="a b", year="2024", chap="yes", control_port=-1))
    text = str(refused.value)
    for key in ("domain", "year", "chap", "control_port"):
        assert f"controller.toml: iscsi.{key}: " in text
    with pytest.raises(ConfigError) as refused:
        plugin.plan_target(request(), session(tmp_path, year=24, control_port=-1))
    assert "iscsi.year: expected a year of four digits" in str(refused.value)
    assert "iscsi.control_port: expected from 0 to 32767" in str(refused.value)
