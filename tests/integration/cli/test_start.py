"""``terra --help`` imports what it shows, and nothing that works; what else there is imports no more than it needs."""

from __future__ import annotations

import json
import sys

import pytest

from terra_core.system.process import run

HEAVY = {
    "alembic", "attrs", "cattrs", "docker", "importlib_metadata", "litestar", "pathlib", "pluggy", "prometheus_client",
    "requests", "rich", "sqlalchemy", "structlog", "tomli", "urllib3", "uvicorn", "yaml",
}  # fmt: skip
PROGRAM = """
import json, sys
from terra_core.cli import run, terra
code = run(terra, ["--help"])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


ENDING = """
from terra_core.cli import end

class Garbage:
    def __init__(self):
        self.own = self

    def __del__(self):
        print("somebody looked for garbage")

import gc
gc.disable()
Garbage()
print("shown")
end(3)
"""


def test_the_end_of_a_process_looks_for_no_garbage_and_loses_no_output() -> None:
    assert run([sys.executable, "-c", ENDING], accept=(3,)).text == "shown\n"


def test_help_is_light_and_shows_every_command() -> None:
    done = run([sys.executable, "-c", PROGRAM])
    code, modules = json.loads(done.stderr)
    assert code == 0
    assert not HEAVY & set(modules)
    printing = {"terra_core.cli.terminal", "terra_core.system", "terra_core.system.text"}  # what escapes all that is printed
    assert {name for name in modules if name.startswith("terra_")} == {"terra_core", "terra_core.cli", *printing}
    for command in ("create", "controller", "provision", "list", "info", "delete", "pxe", "validate", "plugins"):
        assert f"\n  {command} " in done.text


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        (
            ("terra_core.service.running", "terra_core.controller.daemon"),  # in the order of the command
            {"alembic", "cryptography", "docker", "requests", "rich", "urllib3"},
        ),
        (("terra_core.service.running", "terra_orbit.agent.daemon"), {"alembic", "cryptography", "rich"}),
        (
            ("terra_core.controller.configuration", "terra_core.service.running", "terra_core.controller.stopping"),
            {"alembic", "cryptography", "litestar", "requests", "rich", "sqlalchemy", "uvicorn"},
        ),
        (("terra_core.cli.inputs", "terra_core.cli.connection"), {"cryptography", "requests", "terra_core.deploy"}),
    ],
    ids=["controller", "agent", "stop", "apply"],
)
def test_what_may_never_be_needed_is_not_imported(imported: tuple[str, ...], heavy: set[str]) -> None:
    program = f"""
import json, sys
from terra_core.system.imports import absent
with absent("rich"):  # as the commands of the daemons do
    import {", ".join(imported)}
print(json.dumps(sorted(name for name, module in sys.modules.items() if module)))
"""
    modules = set(json.loads(run([sys.executable, "-c", program]).text))
    assert modules >= set(imported)
    assert not heavy & modules


@pytest.mark.parametrize(
    "command", ["create", "controller", "provision", "list", "info", "delete", "pxe", "validate", "plugins"]
)
def test_every_command_explains_itself(command: str) -> None:
    text = run([sys.executable, "-c", "from terra_core.cli import main; main()", command, "--help"]).text
    assert f" {command} [OPTIONS]" in text
