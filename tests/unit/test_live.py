"""What the live system makes of the kernel line; the program is no module, and stands where the image has it."""

from __future__ import annotations

import importlib.util
import os
import re
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import pytest

from iso.medium import make
from iso.recipe import Recipe
from iso.release import Wanted, dockerfile, in_order, source_of
from terra_core.errors import TerraError

ISO = Path(__file__).parents[2] / "iso"
PROGRAM = ISO / "live/files/usr/lib/terra/live/live"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAabcdefghijklmnop+rstuvwxyz/123456789ABCDEF me@here"


@pytest.fixture(scope="module")
def live() -> ModuleType:
    loader = SourceFileLoader("terra_live", str(PROGRAM))
    spec = importlib.util.spec_from_loader("terra_live", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.dont_write_bytecode", True)
        loader.exec_module(module)
    return module


@pytest.mark.parametrize("word", [quote(KEY, safe=""), KEY.replace(" ", "%20"), quote(KEY)])
def test_a_key_is_spelled_with_percent_signs(live: ModuleType, word: str) -> None:
    words = live.kernel_words(f"boot=terra-live quiet terra.ssh={word} console=tty0")
    assert live.keys_of(words) == ([KEY], [])


def test_a_key_may_stand_in_quotes_and_more_than_once(live: ModuleType) -> None:
    words = live.kernel_words(f'"terra.ssh={KEY}" terra.ssh={quote(KEY)}')
    assert live.keys_of(words)[0] == [KEY, KEY]


@pytest.mark.parametrize("value", ["", "nonsense", quote(f'command="evil" {KEY}'), quote(f"{KEY}\nssh-rsa AAAA evil")])
def test_what_is_no_key_lets_nobody_in_and_is_shown(live: ModuleType, value: str) -> None:
    keys, wrong = live.keys_of(live.kernel_words(f"terra.ssh={value}"))
    assert keys == []
    assert "public ssh key" in wrong[0]


def test_a_quote_that_is_never_closed_is_a_character(live: ModuleType) -> None:
    assert ("terra.install", "http://x/") in live.kernel_words('terra.install=http://x/ odd="')


def test_passwords_differ(live: ModuleType) -> None:
    found = {live.random_password() for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch(r"[a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4}", password) for password in found)


def test_what_is_installed(live: ModuleType) -> None:
    words = live.kernel_words("terra.install=http://10.0.10.3/n.toml terra.gateway=10.0.10.1 terra.http quiet")
    assert live.install_command(words) == [
        "terra-install", "--yes", "--gateway", "10.0.10.1", "--http", "--", "http://10.0.10.3/n.toml",
    ]  # fmt: skip
    assert live.install_command([("terra.install", "--wipe")])[-2:] == ["--", "--wipe"], "an option it is not"


def test_the_greeting_shows_addresses_and_what_to_do_next(live: ModuleType) -> None:
    interfaces = [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "scope": "host"}]},
        {"ifname": "eth0", "addr_info": [{"local": "10.0.10.50", "scope": "global"}, {"local": "fe80::1", "scope": "link"}]},
    ]
    text = live.greeting(interfaces, "Log in somehow.")
    assert "  eth0       10.0.10.50\n\nLog in somehow.\n" in text
    assert "127.0.0.1" not in text
    assert "Next: sudo terra-install" in text
    assert "no network interface has an address yet" in live.greeting([], "")


@pytest.mark.parametrize("word", ["a b", "a'b", 'a"b', "a\\b", "", "a\nb", "é"])
def test_a_word_that_would_leave_the_kernel_line_is_refused(word: str, tmp_path: Path) -> None:
    with pytest.raises(TerraError, match="a word of printable characters"):
        make(tmp_path / "x.iso", [word], images=tmp_path, say=lambda line: None)


def test_images_come_after_those_that_are_laid_over_them() -> None:
    names = [recipe.name for recipe in in_order([Recipe.load(path.parent) for path in sorted(ISO.glob("*/recipe.toml"))])]
    assert names.index("terra") < names.index("live")
    assert {"terraos", "pxe", "boot", "live", "containerd", "cni", "node_exporter", "wireguard", "terra"} <= set(names)


def test_the_live_image_is_its_root_and_the_commands_over_it() -> None:
    recipe = Recipe.load(ISO / "live")
    lines = dockerfile(recipe, Wanted(repository="r.example/terra", version="v1"), source_of(recipe)).splitlines()
    assert lines[:3] == ["FROM scratch", "ADD root.tar /", "COPY --from=r.example/terra/terra:v1 / /"]


def test_where_images_go_is_read_from_the_environment() -> None:
    assert Wanted.of({}) == Wanted()
    found = Wanted.of({"REPO": "10.0.10.3:5000/stellarproject", "VERSION": "v12", "HTTP": "1"})
    assert str(found.reference(Recipe.load(ISO / "pxe"))) == "10.0.10.3:5000/stellarproject/pxe:v12"
    assert (found.push, found.http) == (True, True)
    for wrong in ({"REPO": "Upper/x"}, {"VERSION": "a b"}, {"REPO": "r.example/x:1"}):
        with pytest.raises(TerraError):
            Wanted.of(wrong)


def test_a_console_that_getty_took_is_opened_again(live: ModuleType, tmp_path: Path) -> None:
    console = tmp_path / "console"
    shown = live.Console(console)
    shown.show(b"there is none yet\n")
    for text in (b"before\n", b"after\n"):
        ours, theirs = os.openpty()
        console.unlink(missing_ok=True)
        console.symlink_to(os.ttyname(theirs))
        shown.show(text)
        assert os.read(ours, 100).startswith(text.rstrip())
        os.close(theirs)
        os.close(ours)  # hangs up, as vhangup(2) does: what is open refuses to be written to
