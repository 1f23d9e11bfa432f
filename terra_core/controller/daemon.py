"""Running a controller: one a root, brought to what its database says, watched, and ended without touching a machine."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import structlog

from terra_core.config.controller import Controller, Places
from terra_core.config.loader import Document, load, make_document
from terra_core.config.session import Session
from terra_core.controller.api import Context, make_api
from terra_core.controller.database import default_url, open_database
from terra_core.controller.machines import Machines, Services
from terra_core.controller.operations import Operations
from terra_core.controller.store import Store
from terra_core.errors import InterruptedWork, TerraError
from terra_core.plugins import Plugins
from terra_core.service.serving import bind, check_tls, serve
from terra_core.service.tokens import read_or_make_token
from terra_core.system.mounts import sweep
from terra_core.system.signals import terminating

_log = structlog.get_logger(__name__)
_WATCH_SECONDS = 3.0


def load_config(source: Path | None, places: Places, plugins: Plugins) -> Document[Controller]:
    """controller.toml, or its defaults where the file of ``places`` is not there.

    :param source: the file that was asked for; it has to be there.
    """
    standard = places.etc / "controller.toml"
    if source is None and not standard.exists():
        return make_document({}, Controller, source=str(standard), owners=plugins.names)
    return load(source or standard, Controller, owners=plugins.names)


def make_services(document: Document[Controller], config: Controller, places: Places, plugins: Plugins) -> Services:
    """A controller's parts; opens the database.

    :param document: the file.
    :param config: what it says, with the options of the command line.
    """
    session = Session(source=document.source, tables=document.tables, places=places)
    places.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store(open_database(config.database or default_url(places.state)))
    services = Services(config=config, session=session, plugins=plugins, store=store)
    for role in ("registry", "filesystem", "storage", "boot"):
        services.role(role)
    return services


def run_controller(document: Document[Controller], config: Controller, places: Places, plugins: Plugins) -> None:
    """Run until SIGINT or SIGTERM. The storage and boot services go on without it.

    :raises TerraError: when it can't start: another one runs on this root, a port is taken, the database is not usable.
    """
    with suppress(InterruptedWork), terminating(), ExitStack() as stack:
        check_tls(config.tls)
        stack.enter_context(_only_one(places))
        listener = stack.enter_context(bind(config.address, config.port))
        services = make_services(document, config, places, plugins)
        stack.callback(services.store.close)
        machines, operations = Machines(services), Operations(config.jobs)
        token = read_or_make_token(places.token)
        sweep(places.run, places.iscsi)
        _converge(machines)
        stack.callback(operations.stop)
        stack.enter_context(_watching(lambda: _watch(machines)))
        application = make_api(Context(services=services, machines=machines, operations=operations), token)
        serve(application, listener, tls=config.tls, ready=lambda: _say_ready(config, places), ending=operations.cancel_all)
    _log.info("ended; storage and boot services go on")


def stop_services(document: Document[Controller], config: Controller, places: Places, plugins: Plugins) -> tuple[str, ...]:
    """Stop the storage and boot services that outlived a controller; every machine loses its disk.

    :returns: which ones were stopped.
    :raises TerraError: while a controller runs on this root.
    """
    with _only_one(places):
        session = Session(source=document.source, tables=document.tables, places=places)
        stopped = []
        for role, hook in (("boot", "stop_boot"), ("storage", "stop_storage")):
            if plugins.fill(role, config.plugins, source=document.source).call(hook, bool, session=session):
                stopped.append(role)
    return tuple(stopped)


def configure_logging(debug: bool) -> None:
    """Let everything log to standard error: readable lines, with debug messages where asked for."""
    level = logging.DEBUG if debug else logging.INFO
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)


def _converge(machines: Machines) -> None:
    with ExitStack() as undo:
        if machines.start_storage():
            undo.callback(machines.stop_unused_storage)
        machines.recover()
        machines.restore()
        machines.start_boot(machines.session)
        undo.pop_all()


def _watch(machines: Machines) -> None:
    try:
        if machines.start_storage():
            _log.warning("the storage service was gone and has been started again")
            machines.restore()
        if machines.start_boot(machines.session):
            _log.warning("the boot service was gone and has been started again")
    except TerraError as error:
        _log.error("a service cannot be kept up", reason=str(error))
    except Exception as error:  # the boundary of the thread: whatever happened, it has to look again
        _log.error("defect", exc_info=error)


@contextmanager
def _watching(look: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            look()

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _only_one(places: Places) -> Iterator[None]:
    path = places.run / "controller.lock"
    try:
        places.run.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TerraError(f"{path}: cannot be written: {error.strerror}", hint="run the controller as root") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise TerraError(
                f"{places.root}: a controller runs here already (process {holder})",
                hint="stop it first, or give this one a root of its own: --root DIR",
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _say_ready(config: Controller, places: Places) -> None:
    scheme = "https" if config.tls else "http"
    _log.info(
        "ready",
        api=f"{scheme}://{config.address}:{config.port}",
        portal=config.portal,
        root=str(places.root),
        token=str(places.token),
    )
