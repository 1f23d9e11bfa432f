"""The list of all machines: a row is made once, and again when anything of it changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from terra_core.controller.happening import Kind, Stage
from terra_core.controller.states import Listing
from tests.unit.controller.fakes import Site


def well(hostname: str) -> str:
    return ""


def booted(site: Site) -> None:
    data = {"addresses": ["10.0.10.20"], "state": "running"}
    site.store.happenings.record("cm-01", 1, Kind.REPORT, "has booted", data, stage=Stage.BOOTED)
    site.store.happenings.flush()


def addressed(site: Site) -> None:
    with site.store.engine.begin() as connection:
        connection.exec_driver_sql("""update boots set report = '{"addresses": ["10.0.10.21"]}'""")


def rebuilt(site: Site) -> None:
    site.store.save(evolve(site.store.get("cm-01"), digest="sha256:1"))


def deleted(site: Site) -> None:
    site.delete()


@pytest.fixture
def listing(site: Site) -> Listing:
    """Return the list of two machines, one of which has booted."""
    for number in (1, 2):
        site.provision(hostname=f"cm-0{number}", mac=f"02:00:00:00:00:0{number}")
    booted(site)
    return Listing(site.store)


def test_rows_are_kept_as_they_were_made(listing: Listing) -> None:
    first = listing.rows(well)
    assert [json.loads(bytes(row))["hostname"] for row in first] == ["cm-01", "cm-02"]
    assert [id(row) for row in listing.rows(well)] == [id(row) for row in first]


@pytest.mark.parametrize("change", [addressed, rebuilt, deleted])
def test_a_row_is_made_again_when_anything_of_it_changes_and_no_other_is(
    site: Site, listing: Listing, change: Callable[[Site], None]
) -> None:
    former = listing.rows(well)
    change(site)
    found = listing.rows(well)
    assert found == Listing(site.store).rows(well), "as if all of them were made now"
    assert found[-1] is former[-1]
    assert found != former


def test_a_row_says_what_keeps_machines_from_booting_for_as_long_as_it_does(listing: Listing) -> None:
    def problems(trouble: Callable[[str], str]) -> list[Any]:
        return [json.loads(bytes(row))["problem"] for row in listing.rows(trouble)]

    assert problems(well) == ["", ""]
    assert problems(lambda hostname: "it hangs" if hostname == "cm-02" else "") == ["", "it hangs"]
    assert problems(well) == ["", ""]
