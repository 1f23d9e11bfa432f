"""What machines are told by DHCP."""

from __future__ import annotations

import shutil
import socket

import pytest
from attrs import evolve

from lab.leases import leased_address
from lab.network import BRIDGE, CONTROLLER, GATEWAY
from terra_core.config.values import Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs import BootNetwork, NodeBoot
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from terra_tftp import TftpPlugin, plugin
from tftp_lab import BOOT_NETWORK, CLIENT, MakeSession, pid_of, provide_kernel
from tftp_lab.clients import accept, ask_boot_server, discover, fetch

pytest_plugins = ["tftp_lab.fixtures"]

HOST, MAC = Hostname("cm-01.example.com"), Mac("54:b2:03:07:f1:d1")
NODE = NodeBoot(hostname=HOST, mac=MAC, image=f"sha256:{'a' * 64}")
SERVER = {"dhcp": "server", "range": ["10.0.10.50", "10.0.10.99"], "dns": ["9.9.9.9", "8.8.8.8"]}
BIOS, HTTP = 0, 16
LOADERS: dict[int | None, str] = {BIOS: "pxelinux.0", 7: "shimx64.efi", 9: "shimx64.efi"}
"""The boot file for each client architecture of RFC 4578."""


def addresses(value: bytes) -> list[str]:
    return [socket.inet_ntoa(value[at : at + 4]) for at in range(0, len(value), 4)]


def test_a_server_gives_an_address_and_the_boot_file_of_the_firmware(tftp_session: MakeSession) -> None:
    plugin.start_boot(BOOT_NETWORK, [], tftp_session(**SERVER))
    for architecture, boot_file in LOADERS.items():
        offer = discover(CLIENT, MAC, architecture=architecture)
        assert 50 <= int(offer.address.removeprefix("10.0.10.")) <= 99
        assert (offer.boot_file, offer.next_server) == (boot_file, CONTROLLER)
        assert addresses(offer.options[1]) == ["255.255.255.0"]
        assert addresses(offer.options[3]) == [GATEWAY]
        assert addresses(offer.options[6]) == ["9.9.9.9", "8.8.8.8"]
        assert addresses(offer.options[54]) == [CONTROLLER]
        assert int.from_bytes(offer.options[51], "big") == 12 * 3600


