"""``[tftp]`` of controller.toml."""

from __future__ import annotations

import pytest

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_tftp.settings import Dhcp, Settings

RANGE = ["10.0.10.50", "10.0.10.99"]


def settings(**table: object) -> Settings:
    return Session(source="controller.toml", tables={"tftp": table}).settings("tftp", Settings)


def problems(**table: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        settings(**table)
    return caught.value.problems


def test_without_a_table_it_is_tftp_alone() -> None:
    assert Session().settings("tftp", Settings) == Settings()
    assert Settings().dhcp is Dhcp.OFF


def test_everything_can_be_set() -> None:
    made = settings(
        dhcp="server", interface="eth1", range=RANGE, lease="30m", dns=["10.0.10.1"], kernel_arguments=["quiet"], user="nobody"
    )
    assert made.range == ("10.0.10.50", "10.0.10.99")
    assert made.kernel_arguments == ("quiet",)


def test_a_server_needs_a_range() -> None:
    assert problems(dhcp="server") == (
        'controller.toml: tftp.range: is required with dhcp = "server": the first and the last address to give out, such as '
        '["10.0.10.50", "10.0.10.99"]',
    )


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"dhcp": "on"}, "tftp.dhcp"),
        ({"dhcp": True}, "tftp.dhcp"),
        ({"range": ["10.0.10.50"]}, "tftp.range"),
        ({"range": ["10.0.10.99", "10.0.10.50"]}, "tftp.range"),
        ({"range": ["fd00::1", "fd00::9"]}, "tftp.range"),
        ({"range": "10.0.10.50"}, "tftp.range"),
        ({"range": ["10.0.10.50", "10.0.10.99\nenable-tftp"]}, "tftp.range[1]"),
        ({"lease": "1m"}, "tftp.lease"),
        ({"lease": "infinite"}, "tftp.lease"),
        ({"lease": "12h\n"}, "tftp.lease"),
        ({"lease": "9000h"}, "tftp.lease"),
        ({"dns": ["fd00::1"]}, "tftp.dns[0]"),
        ({"dns": ["dns.example.com"]}, "tftp.dns[0]"),
        ({"dns": ["0.0.0.0"]}, "tftp.dns[0]"),  # dnsmasq's word for its own address
        ({"dns": ["9.9.9.9", "224.0.0.1"]}, "tftp.dns[1]"),
        ({"interface": "eth0,lo"}, "tftp.interface"),
        ({"interface": "-a"}, "tftp.interface"),
        ({"interface": "an-interface-too-long"}, "tftp.interface"),
        ({"user": "root\nuser=x"}, "tftp.user"),
        ({"kernel_arguments": ["quiet", "a b"]}, "tftp.kernel_arguments[1]"),
        ({"kernel_arguments": "quiet"}, "tftp.kernel_arguments"),
        ({"tftp_root": "/"}, "tftp.tftp_root"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, object], path: str) -> None:
    (problem,) = problems(**table)
    assert problem.startswith(f"controller.toml: {path}: ")


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems(dhcp="server", lease="soon", user="x y", dns=["::1"])) == 4
    assert len(problems(dhcp="on", lease=5, interface=1, range=["x", "::1"], dns=["x", "::1"], user="x y")) == 7
