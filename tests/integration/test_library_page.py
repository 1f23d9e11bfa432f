"""docs/library.md: each example runs as it stands, on a site with an engine, a registry and a controller."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.disks import blank
from lab.network import CONTROLLER
from lab.site import Site
from terra_core import ControllerClient
from terra_core.system.process import run
from terra_core.testing.tiny import write_tiny_root
from tests.integration.controller.sites import SYSTEM, Ground
from tests.integration.creating import BASE

PAGE = Path(__file__).parents[2] / "docs/library.md"
BLOCKS = re.findall(r"^## ([^\n]+)$|^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
MOST_LINES = 18
EXTRA = ("alembic", "litestar", "prometheus_client", "sqlalchemy", "structlog", "uvicorn")


def examples() -> Iterator[tuple[str, str]]:
    """Yield the examples of the page, each with the title that it stands under."""
    title = ""
    for heading, code in BLOCKS:
        if heading:
            title = heading
        else:
            yield title, code


@pytest.fixture(scope="module")
def ground(state: str | None) -> Iterator[Ground]:
    """Start the site, outside pytest's own directory, which the boot service's user may not pass."""
    with tempfile.TemporaryDirectory(prefix="terra-library-") as directory:
        work = Path(directory)
        work.chmod(0o755)
        with Site(work / "build", work / "root", label="library", database=state) as site:
            ground = Ground(site, work)
            ground.push("example", SYSTEM)
            write_tiny_root(work / "root.tar", "dpkg")
            site.engine.import_image(work / "root.tar", BASE, ['CMD ["/bin/sh"]'])
            yield ground


@pytest.fixture
def place(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make the directory that the page speaks of."""
    site = ground.site
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    registry = site.registry.address
    package = "Package: base-files\\nStatus: install ok installed\\nVersion: 1\\nArchitecture: amd64\\n"
    (tmp_path / "server.toml").write_text(f"""\
hostname = "web"
version = "1"
os = "{BASE}"
repo = "{registry}/stellarproject"
userland = '''
RUN mkdir -p /var/lib/dpkg && printf "{package}" > /var/lib/dpkg/status
'''
[docker]
  insecure = ["{registry}"]
[[netplan.interfaces]]
  name = "eth0"
""")
    image = f"{registry}/stellarproject/example:6"
    (tmp_path / "node.toml").write_text(ground.node(image).read_text())
    (tmp_path / "controller.toml").write_text((site.paths.etc / "controller.toml").read_text())
    (tmp_path / "wrong.toml").write_text(f'''\
hostname = "not a name"
image = "{image}"
[[groups]]
  label = "os"
  [[groups.disk]]
    device = "/dev/sda"
    size = "20 gigs"
''')
    with blank(tmp_path, [600]) as (disk,):
        (tmp_path / "machine.toml").write_text(f'''\
hostname = "cm-02"
image = "{image}"
[[groups]]
  label = "os"
  boot = "bios"
  [[groups.disk]]
    device = "{disk.device}"
''')
        yield tmp_path


@pytest.mark.parametrize(("title", "code"), list(examples()), ids=[f"{title}-{at}" for at, (title, _) in enumerate(examples())])
def test_an_example_of_the_page_runs(ground: Ground, place: Path, title: str, code: str) -> None:
    with ground.site.network.inside():
        exec(compile(code, f"{PAGE.name}, {title}", "exec"), {"__name__": "example"})  # noqa: S102  # the page's own
        for node in ControllerClient(CONTROLLER).nodes():
            ControllerClient(CONTROLLER).delete(node.hostname)
    ground.wait_until_nothing_is_left()


def test_examples_are_short() -> None:
    assert len(list(examples())) > 10
    assert [title for title, code in examples() if len(code.splitlines()) > MOST_LINES] == []


def test_the_library_needs_nothing_of_the_services_extra() -> None:
    program = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRA!r}))
import terra_core
missing = [name for name in terra_core.__all__ if getattr(terra_core, name, None) is None]
terra_core.ControllerClient(token="a-token-of-the-tests")
print(missing)
"""
    assert run([sys.executable, "-c", program]).text.strip() == "[]"


def test_an_import_costs_what_the_package_alone_does() -> None:
    program = "import sys, terra_core; print([name for name in sys.modules if name.startswith(('terra', 'attr', 'requests'))])"
    assert run([sys.executable, "-c", program]).text.strip() == "['terra_core']"
