"""Recipes of base images: what they may say, what makes their hash another one, and where packages come from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from iso.bootstrap import bootstrap
from iso.build import RECIPES, build, digest, main
from iso.origin import Origin, host_mirrors, reaching_options
from iso.recipe import Recipe
from terra_core.errors import ConfigError, TerraError

BOOKWORM = Origin(distro="debian", suite="bookworm")
TRIXIE = Origin(distro="debian", suite="trixie")
NOBLE = Origin(distro="ubuntu", suite="noble")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Write a recipe with every part that one may have."""
    return make(tmp_path / "recipes" / "base", 'packages = ["udev"]\n[distribution]\ndebian = ["kernel"]\n')


def make(path: Path, text: str) -> Path:
    (path / "files" / "etc").mkdir(parents=True)
    (path / "recipe.toml").write_text(text)
    (path / "README.md").write_text("# A recipe\n")
    (path / "files" / "etc" / "motd").write_text("hello\n")
    (path / "customize").write_text("#!/bin/sh\n")
    (path / "customize").chmod(0o755)
    return path


def hash_of(path: Path, origin: Origin = BOOKWORM) -> str:
    return digest(Recipe.load(path), origin)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/recipe.toml")), ids=lambda path: path.parent.name)
@pytest.mark.parametrize("origin", [BOOKWORM, NOBLE], ids=lambda origin: origin.distro)
def test_terras_own_recipes_are_right(path: Path, origin: Origin) -> None:
    recipe = Recipe.load(path.parent)
    assert recipe.packages_of(origin.distro) or recipe.file.wheels
    assert recipe.changes
    assert all(part.file.wheels or part.file.variant == "extract" for part in recipe.components())
    assert recipe.needs() or recipe.file.variant != "extract"
    assert (path.parent / "README.md").read_text().startswith(f"# {recipe.name}\n")
    assert len(digest(recipe, origin)) == 16


def test_a_recipe_says_which_packages_a_distribution_needs_besides(recipe: Path) -> None:
    file = Recipe.load(recipe).file
    assert file.packages_of("debian") == ("udev", "kernel")
    assert file.packages_of("ubuntu") == ("udev",)


def test_every_problem_of_a_recipe_is_reported(recipe: Path) -> None:
    (recipe / "recipe.toml").write_text('packages = "udev"\nvariant = 1\npackage = ["x"]\n[image]\nchanges = [1]\n')
    with pytest.raises(ConfigError) as caught:
        Recipe.load(recipe)
    text = str(caught.value)
    for key in ("packages:", "variant:", "package:", "image.changes[0]:"):
        assert f"{recipe / 'recipe.toml'}: {key}" in text


def test_a_recipe_without_packages_is_refused(recipe: Path) -> None:
    (recipe / "recipe.toml").write_text("")
    with pytest.raises(ConfigError, match="packages"):
        Recipe.load(recipe)


def test_a_folder_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TerraError, match=r"recipe\.toml"):
        Recipe.load(tmp_path)


def test_a_recipe_that_needs_what_is_not_there_says_so(recipe: Path) -> None:
    (recipe / "recipe.toml").write_text('packages = ["udev"]\nneeds = ["other"]\n')
    with pytest.raises(TerraError, match="there is no recipe 'other'"):
        hash_of(recipe)


def test_recipes_that_need_each_other_are_refused(recipe: Path) -> None:
    (recipe / "recipe.toml").write_text('packages = ["udev"]\nneeds = ["other"]\n')
    make(recipe.parent / "other", 'packages = ["x"]\nneeds = ["base"]\n')
    with pytest.raises(TerraError, match="base needs other needs base"):
        hash_of(recipe)


def test_a_recipe_may_extend_another(recipe: Path) -> None:
    upper = make(recipe.parent / "upper", 'extends = "base"\npackages = ["x", "udev"]\n')
    assert Recipe.load(upper).packages_of("debian") == ("udev", "kernel", "x")
    before = hash_of(upper)
    change_content(recipe)
    assert hash_of(upper) != before
    command = bootstrap(Recipe.load(upper), BOOKWORM, recipe / "a.tar", recipe / "apt.conf")
    laid = [word for word in command if "--essential-hook" in word]
    assert [str(recipe / "files") in word for word in laid] == [True, False], "the files of what it extends come first"


