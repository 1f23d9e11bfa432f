"""What the engine and the CNI plugins are asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from terra_core.config.loader import load, make_document
from terra_orbit.agent.conf import Ground
from terra_orbit.agent.conf import render as render_network
from terra_orbit.agent.rendering import Facts, Kind, render
from terra_orbit.agent.usage import parse_groups
from terra_orbit.agent.wire import Wire
from terra_orbit.capabilities import bounding_set
from terra_orbit.frames import Frames, frame
from terra_orbit.vhost import Vhost

EXAMPLES = Path(__file__).parents[4] / "examples"
GROUND = Ground(pools=Path("/pools"), dhcp=Path("/run/dhcp.sock"), master="eth7")


def facts(**given: Any) -> Facts:
    usual: dict[str, Any] = {
        "systemd": False,
        "masked": {},
        "capabilities": ["CAP_CHOWN"],
        "privileged_mode": True,
        "unified": False,
    }
    return Facts(**{**usual, **given})


def vhost(**raw: object) -> Vhost:
    return make_document({"id": "one", "image": "tiny:1", **raw}, Vhost, source="vhost.toml").value


def body(made: Vhost, **given: Any) -> dict[str, Any]:
    return render(made, image="sha256:1", facts=facts(**given), configs={}, labels={})


def test_a_systemd_gets_all_rights_and_a_sys_that_it_cannot_write() -> None:
    made = load(EXAMPLES / "vhost.toml", Vhost).value
    host = body(made, systemd=True, masked={"/etc/netplan": Kind.DIRECTORY})
    assert host["Env"] == ["container=docker"]
    assert host["StopSignal"] == "SIGRTMIN+3"
    config = host["HostConfig"]
    assert "Privileged" not in config
    assert (config["CapAdd"], config["CgroupnsMode"], config["NetworkMode"]) == (["CAP_CHOWN"], "host", "none")
    assert {"/run", "/run/lock", "/etc/netplan"} == set(config["Tmpfs"])
    assert config["Tmpfs"]["/etc/netplan"].startswith("ro,")
    assert [mount["Target"] for mount in config["Mounts"]] == ["/sys/fs/cgroup/systemd"]
    assert (config["Memory"], config["NanoCpus"], config["RestartPolicy"]) == (128 * 1024**2, 10**9, {"Name": "no"})


def test_another_privileged_one_has_the_engine_s_own_mode_where_that_works() -> None:
    assert body(vhost(privileged=True))["HostConfig"]["Privileged"] is True
    config = body(vhost(privileged=True), privileged_mode=False)["HostConfig"]
    assert "Privileged" not in config
    assert config["CapAdd"] == ["CAP_CHOWN"]


def test_args_replace_the_whole_program() -> None:
    made = body(vhost(args=["/bin/sh", "-c", "echo $(id); `id`"]))
    assert (made["Entrypoint"], made["Cmd"]) == (["/bin/sh"], ["-c", "echo $(id); `id`"])
    assert "Entrypoint" not in body(vhost())


def test_files_are_masked_by_nothing_and_what_is_missing_not_at_all() -> None:
    masked = {"/etc/passwd": Kind.FILE, "/none": Kind.MISSING}
    config = body(vhost(masked_paths=list(masked)), masked=masked)["HostConfig"]
    assert config["Mounts"] == [{"Type": "bind", "Source": "/dev/null", "Target": "/etc/passwd", "ReadOnly": True}]
    assert config["Tmpfs"] == {}


def network(**raw: object) -> Any:
    return vhost(networks=[raw]).networks[0]


def test_macvlan_by_dhcp_takes_the_interface_of_the_default_route() -> None:
    wanted = network(type="macvlan", name="ob0", ipam={"type": "dhcp"})
    conf = render_network(wanted, GROUND, mac="02:00:00:00:00:01", default_route=True)
    assert conf == {
        "cniVersion": "1.0.0",
        "name": "ob0",
        "type": "macvlan",
        "master": "eth7",
        "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        "ipam": {"type": "dhcp", "daemonSocketPath": "/run/dhcp.sock"},
    }


def test_a_pool_is_asked_for_the_address_that_was_there_before() -> None:
    ipam = {"type": "host-local", "subnet": "10.88.0.0/24", "range_start": "10.88.0.10"}
    conf = render_network(
        network(type="bridge", name="ob1", ipam=ipam), GROUND, mac=None, wanted=["10.88.0.12/24"], default_route=True
    )
    assert conf["args"] == {"cni": {"ips": ["10.88.0.12"]}}
    assert conf["ipam"]["ranges"] == [[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10"}]]
    assert (conf["isGateway"], conf["isDefaultGateway"], conf["ipMasq"]) == (True, True, False)
    second = render_network(network(type="bridge", name="ob1", ipam=ipam), GROUND, mac=None, default_route=False)
    assert (second["isGateway"], second["isDefaultGateway"]) == (True, False)


@pytest.mark.parametrize(("gateway", "route"), [("10.0.10.1", "0.0.0.0/0"), ("fd00::1", "::/0")])
def test_an_address_of_the_file_s_own(gateway: str, route: str) -> None:
    address = "10.0.10.9/24" if "." in gateway else "fd00::9/64"
    ipam = {"type": "static", "addresses": [address], "gateway": gateway}
    conf = render_network(network(type="ipvlan", name="i", ipam=ipam), GROUND, mac="02:00:00:00:00:01", default_route=True)
    addresses = [{"address": address, "gateway": gateway}]
    assert conf["ipam"] == {"type": "static", "addresses": addresses, "routes": [{"dst": route}]}
    assert "runtimeConfig" not in conf


def test_groups_are_those_of_the_container_and_not_of_what_it_made_below() -> None:
    identity = "abcdef012345" + "0" * 52
    text = f"4:memory:/docker/{identity}\n3:cpu,cpuacct:/docker/{identity}/init.scope\n0::/docker/{identity}/system.slice/x\n"
    own = f"/docker/{identity}"
    assert parse_groups(text, identity) == {"memory": own, "cpu": own, "cpuacct": own, "": own}


def test_the_bounding_set_is_read() -> None:
    assert bounding_set("Name:\tx\nCapBnd:\t000001fffeffffff\n") == 0x1FFFEFFFFFF


def test_frames_come_apart_as_they_were_put_together_however_they_arrive() -> None:
    sent = frame(1, b"out") + frame(2, b"") + frame(2, b"err\0\xff")
    frames = Frames()
    got = [one for at in range(len(sent)) for one in frames.feed(sent[at : at + 1])]
    assert list(Frames().feed(sent)) == [(1, b"out"), (2, b""), (2, b"err\0\xff")]
    assert b"".join(data for kind, data in got if kind == 1) == b"out"
    assert b"".join(data for kind, data in got if kind == 2) == b"err\0\xff"


def test_a_frame_of_four_gigabytes_is_passed_on_as_it_comes() -> None:
    frames = Frames()
    assert list(frames.feed(b"\1\0\0\0\xff\xff\xff\xff")) == []
    for _ in range(100):
        assert list(frames.feed(bytes(65536))) == [(1, bytes(65536))], "nothing waits for the end"


def test_a_long_frame_of_the_engine_is_read_in_parts() -> None:
    async def read() -> list[tuple[int, bytes]]:
        reader = asyncio.StreamReader()
        reader.feed_data(frame(2, b"") + frame(1, b"a" * 150_000) + frame(2, b"b"))
        reader.feed_eof()
        unused: Any = None
        wire = Wire(reader, unused, framed=True)
        got = []
        while (one := await wire.read()) is not None:
            got.append(one)
        return got

    got = asyncio.run(read())
    assert max(len(data) for _, data in got) <= 65536
    assert b"".join(data for kind, data in got if kind == 1) == b"a" * 150_000
    assert got[-1] == (2, b"b")


def test_podman_is_told_to_leave_fresh_memory_empty() -> None:
    made = vhost(masked_paths=["/home"], mounts=[{"type": "tmpfs", "destination": "/scratch", "options": ["size=1m"]}])
    masked = {"/home": Kind.DIRECTORY}
    assert body(made, masked=masked, podman=True)["HostConfig"]["Tmpfs"]["/scratch"] == "size=1m,notmpcopyup"
    assert body(made, masked=masked, podman=True)["HostConfig"]["Tmpfs"]["/home"].endswith(",notmpcopyup")
    assert body(made, masked=masked)["HostConfig"]["Tmpfs"]["/scratch"] == "size=1m"
    bare = vhost(mounts=[{"type": "tmpfs", "destination": "/scratch"}])
    assert body(bare, podman=True)["HostConfig"]["Tmpfs"]["/scratch"] == "notmpcopyup"
