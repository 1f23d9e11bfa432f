"""How long ``terra create`` of examples/server.toml takes, against ``docker build`` of the same Dockerfile and context.

    python bench/build.py [ROUNDS]

Both build on a base that the engine has, without its cache, on an engine of the lab's own; the two take turns, so that whatever
else the machine does hits both. Exit code 1 when Terra adds more than a tenth and a second.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from lab.engine import Engine
from lab.images import build_base_images, offer
from terra_core.config.loader import load
from terra_core.config.server import Server
from terra_core.create import render_build
from terra_core.dockerfile import write_overlay
from terra_core.plugins import Plugins
from terra_core.system.process import Argument, run

RATIO, SECONDS = 1.10, 1.0
_EXAMPLES = Path(__file__).parent.parent / "examples"
_REGISTRY = "10.0.10.3:5000"
_TERRA = Path(sys.executable).with_name("terra")


def prepare(work: Path) -> tuple[Path, Path]:
    """Make a directory with the example as it stands, and one for docker with the context that Terra makes of it."""
    ours, plain = work / "terra", work / "docker"
    ours.mkdir()
    for name in ("server.toml", "sshd_config"):
        shutil.copy2(_EXAMPLES / name, ours / name)
    shutil.copytree(ours, plain)
    plugins = Plugins.discover()
    document = load(ours / "server.toml", Server, owners=plugins.names)
    rendered = render_build(document, context=ours, plugins=plugins)
    write_overlay(plain, rendered.directory, rendered.dockerfile, rendered.steps)
    return ours, plain


def measure(commands: Mapping[str, list[Argument]], rounds: int, environment: Mapping[str, str]) -> dict[str, list[float]]:
    """Run each command ``rounds`` times in turns, after one round that fills caches; return the seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            run(command, env=environment, timeout=600)
            if turn:
                times[name].append(time.perf_counter() - began)
    return times


def main() -> int:
    """Measure, print, and judge."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    base = build_base_images()["terraos"]
    with tempfile.TemporaryDirectory(prefix="terra-bench-") as directory:
        work = Path(directory)
        ours, plain = prepare(work)
        with Engine(work / "engine") as engine:
            offer(base, engine, _REGISTRY, push=False)
            docker = ["docker", "build", "--no-cache", "--network=host", "--force-rm", "--tag=terra.test/plain:1"]
            commands: dict[str, list[Argument]] = {
                "docker build": [*docker, f"--file={plain}/.terra/Dockerfile", plain],
                "terra create": [_TERRA, "create", "--no-cache", ours / "server.toml"],
            }
            times = measure(commands, rounds, {"DOCKER_HOST": engine.host, "DOCKER_BUILDKIT": "0"})
    for name, taken in times.items():
        print(f"{name:<16}{median(taken):8.2f} s    {', '.join(f'{seconds:.2f}' for seconds in taken)}")
    docker_seconds, terra_seconds = (median(taken) for taken in times.values())
    print(f"{'ratio':<16}{terra_seconds / docker_seconds:8.2f}      {rounds} rounds, medians, {os.cpu_count()} processors")
    print(f"{'difference':<16}{terra_seconds - docker_seconds:8.2f} s    bound {RATIO:.0%} and {SECONDS:g} s more")
    return 0 if terra_seconds <= docker_seconds * RATIO + SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
