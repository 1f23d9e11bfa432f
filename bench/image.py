"""How long an image takes from a registry, or from an OCI layout, to a directory: Terra against what else there is.

    python bench/image.py [--rounds N] [--image OCI_LAYOUT] [--only local|registry]

Every way gets the same image on the same disk, in a network of the bench's own; the ways take turns, so that whatever else
the machine does hits all of them. Printed are medians, and ratios of medians. Exit code 1 when a ratio is above its mark.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median

from attrs import define, field, frozen

from lab.engine import Engine
from lab.images import build_base_images, offer
from lab.network import Network
from lab.registry import Registry
from terra_core.oci import ImageSource, Layout, Limits
from terra_core.oci.compression import uncompressed
from terra_core.oci.media import LAYERS
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import Argument, run

_HERE = Path(__file__).parent
_BUILD = _HERE.parent / "build"
_TERRA = Path(sys.executable).with_name("terra")
_SECONDS = 1200
_DISK = 32 << 30
_PULL_MARK = 0.7
_UNPACK_MARK = 0.8
_MEMORY_MARK = 256 << 20


@frozen
class Way:
    """One way from an image to a tree.

    :param name: what is printed.
    :param words: the command; ``{work}`` in it is an empty directory, in which it makes ``root``.
    :param lacks: what it does not do that Terra does.
    :param before: done before each round, outside of the time that is taken.
    """

    name: str
    words: Sequence[Argument]
    lacks: str = ""
    before: Callable[[], object] = lambda: None


@define
class Taken:
    """What the rounds of a way took: seconds, processor seconds, bytes of memory."""

    seconds: list[float] = field(factory=list)
    cpu: list[float] = field(factory=list)
    rss: list[int] = field(factory=list)


def measure(ways: Sequence[Way], rounds: int, work: Path, command: Callable[[Sequence[Argument]], list[str]]) -> list[Taken]:
    """Let the ways take turns, after one round that only fills caches.

    :param command: puts a command into the network that it runs in.
    """
    taken = [Taken() for _ in ways]
    for turn in range(rounds + 1):
        with fresh_disk(work) as disk:
            for number, (way, one) in enumerate(zip(ways, taken, strict=True)):
                place = disk / str(number)
                place.mkdir()
                way.before()
                run(["sync", "--file-system", place], timeout=_SECONDS)
                words = [str(word).replace("{work}", str(place)) for word in way.words]
                figures = json.loads(run(command([sys.executable, _HERE / "measured.py", *words]), timeout=_SECONDS).text)
                print(".", end="", file=sys.stderr, flush=True)
                if turn:
                    one.seconds.append(figures["seconds"])
                    one.cpu.append(figures["cpu"])
                    one.rss.append(figures["rss"])
    print(file=sys.stderr)
    return taken


@contextmanager
def fresh_disk(work: Path) -> Iterator[Path]:
    """Mount a new btrfs in a file, like an empty disk of a machine, so that no earlier run slows a later one down."""
    file, place = work / "disk.img", work / "disk"
    place.mkdir(exist_ok=True)
    with file.open("wb") as made:
        made.truncate(_DISK)
    run(["mkfs.btrfs", "--quiet", file])
    try:
        with loop_device(file) as device, mounted(device, place, filesystem="btrfs"):
            yield place
    finally:
        file.unlink()


def local_ways(layout: Path) -> list[Way]:
    """From an OCI layout on the same disk to a tree."""
    blobs = " ".join(str(blob) for blob in _blobs(layout))
    each = f"for blob in {blobs}; do tar -x -z --numeric-owner --preserve-permissions"
    return [
        Way("terra unpack oci:", [_TERRA, "unpack", f"oci:{layout}", "{work}/root"]),
        Way("umoci raw unpack", ["umoci", "raw", "unpack", "--image", f"{layout}:latest", "{work}/root"]),
        Way(
            "tar -xz --xattrs",
            ["sh", "-ec", f'mkdir {{work}}/root; {each} --xattrs --xattrs-include="*" -f $blob -C {{work}}/root; done'],
            "no verification, no whiteouts, paths by string",
        ),
        Way(
            "tar -xz",
            ["sh", "-ec", f"mkdir {{work}}/root; {each} -f $blob -C {{work}}/root; done"],
            "no extended attributes, no verification, no whiteouts, paths by string",
        ),
    ]


def remote_ways(reference: str, engine: Engine) -> list[Way]:
    """From a registry to a tree."""

    def forget() -> None:
        with closing(engine.client()) as client:
            client.images.remove(reference, force=True)
            client.images.prune(filters={"dangling": True})

    docker = f"docker --host {engine.host}"
    export = (
        f"{docker} pull --quiet {reference}; container=$({docker} create {reference}); mkdir {{work}}/root; "
        f"{docker} export $container | tar -x --numeric-owner -p -C {{work}}/root; {docker} rm --volumes $container"
    )
    copy = "skopeo --insecure-policy copy --quiet --src-tls-verify=false"
    return [
        Way("terra unpack", [_TERRA, "unpack", "--http", reference, "{work}/root"]),
        Way(
            "skopeo copy + umoci raw unpack",
            ["sh", "-ec", f"{copy} docker://{reference} oci:{{work}}/layout:latest; "
             "umoci raw unpack --image {work}/layout:latest {work}/root"],
        ),
        Way(
            "docker pull + export",
            ["sh", "-ec", export],
            "no extended attributes; writes everything twice; the engine's own memory and processor time are not counted",
            forget,
        ),
    ]  # fmt: skip


def _blobs(layout: Path) -> list[Path]:
    layers = Layout(layout).image().manifest.layers
    return [layout / "blobs" / layer.digest.algorithm / layer.digest.encoded for layer in layers]


def show(title: str, ways: Sequence[Way], taken: Sequence[Taken]) -> float:
    """Print a table; return the ratio of the first way to the second."""
    print(f"\n{title}, medians of {len(taken[0].seconds)} rounds")
    print(f"  {'':<32}{'seconds':>9}{'to terra':>10}{'cpu s':>8}{'MiB':>7}  does not do")
    first = median(taken[0].seconds)
    for way, one in zip(ways, taken, strict=True):
        seconds = median(one.seconds)
        figures = f"{seconds:9.2f}{seconds / first:10.2f}{median(one.cpu):8.2f}{max(one.rss) / (1 << 20):7.0f}"
        print(f"  {way.name:<32}{figures}  {way.lacks}")
    return first / median(taken[1].seconds)


def floors(layout: Path) -> None:
    """Print what each part of the work takes alone, on one core: no way can be faster than the slowest of them."""
    image = Layout(layout).image()
    parts: Mapping[str, Callable[[], int]] = {
        "read and hash the blobs": lambda: sum(len(piece) for piece in _read(image)),
        "read and inflate": lambda: sum(len(piece) for piece in _inflate(image)),
        "read, inflate and hash what comes out": lambda: _hash(_inflate(image)),
    }
    print("\nwhere the time goes: the parts alone, one core each")
    for name, work in parts.items():
        began = time.perf_counter()
        count = work()
        seconds = time.perf_counter() - began
        print(f"  {name:<40}{seconds:6.2f} s {count / 1e6:9.1f} MB {count / seconds / 1e6:7.0f} MB/s")


def _read(image: ImageSource) -> Iterator[bytes]:
    for layer in image.manifest.layers:
        with image.open_layer(layer) as blob:
            while piece := blob.read(1 << 18):
                yield piece


def _inflate(image: ImageSource) -> Iterator[bytes]:
    for layer in image.manifest.layers:
        with image.open_layer(layer) as blob:
            yield from uncompressed(blob.read, LAYERS[layer.media_type], Limits())


def _hash(pieces: Iterator[bytes]) -> int:
    hasher, count = hashlib.sha256(), 0
    for piece in pieces:
        hasher.update(piece)
        count += len(piece)
    return count


def calls(layout: Path, work: Path) -> None:
    """Print the system calls of ``terra unpack``, and what writing the tree takes alone."""
    words: list[Argument] = ["strace", "-f", "-c", "-U", "calls,name", "-o", work / "calls", _TERRA, "unpack"]
    with fresh_disk(work) as disk:
        run([*words, f"oci:{layout}", disk / "root"], timeout=_SECONDS)
        run(["sync", "--file-system", disk], timeout=_SECONDS)
        began = time.perf_counter()
        run(["cp", "-a", disk / "root", disk / "copy"], timeout=_SECONDS)
        print(f"  {'write the tree (cp -a of it, cached)':<40}{time.perf_counter() - began:6.2f} s")
    lines = [line.split() for line in (work / "calls").read_text().splitlines()]
    counts = {line[1]: int(line[0]) for line in lines if len(line) == 2 and line[0].isdigit() and line[1] != "total"}
    top = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:12])
    print(f"  system calls: {sum(counts.values())} in all: {top}")


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("local", "registry"))
    options = parser.parse_args()
    work = _BUILD / "bench"
    work.mkdir(parents=True, exist_ok=True)
    marks = []
    with ExitStack() as stack:
        network = stack.enter_context(Network("bench"))
        engine = stack.enter_context(Engine(_BUILD / "engine", network))
        registry = stack.enter_context(Registry(network, _BUILD / "registry"))
        reference = str(offer(build_base_images()["terraos"], engine, registry.address, push=True))
        layout = work / "layout"
        shutil.rmtree(layout, ignore_errors=True)
        words = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"]
        run(network.command([*words, f"docker://{reference}", f"oci:{layout}:latest"]), timeout=_SECONDS)
        if options.only != "registry":
            ways = local_ways(layout)
            taken = measure(ways, options.rounds, work, network.command)
            marks.append(("unpack, to umoci raw unpack", show("from an OCI layout", ways, taken), _UNPACK_MARK))
            marks.append(("memory of unpack, in bytes", max(taken[0].rss), _MEMORY_MARK))
        if options.only != "local":
            ways = remote_ways(reference, engine)
            taken = measure(ways, options.rounds, work, network.command)
            marks.append(("pull and unpack, to skopeo and umoci", show("from a registry", ways, taken), _PULL_MARK))
            marks.append(("memory of pull and unpack, in bytes", max(taken[0].rss), _MEMORY_MARK))
        floors(layout)
        calls(layout, work)
        shutil.rmtree(layout)
    print()
    for name, value, mark in marks:
        print(f"  {name:<40}{value:>12.2f}   mark {mark:>12.2f}   {'held' if value <= mark else 'MISSED'}")
    return 0 if all(value <= mark for _, value, mark in marks) else 1


if __name__ == "__main__":
    sys.exit(main())
