"""What a machine's target will be."""

from __future__ import annotations

import secrets

from terra_core.config.session import Session
from terra_core.hookspecs import Target, TargetRequest
from terra_iscsi.names import initiator_name, target_name
from terra_iscsi.settings import NAME, PORT, Settings

_SECRET = "secret"  # noqa: S105  # the name of the entry
_SECRET_BYTES = 16
"""RFC 7143 (9.2.1) wants 12 at least, against a search for what was overheard; tgt and open-iscsi take 255 characters."""


def plan(request: TargetRequest, session: Session) -> Target:
    """Return what a group's target will be; nothing is touched.

    :raises TerraError: when host name or label can't be part of an iSCSI name.
    """
    settings = session.settings(NAME, Settings)
    name = target_name(
        settings,
        request.hostname,
        request.label,
        boot=request.boot,
        generation=request.generation,
        version=request.number if request.again else 0,
    )
    initiator = initiator_name(settings, request.hostname, generation=request.generation)
    return Target(
        label=request.label,
        name=name,
        id=request.number,
        client=initiator,
        portal=request.portal,
        volumes=request.volumes,
        kernel_arguments=_kernel_arguments(request, name, initiator),
        data=_data(request, settings),
    )


def secret_of(target: Target) -> str:
    """Return the secret of a target's machine, whose account has the initiator's name; empty where it needs none."""
    return target.data.get(_SECRET, "")


def _data(request: TargetRequest, settings: Settings) -> dict[str, str]:
    """Return the machine's secret, which is the same for all of its targets and for no other machine's."""
    fresh = secrets.token_hex(_SECRET_BYTES) if settings.chap else ""
    known = secret_of(request.planned[0]) if request.planned else fresh
    return {_SECRET: known} if known else {}


def _kernel_arguments(request: TargetRequest, iqn: str, initiator: str) -> tuple[str, ...]:
    if not request.boot:
        return (f"terra.target={iqn}",)
    return (
        f"ISCSI_INITIATOR={initiator}",
        f"ISCSI_TARGET_NAME={iqn}",
        f"ISCSI_TARGET_IP={request.portal}",
        f"ISCSI_TARGET_PORT={PORT}",
    )
