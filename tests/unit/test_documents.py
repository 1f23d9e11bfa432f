"""Files with tables of plugins: each is read by its plugin's model, with the rest of the file, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import frozen

from terra_core.config.loader import make_document
from terra_core.config.problems import DocumentError
from terra_core.config.server import Server
from terra_core.documents import load, make, settled
from terra_core.errors import PluginError
from terra_core.plugins import Plugins
from terra_core.selection import SERVER
from terra_netplan.settings import Netplan

TABLE: dict[str, object] = {"hostname": "a", "version": "1", "os": "x/y:1", "repo": "x"}


@frozen(kw_only=True)
class Needy:
    """A table with a key that has to be there."""

    pool: str


class Odd(Plugins):
    """Plugins one of which says another model, no table, or cannot be loaded."""

    says: type | None = None
    broken = False

    def settings(self, name: str) -> type | None:
        if name != "netplan":
            return super().settings(name)
        if self.broken:
            raise PluginError("plugin 'netplan' cannot be loaded")
        return self.says


@pytest.fixture
def odd() -> Odd:
    return Odd(Plugins.discover().installed)


def paths(caught: pytest.ExceptionInfo[DocumentError]) -> list[str]:
    return [problem.path for problem in caught.value.found]


def test_all_that_is_wrong_comes_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('hostname = 1\nversion = "1"\nos = "x/y:1"\nrepo = "x"\n[netplan]\nbridge = 1\n[docker]\nengine = "x"\n')
    with pytest.raises(DocumentError) as caught:
        load(path, Server)
    assert paths(caught) == ["hostname", "netplan.bridge", "docker.engine"]
    assert str(path) in str(caught.value)


def test_tables_are_models_from_then_on_and_the_file_stays_as_it_was() -> None:
    raw = {**TABLE, "netplan": {"interfaces": [{"name": "eth0"}]}}
    document = make(raw, Server, source="server.toml", plugins=Plugins.discover())
    table = document.tables["netplan"]
    assert isinstance(table, Netplan)
    assert document.session().settings("netplan", Netplan) is table
    assert document.raw == raw
    assert settled(document, SERVER, Plugins.discover(), {}).tables["netplan"] is table, "it is read once"


def test_a_key_that_has_to_be_there_is_missed_though_the_table_is_not_there(odd: Odd) -> None:
    odd.says = Needy
    document = make(TABLE, Server, source="server.toml", plugins=odd)
    with pytest.raises(DocumentError) as caught:
        settled(document, SERVER, odd, {})
    assert paths(caught) == ["netplan.pool"]


def test_the_table_of_a_plugin_that_has_none_is_refused(odd: Odd) -> None:
    document = make({**TABLE, "netplan": {}, "tftp": {}}, Server, source="server.toml", plugins=odd)
    with pytest.raises(DocumentError) as caught:
        settled(document, SERVER, odd, {})
    assert paths(caught) == ["tftp", "netplan"]
    assert "nobody reads this table: the plugin has none" in str(caught.value)


def test_a_plugin_that_cannot_be_loaded_is_told_when_it_is_asked(odd: Odd) -> None:
    odd.broken = True
    document = make({**TABLE, "netplan": {"a": 1}}, Server, source="server.toml", plugins=odd)
    assert settled(document, SERVER, odd, {}).tables["netplan"] == {"a": 1}


def test_what_is_not_read_yet_is_read_when_it_is_settled() -> None:
    document = make_document({**TABLE, "netplan": {"a": 1}}, Server, source="server.toml", owners={"netplan"})
    with pytest.raises(DocumentError) as caught:
        settled(document, SERVER, Plugins.discover(), {})
    assert paths(caught) == ["netplan.a"]
