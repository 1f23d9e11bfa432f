"""Running a controller, one per root: it makes what its database says, watches it, and leaves machines alone at its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import structlog
from attrs import evolve
from sqlalchemy import Connection, select

from terra_core.config.controller import Controller, Paths, Tls
from terra_core.config.loader import Document
from terra_core.config.session import Session
from terra_core.controller import observing
from terra_core.controller.api import Context, make_api
from terra_core.controller.ballast import Ballast
from terra_core.controller.certificates import certificate_of
from terra_core.controller.crew import Crew
from terra_core.controller.database import SCHEMA, about, default_url, file_of, identity_of, open_database
from terra_core.controller.fence import fence
from terra_core.controller.homes import check_home, mark_home, mark_of, settle_hosts
from terra_core.controller.host_session import mark_sessions
from terra_core.controller.hosts import Doing, HostRows, Own, require_place
from terra_core.controller.keeping import WAITING_SECONDS, Keeper
from terra_core.controller.leading import LOOK_SECONDS, Lead, Sole, Standing
from terra_core.controller.leases import WorkRows
from terra_core.controller.machines import Machines
from terra_core.controller.mark import check_mark, is_marked, require_reached, set_mark
from terra_core.controller.observing import Observer
from terra_core.controller.passing import Membership
from terra_core.controller.peers import Passes
from terra_core.controller.portal import LOOK_SECONDS as PORTAL_SECONDS
from terra_core.controller.portal import Moving, Portal, Staying, require_ready
from terra_core.controller.presence import alone_with, announced, own_of, session_of
from terra_core.controller.report_service import Beside, receiving
from terra_core.controller.services import Services
from terra_core.controller.sharing import Shared
from terra_core.controller.stopping import explaining_the_machine, other_storages, require_root
from terra_core.controller.store import Store
from terra_core.documents import settled
from terra_core.errors import InterruptedWork, TerraError, reason_of
from terra_core.hookspecs import Boot, Filesystem, Registry, Storage
from terra_core.hookspecs import Store as StoreRole
from terra_core.plugins import Plugins
from terra_core.selection import CONTROLLER, check_selection
from terra_core.service.database import explained, shown_url
from terra_core.service.database_server import POSTGRESQL
from terra_core.service.migration import Migrations
from terra_core.service.notifying import Notifier
from terra_core.service.operations import Operations
from terra_core.service.private import make_private
from terra_core.service.room import DatabaseFull
from terra_core.service.running import only_one, watching
from terra_core.service.serving import bind, check_tls, serve
from terra_core.service.tokens import read_or_make_token
from terra_core.system.files import sweep_unfinished, write_file
from terra_core.system.mounts import sweep
from terra_core.system.signals import terminating
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
_PATIENCE_SECONDS = 5.0
_DAY_SECONDS = 86400.0
_RENEWING_SECONDS = 1.0
_UPGRADING_SECONDS = 2.0


def make_services(document: Document[Controller], config: Controller, paths: Paths, plugins: Plugins) -> Services:
    """Open the database and return the controller's parts.

    :param document: the file.
    :param config: what it says, with the options of the command line.
    """
    kept = document.tables if _has_records(config, paths) else ()
    document = settled(document, CONTROLLER, plugins, config.plugins, beside=kept)
    session = document.session(paths=paths)
    for role in (Registry, Filesystem, StoreRole, Storage, Boot):
        plugins.fill(role, config.plugins, source=document.source)
    volumes = plugins.fill(StoreRole, config.plugins, source=document.source).volume_directory(session)
    store = open_store(config, paths, volumes)
    with Undo() as undo:
        undo.callback(store.close)
        # A plugin that is no longer selected is still asked about what it made, so its table is still read.
        made_by = {name for record in store.everywhere() for kept in record.every_target for name in (kept.storage, kept.store)}
        check_selection(CONTROLLER, config.plugins, document.tables, source=document.source, beside=made_by)
        require_reach(store, config, plugins, session)
        undo.pop_all()
    return Services(config=config, session=session, plugins=plugins, store=store)


def require_reach(store: Store, config: Controller, plugins: Plugins, session: Session) -> None:
    """Refuse a host among others that has not the volumes of machines whose store is not the selected one.

    :raises TerraError: naming the directory that it lacks.
    """
    engine = store.engine
    if config.local_store or engine.dialect.name != POSTGRESQL:
        return
    if all(host.own.name == config.own_name for host in HostRows(engine).every()):
        return
    stores = {kept.store for record in store.every() for kept in record.every_target}
    directories = dict[str, Path]()
    for name in sorted(stores - {config.plugins.get(StoreRole.role, StoreRole.default)}):
        if volumes := plugins.named(StoreRole, name, source=session.source).volume_directory(session):
            directories[name] = volumes
    with explained(engine), engine.begin() as connection:
        identity, _ = identity_of(connection)
    require_reached(directories, identity)


def _has_records(config: Controller, paths: Paths) -> bool:
    """Return whether a database exists: its machines may have been made by plugins that are no longer selected."""
    file = file_of(config.database or default_url(paths.state))
    return file is None or file.exists()


def open_store(config: Controller, paths: Paths, volumes: Path | None) -> Store:
    """Open the records, in the database that knows the machines whose volumes are here.

    :param volumes: the directory of the volumes, which carries the mark of its database; ``None`` when there is none.

    :raises TerraError: when the database cannot be used, or is not that one.
    """
    make_private(paths.state)
    url, name, local = config.database or default_url(paths.state), config.own_name, config.local_store
    file, host = file_of(url), name if local else ""
    if volumes is not None and file is not None and not file.exists():
        check_mark(volumes, str(file), "", used=False)
    ballast = Ballast(file.with_name(f"{file.name}.ballast") if file is not None else None)

    def check(connection: Connection) -> None:
        identity, used = identity_of(connection)
        check_home(connection, volumes, str(file or shown_url(url)), name, local=local, used=used)
        owns = volumes is not None and not is_marked(volumes, identity)
        schema = connection.scalar(select(about.c.value).where(about.c.key == "schema"))
        migrates = schema != Migrations(SCHEMA.migrations).head
        selected = config.plugins.get(StoreRole.role, StoreRole.default)
        require_place(connection, name, config.portal, selected, owns=owns, migrates=migrates, local=local)

    try:
        engine = open_database(url, check)
    except DatabaseFull:
        if not ballast.drop():
            raise
        engine = open_database(url, check)
    known = None
    with Undo() as undo:
        undo.callback(engine.dispose)
        if volumes is not None:
            with explained(engine), engine.begin() as connection:
                identity, _ = identity_of(connection)
            mark = mark_of(identity, host)  # that of a host alone is written once nobody else can have its name
            known = volumes if (is_marked(volumes, mark) if local else set_mark(volumes, mark)) else None
        undo.pop_all()
    return Store(engine, ballast, known, host=host)


def run_controller(
    document: Document[Controller],
    config: Controller,
    paths: Paths,
    plugins: Plugins,
    end_at_once: Callable[[], object] = lambda: None,
) -> None:
    """Run until SIGINT or SIGTERM. The storage and boot services go on without it.

    :param end_at_once: ends the process as if it had been killed. Called when another controller of the database has led since
        this one did: what it had begun is that one's to undo. Where it returns, this one writes nothing any more.
    :raises TerraError: when it can't start: another one runs on this root, a port is taken, the database is not usable.
    """
    require_root()
    notifier = Notifier()
    with suppress(InterruptedWork), terminating(), explaining_the_machine(), Undo() as stack:
        own = _own_certificate(config, paths)
        tls = config.tls or own
        check_tls(tls)
        check_tls(own)
        stack.enter_context(only_one(paths, "controller"))
        listener = stack.enter_context(bind(config.address, config.port))
        report_listener = stack.enter_context(bind(config.address, config.reports, key="report_port"))
        make_private(paths.state)
        stack.enter_context(alone_with(file_of(config.database or default_url(paths.state))))
        services = make_services(document, config, paths, plugins)
        stack.callback(services.store.close)
        passes = Passes()
        urls = (_url_for_others(config, tls, config.port), _url_for_others(config, own, config.reports))
        own_row = own_of(config, urls[0], services.role(StoreRole).plugin, reports=urls[1], passes=passes)
        standing, lead = _standing(services, own_row, stack, end_at_once)
        services = evolve(services, standing=standing, lead=lead)
        portal = _portal(services, own_row)
        sharing = _sharing(services, own_row)
        services = evolve(services, portal=portal, sharing=sharing or services.sharing)
        machines, operations = Machines(services), Operations(config.jobs, origin=services.store.host)
        observer = Observer(services, machines)
        keeper = Keeper(machines, operations, observer.forget)
        token = read_or_make_token(paths.token)
        _move_in(services)
        stack.enter_context(services.store.happenings.writing(lambda: keeper.works and lead.held))
        if not services.standing.held:
            portal.leave()  # before anybody hears of this one: who leads shuts out whoever may have disks open
        says = (lambda: _doing(keeper, portal), lambda: _done(portal), machines.trouble)
        stack.enter_context(announced(services.store.engine, own_row, *says))
        stack.callback(portal.leave)
        stack.enter_context(watching(portal.look, seconds=PORTAL_SECONDS))
        _begin(keeper, services)
        stack.callback(machines.network_boot.end, services.session)
        stack.callback(operations.stop)
        stack.enter_context(watching(keeper.look_when_due, seconds=WAITING_SECONDS, at_once=True))
        stack.callback(keeper.end)
        if keeper.works:
            keeper.wait(_PATIENCE_SECONDS)
        observe = _while_working(keeper, observer.look)
        stack.enter_context(watching(observe, seconds=observing.SECONDS, at_once=True))
        if sharing is not None:
            work = WorkRows(services.store.engine)
            crew = Crew(work, own_row, services.standing, sharing, machines.pieces, config.jobs)
            stack.enter_context(crew.working())
        context = Context(services=services, machines=machines, operations=operations, keeper=keeper)
        shared = sharing is not None
        member = shared or config.local_store
        application = make_api(context, token, Membership(own=own_row, passes=passes) if member else None)
        if own is not None:
            stack.enter_context(watching(lambda: _renew(config, paths), seconds=_DAY_SECONDS))
        stack.callback(machines.upgrading.following.end)
        stack.enter_context(watching(_while_working(keeper, machines.renew_reports), seconds=_RENEWING_SECONDS))
        following = machines.upgrading.following
        stack.enter_context(watching(_while_working(keeper, following.look), seconds=_UPGRADING_SECONDS))
        rows = HostRows(services.store.engine)
        beside = Beside(own=own_row, rows=rows, works=lambda: keeper.works, authority=paths.authority) if shared else None
        stack.enter_context(receiving(machines.reports, report_listener, own, beside))
        stack.callback(paths.url.unlink, missing_ok=True)

        def ready() -> None:
            _say_ready(config, paths, tls)
            _log.info("machines report their boots", to=machines.reports.url)
            notifier.ready()

        def ending() -> None:
            notifier.stopping()
            operations.cancel_all()

        def beat() -> None:
            notifier.beat(_status(machines, keeper), lively=keeper.lively)

        serve(application, listener, tls=tls, ready=ready, ending=ending, beat=(notifier.pause, beat))
    _log.info("ended; storage and boot services go on")


def _move_in(services: Services) -> None:
    """Take the volumes as this host's, whose name nobody else has by now, and remove what a former controller has left."""
    store, config, paths = services.store, services.config, services.session.paths
    volumes = services.role(StoreRole).volume_directory(services.session)
    mark_home(volumes, store.engine, store.host)
    settle_hosts(store.engine, config.own_name, local=config.local_store)
    for directory in (paths.run, paths.work):
        sweep(directory, volumes or paths.work)
    for directory in (paths.etc, paths.run, paths.state):
        sweep_unfinished(directory)


