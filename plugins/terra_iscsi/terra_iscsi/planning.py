"""What a machine's target will be."""

from __future__ import annotations

from terra_core.config.session import Session
from terra_core.hookspecs import Target, TargetRequest
from terra_iscsi.names import initiator_name, target_name
from terra_iscsi.settings import NAME, PORT, Settings


def plan(request: TargetRequest, session: Session) -> Target:
    """Return what a group's target will be; nothing is touched.

    :raises TerraError: when host name or label can't be part of an iSCSI name.
    """
    settings = session.settings(NAME, Settings)
    name = target_name(settings, request.hostname, request.label, boot=request.boot, generation=request.generation)
    initiator = initiator_name(settings, request.hostname, generation=request.generation)
    return Target(
        label=request.label,
        name=name,
        id=request.number,
        client=initiator,
        portal=request.portal,
        volumes=request.volumes,
        kernel_arguments=_kernel_arguments(request, name, initiator),
    )


def _kernel_arguments(request: TargetRequest, iqn: str, initiator: str) -> tuple[str, ...]:
    if not request.boot:
        return (f"terra.target={iqn}",)
    return (
        f"ISCSI_INITIATOR={initiator}",
        f"ISCSI_TARGET_NAME={iqn}",
        f"ISCSI_TARGET_IP={request.portal}",
        f"ISCSI_TARGET_PORT={PORT}",
    )
