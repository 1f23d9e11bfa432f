"""What machines are told by DHCP after their reservations were changed, in any order, at any moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.network import BRIDGE
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Mac
from terra_core.hookspecs import BootNetwork, NodeBoot
from terra_core.system.process import run
from terra_core.system.processes import start_time
from terra_core.system.waiting import wait_until
from terra_tftp import TftpPlugin, plugin
from terra_tftp.service import Service
from tftp_lab import BOOT_NETWORK, CLIENT, MakeSession, pid_of, provide_kernel
from tftp_lab.clients import accept, discover

pytest_plugins = ["tftp_lab.fixtures"]

SERVER = {"dhcp": "server", "range": ["10.0.10.20", "10.0.10.239"]}
ACK = b"\x05"
MESSAGE = 53


def node(at: int, mac: int | None = None) -> NodeBoot:
    """Return what a machine boots, by its number.

    :param mac: the number of its interface, where that is another one.
    """
    interface = Mac(f"54:b2:03:07:f1:{at if mac is None else mac:02x}")
    return NodeBoot(hostname=Hostname(f"cm-{at}.example.com"), mac=interface, image=f"sha256:{'a' * 64}")


def told(one: NodeBoot) -> tuple[str, str]:
    """Return the name and the address that DHCP has for a machine's interface."""
    offer = discover(CLIENT, one.mac, architecture=0)
    return offer.options.get(12, b"").decode(), offer.address


def wait_for(*expected: tuple[NodeBoot, str, str]) -> None:
    """Wait until interfaces are told these names and addresses."""
    for one, name, address in expected:
        wait_until(lambda one=one, wanted=(name, address): told(one) == wanted, seconds=60, what=f"{one.mac} to be {name}")  # type: ignore[misc]  # mypy knows no default of a lambda


def readings(session: Session) -> int:
    """Return how often dnsmasq has read the reservations."""
    place = session.paths.run / "tftp"
    return (place / "dnsmasq.log").read_text().count(f"read {place / 'reservations'}\n")


