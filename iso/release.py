"""``make release``: every image of Terra, built by vab, and pushed where REPO says.

``python -m iso.release [NAME ...]`` builds the named images, or all of them. It reads REPO (a registry and path; nothing is
pushed without it), VERSION (the tag) and HTTP (set to push over plain HTTP) from the environment, and writes
``build/release.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import requests
from attrs import asdict, frozen
from docker.errors import ImageNotFound

from iso.bootstrap import EPOCH
from iso.build import IMAGES, RECIPES, Say, build, digest
from iso.command import carried_out, say
from iso.engine import answers, temporary_engine
from iso.origin import Origin
from iso.recipe import Recipe
from terra_core.config.values import ImageReference, parse_image_reference, parse_repository, parse_tag
from terra_core.errors import TerraError
from terra_core.system.files import write_file
from terra_core.system.process import Argument, run

MANIFEST = IMAGES.parent / "release.json"
_REPOSITORY = "docker.io/stellarproject"
_VERSION = "v0.1.0"
_SOURCE = "terra.recipe"
_SECONDS = 1800
_SOCKET = "unix:///var/run/docker.sock"
_TYPES = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@frozen(kw_only=True)
class Wanted:
    """What is asked for.

    :param repository: what the images' names begin with.
    :param version: their tag.
    :param push: whether they are pushed.
    :param http: whether that is done over plain HTTP.
    """

    repository: str = _REPOSITORY
    version: str = _VERSION
    push: bool = False
    http: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Wanted:
        """Return the release that REPO, VERSION and HTTP describe.

        :raises TerraError: when one of them is none.
        """
        repository, version = environment.get("REPO") or "", environment.get("VERSION") or _VERSION
        try:
            named = str(parse_repository(repository)) if repository else _REPOSITORY
            tag = str(parse_tag(version))
        except ValueError as error:
            raise TerraError(f"REPO={repository} VERSION={version}: {error}") from error
        return cls(repository=named, version=tag, push=bool(repository), http=bool(environment.get("HTTP")))

    def reference(self, recipe: Recipe) -> ImageReference:
        """Return the name of a recipe's image."""
        return parse_image_reference(f"{self.repository}/{recipe.name}:{self.version}")


@frozen(kw_only=True)
class Released:
    """An entry of release.json.

    :param image: the name of the image.
    :param digest: the digest of its manifest in the registry, or of its configuration when it was not pushed.
    :param size: its size in the engine, in bytes.
    :param recipe: the hash of all that it is made of.
    :param pushed: whether it was pushed.
    """

    image: str
    digest: str
    size: int
    recipe: str
    pushed: bool


def release(
    wanted: Wanted,
    names: Sequence[str] = (),
    *,
    recipes: Path = RECIPES,
    images: Path = IMAGES,
    manifest: Path = MANIFEST,
    engine: str,
    say: Say,
) -> list[Released]:
    """Build every image, and push it when that is asked for; what is there already is left alone.

    :param names: the recipes, with what is laid over them; all when there is none.
    :param recipes: the directory of the recipes' folders.
    :param images: the directory of the root tars.
    :param manifest: release.json; its entries of an earlier run count only if engine and registry confirm them.
    :param engine: what DOCKER_HOST has to be.
    """
    before = {entry.image: entry for entry in _read(manifest)}
    done: list[Released] = []
    there = {path.parent.name: path.parent for path in sorted(recipes.glob("*/recipe.toml"))}
    if unknown := [name for name in names if name not in there]:
        raise TerraError(f"no recipe {', '.join(unknown)}", hint=f"there are: {', '.join(there)}")
    for recipe in in_order([Recipe.load(there[name]) for name in names or there]):
        name = str(wanted.reference(recipe))
        source = source_of(recipe)
        entry = before.get(name)
        if entry and entry.recipe == source and _is_there(entry, wanted, engine):
            say(f"{recipe.name}: is there: {entry.image}")
        else:
            entry = _make(recipe, wanted, source, images=images, engine=engine, say=say)
        done.append(entry)
        _write(manifest, [*done, *(other for image, other in before.items() if image not in [made.image for made in done])])
    if not names:
        _write(manifest, done)
    return done


