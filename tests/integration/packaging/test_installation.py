"""``make deb`` and ``make uninstall``: what is put on a controller's host, and taken away again."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from terra_core.system.process import run

ROOT = Path(__file__).parents[3]
INDEX = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_"))}


def test_a_package_has_the_commands_the_unit_pages_and_completion_and_can_be_taken_away(tmp_path: Path) -> None:
    package = ROOT / run([ROOT / "tools/deb"], timeout=600, env=INDEX, cwd=ROOT).text.split()[-1]
    root = tmp_path / "root"
    run(["dpkg-deb", "--extract", package, root], timeout=120)
    listed = run(["dpkg-deb", "--contents", package], timeout=120).text.splitlines()
    assert not [line for line in listed if " root/root " not in line], "all of it is root's"
    assert not [line for line in listed if "/usr/local" in line or str(ROOT) in line]

    venv = root / "usr/lib/terra"
    unit = (root / "usr/lib/systemd/system/controller.service").read_text()
    assert "\nExecStart=/usr/sbin/terra controller\n" in unit
    for program in ("terra", "terra-install", "vab"):
        link = root / "usr/sbin" / program
        assert link.resolve() == venv / "bin" / program
        assert link.read_text().startswith("#!/usr/lib/terra/bin/python\n")
        shown = run([venv / "bin/python", venv / "bin" / program, "--version"], cwd=tmp_path).text
        assert shown.startswith(f"{program}, version ")
    page = gzip.decompress((root / "usr/share/man/man8/terra-provision.8.gz").read_bytes())
    assert page.startswith(b".TH TERRA\\-PROVISION 8")
    assert "_TERRA_COMPLETE=bash_complete" in (root / "usr/share/bash-completion/completions/terra").read_text()
    words = {"_TERRA_COMPLETE": "bash_complete", "COMP_WORDS": "terra aud", "COMP_CWORD": "1"}
    assert run([venv / "bin/python", venv / "bin/terra"], env=words, cwd=tmp_path).text == "plain,audit\n"
    assert (root / "usr/share/zsh/vendor-completions/_terra").read_text().startswith("#compdef terra")
    kept = run(["grep", "-rlIF", "--", str(ROOT), root], accept=(0, 1)).text
    assert kept == "", "it says nowhere where it was made"

    token = root / "etc/terra/token"
    token.write_text("a token\n")
    run([ROOT / "tools/install", "uninstall"], env={"DESTDIR": str(root), "PREFIX": "/usr"}, cwd=ROOT)
    left = [path for path in root.rglob("*") if not path.is_dir() and not {"doc", "lintian"} & {*path.parts}]
    assert left == [token]