def test_another_interface_of_a_machine_is_told_its_name_and_the_former_one_is_not(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    provide_kernel(session)
    plugin.start_boot(BOOT_NETWORK, [node(1), node(2)], session)
    wait_for((node(1), "cm-1", "10.0.10.20"), (node(2), "cm-2", "10.0.10.21"))
    plugin.publish_boot(node(1, mac=9), session)
    wait_for((node(9), "cm-1", "10.0.10.20"), (node(2), "cm-2", "10.0.10.21"))
    assert told(node(1))[0] == ""
    plugin.publish_boot(node(3), session)
    wait_for((node(3), "cm-3", "10.0.10.22"), (node(9), "cm-1", "10.0.10.20"))
    assert not plugin.start_boot(BOOT_NETWORK, [node(1, mac=9), node(2), node(3)], session)
    wait_for((node(9), "cm-1", "10.0.10.20"))


def test_the_address_of_a_machine_that_went_is_the_next_ones(tftp_session: MakeSession) -> None:
    """dnsmasq refuses a reservation of an address for which it knows another one."""
    session = tftp_session(**SERVER)
    provide_kernel(session)
    plugin.start_boot(BOOT_NETWORK, [node(1), node(2)], session)
    plugin.withdraw_boot(node(1).hostname, node(1).mac, session)
    plugin.publish_boot(node(3), session)
    plugin.start_boot(BOOT_NETWORK, [node(2), node(3)], session)
    wait_for((node(3), "cm-3", "10.0.10.20"), (node(2), "cm-2", "10.0.10.21"))
    assert told(node(1))[0] == ""
    assert "duplicate" not in (session.paths.run / "tftp/dnsmasq.log").read_text()


def test_two_machines_exchange_their_interfaces_in_one_step(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [node(1), node(2)], session)
    wait_for((node(1), "cm-1", "10.0.10.20"), (node(2), "cm-2", "10.0.10.21"))
    assert not plugin.start_boot(BOOT_NETWORK, [node(1, mac=2), node(2, mac=1)], session)
    wait_for((node(2), "cm-1", "10.0.10.21"), (node(1), "cm-2", "10.0.10.20"))


def test_what_was_written_before_dnsmasq_was_killed_is_read_by_the_next_one(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    provide_kernel(session)
    plugin.start_boot(BOOT_NETWORK, [node(1)], session)
    first = pid_of(session)
    os.kill(first, signal.SIGSTOP)  # so that it reads nothing of what is written now
    plugin.publish_boot(node(2), session)
    plugin.withdraw_boot(node(1).hostname, node(1).mac, session)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: start_time(first) == "", seconds=60, what="dnsmasq to be gone")
    assert plugin.start_boot(BOOT_NETWORK, [node(2)], session)
    assert told(node(2)) == ("cm-2", "10.0.10.21")
    assert told(node(1))[0] == ""


def test_what_was_written_before_the_controller_was_killed_is_read_at_its_next_start(
    tftp_session: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tftp_session(**SERVER)
    provide_kernel(session)
    plugin.start_boot(BOOT_NETWORK, [node(1)], session)
    first = pid_of(session)
    with monkeypatch.context() as patch:
        patch.setattr(Service, "_reload", lambda self: None)  # it was killed between the two
        plugin.publish_boot(node(2), session)
    assert told(node(2))[0] == ""
    assert not TftpPlugin().start_boot(BOOT_NETWORK, [node(1), node(2)], session)
    wait_for((node(2), "cm-2", "10.0.10.21"), (node(1), "cm-1", "10.0.10.20"))
    assert pid_of(session) == first


def test_of_many_changes_the_first_is_read_at_once_and_the_others_together(
    tftp_session: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tftp_session(**SERVER)
    provide_kernel(session)
    plugin.start_boot(BOOT_NETWORK, [], session)
    wait_until(lambda: readings(session) == 1, seconds=60, what="dnsmasq to read")
    monkeypatch.setattr("terra_tftp.service._READING", 1000.0)
    for at in range(1, 6):
        plugin.publish_boot(node(at), session)
    wait_for((node(1), "cm-1", "10.0.10.20"))
    assert readings(session) == 2
    assert told(node(5))[0] == ""
    monkeypatch.setattr("terra_tftp.service._READING", 0.0)
    plugin.start_boot(BOOT_NETWORK, [node(at) for at in range(1, 6)], session)
    wait_for(*((node(at), f"cm-{at}", f"10.0.10.{19 + at}") for at in range(1, 6)))
    assert readings(session) == 3
    plugin.start_boot(BOOT_NETWORK, [node(at) for at in range(1, 6)], session)
    assert readings(session) == 3


def test_one_that_may_be_reading_is_not_asked_whether_it_answers_until_that_takes_too_long(
    tftp_session: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers nobody while it reads: a change of one machine would wait until that is done."""
    for name, value in {"_READING": 1000.0, "_PAUSE": 0, "_SILENCE": 1}.items():
        monkeypatch.setattr(f"terra_tftp.service.{name}", value)
    session = tftp_session(**SERVER)
    provide_kernel(session)
    plugin.start_boot(BOOT_NETWORK, [], session)
    plugin.publish_boot(node(1), session)
    first = pid_of(session)
    os.kill(first, signal.SIGSTOP)  # as one that reads for long
    assert not plugin.start_boot(BOOT_NETWORK, [node(1)], session)
    monkeypatch.setattr("terra_tftp.service._UNASKED", 0)
    assert plugin.start_boot(BOOT_NETWORK, [node(1)], session)
    assert pid_of(session) != first
    assert told(node(1)) == ("cm-1", "10.0.10.20")


def test_a_hundred_changes_at_once_are_all_made(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    provide_kernel(session)
    first, second = [node(at) for at in range(100)], [node(at) for at in range(100, 150)]
    plugin.start_boot(BOOT_NETWORK, first[:50], session)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda one: plugin.publish_boot(one, session), first[50:] + second))
        list(pool.map(lambda one: plugin.withdraw_boot(one.hostname, one.mac, session), first[:50]))
    left = first[50:] + second
    wanted = {one.mac: one.hostname.partition(".")[0] for one in left} | {first[0].mac: "", first[49].mac: ""}

    def looked() -> bool:
        plugin.start_boot(BOOT_NETWORK, left, session)  # as the controller does every few seconds
        return all(told(one)[0] == wanted[one.mac] for one in [first[0], first[49], *left])

    wait_until(looked, seconds=60, what="all machines to be told their names")
    assert len({told(one)[1] for one in left}) == len(left)


def test_a_controller_of_an_earlier_version_is_followed_by_this_one(tftp_session: MakeSession) -> None:
    """It had a file for each machine, and dnsmasq runs on with them."""
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [node(1)], session)
    first, place = pid_of(session), session.paths.run / "tftp"
    former = place / "hosts"
    former.mkdir()
    (place / "reservations").rename(former / node(1).hostname)
    configuration = place / "dnsmasq.conf"
    configuration.write_text(configuration.read_text().replace("tftp/reservations", "tftp/hosts"))
    assert TftpPlugin().start_boot(BOOT_NETWORK, [node(1)], session)
    assert pid_of(session) != first
    assert told(node(1)) == ("cm-1", "10.0.10.20")
    assert not former.exists()


def test_there_is_a_lease_for_every_machine_of_a_large_site(tftp_session: MakeSession) -> None:
    """dnsmasq itself gives no more than a thousand."""
    run(["ip", "address", "add", "10.1.0.3/16", "dev", BRIDGE])
    session = tftp_session(dhcp="server", range=["10.1.1.0", "10.1.40.255"])
    leases = session.paths.state / "dnsmasq.leases"
    leases.parent.mkdir(mode=0o700, parents=True)
    until, start = int(time.time()) + 3600, IPv4Address("10.1.30.0")
    leases.write_text("".join(f"{until} 02:00:00:00:{at >> 8:02x}:{at & 255:02x} {start + at} * *\n" for at in range(1000)))
    plugin.start_boot(BootNetwork(address=Address("10.1.0.3")), [node(1)], session)
    given = accept(CLIENT, node(1).mac, discover(CLIENT, node(1).mac, architecture=0))
    assert (given.options[MESSAGE], given.address) == (ACK, "10.1.1.0")
    assert f"{node(1).mac} 10.1.1.0 cm-1" in leases.read_text()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["no reservation of its address"]),
        ("{text}02:00:00:00:00:99,10.0.10.90,other.terra,12h\n", ["a reservation for a machine that there is not"]),
        ("{text}", []),
    ],
)
def test_the_doctor_says_which_reservations_are_wrong(tftp_session: MakeSession, text: str, problems: Sequence[str]) -> None:
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [node(1)], session)
    path: Path = session.paths.run / "tftp/reservations"
    path.write_text(text.format(text=path.read_text()))
    found = [one.problem for one in plugin.examine_boot([node(1)], session) if "reservation" in one.problem.partition(": ")[2]]
    assert found == [f"{path}: {problem}" for problem in problems]
    plugin.start_boot(BOOT_NETWORK, [node(1)], session)
    assert not [one for one in plugin.examine_boot([node(1)], session) if "reservation" in one.problem.partition(": ")[2]]
