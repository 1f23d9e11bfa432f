"""The name and the address that DHCP keeps for a machine."""

from __future__ import annotations

import re
import time
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terra_core.config.values import Address, Hostname, Mac
from terra_tftp.reservations import (
    AddressRange,
    Lease,
    addresses_text,
    assigned,
    free_address,
    leases_of,
    parse_addresses,
    reservation,
)

MAC = Mac("54:b2:03:07:f1:d1")
MACS = [Mac(f"54:b2:03:07:f1:{number:02x}") for number in range(16)]
RANGE = AddressRange(IPv4Address("10.0.10.50"), IPv4Address("10.0.10.57"))
NAMES = ["cm-01.example.com", "10", "7d", "42.rack1.example.com", "infinite", "ignore", "10.0.0", "0x10", "1w", "30s", "x" * 63]


def address(last: int) -> Address:
    return Address(f"10.0.10.{last}")


def by_machine(*lasts: int) -> dict[Mac, Address]:
    return {MACS[at]: address(last) for at, last in enumerate(lasts)}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_written_so_that_it_can_only_be_a_name(name: str) -> None:
    mac, where, written, lease = reservation(Hostname(name), MAC, address(50), "12h").rstrip("\n").split(",")
    assert (mac, where, lease) == (MAC, "10.0.10.50", "12h")
    assert written.partition(".")[0] == name.partition(".")[0]
    assert not re.fullmatch(r"[0-9 ]+[smhdwSMHDW]?|infinite|ignore|[0-9.]+", written)
    assert reservation(Hostname(name), MAC, None, "12h").count(",") == 2


def test_machines_get_addresses_in_the_order_that_they_come_and_keep_them() -> None:
    first = assigned(MACS[:3], RANGE, {}, [], set())
    assert first == by_machine(50, 51, 52)
    assert assigned([MACS[3], *MACS[1:3]], RANGE, first, [], set()) == {
        MACS[1]: address(51), MACS[2]: address(52), MACS[3]: address(50),
    }  # fmt: skip


def test_a_machine_keeps_the_address_that_it_has_leased_last() -> None:
    leases = [Lease(MAC, IPv4Address("10.0.10.56"), 200.0), Lease(MAC, IPv4Address("10.0.10.55"), 100.0)]
    assert assigned([MAC], RANGE, {}, leases, set()) == {MAC: address(56)}
    assert assigned([MAC], RANGE, {MAC: address(51)}, leases, set()) == {MAC: address(51)}


def test_what_others_have_is_taken_last_and_first_what_they_lose_first() -> None:
    strangers = [Lease(f"02:00:00:00:00:{at:02x}", each, 1000.0 - at) for at, each in enumerate(RANGE)]
    assert assigned([MAC], RANGE, {}, strangers[:7], set()) == {MAC: address(57)}
    assert assigned([MAC], RANGE, {}, strangers, set()) == {MAC: address(57)}
    assert assigned([MAC], RANGE, {}, strangers, {IPv4Address("10.0.10.57")}) == {MAC: address(56)}


def test_an_address_that_no_machine_can_have_is_taken_back() -> None:
    assert assigned([MAC], RANGE, {MAC: address(50)}, [], {IPv4Address("10.0.10.50")}) == {MAC: address(51)}
    assert assigned([MAC], RANGE, {MAC: address(99)}, [], set()) == {MAC: address(50)}


def test_a_large_range_costs_no_more_than_what_is_given_out() -> None:
    large = AddressRange(IPv4Address("10.0.0.1"), IPv4Address("10.255.255.254"))
    began = time.process_time()
    assert assigned(MACS, large, {}, [], set())[MACS[15]] == "10.0.0.16"
    assert time.process_time() - began < 1


def test_machines_for_which_there_is_none_get_none() -> None:
    assert list(assigned(MACS, RANGE, {}, [], set())) == MACS[:8]


@given(st.integers(1, 12), st.dictionaries(st.sampled_from(MACS), st.integers(48, 60).map(address)), st.data())
def test_no_two_machines_get_one_address(size: int, held: dict[Mac, Address], data: st.DataObject) -> None:
    given_ = AddressRange(RANGE.first, RANGE.first + size - 1)
    macs = data.draw(st.lists(st.sampled_from(MACS), unique=True))
    found = assigned(macs, given_, held, [], set())
    assert len(set(found.values())) == len(found) == min(len(macs), size)
    assert all(IPv4Address(each) in given_ for each in found.values())
    assert assigned(macs, given_, found, [], set()) == found


def lease_file(leases: list[Lease]) -> str:
    return "".join(f"{lease.expiry:.0f} {lease.mac} {lease.address} * 01:{lease.mac}\n" for lease in leases)


@given(
    st.integers(1, 8),
    st.lists(st.sampled_from(MACS[:12]), unique=True),
    st.lists(st.tuples(st.sampled_from(MACS), st.integers(48, 60)), unique_by=lambda one: one[1]),
    st.sets(st.integers(48, 60), max_size=3),
)
def test_one_machine_more_gets_what_it_gets_in_a_look_at_all_of_them(
    size: int, macs: list[Mac], leased: list[tuple[Mac, int]], own: set[int]
) -> None:
    given_ = AddressRange(RANGE.first, RANGE.first + size - 1)
    leases = [Lease(mac, IPv4Address(address(last)), 1000.0 + at) for at, (mac, last) in enumerate(leased)]
    taken = {IPv4Address(address(last)) for last in own}
    others = assigned(macs, given_, {}, leases, taken)
    found = free_address(MACS[12], given_, {*others.values(), *map(str, taken)}, lease_file(leases))
    if found is not None:
        assert assigned([*others, MACS[12]], given_, others, leases, taken) == {**others, MACS[12]: found}


def test_a_free_address_is_found_unless_it_takes_a_look_at_all_leases() -> None:
    stranger, lease = Mac("02:00:00:00:00:01"), Lease(MAC, IPv4Address("10.0.10.51"), 1000.0)
    assert free_address(stranger, RANGE, {"10.0.10.50"}, lease_file([lease])) == "10.0.10.52"
    assert free_address(MAC, RANGE, {"10.0.10.50"}, lease_file([lease]).upper()) is None
    assert free_address(stranger, AddressRange(RANGE.first, RANGE.first + 1), {"10.0.10.50"}, lease_file([lease])) is None


def test_others_get_the_upper_half() -> None:
    halves = {(50, 99): 75, (50, 50): 50, (50, 51): 51, (50, 52): 51}
    for (first, last), middle in halves.items():
        given_ = AddressRange.parse([address(first), address(last)])
        assert given_.of_strangers == IPv4Address(address(middle))


def test_the_lease_file_is_read_as_dnsmasq_writes_it() -> None:
    text = """\
1764107000 54:B2:03:07:f1:d1 10.0.10.80 * 01:54:b2:03:07:f1:d1
0 02:00:00:00:00:01 10.0.10.81 web *
duid 00:01:00:01
1764107000 12345 fd00::5 * 00:01
"""
    assert leases_of(text) == [
        Lease(MAC, IPv4Address("10.0.10.80"), 1764107000.0),
        Lease("02:00:00:00:00:01", IPv4Address("10.0.10.81"), float("inf")),
    ]


def test_what_was_assigned_is_read_again_and_what_is_damaged_was_not() -> None:
    found = by_machine(57, 50)
    assert parse_addresses(addresses_text(found)) == found
    for damaged in (None, "", "[]", "{", '{"a": 1.5}', '{"a": "b"}', "null"):
        assert parse_addresses(damaged) == {}
