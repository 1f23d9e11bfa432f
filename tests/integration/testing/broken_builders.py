"""Builders that break one promise each."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from attrs import evolve

from lab.engine import Engine
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.hookspecs import BuildRequest, BuiltImage, Trial
from terra_core.oci.source import PortableImage
from terra_core.testing import BuilderConformance
from terra_docker import DockerPlugin
from tests.integration.testing.breaking import broken

_good = DockerPlugin()
_numbers = itertools.count()
_GIVEN = parse_image_reference("terra.test/given:1")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return an engine."""
    with Engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


class _Kit(BuilderConformance):
    name = "docker"

    @pytest.fixture
    def session(self, root: Path, engine: Engine) -> Session:
        return Session(source="test.toml", tables={"docker": {"engine": engine.host}}, paths=Paths(root))

    def held(self, session: Session) -> Collection[str]:
        settings = session.tables["docker"]
        assert isinstance(settings, dict)
        with closing(docker.APIClient(base_url=settings["engine"])) as client:
            return [one["Id"] for one in (*client.images(all=True), *client.containers(all=True))]


def _building(change: Callable[[BuildRequest], BuildRequest]) -> Mapping[str, object]:
    return {"build_image": lambda self, build, session: _good.build_image(change(build), session)}


def _built(change: Callable[[BuiltImage], BuiltImage]) -> Mapping[str, object]:
    return {"build_image": lambda self, build, session: change(_good.build_image(build, session))}


def _of_a_copy(self: Any, build: BuildRequest, session: Session) -> BuiltImage:
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work, "context")
        shutil.copytree(build.context, copy, ignore=shutil.ignore_patterns(".dockerignore"))
        return _good.build_image(evolve(build, context=copy), session)


def _silently(self: Any, build: BuildRequest, session: Session) -> BuiltImage:
    try:
        return _good.build_image(build, session)
    except TerraError as error:
        raise TerraError("it cannot be built") from error


def _leave_an_image(self: Any, build: BuildRequest, session: Session) -> BuiltImage:
    try:
        return _good.build_image(build, session)
    except BaseException:
        with tempfile.TemporaryDirectory() as work:
            Path(work, "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /left-{next(_numbers)}\n")
            left = BuildRequest(context=Path(work), dockerfile="Dockerfile", reference=None)
            _good.build_image(left, Session(tables=session.tables))
        raise


def _with_a_lock_file(self: Any, build: BuildRequest, session: Session) -> BuiltImage:
    lock = session.paths.root.parent / "lock"
    if lock.exists():
        raise TerraError("another image is being built")
    lock.touch()
    done = _good.build_image(build, session)
    lock.unlink()
    return done


def _with_a_note(self: Any, build: BuildRequest, session: Session) -> BuiltImage:
    session.paths.root.mkdir(exist_ok=True)
    (session.paths.root / "built").touch()
    return _good.build_image(build, session)


@contextmanager
def _left_behind(image: str, work: Path, session: Session) -> Iterator[PortableImage]:
    with _good.save_image(image, work, session) as saved:
        yield saved
    (work / "left").touch()


def _unnamed(self: Any, image: str, work: Path, session: Session) -> AbstractContextManager[PortableImage]:
    raise TerraError("there is no such image")


def _all_is_well(self: Any, image: str, seconds: float, session: Session) -> Trial:
    return Trial(state="running")


PROMISES: dict[str, Mapping[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": 3},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_an_image_is_what_its_request_says": _building(lambda build: evolve(build, labels={})),
    "test_an_image_needs_no_name": _building(lambda build: evolve(build, reference=build.reference or _GIVEN)),
    "test_a_name_that_is_a_digest_is_refused": _building(lambda build: evolve(build, reference=_GIVEN)),
    "test_the_overlay_is_laid_over_the_context_all_of_it": _building(lambda build: evolve(build, overlay=None)),
    "test_nothing_outside_the_context_is_read": {"build_image": _of_a_copy},
    "test_what_dockerignore_names_is_left_out": {"build_image": _of_a_copy},
    "test_no_time_is_later_than_the_epoch": _built(lambda built: evolve(built, epoch=None)),
    "test_two_builds_of_the_same_are_one_image": _building(
        lambda build: evolve(build, labels={**build.labels, "number": str(next(_numbers))})
    ),
    "test_every_step_runs_again_when_it_has_to": _building(lambda build: evolve(build, no_cache=False)),
    "test_what_an_image_stands_on_is_said": _built(lambda built: evolve(built, base_layers=())),
    "test_an_image_of_one_base_begins_no_other": _building(lambda build: evolve(build, base=None)),
    "test_a_step_that_fails_is_said_and_leaves_nothing": {"build_image": _silently},
    "test_a_build_that_is_interrupted_ends_at_once_and_leaves_nothing": {"build_image": _leave_an_image},
    "test_after_a_kill_the_same_can_be_built": {"build_image": _with_a_lock_file},
    "test_what_is_no_dockerfile_is_said_with_its_place": {"build_image": _silently},
    "test_building_keeps_nothing_where_the_controller_keeps_things": {"build_image": _with_a_note},
    "test_what_is_saved_can_be_read_more_than_once_and_the_work_directory_is_left_as_it_was": {
        "save_image": lambda self, image, work, session: _left_behind(image, work, session)
    },
    "test_an_image_that_is_not_there_is_named": {"save_image": _unnamed},
    "test_a_trial_says_how_the_system_does_and_leaves_nothing": {"try_image": _all_is_well},
    "test_a_system_that_does_not_come_up_is_not_waited_for_longer_than_was_asked": {"try_image": _all_is_well},
}

globals().update(broken(_Kit, DockerPlugin, PROMISES))
