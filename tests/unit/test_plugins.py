"""Finding plugins, and asking the selected one: with distributions made for the test, and whatever they may do wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from terra_core.answers import CheckedContext
from terra_core.candidates import candidates
from terra_core.cli import run, terra
from terra_core.config.session import Session
from terra_core.errors import ConfigError, InterruptedWork, NotFoundError, PluginError, TerraError
from terra_core.hookspecs import ROLES, Network, RenderedFile
from terra_core.plugins import Plugins
from tests.unit.servers import SERVER

HEAD = "from terra_core.errors import NotFoundError\nfrom terra_core.hookspecs import RenderedFile, hookimpl\ncalled = []\n"
RENDER = (
    "class Plugin:\n"
    "    contract = 2\n"
    "    @hookimpl\n"
    "    def render_network(self, server, session):\n"
    "        called.append(server.hostname)\n"
    "        {body}\n"
    "plugin = Plugin()\n"
)
Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a distribution with one module and install it for the length of a test."""
    before = set(sys.modules)

    def make(name: str, module: str = "", *, entries: str = "", dist: str = "", version: str = "1.2.3") -> None:
        dist = dist or f"terra-{name}"
        site = tmp_path / dist
        info = site / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[terra.plugins]\n{entries or f'{name} = fake_{name}:plugin'}\n")
        (site / f"fake_{name}.py").write_text(HEAD + module)
        monkeypatch.syspath_prepend(str(site))

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


def fill(name: str) -> object:
    return Plugins.discover().fill(Network, {"network": name}, source="server.toml")


def render(name: str) -> object:
    return Plugins.discover().fill(Network, {"network": name}, source="server.toml").render_network(SERVER, Session())


def refusal(name: str, do: Callable[[str], object] = fill) -> str:
    with pytest.raises(PluginError) as caught:
        do(name)
    assert "0x" not in str(caught.value)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_the_selected_plugin_is_asked_and_no_other(make: Make) -> None:
    make("paper", RENDER.format(body="return [RenderedFile(path='etc/paper', content=b'paper')]"))
    make("stone", RENDER.format(body="return [RenderedFile(path='etc/stone', content=b'stone')]"))
    plugins = Plugins.discover()
    stone = plugins.fill(Network, {"network": "stone"}, source="server.toml")
    paper = plugins.fill(Network, {"network": "paper"}, source="server.toml")
    (file,) = paper.render_network(SERVER, Session())
    assert isinstance(file, RenderedFile)
    assert file.path == "etc/paper"
    assert sys.modules["fake_paper"].called == ["a"]
    assert sys.modules["fake_stone"].called == []
    (file,) = stone.render_network(SERVER, Session())
    assert isinstance(file, RenderedFile)
    assert file.path == "etc/stone"
    assert sys.modules["fake_paper"].called == ["a"]


def test_nothing_is_imported_before_it_is_selected(make: Make) -> None:
    make("broken", "raise RuntimeError('imported')")
    make("paper", RENDER.format(body="return []"))
    assert {"broken", "paper"} <= Plugins.discover().names
    assert render("paper") == []


def test_a_missing_plugin_is_named_with_its_role_what_is_installed_and_how_to_get_it(make: Make) -> None:
    make("paper")
    plugins = Plugins(
        {name: installed for name, installed in Plugins.discover().installed.items() if name == "paper"},
    )
    with pytest.raises(ConfigError) as caught:
        plugins.fill(Network, {"network": "stone"}, source="server.toml")
    assert caught.value.problems == (
        "server.toml: plugins.network: 'stone', the plugin for the role network, is not installed (installed: paper); "
        "install what brings it, or choose another",
    )
    assert caught.value.exit_code == 2
    own = r"plugins.network: 'netplan', .* \(installed: none\); install it with: pip install terra-netplan"
    with pytest.raises(ConfigError, match=own):
        Plugins({}).fill(Network, {}, source="server.toml")


def test_a_role_that_does_not_exist_is_a_problem_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        Plugins({}).fill(Network, {"netwrok": "paper"}, source="server.toml")
    assert caught.value.problems == (f"server.toml: plugins.netwrok: is no role (roles: {', '.join(ROLES)})",)


