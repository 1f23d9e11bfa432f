"""An image into a directory: the image engine on its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from attrs import frozen

from terra_core.config.trust import Trust
from terra_core.config.values import parse_image_reference
from terra_core.errors import ConfigError, TerraError
from terra_core.image import apply_layers
from terra_core.image.removal import Fate, empty
from terra_core.image.room import room_in
from terra_core.images import Configuration, Images, images_of
from terra_core.oci import ImageSource, Layout
from terra_core.oci.archive import DockerArchive
from terra_core.plugins import Plugins
from terra_core.system.openat import DIRECTORY
from terra_core.system.progress import Report, silent
from terra_core.system.undo import undoing

_LAYOUT = "oci:"
_ARCHIVE = "docker-archive:"
_OF_THE_FILE_SYSTEM = frozenset({"lost+found"})


@frozen(kw_only=True)
class Unpacked:
    """What was unpacked.

    :param digest: the digest of the image's manifest; of its configuration where it came from ``docker save``.
    :param layers: how many layers it has.
    :param bytes: the length of all files, holes included.
    :param entries: how many entries its layers have.
    :param seconds: how long it took, the download included.
    :param left_out: what of the image is not in the directory, a line each.
    """

    digest: str
    layers: int
    bytes: int
    entries: int
    seconds: float
    left_out: tuple[str, ...] = ()


def unpack_image(
    image: str,
    directory: Path,
    *,
    config: Configuration | None = None,
    trust: Sequence[Trust] = (),
    plain_http: bool = False,
    force: bool = False,
    report: Report = silent,
    plugins: Plugins | None = None,
) -> Unpacked:
    """Unpack an image into a directory.

    :param image: the name of an image in a registry, ``oci:DIRECTORY[:TAG]`` or ``docker-archive:FILE[:NAME]``.
    :param directory: where to; made when it is missing. After a failure it is as it was, unless it held something before.
    :param config: the file that says who fetches an image of a registry, and whose are taken; the default plugin fetches
        anybody's without one.
    :param trust: whose signatures an image of a registry must have besides.
    :param plain_http: whether the registry may be talked to without TLS.
    :param force: unpack over what the directory holds.
    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :raises TerraError: naming the image, the layer, the entry.
    """
    started = time.monotonic()
    if os.geteuid() != 0:
        raise TerraError("only root can give files their owners", hint="run this as root")

    registry = partial(images_of, config, trust=trust, plain_http=plain_http, report=report, plugins=plugins)
    trusting = bool(trust or (config and config.value.trust))
    opened = partial(_opened, image, registry=registry, trusting=trusting)
    with _prepared(directory, force=force), room_in(directory) as room, opened(room) as source:
        applied = apply_layers(source, directory, report=report, spared=room.name)
    return Unpacked(
        digest=str(source.digest),
        layers=applied.layers,
        bytes=applied.bytes,
        entries=applied.entries,
        seconds=time.monotonic() - started,
        left_out=applied.left_out,
    )


def _opened(
    image: str, layout: Path, registry: Callable[[], Images], *, trusting: bool
) -> AbstractContextManager[ImageSource]:
    if trusting and image.startswith((_LAYOUT, _ARCHIVE)):
        raise ConfigError(["IMAGE: signatures are kept in registries; name an image of one, or leave the key out"])
    if image.startswith(_LAYOUT):
        place, tag = _split(image.removeprefix(_LAYOUT))
        return nullcontext(Layout(place).image(tag))
    if image.startswith(_ARCHIVE):
        return DockerArchive(*_split(image.removeprefix(_ARCHIVE)))
    try:
        reference = parse_image_reference(image)
    except ValueError as error:
        raise ConfigError([f"IMAGE: {error}; or {_LAYOUT}DIRECTORY[:TAG], or {_ARCHIVE}FILE[:NAME]"]) from None
    return registry().pull(reference, layout)


def _split(text: str) -> tuple[Path, str | None]:
    """Return the path, and the name after it: a path that is there may hold colons itself."""
    place, colon, name = text.partition(":")
    while colon and not Path(place).exists():
        further, colon, name = name.partition(":")
        place = f"{place}:{further}"
    return (Path(place), name) if colon and name else (Path(text.removesuffix(":")), None)


@contextmanager
def _prepared(directory: Path, *, force: bool) -> Iterator[None]:
    """Make the directory if need be; leave nothing of the work in it when that fails, unless it held something before."""
    made = _made(directory)
    with _open(directory) as fd:
        held = set(os.listdir(fd)) - _OF_THE_FILE_SYSTEM  # noqa: PTH208  # pathlib lists no descriptor
        if held and not force:
            hint = "name another directory, or unpack over what it holds with --force"
            raise TerraError(f"{directory} is not empty", hint=hint)
        try:
            yield
        except BaseException as error:
            with undoing(error):
                if not held:
                    empty(fd, lambda _, name: Fate.UNTOUCHED if os.fsdecode(name) in _OF_THE_FILE_SYSTEM else Fate.GOES)
                elif isinstance(error, TerraError):
                    error.hint = f"{error.hint}\n{directory} holds a part of the image now".strip()
                if made:
                    directory.rmdir()
            raise


def _made(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o755)
    except FileExistsError:
        return False
    except OSError as error:
        raise TerraError(f"{directory} cannot be made: {error.strerror}") from error
    return True


@contextmanager
def _open(directory: Path) -> Iterator[int]:
    try:
        fd = os.open(directory, DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise TerraError(f"{directory}: {error.strerror}", hint="name a directory, new or empty, and no link to one") from error
    try:
        yield fd
    finally:
        os.close(fd)
