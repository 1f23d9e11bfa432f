"""The file of all reservations: what it says after any changes, and that one change leaves the rest of it alone."""

from __future__ import annotations

import tempfile
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from terra_core.config.controller import Paths
from terra_core.config.values import Address, Hostname, Mac
from terra_tftp import reservation_file
from terra_tftp.configuration import ServicePaths
from terra_tftp.reservation_file import ReservationFile
from terra_tftp.settings import Dhcp, Settings

NAMES = [Hostname(f"cm-{at}") for at in range(8)]
MACS = [Mac(f"02:00:00:00:00:{at:02x}") for at in range(8)]
SETTINGS = Settings(dhcp=Dhcp.SERVER, range=(Address("10.0.10.50"), Address("10.0.10.55")))
OWN = frozenset({IPv4Address("10.0.10.51")})
NOBODY = frozenset[IPv4Address]()


@pytest.fixture
def paths(tmp_path: Path) -> ServicePaths:
    return ServicePaths(Paths(tmp_path))


def said(paths: ServicePaths) -> dict[str, tuple[str, ...]]:
    """Return what the file says of each machine: its MAC address, and its address where it has one."""
    rows = [line.split(",") for line in paths.reservations.read_text().splitlines()]
    return {row[-2].removesuffix(".terra"): tuple(row[:-2]) for row in rows}


def test_machines_come_change_and_go(paths: ServicePaths) -> None:
    file = ReservationFile(paths)
    machines = {NAMES[0]: MACS[0], NAMES[1]: MACS[1]}
    assert file.bring(machines, SETTINGS, NOBODY)
    assert said(paths) == {"cm-0": (MACS[0], "10.0.10.50"), "cm-1": (MACS[1], "10.0.10.51")}
    assert not file.bring(dict(machines), SETTINGS, NOBODY)
    assert file.bring({NAMES[1]: MACS[1]}, SETTINGS, NOBODY)
    assert said(paths) == {"cm-1": (MACS[1], "10.0.10.51")}
    assert file.bring({NAMES[1]: MACS[1], NAMES[2]: MACS[2]}, SETTINGS, NOBODY)
    assert said(paths)["cm-2"] == (MACS[2], "10.0.10.50"), "that of a machine that went is free"
    assert file.bring({NAMES[1]: MACS[2], NAMES[2]: MACS[1]}, SETTINGS, NOBODY)
    assert said(paths) == {"cm-1": (MACS[2], "10.0.10.50"), "cm-2": (MACS[1], "10.0.10.51")}, "an address is its interface's"
    assert file.bring({NAMES[1]: MACS[3], NAMES[2]: MACS[1]}, SETTINGS, NOBODY)
    assert said(paths) == {"cm-1": (MACS[3], "10.0.10.50"), "cm-2": (MACS[1], "10.0.10.51")}


def test_what_somebody_else_did_to_the_file_is_undone(paths: ServicePaths) -> None:
    file = ReservationFile(paths)
    assert file.bring({NAMES[0]: MACS[0]}, SETTINGS, NOBODY)
    before = paths.reservations.read_text()
    assert file.holds(NAMES[0], MACS[0], SETTINGS, NOBODY)
    for text in ("", before + "02:00:00:00:00:99,10.0.10.54,stranger.terra,12h\n"):
        paths.reservations.write_text(text)
        assert not file.holds(NAMES[0], MACS[0], SETTINGS, NOBODY)
        assert file.bring({NAMES[0]: MACS[0]}, SETTINGS, NOBODY)
        assert paths.reservations.read_text() == before


