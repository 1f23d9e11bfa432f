"""The message that asks a DHCP server for its name servers, and what is made of its answer."""

from __future__ import annotations

import pytest

from terra_orbit.agent.inform import Names, parse_answer, render_inform

IDENTITY = b"\x01\x02\x03\x04"


def answer(options: bytes, *, identity: bytes = IDENTITY, operation: int = 2) -> bytes:
    return bytes([operation, 1, 6, 0]) + identity + bytes(228) + b"\x63\x82\x53\x63" + options


ACK = bytes([53, 1, 5])


def test_the_question_bears_the_address_and_the_hardware_address() -> None:
    message = render_inform(IDENTITY, "10.0.10.100", "02:00:00:00:00:07")
    assert len(message) == 300
    assert (message[0], message[4:8], message[12:16]) == (1, IDENTITY, bytes([10, 0, 10, 100]))
    assert message[28:34] == bytes([2, 0, 0, 0, 0, 7])
    assert message[236:246] == b"\x63\x82\x53\x63" + bytes([53, 1, 8, 55, 2, 6])


def test_an_answer_gives_servers_and_domain_in_order() -> None:
    options = ACK + bytes([0, 6, 8, 10, 0, 10, 53, 9, 9, 9, 9, 15, 8]) + b"lab.test" + b"\xff"
    found = parse_answer(answer(options), IDENTITY)
    assert found == Names(servers=("10.0.10.53", "9.9.9.9"), domain="lab.test")
    assert found.as_file() == "search lab.test\nnameserver 10.0.10.53\nnameserver 9.9.9.9\n"


@pytest.mark.parametrize("domain", [b"a\nnameserver 6.6.6.6", b"a b", b"-a", b"a..b", b"\xff\xfe", b"a" * 200])
def test_a_domain_that_is_none_is_left_out(domain: bytes) -> None:
    found = parse_answer(answer(ACK + bytes([6, 4, 10, 0, 10, 53, 15, len(domain)]) + domain), IDENTITY)
    assert found == Names(servers=("10.0.10.53",))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        answer(ACK, identity=b"abcd"),
        answer(ACK, operation=1),
        answer(bytes([53, 1, 6])),
        answer(bytes([53])),
        answer(ACK)[:238],
        answer(ACK).replace(b"\x63\x82\x53\x63", b"\0\0\0\0"),
    ],
)
def test_what_is_no_answer_is_none(message: bytes) -> None:
    assert parse_answer(message, IDENTITY) is None


def test_options_that_are_cut_off_are_left_out() -> None:
    assert parse_answer(answer(ACK + bytes([6, 200, 10, 0])), IDENTITY) == Names(servers=())
