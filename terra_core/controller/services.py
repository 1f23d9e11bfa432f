"""What a controller works with."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from terra_core.config.controller import Controller
from terra_core.config.session import Session
from terra_core.controller.leading import Sole, Standing
from terra_core.controller.portal import Portal, Staying
from terra_core.controller.sharing import Alone, Sharing
from terra_core.controller.store import Store
from terra_core.hookspecs import Role
from terra_core.plugins import Plugins
from terra_core.system.workspace import workspace

YOUNG_SECONDS = 60.0
"""For so long, a directory for work that nobody holds may be one that is about to be held."""
MENDED = "mend"
"""The step of every event that says what was not as the database says, and is by now."""
R = TypeVar("R", bound=Role)


@frozen(kw_only=True)
class Services:
    """What a controller works with.

    :param config: controller.toml, with the options of the command line.
    :param session: its plugins' tables and its paths.
    :param plugins: what is installed.
    :param store: the records.
    :param standing: whether this controller leads among those of its database, and works on machines; where it has a store of
        its own, it always works on its own ones.
    :param lead: whether it has the lead there, and with it what is one for the site: the network boot service.
    :param portal: the storage address, which stays here or moves with the lead.
    :param sharing: has work done by other hosts, where there are any.
    """

    config: Controller
    session: Session
    plugins: Plugins
    store: Store
    standing: Standing = Sole()
    lead: Standing = Sole()
    portal: Portal = Staying()
    sharing: Sharing = Alone()

    def role(self, role: type[R]) -> R:
        """Return the plugin that controller.toml selects for a role."""
        return self.plugins.fill(role, self.config.plugins, source=self.session.source)

    def workspace(self, name: str) -> AbstractContextManager[Path]:
        """Offer an empty directory for large work; it is removed in the end."""
        place = self.session.paths.work
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        return workspace(f"{name}-", place=place, grace=YOUNG_SECONDS)