def test_other_settings_are_another_file(paths: ServicePaths) -> None:
    file = ReservationFile(paths)
    assert file.bring({NAMES[0]: MACS[0], NAMES[1]: MACS[1]}, SETTINGS, NOBODY)
    assert file.bring({NAMES[0]: MACS[0], NAMES[1]: MACS[1]}, SETTINGS, OWN)
    assert said(paths)["cm-1"] == (MACS[1], "10.0.10.52"), "the service's own address is nobody else's"
    assert file.bring({NAMES[0]: MACS[0], NAMES[1]: MACS[1]}, evolve(SETTINGS, lease="30m"), OWN)
    assert paths.reservations.read_text().count(",30m") == 2
    assert file.bring({NAMES[0]: MACS[0], NAMES[1]: MACS[1]}, Settings(), OWN)
    assert said(paths) == {"cm-0": (MACS[0],), "cm-1": (MACS[1],)}


def test_a_machine_that_there_was_no_address_for_gets_one_as_soon_as_there_is(paths: ServicePaths) -> None:
    file = ReservationFile(paths)
    machines = dict(zip(NAMES[:7], MACS[:7], strict=True))
    assert file.bring(machines, SETTINGS, NOBODY)
    assert said(paths)["cm-6"] == (MACS[6],)
    assert not file.holds(NAMES[6], MACS[6], SETTINGS, NOBODY)
    assert not file.bring(machines, SETTINGS, NOBODY)
    del machines[NAMES[2]]
    assert file.bring(machines, SETTINGS, NOBODY)
    assert said(paths)["cm-6"] == (MACS[6], "10.0.10.52")
    assert file.holds(NAMES[6], MACS[6], SETTINGS, NOBODY)


def test_a_change_that_failed_half_way_is_made_at_the_next_look(paths: ServicePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ReservationFile(paths)
    file.bring({NAMES[0]: MACS[0]}, SETTINGS, NOBODY)
    both = {NAMES[0]: MACS[0], NAMES[1]: MACS[1]}
    with monkeypatch.context() as patch:
        patch.setattr(reservation_file, "make_directory", lambda path: pytest.fail("the disk is full"))
        with pytest.raises(pytest.fail.Exception):
            file.bring(both, SETTINGS, NOBODY)
    assert file.bring(both, SETTINGS, NOBODY)
    assert said(paths) == {"cm-0": (MACS[0], "10.0.10.50"), "cm-1": (MACS[1], "10.0.10.51")}


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(MACS)), max_size=8), st.sampled_from([0, 20]))
def test_after_any_changes_each_interface_has_one_address_and_a_new_look_says_the_same(
    steps: list[dict[Hostname, Mac]], few: int
) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reservation_file, "_FEW", few)
        paths = ServicePaths(Paths(Path(place)))
        file = ReservationFile(paths)
        former, found = dict[Mac, Address](), dict[str, tuple[str, ...]]()
        for machines in steps:
            file.bring(machines, SETTINGS, OWN)
            found, addresses = said(paths), dict(file.addresses())
            assert {name: words[0] for name, words in found.items()} == machines
            assert len(set(addresses.values())) == len(addresses) == min(len(set(machines.values())), 5)
            assert all(addresses[mac] == address for mac, address in former.items() if mac in addresses)
            assert all(words[1:] == (() if (at := addresses.get(Mac(words[0]))) is None else (at,)) for words in found.values())
            former = addresses
        if steps:
            ReservationFile(paths).bring(steps[-1], SETTINGS, OWN)
            assert said(paths) == found


def test_addresses_that_another_host_has_given_are_kept(paths: ServicePaths) -> None:
    file = ReservationFile(paths)
    machines = dict(zip(NAMES[:3], MACS[:3], strict=True))
    assert file.bring(machines, SETTINGS, NOBODY)
    given = {MACS[0]: Address("10.0.10.52"), MACS[1]: Address("10.0.10.50"), MACS[7]: Address("10.0.10.55")}
    file.take_over(given)
    assert file.bring(machines, SETTINGS, NOBODY)
    assert {**given, **file.addresses()} == {**file.addresses(), MACS[7]: Address("10.0.10.55")}
    assert len(set(file.addresses().values())) == 3
    before = paths.reservations.read_text()
    file.take_over(file.addresses())
    assert not file.bring(machines, SETTINGS, NOBODY)
    assert ReservationFile(paths).addresses() == file.addresses()
    assert paths.reservations.read_text() == before
