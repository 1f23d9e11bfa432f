"""Building with ``podman build``: podman-build(1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from terra_core.building.context import dockerfile_text, lay_context
from terra_core.building.instructions import HERE_DOCUMENT, Dockerfile, label_line
from terra_core.building.request import bases_of, check_reference, check_stages, dated, dockerfile_of, doing
from terra_core.config.values import ImageReference
from terra_core.errors import CommandError, TerraError
from terra_core.hookspecs import BuildRequest, BuiltImage
from terra_core.oci.timestamps import rfc3339
from terra_core.system.progress import Event, Report
from terra_core.system.undo import undoing
from terra_core.system.workspace import image_workspace
from terra_podman.bases import labels_of_base
from terra_podman.leftovers import Leftovers
from terra_podman.program import Program, found, last_words
from terra_podman.progress import Progress
from terra_podman.settings import Podman

LABEL = "terra.builder"
"""The label of every image and container that is made here."""

_CREATED = "org.opencontainers.image.created"
_BUILD_SECONDS = 4 * 3600
_IGNORES = (".containerignore", ".dockerignore")
_READ_BY_PODMAN = (
    "_", "BUILDAH_", "CONTAINER", "DBUS_", "DOCKER_", "GO", "HOME", "HTTP", "LANG", "LC_", "LD_", "NO_PROXY", "PATH",
    "REGISTRY_", "SSL_", "STORAGE_", "TMPDIR", "USER", "XDG_", "http", "no_proxy",
)  # fmt: skip


def build_image(build: BuildRequest, settings: Podman, report: Report) -> BuiltImage:
    """Build an image and give it its name.

    RUN steps have the network of this machine.

    :raises TerraError: with the failed step and the end of its output; nothing of the build is left then, nor when it is
        interrupted.
    """
    check_reference(build)
    build = dated(build)
    dockerfile = dockerfile_of(build)
    check_stages(build, dockerfile)
    podman = found(settings)
    _check(build, dockerfile, podman, report)
    labels = {
        LABEL: "terra-podman",
        _CREATED: rfc3339(build.epoch or 0),
        **labels_of_base(podman, build, report),
        **build.labels,
    }
    with image_workspace() as work:
        leftovers = Leftovers(podman, work)
        leftovers.sweep()
        progress = Progress(doing(build), report, len(dockerfile.instructions) + 1)
        try:
            image = _build(podman, build, labels, work, leftovers, progress)
            return _named(podman, build, image)
        except BaseException as error:
            with undoing(error):
                leftovers.remove(progress.images)
            raise


def _check(build: BuildRequest, dockerfile: Dockerfile, podman: Program, report: Report) -> None:
    """Refuse what this Podman can't build, and what it would read otherwise than Terra does.

    :raises TerraError: naming the line, or the file.
    """
    own, common = (build.context / name for name in _IGNORES)
    if own.exists() and not common.exists():
        raise TerraError(
            f"{own}: is not read, and what it names would be sent",
            hint=f"rename it to {common.name}, which every builder reads",
        )
    here = [need for need in dockerfile.needs if need.what.endswith(HERE_DOCUMENT)]
    if here and not podman.here_documents:
        version = ".".join(map(str, podman.version))
        raise TerraError(
            f"{doing(build)}: {build.dockerfile} line {here[0].line}: podman {version} knows no here-documents",
            hint="podman 5 does; or COPY a script, or join the commands by &&",
        )
    if dockerfile.syntax:
        report(Event("build", f"# syntax={dockerfile.syntax} has no meaning to podman: nothing is fetched"))


def _build(
    podman: Program, build: BuildRequest, labels: Mapping[str, str], work: Path, leftovers: Leftovers, progress: Progress
) -> str:
    """Build an image that has no name yet, and return its id."""
    context, dockerfile, ignored, answer = (work / name for name in ("context", "Dockerfile", "ignore", "id"))
    context.mkdir()
    lay_context(build, context, progress.report)
    line = label_line(dockerfile_of(build), labels)
    _tell_of_bits(context, progress.report)
    dockerfile.write_text(f"{dockerfile_text(build) or ''}{line}")
    # What is to be left out is not there. Without a rule here, podman would take those of the context, for the overlay too.
    ignored.write_text(f"{work.name}\n")
    words = [
        *("build", "--format=docker", "--network=host", "--identity-label=false", "--pull=missing", *podman.authentication),
        *(f"--iidfile={answer}", f"--ignorefile={ignored}", f"--file={dockerfile}", leftovers.mark(dockerfile)),
        *(["--no-cache"] if build.no_cache else []),
        *([f"--isolation={podman.settings.isolation}"] if podman.settings.isolation else []),
        *_arguments(build.arguments),
        *([] if line else [f"--label={name}={value}" for name, value in labels.items()]),
    ]
    unseen = {name: value for name, value in build.arguments.items() if not name.startswith(_READ_BY_PODMAN)}
    lines = podman.lines(*words, context, timeout=_BUILD_SECONDS, more=unseen)
    try:
        with closing(lines):
            for line in lines:
                progress.take(line)
    except CommandError as error:
        raise progress.failed(error) from error
    image = answer.read_text().strip()
    progress.images.add(image.removeprefix("sha256:"))
    progress.end(str(build.reference or image))
    return image


def _tell_of_bits(context: Path, report: Report) -> None:
    """Report which files lose a part of their mode: Podman's COPY and ADD do that, other builders' do not."""
    found = [path for path in sorted(context.rglob("*")) if path.lstat().st_mode & 0o6000 and path.is_file()]
    names = ", ".join(str(path.relative_to(context)) for path in found if not path.is_symlink())
    if names:
        report(Event("build", f"podman copies without the setuid and setgid bits: {names}; set them by RUN chmod"))


def _arguments(arguments: Mapping[str, str]) -> Iterator[str]:
    """Return the options for ARG instructions: values go in by the environment, where other users do not see them.

    What Podman itself would take from its environment goes in as it is.
    """
    for name, value in arguments.items():
        yield f"--build-arg={name}={value}" if name.startswith(_READ_BY_PODMAN) else f"--build-arg={name}"


def _named(podman: Program, build: BuildRequest, image: str) -> BuiltImage:
    """Give an image its name, and return it."""
    id_ = image.removeprefix("sha256:")
    try:
        if build.reference is not None:
            podman.run("tag", id_, _whole(build.reference))
        inspected = podman.image(id_)
        size = int(inspected["Size"]) if inspected else 0
        layers = {layer for name in bases_of(build) for layer in _layers(podman, name)}
    except CommandError as error:
        raise TerraError(f"{doing(build)}: {last_words(error)}", hint=error.hint) from error
    return BuiltImage(
        reference=build.reference, id=f"sha256:{id_}", size=size, epoch=build.epoch, base_layers=tuple(sorted(layers))
    )


def _layers(podman: Program, name: str) -> list[str]:
    """Return the digests of the uncompressed layers of an image; none where it was named by an argument."""
    if "$" in name or (inspected := podman.image(name)) is None:
        return []
    return [str(layer) for layer in inspected["RootFS"].get("Layers") or ()]


def _whole(reference: ImageReference) -> str:
    return f"{reference.registry}/{reference.path}:{reference.tag}"
