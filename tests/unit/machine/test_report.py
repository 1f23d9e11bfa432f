"""The archive with what a machine reports its next boot with."""

from __future__ import annotations

import gzip
import json

from terra_core.machine.report import ReportPlace, make_report_archive

PLACE = ReportPlace(url="https://10.0.10.3:9001/v1/reports", authority="-----BEGIN CERTIFICATE-----\n", image="sha256:aa")


def test_it_holds_one_file_that_only_root_may_read() -> None:
    unpacked = gzip.decompress(make_report_archive(PLACE, "terra_secret"))
    header = unpacked[unpacked.index(b"usr/lib/terra/report\0") - 110 :]
    assert header[:6] == b"070701"
    assert int(header[14:22], 16) == 0o100600
    said = json.loads(unpacked[unpacked.index(b"{") : unpacked.index(b"}") + 1])
    assert said == {"url": PLACE.url, "authority": PLACE.authority, "image": "sha256:aa", "token": "terra_secret"}


def test_without_an_authority_it_names_none() -> None:
    plain = ReportPlace(url="http://10.0.10.3:9001/v1/reports", authority="", image="sha256:aa")
    assert b"authority" not in gzip.decompress(make_report_archive(plain, "terra_secret"))