def _standing(services: Services, own: Own, stack: Undo, end_at_once: Callable[[], object]) -> tuple[Standing, Standing]:
    """Be one of the controllers of a database for as long as a stack lasts.

    :returns: whether this one works on machines, and will; and whether what is one for the site is its, where that does not go
        with the first.
    :raises TerraError: when another one has its name.
    """
    engine, local = services.store.engine, services.config.local_store
    mark_sessions(engine, own.identity)
    session = stack.enter_context(session_of(engine, own))
    if session is None:
        return Sole(), Sole()
    lead = Lead(session, own, None if local else end_at_once)
    if not local:
        fence(engine, lead)
    lead.look()
    stack.enter_context(watching(lead.look, seconds=LOOK_SECONDS))
    return (Sole(), lead) if local else (lead, Sole())


def _sharing(services: Services, own: Own) -> Shared | None:
    """Return how this host shares its work; ``None`` where it has a database or a store for itself."""
    if isinstance(services.standing, Sole):
        return None
    engine = services.store.engine
    return Shared(WorkRows(engine), HostRows(engine), own, services.config.jobs)


def _begin(keeper: Keeper, services: Services) -> None:
    """Begin to work, or to wait where another host has the lead: its boot service answers all machines, and this one's none."""
    if services.standing.held and not services.portal.moves:
        keeper.begin()
        return
    keeper.wait_for_lead()
    if services.standing.held:
        return
    reason = reason_of(services.standing.require)
    stopped = services.role(Boot).stop_boot(services.session)
    _log.info("waits", reason=reason, **({"stopped": "boot service"} if stopped else {}))


