"""Registry plugins that break one promise each."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from terra_core.config.session import Session
from terra_core.config.values import ImageReference
from terra_core.errors import TerraError
from terra_core.hookspecs import FoundSignature
from terra_core.oci import Blob, Descriptor, Digest, ImageSource, media
from terra_core.oci.source import ImageDocuments, PortableImage
from terra_core.system.progress import silent
from terra_core.testing import RegistryConformance
from terra_core.testing.images import MadeImage
from terra_docker import DockerPlugin
from tests.integration.testing.breaking import broken

_good = DockerPlugin()
_numbers = itertools.count()
_busy = threading.Lock()
_NOTHING = f"sha256:{'0' * 64}"

Pull = Callable[[ImageReference, Path, Session], AbstractContextManager[ImageSource]]
Push = Callable[[ImageReference, PortableImage, Sequence[ImageReference], Session], str]


class _Kit(RegistryConformance):
    name = "docker"


@contextmanager
def _without_its_last_layer(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    with _good.pull_image(reference, layout, session) as source:
        yield source
    (layout / "blobs/sha256" / source.manifest.layers[-1].digest.encoded).unlink()


@contextmanager
def _without_the_index(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    with _good.pull_image(reference, layout, session) as source:
        yield source
    blob = layout / "blobs/sha256" / source.digest.encoded
    listed = {"mediaType": media.OCI_MANIFEST, "digest": str(source.digest), "size": blob.stat().st_size}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))


@contextmanager
def _without_a_word(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    raise TerraError("it cannot be pulled")
    yield


@contextmanager
def _named_alone(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    raise TerraError(f"{reference}: it cannot be pulled")
    yield


@frozen
class _Once:
    """An image whose layers can be read once."""

    source: ImageSource
    opened: set[Descriptor]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def open_layer(self, layer: Descriptor) -> AbstractContextManager[Blob]:
        if layer in self.opened:
            raise TerraError("it was read before")
        self.opened.add(layer)
        return self.source.open_layer(layer)


@contextmanager
def _read_once(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    with _good.pull_image(reference, layout, session) as source:
        yield _Once(source, set())


@contextmanager
def _looked_up_twice(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    _good.inspect_image(reference, session)
    with _good.pull_image(reference, layout, session) as source:
        yield source


@contextmanager
def _anew(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    shutil.rmtree(layout, ignore_errors=True)
    with _good.pull_image(reference, layout, session) as source:
        yield source


@contextmanager
def _kept_though_wrong(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    try:
        with _good.pull_image(reference, layout, session) as source:
            yield source
    except TerraError:
        (layout / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (layout / "blobs/sha256" / ("0" * 64)).write_bytes(b"what has come")
        raise


@contextmanager
def _with_an_error_of_its_own(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    try:
        with _good.pull_image(reference, layout, session) as source:
            yield source
    except BaseException as error:
        raise TerraError(f"pulling {reference} failed") from error


@contextmanager
def _unheard(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    with _good.pull_image(reference, layout, session.reporting_to(silent)) as source:
        yield source


@contextmanager
def _named_before_it_has_come(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    with _good.pull_image(reference, layout, session) as source:
        for layer in source.manifest.layers[1:]:
            (layout / "blobs/sha256" / layer.digest.encoded).write_bytes(b"half of it")
        yield source


@contextmanager
def _one_at_a_time(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    if not _busy.acquire(blocking=False):
        raise TerraError("another image is being pulled")
    try:
        with _good.pull_image(reference, layout, session) as source:
            yield source
    finally:
        _busy.release()


@contextmanager
def _always_plain(reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
    with _good.pull_image(reference, layout, evolve(session, plain_http=True)) as source:
        yield source


def _as_if_no_index(self: Any, reference: ImageReference, session: Session) -> ImageDocuments:
    found = _good.inspect_image(reference, session)
    return evolve(found, named=found.digest)


def _none(self: Any, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
    return []


def _always_one(self: Any, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
    return [FoundSignature(problem="there is none")]


def _the_first(self: Any, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
    return _good.fetch_signatures(reference, digest, session)[:1]


def _pulling(way: Pull) -> Mapping[str, object]:
    return {"pull_image": lambda self, reference, layout, session: way(reference, layout, session)}


def _pushing(way: Push) -> Mapping[str, object]:
    return {"push_image": lambda self, reference, image, bases, session: way(reference, image, bases, session)}


def _of_another_digest(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    _good.push_image(reference, image, bases, session)
    return _NOTHING


def _of_another_each_time(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    return _good.push_image(reference, MadeImage([b"%d" % next(_numbers)]), bases, session)


def _without_bases(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    return _good.push_image(reference, image, (), session)


def _under_any_name(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    return _good.push_image(evolve(reference, tag="any", digest=""), image, bases, session)


def _in_words_of_its_own(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    try:
        return _good.push_image(reference, image, bases, session)
    except TerraError as error:
        raise TerraError(f"pushing {reference} failed") from error


def _whatever_happens(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    try:
        return _good.push_image(reference, image, bases, session)
    except BaseException:  # this is what is wrong with it
        return _NOTHING


def _with_a_lock_file(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    lock = session.paths.root / "lock"
    if lock.exists():
        raise TerraError("another image is being pushed")
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    done = _good.push_image(reference, image, bases, session)
    lock.unlink()
    return done


def _with_a_note(
    reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
) -> str:
    session.paths.root.mkdir(exist_ok=True)
    (session.paths.root / "pushed").touch()
    return _good.push_image(reference, image, bases, session)


def _try_it(self: Any, reference: ImageReference, session: Session) -> None:
    _good.push_image(reference, MadeImage([]), (), session)


PROMISES: dict[str, Mapping[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": 1},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_a_pulled_image_is_the_registrys_own": _pulling(_without_its_last_layer),
    "test_of_an_index_the_image_for_this_machine_is_pulled": _pulling(_without_the_index),
    "test_an_image_for_another_machine_is_refused": _pulling(_named_alone),
    "test_layers_can_be_read_while_they_come": _pulling(_read_once),
    "test_a_tag_is_looked_up_once": _pulling(_looked_up_twice),
    "test_what_the_layout_has_is_not_fetched_again": _pulling(_anew),
    "test_only_the_layers_that_are_asked_for_are_fetched": {
        "pull_layers": lambda self, reference, layers, layout, session: _good.pull_image(reference, layout, session)
    },
    "test_other_bytes_than_were_asked_for_are_refused": _pulling(_kept_though_wrong),
    "test_a_pull_ends_at_once_when_what_follows_fails": _pulling(_with_an_error_of_its_own),
    "test_who_listens_can_end_a_pull": _pulling(_unheard),
    "test_what_a_killed_pull_left_is_never_taken_as_complete": _pulling(_named_before_it_has_come),
    "test_several_pulls_at_once_do_not_disturb_each_other": _pulling(_one_at_a_time),
    "test_what_the_registry_says_is_said": _pulling(_without_a_word),
    "test_a_registry_that_does_not_answer_is_named": _pulling(_without_a_word),
    "test_nothing_comes_without_tls_unless_the_session_says_so": _pulling(_always_plain),
    "test_documents_are_those_of_the_reference_and_no_layer_is_fetched": {"inspect_image": _as_if_no_index},
    "test_an_image_that_nobody_signed_has_no_signature": {"fetch_signatures": _always_one},
    "test_signatures_are_found_where_cosign_puts_them": {"fetch_signatures": _none},
    "test_a_signature_that_is_wrong_is_brought_and_hides_no_other": {"fetch_signatures": _the_first},
    "test_what_is_pushed_comes_back_and_gets_its_name_last": _pushing(_of_another_digest),
    "test_pushing_again_sends_nothing_again": _pushing(_of_another_each_time),
    "test_the_form_of_a_layer_that_the_registry_has_is_taken": _pushing(_without_bases),
    "test_an_image_is_pushed_under_a_tag": _pushing(_under_any_name),
    "test_a_push_that_is_refused_leaves_the_name_as_it_was": _pushing(_in_words_of_its_own),
    "test_a_push_whose_image_cannot_be_read_leaves_the_name_as_it_was": _pushing(_whatever_happens),
    "test_after_a_kill_an_image_can_be_pushed": _pushing(_with_a_lock_file),
    "test_a_registry_that_would_not_take_it_says_so_before_the_push_or_by_it": {"check_push": _try_it},
    "test_moving_images_leaves_nothing_of_the_controllers": _pushing(_with_a_note),
}

globals().update(broken(_Kit, DockerPlugin, PROMISES))
