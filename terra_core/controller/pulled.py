"""The images that a controller has pulled: kept as long as a machine or work that is under way needs them."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import structlog

from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference
from terra_core.controller.records import Record
from terra_core.controller.services import Services
from terra_core.hookspecs import Registry
from terra_core.images import Images
from terra_core.oci.source import ImageSource
from terra_core.system.mounts import mount_points
from terra_core.system.undo import Undo
from terra_core.system.workspace import remove_abandoned

_log = structlog.get_logger(__name__)


class PulledImages:
    """Images in OCI layouts below the controller's state. May be used from several threads.

    :param services: what the controller works with.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._dropping = threading.Lock()  # held while one is dropped, and no longer
        self._pulling: Counter[str] = Counter()  # images that must not be dropped, beside those of machines

    def pull(self, reference: ImageReference, trust: Trust | None, session: Session) -> AbstractContextManager[ImageSource]:
        """Offer an image that may still be on its way; signed as the controller wants it, and as whoever asks for it does."""
        place = self._place(str(reference))
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted = tuple(dict.fromkeys(one for one in (self._services.config.trust, trust) if one is not None))
        return Images(plugin=self._services.role(Registry), session=session, trust=wanted).pull(reference, place)

    def digest_of(self, reference: ImageReference, session: Session) -> str:
        """Return the digest of the manifest that a reference means now.

        :raises TerraError: when the registry does not say.
        """
        return str(Images(plugin=self._services.role(Registry), session=session).inspect(reference).digest)

    @contextmanager
    def keeping(self, reference: str) -> Iterator[None]:
        """Keep what is pulled of an image meanwhile, and drop it in the end when nobody else needs it."""
        with self._dropping:
            self._pulling[reference] += 1
        with Undo() as undo:
            undo.callback(self._let_go, reference)
            yield

    def drop(self, reference: str) -> None:
        """Remove what was pulled of an image, unless a machine or work that is under way needs it."""
        with self._dropping:
            if not self._pulling[reference] and not any(image == reference for image in self._wanted()):
                shutil.rmtree(self._place(reference), ignore_errors=True)

    def drop_unneeded(self) -> None:
        """Remove what was pulled of images that no machine and no work that is under way needs."""
        with self._dropping:
            there = [*(self._services.session.paths.state / "images").glob("*")]
            wanted = set(self._wanted()) | {reference for reference, count in self._pulling.items() if count}
            kept = {self._place(reference) for reference in wanted}
            for place in there:
                if place not in kept:
                    shutil.rmtree(place, ignore_errors=True)

    def clean_up(self) -> None:
        """Remove what a controller that was killed had pulled and copied for work that is not there any more."""
        paths = self._services.session.paths
        for workspaces in (paths.work, paths.run / "work"):  # the second one is that of former versions
            if any(workspaces in point.path.parents for point in mount_points()):
                _log.error("something is mounted here, and left alone", path=str(workspaces))
            elif self._services.sharing.shares:
                remove_abandoned(workspaces, 0)  # what was done here for who led before is about to end by itself
            else:
                shutil.rmtree(workspaces, ignore_errors=True)
        self.drop_unneeded()

    def _let_go(self, reference: str) -> None:
        with self._dropping:
            self._pulling[reference] -= 1
        self.drop(reference)

    def _place(self, reference: str) -> Path:
        return self._services.session.paths.state / "images" / hashlib.sha256(reference.encode()).hexdigest()[:32]

    def _wanted(self) -> Iterator[str]:
        """Yield the image of each machine, most of which have the same one, and the one that it is on its way to."""
        for record in self._services.store.every():
            yield str(record.node.image) if isinstance(record, Record) else record.image
            if isinstance(record, Record) and record.under_way is not None:
                yield record.under_way.image
