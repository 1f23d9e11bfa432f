"""The client of a controller, with typed requests and answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from terra_core.client.answers import (
    AuditShown,
    BootImageInstalled,
    HappeningShown,
    HostShown,
    ImageShown,
    InfoShown,
    Mended,
    NodeProvisioned,
    NodeShown,
    PlanShown,
    StatusShown,
    TokenCreated,
    TokenShown,
    UpgradePlanShown,
    read_answer,
)
from terra_core.client.connection import Client, own_url
from terra_core.config.structure import StructureError
from terra_core.config.trust import with_key
from terra_core.errors import NotFoundError, TerraError
from terra_core.service.answers import OperationShown
from terra_core.system.garbage import uncollected
from terra_core.system.progress import Report, silent

if TYPE_CHECKING:  # they are slow to import, and most clients read no file
    from terra_core.config.loader import Document
    from terra_core.config.node import NetworkNode
    from terra_core.config.values import ImageReference

DEFAULT_ADDRESS = "127.0.0.1"
T = TypeVar("T")


class ControllerClient:
    """A connection to a controller; may be used from several threads.

    Every method raises what the controller raised, as the same kind: :class:`terra_core.errors.ConflictError`,
    :class:`terra_core.errors.NotFoundError`, :class:`terra_core.errors.ConfigError` and others of
    :class:`terra_core.errors.TerraError`, which also says when it cannot be reached.

    :param address: an address, ``ADDRESS:PORT``, or an ``http://`` or ``https://`` URL; the controller of this machine when
        left out.
    :param token: the API's token; from TERRA_TOKEN or TERRA_TOKEN_FILE, or this machine's own controller, when left out.
    :param warn: is told, once, when the token goes to another machine by plain HTTP.
    :raises TerraError: when there is no token, or ``address`` is none.
    """

    def __init__(
        self, address: str | None = None, *, token: str | None = None, warn: Callable[[str], object] | None = None
    ) -> None:
        self._client = Client(address or own_url() or DEFAULT_ADDRESS, token=token, warn=warn)

    @property
    def url(self) -> str:
        """The URL of the controller."""
        return self._client.url

    def info(self) -> InfoShown:
        """Return what the controller is and does."""
        return self._read(self._client.get("/v1/info"), InfoShown)

    def hosts(self) -> tuple[HostShown, ...]:
        """Return the hosts whose controllers have the same database, by name."""
        return self._read(self._client.get("/v1/hosts"), tuple[HostShown, ...])

    def forget_host(self, name: str, *, with_machines: bool = False) -> HostShown:
        """Let a host that is not there any more be forgotten; return what was known of it.

        :param with_machines: whether the machines are given up that it alone has the disks of.
        :raises ConflictError: when it is there, or has machines that are not given up.
        :raises NotFoundError: when there is none of this name.
        """
        path = f"{_place_of('hosts', name, 'host')}{'?with_machines=true' if with_machines else ''}"
        return self._read(self._client.delete(path), HostShown)

    def drain_host(self, name: str) -> HostShown:
        """Let a host take no lead, and give it to another one when it has finished what it has begun; return how it is now.

        :raises ConflictError: when it has the lead, and no other host is there that could take it.
        :raises NotFoundError: when there is none of this name.
        """
        return self._read(self._client.post(f"{_place_of('hosts', name, 'host')}/drain", {}), HostShown)

    def resume_host(self, name: str) -> HostShown:
        """Let a host that was drained take the lead again when nobody has it; return how it is now.

        :raises NotFoundError: when there is none of this name.
        """
        return self._read(self._client.post(f"{_place_of('hosts', name, 'host')}/resume", {}), HostShown)

    def unfence_host(self, name: str) -> HostShown:
        """Let a host into the store again that was fenced when another one took its place; return what is known of it.

        :raises ConflictError: when it is not fenced, or its controller has not started since.
        :raises NotFoundError: when there is none of this name.
        """
        return self._read(self._client.post(f"{_place_of('hosts', name, 'host')}/unfence", {}), HostShown)

    def nodes(self) -> tuple[NodeShown, ...]:
        """Return every machine, with where it stands."""
        with uncollected():
            return self._read(self._client.get("/v1/nodes"), tuple[NodeShown, ...])

    def node(self, hostname: str) -> NodeShown:
        """Return one machine, with where it stands.

        :raises NotFoundError: when the controller has none of this name.
        """
        return self._read(self._client.get(_path_of(hostname)), NodeShown)

    def status(self, hostname: str) -> StatusShown:
        """Return how one machine is, and what happened to it last.

        :raises NotFoundError: when the controller has none of this name.
        """
        return self._read(self._client.get(f"{_path_of(hostname)}/status"), StatusShown)

    def happenings(self, hostname: str, *, after: int = 0, wait: int = 0) -> tuple[HappeningShown, ...]:
        """Return what happened to a machine, in order, 1000 of them at most.

        :param after: the number of the last one that is known already.
        :param wait: for how many seconds to wait until there is something, ten at most.
        :raises NotFoundError: when the controller has none of this name.
        """
        path = f"{_path_of(hostname)}/happenings?after={after}&wait={wait}"
        return self._read(self._client.get(path), tuple[HappeningShown, ...])

    def operations(self) -> tuple[OperationShown, ...]:
        """Return the operations that the controller remembers, oldest first."""
        return self._read(self._client.get("/v1/operations"), tuple[OperationShown, ...])

    def provision(self, document: Document[NetworkNode], report: Report = silent) -> NodeProvisioned:
        """Let the controller give a machine its disks, and wait until that is done.

        When the work here is interrupted, by a signal or by ``report``, the controller undoes what it did.

        :param document: node.toml, loaded as one that has what provisioning needs.
        :param report: takes progress events, and may raise to end the work.
        :raises ConflictError: when another machine holds its name or its address.
        """
        body = with_key(document.raw, document.value.trust)
        return self._read(self._client.carry_out(lambda: self._client.post("/v1/nodes", body), report), NodeProvisioned)

    def plan_upgrade(self, hostname: str, image: ImageReference) -> UpgradePlanShown:
        """Return what an upgrade of a machine to an image would do; change nothing.

        :raises ConflictError: when it cannot be upgraded now.
        :raises NotFoundError: when the controller has none of this name.
        """
        answer = self._client.post(f"{_path_of(hostname)}/upgrade/plan", {"image": str(image)})
        return self._read(answer, UpgradePlanShown)

    def upgrade(self, hostname: str, image: ImageReference, report: Report = silent) -> NodeShown:
        """Let the controller make the next version of a machine, and wait until that is done; it has it from its next start on.

        :param report: takes progress events, and may raise to end the work.
        :raises ConflictError: when it cannot be upgraded now.
        :raises NotFoundError: when the controller has none of this name.
        """
        path = f"{_path_of(hostname)}/upgrade"
        self._client.carry_out(lambda: self._client.post(path, {"image": str(image)}), report)
        return self.node(hostname)

    def rollback(self, hostname: str, report: Report = silent) -> NodeShown:
        """Bring a machine back to its former version from its next start on, or end an upgrade that it has not begun.

        :raises ConflictError: when it has no version to go back to.
        :raises NotFoundError: when the controller has none of this name.
        """
        self._client.carry_out(lambda: self._client.post(f"{_path_of(hostname)}/rollback", {}), report)
        return self.node(hostname)

    def plan(self, document: Document[NetworkNode]) -> PlanShown:
        """Return what applying a file does to its machine; change nothing.

        :param document: node.toml, loaded as one that has what provisioning needs.
        :raises ConflictError: when another machine holds its address, or the machine is being made or deleted.
        """
        body = with_key(document.raw, document.value.trust)
        return self._read(self._client.post(f"{_path_of(document.value.hostname)}/plan", body), PlanShown)

    def apply(self, document: Document[NetworkNode], report: Report = silent, *, version: str = "") -> NodeProvisioned:
        """Let the controller make a machine what its file says, and wait until that is done; a second time it does nothing.

        A machine that is not there is made. When the work here is interrupted, the controller undoes what it did.

        :param version: that of the plan to carry out; empty for whatever the machine is by now.
        :param report: takes progress events, and may raise to end the work.
        :raises ConflictError: when the machine is not what it was planned for, or cannot be changed so.
        """
        body = with_key(document.raw, document.value.trust)
        path = f"{_path_of(document.value.hostname)}?version={quote(version, safe='')}"
        return self._read(self._client.carry_out(lambda: self._client.put(path, body), report), NodeProvisioned)

    def delete(self, hostname: str, report: Report = silent, *, force: bool = False) -> None:
        """Let the controller remove a machine's boot files, targets and disks with their data, and wait until that is done.

        :param force: whether to do so also while the machine is logged in to its disks.
        :raises NotFoundError: when the controller has none of this name.
        :raises ConflictError: when the machine is logged in.
        """
        path = f"{_path_of(hostname)}{'?force=true' if force else ''}"
        self._client.carry_out(lambda: self._client.delete(path), report)

    def images(self) -> tuple[ImageShown, ...]:
        """Return the images that are laid down for machines to be clones of, each for a layout of disks."""
        return self._read(self._client.get("/v1/images"), tuple[ImageShown, ...])

    def pin_image(self, digest: str, *, pinned: bool = True) -> tuple[ImageShown, ...]:
        """Have an image kept also when no machine is of it, or no longer.

        :param digest: the digest of the image, or its beginning.
        :returns: all that is laid down of it.
        :raises NotFoundError: when nothing is laid down of such an image.
        :raises ConflictError: when several images begin so.
        """
        return self._read(self._client.post(f"{_path_of_image(digest)}/pin", {"pinned": pinned}), tuple[ImageShown, ...])

    def remove_image(self, digest: str) -> tuple[ImageShown, ...]:
        """Have what is laid down of an image removed; its machines keep their disks.

        :param digest: the digest of the image, or its beginning.
        :returns: what was removed.
        :raises NotFoundError: when nothing is laid down of such an image.
        :raises ConflictError: when it is pinned, or a machine is being made from it.
        """
        return self._read(self._client.delete(_path_of_image(digest)), tuple[ImageShown, ...])

    def install_boot_image(self, image: ImageReference | str, report: Report = silent) -> BootImageInstalled:
        """Let the controller install the network boot loaders of a pxe image, and wait until that is done."""
        body = {"image": str(image)}
        return self._read(self._client.carry_out(lambda: self._client.post("/v1/pxe", body), report), BootImageInstalled)

    def mend(self, report: Report = silent) -> Mended:
        """Let the controller compare all that there is with its database now, and wait until it has mended what it can."""
        return self._read(self._client.carry_out(lambda: self._client.post("/v1/mend", {}), report), Mended)

    def tokens(self) -> tuple[TokenShown, ...]:
        """Return every token by name, those that are not valid any more, too."""
        return self._read(self._client.get("/v1/tokens"), tuple[TokenShown, ...])

    def create_token(self, name: str, role: str, days: int | None = None) -> TokenCreated:
        """Let the controller make a token; its secret is in this answer only.

        :param role: ``read``, ``provision`` or ``admin``.
        :param days: for how many days it is valid; without end when left out.
        :raises ConflictError: when there is, or was, a token of this name.
        """
        body = {"name": name, "role": role, **({} if days is None else {"days": days})}
        return self._read(self._client.post("/v1/tokens", body), TokenCreated)

    def revoke_token(self, name: str) -> TokenShown:
        """Let the controller revoke a token, from the next request on.

        :raises NotFoundError: when the controller has none of this name.
        """
        if not name.strip(".") or "/" in name:
            raise NotFoundError(f"{name!r} is the name of no token")
        return self._read(self._client.delete(_place_of("tokens", name, "token")), TokenShown)

    def audit(self, limit: int = 50, host: str = "") -> tuple[AuditShown, ...]:
        """Return the last changes, oldest first, and what was refused.

        :param limit: how many, 1000 at most.
        :param host: only those of this machine.
        """
        path = f"/v1/audit?limit={limit}&host={quote(host, safe='')}"
        return self._read(self._client.get(path), tuple[AuditShown, ...])

    def _read(self, raw: Any, kind: type[T]) -> T:  # JSON
        try:
            return read_answer(raw, kind)
        except StructureError as error:
            said = "; ".join(str(problem) for problem in error.problems[:3])
            hint = "is the address right, and is the controller of the same version as this?"
            raise TerraError(f"{self.url}: the answer is not a controller's: {said}", hint=hint) from None


def _path_of(hostname: str) -> str:
    return _place_of("nodes", hostname, "machine")


def _place_of(part: str, name: str, kind: str) -> str:
    if not name.strip(".") or "/" in name:  # it becomes part of a path, and must not change the route
        raise NotFoundError(f"{name!r} is the name of no {kind}")
    return f"/v1/{part}/{quote(name, safe='')}"


def _path_of_image(digest: str) -> str:
    if not re.fullmatch(r"(?:sha256:)?[0-9a-f]{6,64}", digest):
        raise NotFoundError(f"{digest!r} is no digest of an image", hint="terra images shows them; six digits are enough")
    return f"/v1/images/{digest}"
