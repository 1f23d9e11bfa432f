"""The Docker Engine that ``make release`` starts where the machine has none."""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest
from docker import DockerClient

from iso.engine import answers, temporary_engine
from lab.processes import gone, mentioning
from terra_core.errors import ConflictError
from terra_core.system.mounts import mount_points
from terra_core.system.process import Daemon
from terra_core.system.waiting import wait_until
from terra_core.testing.tiny import write_tiny_root

SCRIPT = """
import sys, threading
from pathlib import Path
from iso.engine import temporary_engine

with temporary_engine(Path(sys.argv[1])) as host:
    print(host, flush=True)
    threading.Event().wait()
"""


def test_it_answers_only_as_long_as_the_block_lasts_and_keeps_its_images(tmp_path: Path) -> None:
    tar = tmp_path / "root.tar"
    write_tiny_root(tar)
    with temporary_engine(tmp_path / "engine") as host, closing(DockerClient(base_url=host)) as client:
        client.api.import_image_from_file(str(tar), repository="kept", tag="1")
        place = Path(host.removeprefix("unix://")).parent
    assert not answers(host)
    assert not place.exists()
    with temporary_engine(tmp_path / "engine") as host, closing(DockerClient(base_url=host)) as client:
        assert client.images.get("kept:1").tags == ["kept:1"]


def test_a_second_one_with_the_same_images_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with temporary_engine(tmp_path) as host:
        with pytest.raises(ConflictError, match=f"another engine uses {tmp_path}"), temporary_engine(tmp_path):
            pass
        assert answers(host)


def test_killed_it_leaves_nothing_that_runs_and_the_next_one_removes_the_rest(tmp_path: Path) -> None:
    data = tmp_path / "engine"
    script = Daemon([sys.executable, "-c", SCRIPT, data], log=tmp_path / "log", env={"PYTHONPATH": str(Path.cwd())})
    try:
        wait_until(lambda: not script.alive or "unix://" in script.tail(), seconds=60, what="the engine to be up")
        assert script.alive, script.tail()
    finally:
        script.signal(signal.SIGKILL)
        script.wait(10)
    place = Path(script.tail().removeprefix("unix://")).parent
    assert gone(mentioning([data, place]), seconds=30), "a daemon ends with the process that started it"
    assert place.exists()
    with temporary_engine(data) as host:
        assert answers(host)
        assert not place.exists()
    assert [point.path for point in mount_points() if point.path.is_relative_to(tmp_path)] == []