def in_order(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return recipes, each after those whose images are laid over its own."""
    found: dict[str, Recipe] = {}

    def add(recipe: Recipe) -> None:
        for component in recipe.components():
            add(component)
        found.setdefault(recipe.name, recipe)

    for recipe in recipes:
        add(recipe)
    return list(found.values())


def source_of(recipe: Recipe) -> str:
    """Return a hash over all that decides what is in a recipe's image."""
    parts = [digest(recipe, Origin.of(os.environ)), *recipe.changes, *(source_of(part) for part in recipe.components())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def dockerfile(recipe: Recipe, wanted: Wanted, source: str) -> str:
    """Return the Dockerfile that makes an image of a root tar."""
    lines = ["FROM scratch", "ADD root.tar /"]
    lines += [f"COPY --from={wanted.reference(component)} / /" for component in recipe.components()]
    return "\n".join([*lines, *recipe.changes, f"LABEL {_SOURCE}={source}", ""])


def _make(recipe: Recipe, wanted: Wanted, source: str, *, images: Path, engine: str, say: Say) -> Released:
    tar = build(recipe, images=images, say=say, shown=True)
    reference = wanted.reference(recipe)
    say(f"{recipe.name}: building {reference}{', and pushing it' if wanted.push else ''}")
    with tempfile.TemporaryDirectory(prefix=".release-", dir=images) as directory:
        context = Path(directory)
        os.link(tar, context / "root.tar")
        (context / "Dockerfile").write_text(dockerfile(recipe, wanted, source))
        out: list[Argument] = [*(["--push"] if wanted.push else []), *(["--http"] if wanted.push and wanted.http else [])]
        vab = Path(sys.executable).with_name("vab")
        said = run([vab, "--engine", engine, "build", "--ref", str(reference), "--context", context, *out],
                   timeout=_SECONDS, shown=True, env={"SOURCE_DATE_EPOCH": EPOCH})  # fmt: skip
    printed = said.text.strip()
    named = printed.rpartition("@")[2] if wanted.push else printed.split()[-1]
    with closing(docker.DockerClient(base_url=engine)) as client:
        size = int(client.images.get(str(reference)).attrs["Size"])
    return Released(image=str(reference), digest=named, size=size, recipe=source, pushed=wanted.push)


def _is_there(entry: Released, wanted: Wanted, engine: str) -> bool:
    if not wanted.push:
        return _in_engine(entry, engine)
    return entry.pushed and _in_registry(entry, wanted)


def _in_engine(entry: Released, engine: str) -> bool:
    try:
        with closing(docker.DockerClient(base_url=engine)) as client:
            return bool(client.images.get(entry.image).labels.get(_SOURCE) == entry.recipe)
    except ImageNotFound:
        return False


def _in_registry(entry: Released, wanted: Wanted) -> bool:
    """Return whether the tag still names the digest; for a registry that asks for credentials, leave that to vab."""
    reference = parse_image_reference(entry.image)
    schemes = ["http", "https"] if wanted.http else ["https"]
    for scheme in schemes:
        url = f"{scheme}://{reference.registry}/v2/{reference.path}/manifests/{reference.tag}"
        try:
            answer = requests.head(url, headers={"Accept": _TYPES}, timeout=20)
        except requests.RequestException:
            continue
        if answer.status_code == requests.codes.ok:
            return answer.headers.get("Docker-Content-Digest") == entry.digest
    return False


def _read(manifest: Path) -> Iterator[Released]:
    try:
        entries = json.loads(manifest.read_text())["images"]
        yield from [Released(**entry) for entry in entries]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return  # the file of another version is not used


def _write(manifest: Path, entries: Sequence[Released]) -> None:
    manifest.parent.mkdir(parents=True, exist_ok=True)
    write_file(manifest, (json.dumps({"images": [asdict(entry) for entry in entries]}, indent=1) + "\n").encode())


@contextmanager
def engine_in_reach(say: Say) -> Iterator[str]:
    """Yield the engine that DOCKER_HOST names, or the machine's own, or one that is started for this run."""
    if os.environ.get("DOCKER_HOST"):
        yield os.environ["DOCKER_HOST"]
    elif answers(_SOCKET):
        yield _SOCKET
    else:
        say("no Docker Engine answers on this machine; starting one for this run, with its images in build/engine")
        with temporary_engine(IMAGES.parent / "engine") as engine:
            yield engine


def main(names: Sequence[str]) -> int:
    """Build the named images, or all, and push them; return the exit code."""

    def work() -> None:
        wanted = Wanted.of(os.environ)
        with engine_in_reach(say) as engine:
            for entry in release(wanted, names, engine=engine, say=say):
                print(f"{entry.image}@{entry.digest}" if entry.pushed else f"{entry.image} {entry.digest}")

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
