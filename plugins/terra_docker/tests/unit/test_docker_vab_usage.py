"""The command line of ``vab``, as far as it goes without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from terra_core.cli import run
from terra_core.errors import ConfigError
from terra_docker.release import load_release
from terra_docker.vab import vab


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build"], "Nothing would be left"),
        (["build", "--push", "--oci", "--output", "x"], "--push needs --ref"),
        (["build", "-r", "a/b:1", "--http"], "needs --push"),
        (["build", "--local", "--oci", "--output", "x"], "take one of them"),
        (["build", "--local"], "needs --output"),
        (["build", "-r", "a/b:1", "--output", "x"], "--output is for"),
        (["build", "-r", "a/b:1", "-a", "novalue"], "expected KEY=VALUE"),
        (["build", "-r", "a/b:1", "-a", "=x"], "expected KEY=VALUE"),
        (["build", "-r", "a/b:1", "-a", "a b=x"], "expected KEY=VALUE"),
        (["build", "-r", "a/b:1", "--builder", "other"], "other"),
        (["cron"], "--keep"),
        (["cron", "--keep", "yesterday"], "expected a duration"),
        (["cron", "--keep=-1h"], "expected a duration"),
    ],
)
def test_wrong_usage(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(vab, words)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize("reference", ["UPPER/case:1", "a/b:1\nRUN x", "-x/$(id)", "a/b c:1", ""])
def test_a_name_that_is_none(reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    assert run(vab, ["build", f"--ref={reference}", "-c", str(tmp_path)]) == 2
    assert "--ref" in capsys.readouterr().err + ("" if reference else "--ref")


def test_an_engine_that_is_no_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    assert run(vab, ["--engine", "nowhere", "build", "-r", "a/b:1", "-c", str(tmp_path)]) == 2
    assert 'engine: expected an address, such as "unix:///run/docker.sock"' in capsys.readouterr().err


def test_no_dockerfile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(vab, ["build", "-r", "a/b:1", "-c", str(tmp_path)]) == 1
    assert f"{tmp_path}/Dockerfile: there is no Dockerfile" in capsys.readouterr().err


def test_a_release_file_names_all_its_problems(tmp_path: Path) -> None:
    file = tmp_path / "release.toml"
    entries = [f'ref = "a/b@sha256:{"0" * 64}"', 'ref = "x y"', 'ref = "a/b:1"\nspeed = 1']
    file.write_text("".join(f"[[images]]\n{entry}\n" for entry in entries))
    with pytest.raises(ConfigError) as caught:
        load_release(file)
    text = str(caught.value)
    assert "images[0].ref" in text
    assert "images[1].ref" in text
    assert "speed" in text


def test_directories_of_a_release_file_are_seen_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "release.toml"
    entries = ['ref = "a/b:1"\ncontext = "tools"\nargs = {A = "1"}', 'ref = "a/c:1"\ndockerfile = "docker"']
    file.write_text("".join(f"[[images]]\n{entry}\n" for entry in entries))
    one, two = load_release(file)
    assert (one.context, one.dockerfile, one.args) == (str(tmp_path / "tools"), str(tmp_path / "tools"), {"A": "1"})
    assert (two.context, two.dockerfile) == (str(tmp_path), str(tmp_path / "docker"))