def test_a_recipe_that_extends_itself_is_refused(recipe: Path) -> None:
    (recipe / "recipe.toml").write_text('packages = ["udev"]\nextends = "base"\n')
    with pytest.raises(TerraError, match="extends: base extends itself"):
        hash_of(recipe)


def test_a_component_leaves_out_what_its_base_has(recipe: Path) -> None:
    path = make(recipe.parent / "part", 'packages = ["x"]\nvariant = "extract"\nbase = "base"\n')
    (path / "customize").unlink()
    found = Recipe.load(path)
    assert [need.name for need in found.needs()] == ["base"]
    command = bootstrap(found, BOOKWORM, path / "a.tar", path / "apt.conf")
    (setup,) = [word for word in command if "--setup-hook" in word]
    assert setup == '--setup-hook=tar -xf "$BASE" -C "$1" ./var/lib/dpkg/status'
    assert any(word.endswith('/iso/component "$1" part') for word in command)


def test_wheels_need_a_system_that_runs_them(recipe: Path) -> None:
    (recipe / "recipe.toml").write_text('wheels = ["terra-core"]\n')
    with pytest.raises(ConfigError, match="wheels: are installed on a base"):
        Recipe.load(recipe)


def change_content(path: Path) -> None:
    (path / "files" / "etc" / "motd").write_text("good bye\n")


def change_name(path: Path) -> None:
    (path / "files" / "etc" / "motd").rename(path / "files" / "etc" / "issue")


def change_mode(path: Path) -> None:
    (path / "files" / "etc" / "motd").chmod(0o755)


def change_kind(path: Path) -> None:
    (path / "files" / "etc" / "motd").unlink()
    (path / "files" / "etc" / "motd").symlink_to("/run/motd")


def add_empty_file(path: Path) -> None:
    (path / "files" / "etc" / "fstab").touch()


def change_program(path: Path) -> None:
    (path / "customize").write_text("#!/bin/sh\nset -eu\n")


def remove_program(path: Path) -> None:
    (path / "customize").unlink()


def add_package(path: Path) -> None:
    (path / "recipe.toml").write_text('packages = ["udev", "sudo"]\n')


@pytest.mark.parametrize(
    "change",
    [change_content, change_name, change_mode, change_kind, add_empty_file, change_program, remove_program, add_package],
)
def test_whatever_changes_in_a_recipe_changes_its_hash(recipe: Path, change: Callable[[Path], None]) -> None:
    before = hash_of(recipe)
    assert hash_of(recipe) == before
    change(recipe)
    assert hash_of(recipe) != before


def test_where_packages_come_from_changes_the_hash(recipe: Path) -> None:
    mirrored = Origin(distro="debian", suite="bookworm", mirror="http://mirror.example/debian")
    assert len({hash_of(recipe, origin) for origin in (BOOKWORM, NOBLE, mirrored, TRIXIE)}) == 4


def test_a_change_of_a_needed_recipe_changes_the_hash(recipe: Path) -> None:
    upper = make(recipe.parent / "upper", 'packages = ["x"]\nneeds = ["base"]\n')
    before = hash_of(upper)
    change_content(recipe)
    assert hash_of(upper) != before


def test_neither_the_place_nor_the_readme_nor_the_umask_changes_the_hash(recipe: Path, tmp_path: Path) -> None:
    before = hash_of(recipe)
    (recipe / "README.md").write_text("# A better text\n")
    (recipe / "files" / "etc" / "motd").chmod(0o600)
    assert hash_of(recipe) == before
    copy = shutil.copytree(recipe, tmp_path / "elsewhere" / "base")
    assert hash_of(copy) == before


