"""What core may ask of a plugin.

A plugin fills a role by implementing every hook of it, on the instance that its entry point in the group ``terra.plugins``
loads. Only the plugin that TOML selects for a role is called, and it gets the arguments that it names. All hooks raise
:class:`terra_core.errors.TerraError` for what a user can act upon.

A hook that acquires something returns an unentered context manager. Core enters it on a stack of its own, and leaves it
with the exception when a later step fails.
"""

from terra_core.hookspecs.boot import Boot, BootNetwork, NodeBoot
from terra_core.hookspecs.bootloader import BootDisk, BootLoader, Bootloader
from terra_core.hookspecs.files import RenderedFile
from terra_core.hookspecs.filesystem import Filesystem, Mount, PreparedGroup
from terra_core.hookspecs.markers import hookimpl, hookspec
from terra_core.hookspecs.network import Network
from terra_core.hookspecs.registry import Builder, BuildRequest, BuiltImage, Registry, Trial
from terra_core.hookspecs.roles import ROLES, Role
from terra_core.hookspecs.storage import Lun, Storage, Target, TargetRequest

__all__ = [
    "ROLES",
    "Boot",
    "BootDisk",
    "BootLoader",
    "BootNetwork",
    "Bootloader",
    "BuildRequest",
    "Builder",
    "BuiltImage",
    "Filesystem",
    "Lun",
    "Mount",
    "Network",
    "NodeBoot",
    "PreparedGroup",
    "Registry",
    "RenderedFile",
    "Role",
    "Storage",
    "Target",
    "TargetRequest",
    "Trial",
    "hookimpl",
    "hookspec",
]
