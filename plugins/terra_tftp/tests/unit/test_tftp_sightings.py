"""What the log of dnsmasq says of machines: whose it is, when it was, and what is left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from terra_core.config.values import Mac
from terra_core.hookspecs import Sighting
from terra_tftp.log import Log
from terra_tftp.sightings import Owners, neighbours, sightings

OWN, OTHER = Mac("02:00:00:00:00:07"), Mac("02:00:00:00:00:08")
ROOT = Path("/srv/tftp")
NOW = datetime(2026, 11, 26, 7, 30).timestamp()
AT = datetime(2026, 11, 26, 7, 26, 1).timestamp()
SERVER = Owners({"10.9.0.50": OWN})
PROXY = Owners({"10.9.0.60": OTHER}, {"cm-01": OWN, "cm-02": OTHER})


@pytest.fixture(autouse=True, params=["UTC", "Asia/Kathmandu"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def said(*messages: str, owners: Owners = SERVER) -> list[tuple[str, str, str, str]]:
    """Return what is seen in messages of one second."""
    lines = [f"Nov 26 07:26:01 dnsmasq-{'dhcp' if 'DHCP' in one or 'PXE' in one else 'tftp'}[30133]: {one}" for one in messages]
    return [(one.mac, one.text, one.address, one.file) for one in sightings(lines, ROOT, owners, NOW)]


def test_a_boot_is_seen_from_the_first_question_on() -> None:
    found = said(
        "DHCPDISCOVER(br0) 02:00:00:00:00:07 ",
        "DHCPOFFER(br0) 10.9.0.50 02:00:00:00:00:07 ",
        "DHCPREQUEST(br0) 10.9.0.50 02:00:00:00:00:07 ",
        "DHCPACK(br0) 10.9.0.50 02:00:00:00:00:07 cm-01",
        "error 0 TFTP Aborted received from 10.9.0.50",
        "sent /srv/tftp/pxelinux.0 to 10.9.0.50",
        "sent /srv/tftp/pxelinux.0 to 10.9.0.50",
        "file /srv/tftp/ldlinux.e64 not found for 10.9.0.50",
        "sent /srv/tftp/nodes/cm-01.0f3a/vmlinuz to 10.9.0.50",
        "failed sending /srv/tftp/nodes/cm-01.0f3a/initrd.img to 10.9.0.50",
    )
    assert found == [
        (OWN, "asks for an address", "", ""),
        (OWN, "has the address 10.9.0.50", "10.9.0.50", ""),
        (OWN, "is sent pxelinux.0", "10.9.0.50", "pxelinux.0"),
        (OWN, "is sent vmlinuz", "10.9.0.50", "vmlinuz"),
        (OWN, "does not take initrd.img to its end", "10.9.0.50", "initrd.img"),
    ]


def test_why_a_machine_gets_no_address_is_seen() -> None:
    assert [text for _, text, _, _ in said(
        "DHCPDISCOVER(br0) 10.9.0.70 02:00:00:00:00:07 no address available",
        "DHCPNAK(br0) 10.9.0.70 02:00:00:00:00:07 wrong network",
        "DHCPRELEASE(br0) 10.9.0.50 02:00:00:00:00:07 cm-01",
        "PXE(br0) 02:00:00:00:00:07 proxy",
    )] == [
        "asks for an address: no address available",
        "may not have the address 10.9.0.70: wrong network",
        "gives up the address 10.9.0.50",
        "is told what to boot",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "path", "owner"),
    [
        ("10.9.0.50", "/srv/tftp/pxelinux.cfg/01-02-00-00-00-00-08", OWN),
        ("10.9.0.51", "/srv/tftp/pxelinux.cfg/01-02-00-00-00-00-07", None),
        ("10.9.0.51", "/srv/tftp/nodes/cm-01/vmlinuz", None),
    ],
)
def test_with_leases_of_its_own_an_address_says_who_it_is_whatever_is_asked_for(
    address: str, path: str, owner: Mac | None
) -> None:
    assert SERVER.of(address, path) == owner


@pytest.mark.parametrize(
    ("address", "path", "owner"),
    [
        ("10.9.0.60", "/srv/tftp/nodes/cm-01/vmlinuz", OTHER),
        ("10.9.0.61", "/srv/tftp/nodes/cm-01/vmlinuz", OWN),
        ("10.9.0.61", "/srv/tftp/pxelinux.cfg/01-02-00-00-00-00-07", OWN),
        ("10.9.0.61", "/srv/tftp/grub/02:00:00:00:00:08.cfg", OTHER),
        ("10.9.0.61", "/machines/01-02-00-00-00-00-08.ipxe", OTHER),
        ("10.9.0.61", "/srv/tftp/pxelinux.0", None),
        ("10.9.0.61", "/srv/tftp/nodes/cm-03/vmlinuz", None),
    ],
)
def test_without_them_the_files_say_it_where_the_neighbours_do_not(address: str, path: str, owner: Mac | None) -> None:
    assert PROXY.of(address, path) == owner


@pytest.mark.parametrize(
    "message",
    [
        "file /srv/tftp/x sent /srv/tftp/pxelinux.0 to 10.9.0.50 not found for 10.9.0.99",
        "error 8 sent /srv/tftp/pxelinux.0 to 10.9.0.50 received from 10.9.0.99",
        "sent /srv/tftp/pxelinux.0 to 10.9.0.99",
        "sent pxelinux.0 to 10.9.0.50",
        "DHCPACK(br0) 10.9.0.50 02:00:00:00:00",
        "DHCPINFORM(br0) 10.9.0.50 02:00:00:00:00:07",
        "no DHCP range",
        "",
    ],
)
def test_what_a_stranger_says_does_not_count_as_a_machines(message: str) -> None:
    assert said(message) == []


@pytest.mark.parametrize("line", ["", "x", "\x00" * 100, "Nov 26 07:26:01 dnsmasq-tftp[1]", "dnsmasq-tftp: sent /a to 1.1.1.1"])
def test_other_lines_are_passed_over(line: str) -> None:
    assert list(sightings([line], ROOT, SERVER, NOW)) == []


@pytest.mark.parametrize(
    ("date", "now", "then"),
    [
        ("Nov 26 07:26:01", NOW, AT),
        ("Dec 31 23:59:59", datetime(2027, 1, 1, 0, 0, 5).timestamp(), datetime(2026, 12, 31, 23, 59, 59).timestamp()),
        ("Nov  5 07:26:01", NOW, datetime(2026, 11, 5, 7, 26, 1).timestamp()),
        ("Nov 26 07:30:09", NOW, NOW),
        ("Feb 30 07:26:01", NOW, NOW),
    ],
)
def test_a_line_has_its_time_although_it_has_no_year(date: str, now: float, then: float) -> None:
    line = f"{date} dnsmasq-dhcp[1]: DHCPACK(br0) 10.9.0.50 02:00:00:00:00:07"
    (found,) = sightings([line], ROOT, SERVER, now)
    assert found == Sighting(mac=OWN, time=then, text="has the address 10.9.0.50", address="10.9.0.50")


def test_neighbours_are_those_that_have_answered(tmp_path: Path) -> None:
    table = tmp_path / "arp"
    table.write_text(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "10.9.0.60        0x1         0x2         02:00:00:00:00:08     *        br0\n"
        "10.9.0.61        0x1         0x0         00:00:00:00:00:00     *        br0\n"
        "cut\n"
    )
    assert neighbours(table) == {"10.9.0.60": OTHER}
    assert neighbours(tmp_path / "none") == {}


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", tmp_path / "log.1", 100)


def append(log: Log, text: str) -> None:
    with log.path.open("a") as file:
        file.write(text)


def test_a_log_is_read_on_by_whole_lines(log: Log) -> None:
    assert log.read("") == ([], "")
    append(log, "one\ntwo\nthr")
    lines, position = log.read("")
    assert lines == ["one", "two"]
    assert log.read(position) == ([], position)
    append(log, "ee\n")
    assert log.read(position)[0] == ["three"]


def test_nothing_is_lost_when_a_log_is_put_away_or_emptied(log: Log) -> None:
    append(log, "one\n")
    _, position = log.read("")
    append(log, "two\n")
    log.renew()
    append(log, "three\n")
    lines, position = log.read(position)
    assert lines == ["two", "three"]
    append(log, "x" * 200 + "\n")
    log.bound()
    append(log, "four\n")
    lines, position = log.read(position)
    assert lines == ["x" * 200, "four"]
    assert log.path.stat().st_size == len("four\n")
    log.bound()
    assert log.read(position) == ([], position)


@pytest.mark.parametrize("position", ["x", "1", "1:", ":1", "-1:5", "1:-5", "²:1", "9" * 30 + ":1", "1:1:1", "\x00"])
def test_any_other_position_is_the_beginning(log: Log, position: str) -> None:
    append(log, "one\n")
    assert log.read(position)[0] == ["one"]