def test_a_lease_outlives_the_service_in_a_directory_that_only_root_enters(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    session.paths.state.mkdir(mode=0o700, parents=True)
    plugin.start_boot(BOOT_NETWORK, [], session)
    taken = accept(CLIENT, MAC, discover(CLIENT, MAC, architecture=BIOS))
    leases = session.paths.state / "dnsmasq.leases"
    assert leased_address(leases, MAC) == taken.address
    plugin.stop_boot(session)
    plugin.start_boot(BOOT_NETWORK, [], session)
    assert leased_address(leases, MAC) == taken.address
    assert session.paths.state.stat().st_mode & 0o777 == 0o700


def test_what_is_not_set_is_not_named(tftp_session: MakeSession) -> None:
    plugin.start_boot(BootNetwork(address=BOOT_NETWORK.address), [], tftp_session(**{**SERVER, "dns": []}))
    for architecture in (BIOS, HTTP, None):
        offer = discover(CLIENT, MAC, architecture=architecture)
        assert not {3, 6} & set(offer.options)
        assert offer.boot_file == LOADERS.get(architecture, ""), "no file but for firmware that Terra has a loader for"


def test_a_machine_is_told_its_name_as_soon_as_it_is_published_and_not_after(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [], session)
    before = pid_of(session)
    provide_kernel(session)
    assert 12 not in discover(CLIENT, MAC, architecture=BIOS).options
    plugin.publish_boot(NODE, session)
    wait_until(lambda: named() == b"cm-01", seconds=60, what="the machine to be told its name")
    plugin.withdraw_boot(HOST, MAC, session)
    wait_until(lambda: named() is None, seconds=60, what="the machine to be told no name")
    assert pid_of(session) == before


NAMES = ["web", "10", "7d", "42.rack1.example.com", "infinite", "ignore", "10.0.0", "web.rack1", "web.rack2"]


def test_a_machine_is_told_its_name_and_gets_its_lease_whatever_it_is_called(tftp_session: MakeSession) -> None:
    macs = [Mac(f"54:b2:03:07:f2:{at:02x}") for at in range(len(NAMES))]
    nodes = [evolve(NODE, hostname=Hostname(name), mac=mac) for name, mac in zip(NAMES, macs, strict=True)]
    plugin.start_boot(BOOT_NETWORK, nodes, tftp_session(**SERVER))
    for at, node in enumerate(nodes):
        given = accept(CLIENT, node.mac, discover(CLIENT, node.mac, architecture=BIOS))
        assert given.options.get(12) == node.hostname.partition(".")[0].encode()
        assert int.from_bytes(given.options[51], "big") == 12 * 3600, node.hostname
        assert given.address == f"10.0.10.{50 + at}"
        assert 15 not in given.options


def test_strangers_leave_an_address_to_every_machine_and_one_that_has_no_more_is_refused(tftp_session: MakeSession) -> None:
    session = tftp_session(dhcp="server", range=["10.0.10.50", "10.0.10.53"])
    plugin.start_boot(BOOT_NETWORK, [NODE], session)
    for at in range(2):
        stranger = f"02:00:00:00:00:{at:02x}"
        assert accept(CLIENT, stranger, discover(CLIENT, stranger, architecture=None)).address in ("10.0.10.52", "10.0.10.53")
    with pytest.raises(TimeoutError):
        discover(CLIENT, "02:00:00:00:00:ff", architecture=None, seconds=1)
    assert discover(CLIENT, MAC, architecture=BIOS).address == "10.0.10.50"
    provide_kernel(session)
    for at in range(3):
        plugin.publish_boot(evolve(NODE, hostname=Hostname(f"n{at}"), mac=Mac(f"54:b2:03:07:f2:{at:02x}")), session)
    of_n0 = "54:b2:03:07:f2:00"
    wait_until(lambda: named(of_n0) == b"n0", seconds=60, what="the machine to be told its name")
    assert discover(CLIENT, of_n0, architecture=BIOS).address == "10.0.10.51"
    with pytest.raises(TerraError, match=r"no address left for n3: the range 10\.0\.10\.50 to 10\.0\.10\.53"):
        plugin.publish_boot(evolve(NODE, hostname=Hostname("n3"), mac=Mac("54:b2:03:07:f2:03")), session)


def test_a_machine_keeps_the_address_that_it_has_when_it_is_provisioned(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [], session)
    before = accept(CLIENT, MAC, discover(CLIENT, MAC, architecture=BIOS)).address
    provide_kernel(session)
    plugin.publish_boot(NODE, session)
    wait_until(lambda: named() == b"cm-01", seconds=60, what="the machine to be told its name")
    assert discover(CLIENT, MAC, architecture=BIOS).address == before
    plugin.stop_boot(session)
    shutil.rmtree(session.paths.run)
    TftpPlugin().start_boot(BOOT_NETWORK, [NODE], session)
    assert discover(CLIENT, MAC, architecture=BIOS).address == before


def test_the_service_starts_with_the_machines_that_it_is_given(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [NODE], session)
    assert named() == b"cm-01"
    assert not plugin.start_boot(BOOT_NETWORK, [], session)
    wait_until(lambda: named() is None, seconds=60, what="the machine to be told no name")


def test_a_proxy_names_the_boot_file_and_gives_no_address(tftp_session: MakeSession) -> None:
    plugin.start_boot(BOOT_NETWORK, [], tftp_session(dhcp="proxy"))
    own = "10.0.10.77"
    run(["ip", "neighbour", "add", own, "lladdr", MAC, "dev", BRIDGE, "nud", "permanent"])
    for architecture, boot_file in LOADERS.items():
        offer = discover(CLIENT, MAC, architecture=architecture)
        assert offer.address == "0.0.0.0"
        assert offer.options[60] == b"PXEClient"
        assert addresses(offer.options[54]) == [CONTROLLER]
        answer = ask_boot_server(CLIENT, MAC, CONTROLLER, own, architecture=architecture)
        assert (answer.boot_file, answer.next_server) == (boot_file, CONTROLLER)


def test_a_proxy_says_nothing_to_who_does_not_boot(tftp_session: MakeSession) -> None:
    plugin.start_boot(BOOT_NETWORK, [], tftp_session(dhcp="proxy"))
    with pytest.raises(TimeoutError):
        discover(CLIENT, MAC, architecture=None, seconds=1)


def test_off_is_no_dhcp_at_all(tftp_session: MakeSession) -> None:
    plugin.start_boot(BOOT_NETWORK, [], tftp_session())
    assert fetch(CONTROLLER, "pxelinux.cfg/default")
    with pytest.raises(TimeoutError):
        discover(CLIENT, MAC, architecture=BIOS, seconds=1)


def named(mac: str = MAC) -> bytes | None:
    return discover(CLIENT, mac, architecture=BIOS).options.get(12)