def test_one_name_from_two_distributions_is_an_error_whichever_was_installed_first(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make("paper")
    make("paper", dist="terra-wallpaper")
    make("stone", RENDER.format(body="return []"))
    assert render("stone") == [], "it keeps no other one from working"
    said = refusal("paper")
    assert "plugin 'paper' cannot be used: two distributions bring a plugin of this name" in said
    assert {"terra-paper", "terra-wallpaper"} <= set(said.replace(";", "").split())
    assert "pip uninstall terra-" in said
    assert run(terra, ["plugins"]) == 0
    out, err = capsys.readouterr()
    assert "terra-stone" in out
    assert "paper cannot be used: plugin 'paper' cannot be used: two distributions" in err


def test_a_distribution_without_metadata_is_named_and_the_others_work(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("paper", RENDER.format(body="return []"))
    make("stone", RENDER.format(body="return []"))
    (tmp_path / "terra-paper/terra_paper-1.2.3.dist-info/METADATA").unlink()
    assert render("stone") == []
    assert f"its distribution in {tmp_path / 'terra-paper'} has no metadata" in refusal("paper")
    assert run(terra, ["plugins", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "install it again" in rows["paper"]["problem"]
    assert rows["stone"]["role"] == "network"


def test_what_a_plugin_prints_is_not_in_the_output_of_a_command(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make("paper", "print('hello')\n" + RENDER.format(body="return []"))
    assert run(terra, ["plugins", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "paper" in {row["name"] for row in json.loads(out)}
    assert "hello\n" in err


def test_a_plugin_whose_module_is_not_there(make: Make) -> None:
    make("paper", entries="paper = fake_elsewhere:plugin")
    assert refusal("paper").startswith(
        "plugin 'paper' of terra-paper 1.2.3 cannot be loaded: ModuleNotFoundError: No module named 'fake_elsewhere'"
    )


def test_an_interruption_while_a_plugin_is_loaded_is_no_fault_of_the_plugin(make: Make) -> None:
    make("paper", "from terra_core.errors import InterruptedWork\nraise InterruptedWork('ended by SIGTERM')")
    with pytest.raises(InterruptedWork, match="ended by SIGTERM"):
        found("paper").fill(Network, {"network": "paper"}, source="server.toml")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("raise RuntimeError('not today')", "cannot be loaded: RuntimeError: not today"),
        ("import sys\nsys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("this is no Python", "cannot be loaded: SyntaxError: "),
        ("plagin = 1", "cannot be loaded: AttributeError: "),
        (RENDER.format(body="").replace("plugin = Plugin()", "plugin = Plugin"), "1.2.3 is the class Plugin: its entry point"),
        ("plugin = []", "1.2.3 is a list, which has no hash"),
        (
            RENDER.format(body="").replace("contract = 2", "contract = property(lambda self: 1 / 0)"),
            "cannot be looked at: ZeroDivisionError",
        ),
        (RENDER.format(body="").replace("contract = 2", "def __dir__(self): raise SystemExit(0)"), "it was made for"),
        (RENDER.format(body="").replace("hookimpl\n", "hookimpl(wrapper=True)\n"), "render_network has to be a plain method"),
        (RENDER.format(body="").replace("    def render", "    async def render"), "render_network has to be a plain method"),
        ("import types\nplugin = types", "1.2.3 is the module types: its entry point must name an instance"),
        ("plugin = None", "does not say which contract it was made for, and this Terra has contract 2"),
        ("plugin = 1", "does not say which contract it was made for"),
        (
            RENDER.format(body="").replace("contract = 2", "contract = 1"),
            "was made for contract 1, and this Terra has contract 2",
        ),
        (RENDER.format(body="").replace("contract = 2", "contract = '2'"), "was made for contract '2'"),
        (RENDER.format(body="").replace("contract = 2", "contract = True"), "was made for contract True"),
        (RENDER.format(body="").replace("server, ", ""), "does not fit: render_network has to take server: what a plugin does"),
        (
            RENDER.format(body="").replace("self, server, session", "self, *, server, session"),
            "render_network has to take server, session",
        ),
        ("class Plugin: contract = 2\nplugin = Plugin()", "'paper' does not fill the role network: it has no render_network"),
        (RENDER.format(body="").replace("    @hookimpl\n", ""), "does not fill the role network: it has no render_network"),
        (RENDER.format(body="").replace("render_network", "render_netwrok"), "a hook that Terra does not know: render_netwrok"),
        (RENDER.format(body="").replace("session", "sessoin"), "render_network takes sessoin, which Terra"),
    ],
)
def test_what_is_no_plugin_is_refused_when_it_is_selected(make: Make, module: str, expected: str) -> None:
    make("paper", module)
    message = refusal("paper")
    assert message.startswith("plugin 'paper'")
    assert expected in message
    assert refusal("paper") == message


def test_an_unknown_hook_is_refused_beside_a_known_one_too(make: Make) -> None:
    extra = "class Plugin(Plugin):\n    @hookimpl\n    def render_more(self): pass\nplugin = Plugin()\n"
    make("paper", RENDER.format(body="return []") + extra)
    assert "has a hook that Terra does not know: render_more" in refusal("paper")


def test_one_object_under_two_names_is_refused(make: Make) -> None:
    make("paper", RENDER.format(body="return []"), entries="paper = fake_paper:plugin\nstone = fake_paper:plugin")
    plugins = Plugins.discover()
    plugins.fill(Network, {"network": "paper"}, source="server.toml")
    with pytest.raises(PluginError, match=r"plugin 'stone' of terra-paper 1\.2\.3 is the same object as the plugin 'paper'"):
        plugins.fill(Network, {"network": "stone"}, source="server.toml")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise KeyError('x')", "plugin 'paper' failed in render_network: KeyError: 'x'\nreport it to the authors"),
        ("raise SystemExit(3)", "plugin 'paper' failed in render_network: SystemExit: 3\nreport it"),
        ("raise GeneratorExit", "plugin 'paper' failed in render_network: GeneratorExit\nreport it"),
        ("raise type('Own', (BaseException,), {})('x')", "plugin 'paper' failed in render_network: Own: x\nreport it"),
        ("raise NotFoundError(5)", "plugin 'paper' failed in render_network: NotFoundError"),
        ("raise NotFoundError('x', hint=[1])", "plugin 'paper' failed in render_network: NotFoundError"),
        ("raise type('Own', (Exception,), {'__str__': lambda self: 1 / 0})", "plugin 'paper' failed in render_network: Own\n"),
        ("return 'etc/paper'", "plugin 'paper' gave an answer from render_network that cannot be used: expected a list, got"),
        ("return None", "plugin 'paper' gave an answer from render_network that cannot be used: expected a list, got null"),
    ],
)
def test_a_plugin_that_fails_or_returns_the_wrong_thing_is_named(make: Make, body: str, expected: str) -> None:
    make("paper", RENDER.format(body=body))
    assert refusal("paper", render).startswith(expected)


def test_an_error_that_a_user_can_act_upon_passes_as_it_is(make: Make) -> None:
    make("paper", RENDER.format(body="raise NotFoundError('no such paper', hint='buy some')"))
    with pytest.raises(NotFoundError) as caught:
        render("paper")
    assert str(caught.value) == "no such paper\nbuy some"
    assert not isinstance(caught.value, PluginError)
    assert isinstance(caught.value, TerraError)


def test_a_long_wrong_answer_is_a_short_error(make: Make) -> None:
    make("paper", RENDER.format(body="return [1] * 100_000"))
    said = refusal("paper", render)
    assert len(said) < 1000
    assert "[4]: " in said
    assert "and more of the kind" in said


def test_no_plugin_swallows_an_error_of_core() -> None:
    class Swallowing:
        def __enter__(self) -> str:
            return "x"

        def __exit__(self, *failure: object) -> bool:
            return True

    offer: Any = Swallowing()
    entered: list[str] = []
    checked = CheckedContext(offer, str, lambda error: error, lambda problems: KeyError())
    with pytest.raises(KeyError), checked as value:  # noqa: PT012  # the error has to come from within
        entered.append(value)
        raise KeyError("core's")
    assert entered == ["x"]


def test_an_interruption_passes(make: Make) -> None:
    make("paper", RENDER.format(body="raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        render("paper")


def test_candidates_lists_every_role_with_all_that_fill_it_and_what_is_selected(make: Make) -> None:
    make("paper", RENDER.format(body="return []"), version="4.5")
    found = {name: one for name, one in Plugins.discover().installed.items() if name == "paper"}
    rows = [(row.role, row.name, row.distribution, row.version, row.selected) for row in candidates(Plugins(found), {})]
    assert rows == [
        ("network", "netplan", "", "not installed", True),
        ("network", "paper", "terra-paper", "4.5", False),
        *((role.role, role.default, "", "not installed", True) for role in ROLES.values() if role.role != "network"),
    ]
    chosen = [row for row in candidates(Plugins(found), {"network": "paper"}) if row.role == "network"]
    assert [(row.name, row.selected) for row in chosen] == [("paper", True)]
    assert chosen[0].as_json() == {
        "role": "network", "name": "paper", "distribution": "terra-paper", "version": "4.5", "selected": True,
    }  # fmt: skip


def found(*names: str) -> Plugins:
    """Return these of the installed plugins."""
    return Plugins({name: one for name, one in Plugins.discover().installed.items() if name in names})


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("raise RuntimeError('not today')", "cannot be loaded: RuntimeError: not today"),
        ("import sys\nsys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("import nothing_of_this_name", "cannot be loaded: ModuleNotFoundError"),
        (RENDER.format(body="").replace("render_network", "render_netwrok"), "has a hook that Terra does not know"),
        ("class Plugin: contract = 2\nplugin = Plugin()", "fills no role: it has no hook of any"),
        (
            "class Plugin:\n    contract = 2\n    @hookimpl\n"
            "    def pull_image(self, reference, layout, session): pass\nplugin = Plugin()\n",
            "fills no role: registry without fetch_signatures, inspect_image, push_image",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used_is_listed_and_hides_no_other(make: Make, module: str, problem: str) -> None:
    make("paper", RENDER.format(body="return []"))
    make("stone", module)
    rows = {row.name: row for row in candidates(found("paper", "stone"), {})}
    assert (rows["paper"].role, rows["paper"].problem) == ("network", "")
    assert "problem" not in rows["paper"].as_json()
    assert (rows["stone"].role, rows["stone"].distribution, rows["stone"].selected) == ("", "terra-stone", False)
    assert problem in rows["stone"].problem
    assert rows["stone"].as_json()["problem"] == rows["stone"].problem


def test_a_selected_plugin_that_does_not_fill_its_role_is_shown_as_such(make: Make) -> None:
    make("paper", RENDER.format(body="return []"))
    make("stone", "raise RuntimeError('not today')")
    chosen = {"network": "stone", "boot": "paper"}
    rows = {(row.role, row.name): row for row in candidates(found("paper", "stone"), chosen) if row.name in ("paper", "stone")}
    assert set(rows) == {("network", "paper"), ("network", "stone"), ("boot", "paper")}
    assert "RuntimeError: not today" in rows["network", "stone"].problem
    assert rows["boot", "paper"].problem == "does not fill boot"


def test_the_command_lists_what_it_can(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make("stone", "raise RuntimeError('not today')")
    assert run(terra, ["plugins"]) == 0
    out, err = capsys.readouterr()
    assert "netplan" in out
    assert "-            stone" in out
    assert "stone cannot be used: plugin 'stone' of terra-stone 1.2.3 cannot be loaded: RuntimeError: not today" in err


SETTINGS = (
    "from attrs import frozen\n"
    "@frozen(kw_only=True)\n"
    "class Settings:\n"
    "    pages: int = 1\n"
    "    def problems(self):\n"
    "        {problems}\n"
    "        yield from ()\n"
)


ATTRS = "__import__('attrs')"


def with_settings(body: str, said: str = "Settings", problems: str = "pass") -> str:
    rendering = RENDER.format(body=body).replace("contract = 2", f"contract = 2\n    settings = {said}")
    return SETTINGS.format(problems=problems) + rendering


def test_a_hook_gets_its_table_as_its_model_read_once(make: Make) -> None:
    body = "table = session.settings('paper', Settings); called.append(table); return []"
    make("paper", with_settings(body))
    filled = Plugins.discover().fill(Network, {"network": "paper"}, source="server.toml")
    model = found("paper").settings("paper")
    assert model is not None
    session = Session(source="server.toml", tables={"paper": {"pages": 3}}).structured("paper", model)
    for _ in range(2):
        filled.render_network(SERVER, session)
    called = [one for one in sys.modules["fake_paper"].called if one != "a"]
    assert called[0].pages == 3
    assert called[0] is called[1] is session.tables["paper"]


def test_a_wrong_table_is_told_before_the_hook_is_called(make: Make) -> None:
    make("paper", with_settings("return []"))
    filled = Plugins.discover().fill(Network, {"network": "paper"}, source="server.toml")
    with pytest.raises(ConfigError, match=r"server\.toml: paper\.pages: expected a whole number, got \"many\""):
        filled.render_network(SERVER, Session(source="server.toml", tables={"paper": {"pages": "many"}}))
    assert sys.modules["fake_paper"].called == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("3", "says settings that are no class of attrs, but int"),
        ("Settings()", "says settings that are no class of attrs, but Settings"),
        ("property(lambda self: 1 / 0)", "cannot be looked at: ZeroDivisionError"),
        (f"{ATTRS}.make_class('Odd', {{'pages': {ATTRS}.field(type='Nope')}})", "Odd, with a type that is not there"),
    ],
)
def test_settings_that_are_no_model_are_refused_at_load(make: Make, said: str, expected: str) -> None:
    make("paper", with_settings("return []", said))
    assert expected in refusal("paper")


def test_a_model_that_fails_is_the_plugins_defect(make: Make) -> None:
    make("paper", with_settings("return []", problems="raise KeyError('oh')"))
    with pytest.raises(PluginError, match=r"of terra-paper 1\.2\.3 cannot be asked what \[paper\] is: KeyError: 'oh'"):
        found("paper").read_table("paper", {})
