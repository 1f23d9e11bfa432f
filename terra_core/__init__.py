"""Terra as a library: load and check files, build, push, pull, unpack and install images, ask a controller.

docs/library.md has an example of each. Nothing here prints, ends the process, or changes anything of it for others; what goes
wrong is a :class:`TerraError`, and long work reports its progress to a callback. All of it may be called from any thread.

A name is imported when it is first used, so that nobody waits for the import of the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from terra_core.client.answers import (
        BootImageInstalled,
        ChangeShown,
        GroupShown,
        InfoShown,
        LunShown,
        NodeProvisioned,
        NodeShown,
        PlanShown,
        SubvolumeShown,
        TargetShown,
    )
    from terra_core.client.controller import ControllerClient
    from terra_core.config.controller import Controller, Paths
    from terra_core.config.loader import Document
    from terra_core.config.node import NetworkNode, Node
    from terra_core.config.parts import Parts
    from terra_core.config.problems import DocumentError
    from terra_core.config.server import Server
    from terra_core.config.session import Session
    from terra_core.config.structure import Problem
    from terra_core.config.trust import Trust
    from terra_core.create import Created, Rendered, check_rendered, create_image, push_image, render_build
    from terra_core.documents import load
    from terra_core.errors import (
        CommandError,
        ConfigError,
        ConflictError,
        InterruptedWork,
        NotFoundError,
        PluginError,
        TerraError,
    )
    from terra_core.hookspecs import Trial
    from terra_core.install.plan import Plan
    from terra_core.install.use import Installation, installation
    from terra_core.plugins import Plugins
    from terra_core.pull import Pulled, pull_image
    from terra_core.sbom import Format, make_sbom
    from terra_core.sbom.document import Sbom
    from terra_core.service.answers import OperationShown
    from terra_core.system.progress import Event, Report
    from terra_core.trial import try_in_container, try_in_machine
    from terra_core.unpack import Unpacked, unpack_image
    from terra_core.validation import FileKind, Validated, json_schema, validate

__all__ = [
    "BootImageInstalled",
    "ChangeShown",
    "CommandError",
    "ConfigError",
    "ConflictError",
    "Controller",
    "ControllerClient",
    "Created",
    "Document",
    "DocumentError",
    "Event",
    "FileKind",
    "Format",
    "GroupShown",
    "InfoShown",
    "Installation",
    "InterruptedWork",
    "LunShown",
    "NetworkNode",
    "Node",
    "NodeProvisioned",
    "NodeShown",
    "NotFoundError",
    "OperationShown",
    "Parts",
    "Paths",
    "Plan",
    "PlanShown",
    "PluginError",
    "Plugins",
    "Problem",
    "Pulled",
    "Rendered",
    "Report",
    "Sbom",
    "Server",
    "Session",
    "SubvolumeShown",
    "TargetShown",
    "TerraError",
    "Trial",
    "Trust",
    "Unpacked",
    "Validated",
    "check_rendered",
    "create_image",
    "installation",
    "json_schema",
    "load",
    "make_sbom",
    "pull_image",
    "push_image",
    "render_build",
    "try_in_container",
    "try_in_machine",
    "unpack_image",
    "validate",
]

_ROOMS = {
    "client.answers": (
        "BootImageInstalled",
        "ChangeShown",
        "GroupShown",
        "InfoShown",
        "LunShown",
        "NodeProvisioned",
        "NodeShown",
        "PlanShown",
        "SubvolumeShown",
        "TargetShown",
    ),
    "client.controller": ("ControllerClient",),
    "config.controller": ("Controller", "Paths"),
    "config.loader": ("Document",),
    "config.node": ("NetworkNode", "Node"),
    "config.parts": ("Parts",),
    "config.problems": ("DocumentError",),
    "config.server": ("Server",),
    "config.session": ("Session",),
    "config.structure": ("Problem",),
    "config.trust": ("Trust",),
    "create": ("Created", "Rendered", "check_rendered", "create_image", "push_image", "render_build"),
    "documents": ("load",),
    "errors": ("CommandError", "ConfigError", "ConflictError", "InterruptedWork", "NotFoundError", "PluginError", "TerraError"),
    "hookspecs": ("Trial",),
    "install.plan": ("Plan",),
    "install.use": ("Installation", "installation"),
    "plugins": ("Plugins",),
    "pull": ("Pulled", "pull_image"),
    "sbom": ("Format", "make_sbom"),
    "sbom.document": ("Sbom",),
    "service.answers": ("OperationShown",),
    "system.progress": ("Event", "Report"),
    "trial": ("try_in_container", "try_in_machine"),
    "unpack": ("Unpacked", "unpack_image"),
    "validation": ("FileKind", "Validated", "json_schema", "validate"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


if not TYPE_CHECKING:  # for mypy, what is imported above is all there is

    def __getattr__(name: str) -> object:
        room = _ROOM_OF.get(name)
        if room is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{room}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
