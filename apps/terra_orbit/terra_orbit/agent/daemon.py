"""Running an agent, one per root: it makes what its database says, and leaves containers alone at its end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from terra_core.config.controller import Paths
from terra_core.config.loader import load, make_document
from terra_core.errors import InterruptedWork, TerraError
from terra_core.service.operations import Operations
from terra_core.service.private import make_private
from terra_core.service.running import only_one, watching
from terra_core.service.serving import bind, check_tls, serve
from terra_core.service.tokens import read_or_make_token
from terra_core.system.signals import terminating
from terra_core.system.undo import Undo
from terra_orbit.agent.api import Context, make_api
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.engine import Engine
from terra_orbit.agent.health import Health
from terra_orbit.agent.moves import Moves
from terra_orbit.agent.overview import Overview
from terra_orbit.agent.paths import OrbitPaths, Settings
from terra_orbit.agent.store import Store
from terra_orbit.agent.supervision import Supervision

_log = structlog.get_logger(__name__)
_HEALTH_SECONDS = 1.0
_SIZE_SECONDS = 30.0


def load_settings(source: Path | None, paths: Paths) -> Settings:
    """orbit.toml, or its defaults where the file of ``paths`` is not there.

    :param source: the file that was asked for; it has to be there.
    """
    standard = paths.etc / "orbit.toml"
    if source is None and not standard.exists():
        return make_document({}, Settings, source=str(standard)).value
    return load(source or standard, Settings).value


def run_agent(settings: Settings, paths: Paths) -> None:
    """Run until SIGINT or SIGTERM. The containers go on without it.

    :raises TerraError: when it can't start: another one runs on this root, the port is taken, the database is not usable.
    """
    own = OrbitPaths(paths)
    with suppress(InterruptedWork), terminating(), Undo() as stack:
        check_tls(settings.tls)
        stack.enter_context(only_one(paths, "agent"))
        listener = stack.enter_context(bind(settings.address, settings.port))
        for directory in (paths.state, own.state, own.run):  # the first is the controller's, too
            make_private(directory)
        store = Store(own.database)
        stack.callback(store.close)
        engine = Engine(settings.engine, store.agent)
        stack.callback(engine.close)
        containers, operations = Containers(engine, store, own), Operations(settings.jobs)
        containers.checkpoints.clear({revision.image for record in store.all() for revision in record.revisions})
        token = read_or_make_token(paths.token)
        moves = Moves(containers)
        supervision, health = Supervision(containers, moves), Health(store)
        overview = Overview(containers, supervision, health)
        stack.callback(health.close)
        stack.callback(operations.stop)
        stack.enter_context(supervision.running())
        stack.enter_context(watching(_careful(overview.sample)))
        stack.enter_context(watching(_careful(overview.measure), seconds=_SIZE_SECONDS))
        stack.enter_context(watching(_careful(health.look), seconds=_HEALTH_SECONDS))
        context = Context(containers=containers, overview=overview, moves=moves, operations=operations)
        serve(
            make_api(context, health, token),
            listener,
            tls=settings.tls,
            websockets=True,
            ready=lambda: _say_ready(settings, paths),
            ending=operations.cancel_all,
        )
    _log.info("ended; the containers go on")


def _careful(look: Callable[[], None]) -> Callable[[], None]:
    """Return a function that logs every error of ``look``, so that its thread goes on."""

    def careful() -> None:
        try:
            look()
        except TerraError as error:
            _log.debug("a look failed", reason=str(error))
        except Exception as error:  # see above
            _log.error("defect", exc_info=error)

    return careful


def _say_ready(settings: Settings, paths: Paths) -> None:
    scheme = "https" if settings.tls else "http"
    _log.info("ready", api=f"{scheme}://{settings.address}:{settings.port}", root=str(paths.root), token=str(paths.token))
