"""What the log of lighttpd says of machines."""

from __future__ import annotations

import pytest

from terra_core.config.values import Mac
from terra_ipxe.requests import requests
from terra_tftp.sightings import Owners

OWN = Mac("02:00:00:00:00:07")
OWNERS = Owners({"10.9.0.50": OWN})


def test_files_that_a_machine_was_sent_are_seen_without_the_secret_of_their_directory() -> None:
    found = list(
        requests(
            [
                "1764142000000 10.9.0.50 GET 200 + /machines/01-02-00-00-00-00-07.ipxe",
                "1764142001250 ::ffff:10.9.0.50 GET 200 - /nodes/cm-01.0f3a9c/vmlinuz",
                "1764142002000 10.9.0.50 GET 206 X /nodes/cm-01.0f3a9c/initrd.img",
            ],
            OWNERS,
            1764142001.5,
        )
    )
    assert [(one.mac, one.time, one.text, one.file) for one in found] == [
        (OWN, 1764142000, "is sent machines/01-02-00-00-00-00-07.ipxe by HTTP", "machines/01-02-00-00-00-00-07.ipxe"),
        (OWN, 1764142001.25, "is sent vmlinuz by HTTP", "vmlinuz"),
        (OWN, 1764142001.5, "does not take initrd.img to its end by HTTP", "initrd.img"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "1764142000000 10.9.0.99 GET 200 + /machines/01-02-00-00-00-00-07.ipxe",
        "1764142000000 10.9.0.50 GET 403 + /machines/01-02-00-00-00-00-07.ipxe",
        "1764142000000 10.9.0.50 HEAD 200 + /boot.ipxe",
        "1764142000000 10.9.0.50 GET 200 + /a b",
        "1764142000000 10.9.0.50 GET 200",
        "1764142000 10.9.0.50 GET 200 + /boot.ipxe",
        "",
    ],
)
def test_what_was_refused_or_is_a_strangers_is_not(line: str) -> None:
    assert list(requests([line], OWNERS, 1764142001)) == []
