"""The network boot service: one for the site, and where hosts have stores of their own, on the one that has the lead (0107)."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import structlog

from terra_core.config.session import Session
from terra_core.controller.hosts import HostRows
from terra_core.controller.services import Services
from terra_core.errors import TerraError
from terra_core.hookspecs import Boot, BootNetwork
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)


class NetworkBoot:
    """Keeps the network boot service up here, or stopped. May be used from several threads.

    :param services: what the controller works with.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock, self._was_here = threading.Lock(), True

    @property
    def is_here(self) -> bool:
        """Whether this host is to have the service: any that works, but for one of several with stores of their own."""
        return time.monotonic() < self._services.lead.serves_until

    def start(self, session: Session) -> bool:
        """Make sure that the service answers, and knows the machines of all hosts; stop it where it is another host's.

        :returns: whether it had to be started again.
        """
        config, lead, boot = self._services.config, self._services.lead, self._services.role(Boot)
        with self._lock:
            begins, self._was_here = not self._was_here, self.is_here and not lead.leaving
            if not self._was_here:
                if boot.stop_boot(session):
                    _log.info("the network boot service is another host's from now on")
                if lead.leaving:
                    lead.give_back()
                return False
            nodes = self._services.store.bootable_everywhere()
            network = BootNetwork(address=config.address, gateway=config.gateway)
            with Undo() as undo:
                undo.when_failing(lead.give_back)
                started = boot.start_boot(network, nodes, session)
            if begins:
                _log.info("this host has the network boot service, for the machines of all hosts")
            return started and not begins

    def stop(self, session: Session) -> None:
        """Stop the service, for another host to start it."""
        with self._lock:
            self._services.role(Boot).stop_boot(session)

    def end(self, session: Session) -> None:
        """Stop the service at the end of this controller, where another host with a store of its own takes it."""
        own = self._services.store.host
        with suppress(TerraError):
            hosts = HostRows(self._services.store.engine).every() if own and self.is_here else ()
            if any(host.may_lead and host.own.name != own for host in hosts):
                self.stop(session)