def test_an_image_that_is_built_is_found_without_building(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISTRO", "SUITE", "MIRROR"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    built = tmp_path / f"base-{hash_of(recipe, TRIXIE)}.tar"
    built.touch()
    assert build(Recipe.load(recipe), images=tmp_path, say=said.append) == built
    assert said == [f"base: is there: {built}"]


def test_an_unknown_image_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["terraos", "nonsense"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "no recipe nonsense" in err
    assert "pxe, terra, terraos" in err


def test_a_path_with_spaces_and_quotes_stays_one_word(tmp_path: Path) -> None:
    path = make(tmp_path / "it's $(here)", 'packages = ["x"]\n')
    command = bootstrap(Recipe.load(path), BOOKWORM, tmp_path / "a.tar", tmp_path / "apt.conf")
    hooks = [word for word in command if "-hook=" in word and "it" in word]
    assert len(hooks) == 2
    for hook in hooks:
        assert "'\"'\"'s $(here)/" in hook


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, TRIXIE),
        ({"DISTRO": "", "SUITE": "", "MIRROR": ""}, TRIXIE),
        ({"DISTRO": "ubuntu"}, NOBLE),
        ({"SUITE": "bookworm"}, BOOKWORM),
        ({"MIRROR": "http://mirror.example/d"}, Origin(distro="debian", suite="trixie", mirror="http://mirror.example/d")),
    ],
)
def test_the_environment_chooses_the_distribution(environment: dict[str, str], expected: Origin) -> None:
    assert Origin.of(environment) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DISTRO": "gentoo"}, "expected one of debian, ubuntu"),
        ({"SUITE": "--format=null"}, "code name"),
        ({"SUITE": "a b"}, "code name"),
        ({"MIRROR": "mirror.example"}, "URL"),
        ({"MIRROR": "http://mirror.example bookworm"}, "URL"),
        ({"MIRROR": "--simulate=://"}, "URL"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(TerraError, match=message):
        Origin.of(environment)


DEBIAN_HOST = """\
Packages|Debian|bookworm|bookworm|http://m.example/debian/|main
Packages|Debian|bookworm|bookworm|http://m.example/debian/|contrib
Packages|Debian|bookworm|bookworm|http://m.example/debian/|main
Translations|Debian|bookworm|bookworm|http://m.example/debian/|non-free
Packages|Debian|bookworm-updates|bookworm-updates|http://m.example/debian/|main
Packages|Debian|stable-security|bookworm-security|http://m.example/debian-security/|main
Packages|Debian|bookworm-backports|bookworm-backports|http://m.example/debian/|main
Packages|Somebody|bookworm|bookworm|http://somebody.example/|main
Packages||bookworm||http://unknown.example/|main
"""
UBUNTU_HOST = """\
Packages|Ubuntu|noble|noble|http://m.example/ubuntu/|main
Packages|Ubuntu|noble|noble|http://m.example/ubuntu/|universe
Packages|Ubuntu|noble-updates|noble|http://m.example/ubuntu/|main
Packages|Ubuntu|noble-security|noble|http://s.example/ubuntu/|main
"""


def test_a_debian_hosts_mirrors_are_used_and_nobody_elses() -> None:
    assert host_mirrors(DEBIAN_HOST.splitlines(), BOOKWORM) == [
        "deb http://m.example/debian/ bookworm main contrib",
        "deb http://m.example/debian/ bookworm-updates main",
        "deb http://m.example/debian-security/ bookworm-security main",
    ]


def test_ubuntus_updates_keep_their_own_name() -> None:
    assert host_mirrors(UBUNTU_HOST.splitlines(), NOBLE) == [
        "deb http://m.example/ubuntu/ noble main universe",
        "deb http://m.example/ubuntu/ noble-updates main",
        "deb http://s.example/ubuntu/ noble-security main",
    ]


@pytest.mark.parametrize(
    "host",
    [UBUNTU_HOST, "", "nonsense", "Packages|Debian|bookworm-updates|bookworm-updates|http://m.example/debian/|main"],
)
def test_a_host_that_does_not_know_the_suite_offers_no_mirror(host: str) -> None:
    assert host_mirrors(host.splitlines(), BOOKWORM) == []


def test_proxies_and_certificates_are_carried_over_and_nothing_else() -> None:
    kept = (
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::m.example::Proxy "DIRECT";\n'
        'Acquire::https::CaInfo "/etc/ssl/own.pem";\n'
        'Acquire::Retries "3";\n'
    )
    dropped = 'APT::Get::Assume-Yes "1";\nDPkg::Post-Invoke:: "rm -rf /";\nAcquire::Languages:: "none";\nDir "/elsewhere";\n'
    assert reaching_options((dropped + kept + dropped).splitlines()) == kept
