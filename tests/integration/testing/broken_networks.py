"""Network plugins that break one promise each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import RenderedFile
from terra_core.testing import NetworkConformance
from terra_netplan import NetplanPlugin
from tests.integration.testing.breaking import broken

_good = NetplanPlugin()
_numbers = itertools.count()


class _Kit(NetworkConformance):
    name = "netplan"
    tables = {"netplan": {"interfaces": [{"name": "eth0", "addresses": ["10.0.10.5/24"]}]}}  # noqa: RUF012


def _another_each_time(self: Any, server: Server, session: Session) -> Sequence[RenderedFile]:
    (file,) = _good.render_network(server, session)
    return [evolve(file, content=file.content + f"# {next(_numbers)}\n".encode())]


def _written(self: Any, server: Server, session: Session) -> Sequence[RenderedFile]:
    session.paths.root.mkdir(exist_ok=True)
    (session.paths.root / "network").touch()
    return _good.render_network(server, session)


def _absolute(self: Any, server: Server, session: Session) -> Sequence[RenderedFile]:
    return [evolve(file, path=f"/{file.path}") for file in _good.render_network(server, session)]


def _refused(self: Any, files: Sequence[RenderedFile], session: Session) -> bool:
    raise TerraError("netplan takes nothing")


PROMISES: dict[str, Mapping[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": 0},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_the_same_file_gives_the_same_network": {"render_network": _another_each_time},
    "test_rendering_writes_nothing": {"render_network": _written},
    "test_every_file_has_a_place_of_its_own_in_the_machine": {"render_network": _absolute},
    "test_what_was_rendered_is_taken_by_what_reads_it": {"check_network": _refused},
}

globals().update(broken(_Kit, NetplanPlugin, PROMISES))