def _while_working(keeper: Keeper, look: Callable[[], None]) -> Callable[[], None]:
    """Return work that is done only while this host works."""
    return lambda: keeper.while_working(look)


def _doing(keeper: Keeper, portal: Portal) -> Doing:
    return Doing.WORKING if keeper.works or portal.taken else Doing.WAITING


def _done(portal: Portal) -> Doing:
    """Return what is said at the end: one whose storage service could not be stopped may serve machines still."""
    return Doing.WORKING if portal.taken else Doing.STOPPED


def _portal(services: Services, own: Own) -> Portal:
    """Return the storage address, which moves where controller.toml says so.

    :raises TerraError: when it cannot move to this host.
    """
    failover = services.config.failover
    if failover is None:
        return Staying()
    require_ready(failover, own)
    rows, store = HostRows(services.store.engine), services.role(StoreRole)

    def stop() -> None:
        storages = [services.role(Storage), *other_storages(services.plugins, services.config)]
        for storage in storages:
            storage.stop_storage(services.session)

    return Moving(failover, own, rows, services.standing, store, services.session, stop)


def _status(machines: Machines, keeper: Keeper) -> str:
    if not keeper.works:
        return "waits for the lead: terra hosts shows who has it"
    troubles = machines.troubles.services
    return "; ".join(f"{service}: {reason}" for service, reason in sorted(troubles.items())) or "serves machines"


