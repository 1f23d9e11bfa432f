"""vhost.toml: the README's loads word for word, and every problem of a file is reported at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli

from terra_core.config.loader import load, make_document
from terra_core.errors import ConfigError
from terra_orbit.cli.config import EXAMPLE
from terra_orbit.networks import IpamType, NetworkType
from terra_orbit.vhost import Vhost

EXAMPLES = Path(__file__).parents[4] / "examples"
LEAST = {"id": "one", "image": "tiny:1"}


def problems(**raw: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make_document({**LEAST, **raw}, Vhost, source="vhost.toml")
    return [problem.removeprefix("vhost.toml: ") for problem in caught.value.problems]


def test_the_readme_s_file_means_what_it_says() -> None:
    vhost = load(EXAMPLES / "vhost.toml", Vhost).value
    assert (vhost.id, str(vhost.image), vhost.uid, vhost.gid) == ("terra-vhost", "docker.io/stellarproject/example:6", 0, 0)
    assert (vhost.privileged, vhost.masked_paths) == (True, ("/etc/netplan",))
    assert (vhost.resources.cpu, vhost.resources.memory) == (1.0, 128)
    (network,) = vhost.networks
    assert (network.type, network.name) == (NetworkType.MACVLAN, "ob0")
    assert network.ipam is not None
    assert network.ipam.type is IpamType.DHCP


def test_the_printed_example_is_right_and_has_every_key() -> None:
    vhost = make_document(tomli.loads(EXAMPLE), Vhost, source="example").value
    assert vhost.services["ssh"].check is not None
    for key in ("id", "image", "uid", "gid", "args", "env", "pty", "privileged", "readonly", "capabilities", "masked_paths",
                "mounts", "configs", "services", "resources", "gpus", "networks", "ipam", "score", "no_file"):  # fmt: skip
        assert key in EXAMPLE


def test_all_problems_come_together() -> None:
    found = problems(
        id="../x",
        image="Not An Image",
        uid=-1,
        env=["A"],
        capabilities=["CAP_NOPE"],
        masked_paths=["etc/netplan"],
        mounts=[{"destination": "/data"}, {"type": "tmpfs", "destination": "/t", "options": ["size=1;rm"]}],
        configs={"a b": {"path": "/a"}},
        services={"web": {"port": 70000}},
        resources={"cpu": 0, "memory": "lots", "score": 2000, "no_file": 1},
        networks=[{"type": "ring"}, {"type": "bridge", "name": "x; reboot"}],
        surprise=1,
    )
    for part in ("id: ", "image: ", "uid: ", "env[0]: ", "capabilities[0]: ", "masked_paths[0]: ", "mounts[0].source: ",
                 "mounts[1].options[0]: ", 'configs."a b": ', "configs.\"a b\".content: ", "services.web.port: ",
                 "resources.cpu: ", "resources.memory: ", "resources.score: ", "resources.no_file: ", "networks[0].type: ",
                 "networks[1].name: ", "networks[1].ipam: ", "surprise: "):  # fmt: skip
        assert any(line.startswith(part) for line in found), (part, found)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\nb", "a;b", "$(x)", "a/b", "{{a}}", "a\0b", "x" * 65, 5, None])
def test_an_id_is_a_plain_word(name: object) -> None:
    assert problems(id=name)[0].startswith("id: ")


@pytest.mark.parametrize(
    ("network", "part"),
    [
        ({"type": "bridge", "name": "b"}, "ipam: is required"),
        ({"type": "macvlan", "ipam": {"type": "dhcp"}}, "name: is required"),
        ({"type": "ipvlan", "name": "i", "ipam": {"type": "dhcp"}}, "ipam.type: ipvlan shares"),
        ({"type": "host", "name": "h"}, "name: has no meaning"),
        ({"type": "bridge", "name": "b", "master": "eth0", "ipam": {"type": "dhcp"}}, "master: has no meaning"),
        ({"type": "macvlan", "name": "m", "mode": "l2", "ipam": {"type": "dhcp"}}, "mode: "),
        ({"type": "macvlan", "name": "m", "mac": "01:00:00:00:00:00", "ipam": {"type": "dhcp"}}, "mac: expected"),
        ({"type": "bridge", "name": "b", "ipam": {"type": "host-local"}}, "ipam.subnet: is required"),
        ({"type": "bridge", "name": "b", "ipam": {"type": "host-local", "subnet": "10.0.0.1/24"}}, "ipam.subnet: expected"),
        (
            {"type": "bridge", "name": "b", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24", "range_start": "10.1.0.1"}},
            "ipam.range_start: ",
        ),
        (
            {
                "type": "bridge",
                "name": "b",
                "ipam": {
                    "type": "host-local",
                    "subnet": "10.0.0.0/24",
                    "range_start": "10.0.0.9",
                    "range_end": "10.0.0.1",
                },
            },
            "ipam.range_end: ",
        ),
        ({"type": "bridge", "name": "b", "ipam": {"type": "static"}}, "ipam.addresses: is required"),
        ({"type": "bridge", "name": "b", "ipam": {"type": "static", "addresses": ["10.0.0.1"]}}, "ipam.addresses[0]: "),
        ({"type": "bridge", "name": "b", "ipam": {"type": "dhcp", "subnet": "10.0.0.0/24"}}, "ipam.subnet: has no meaning"),
        ({"type": "bridge", "name": "x" * 16, "ipam": {"type": "dhcp"}}, "name: expected"),
    ],
)
def test_networks_that_cannot_be(network: dict[str, object], part: str) -> None:
    assert any(line.startswith(f"networks[0].{part}") for line in problems(networks=[network])), problems(networks=[network])


def test_what_excludes_each_other() -> None:
    assert problems(privileged=True, capabilities=["CAP_NET_ADMIN"]) == ["capabilities: a privileged container has all of them"]
    host = {"type": "host"}
    assert "goes with no other" in problems(networks=[host, host])[0]
    twice = [{"type": "tmpfs", "destination": "/a"}, {"type": "tmpfs", "destination": "/a"}]
    assert problems(mounts=twice) == ['mounts[1].destination: "/a" is the place of mounts[0].destination already']
    both = {"path": "/a", "content": "x", "source": "/b"}
    assert problems(configs={"a": both})[0].startswith("configs.a.content: either")