def _own_certificate(config: Controller, paths: Paths) -> Tls | None:
    """Return the certificate that ``terra controller init`` made, renewed where it ends soon or lacks the address."""
    tls = certificate_of(paths)
    if tls is not None:
        _renew(config, paths)
    return tls


def _renew(config: Controller, paths: Paths) -> None:
    from terra_core.controller.authority import certify  # here, because a controller without TLS needs none of it

    try:
        address = [] if ip_address(config.address).is_unspecified else [ip_address(config.address)]
        for made in certify(paths, address).made:
            _log.info("made", what=made)
    except TerraError as error:  # the authority's key may be kept elsewhere, and the certificate be good still
        _log.warning("the certificate is not as it has to be", reason=str(error))


def _say_ready(config: Controller, paths: Paths, tls: Tls | None) -> None:
    url = _url(config, tls, config.port)
    with suppress(OSError):  # a full disk: commands on this machine have to be told where the controller is
        write_file(paths.url, f"{url}\n".encode(), mode=0o644)
    _log.info("ready", api=url, portal=config.portal, root=str(paths.root), token=str(paths.token))


def _url_for_others(config: Controller, tls: Tls | None, port: int) -> str:
    """Return the URL of a port of this controller on other machines, as far as this one knows."""
    if not ip_address(config.address).is_unspecified:
        return _url(config, tls, port)
    return f"{'https' if tls else 'http'}://{os.uname().nodename}:{port}"


def _url(config: Controller, tls: Tls | None, port: int) -> str:
    address = ip_address(config.address)
    if address.is_unspecified:
        address = ip_address("::1" if address.version == 6 else "127.0.0.1")
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f"{'https' if tls else 'http'}://{shown}:{port}"
