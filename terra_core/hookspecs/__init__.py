"""What core may ask of a plugin: the contract, of the number :data:`CONTRACT`.

A plugin is the instance that its entry point in the group ``terra.plugins`` loads. It fills a role by implementing every hook
of it that is not optional, each with all of its parameters, by the names that they have here. It says ``contract = 2``: the
number of the contract that it was made for. Only the plugin that TOML selects for a role is called, and a record of the
controller goes back to the plugin that made it. All hooks raise :class:`terra_core.errors.TerraError` for what they refuse and
what a user can act upon, with the tool's or server's own message and the device, file or image that it is about; whatever they
return is checked to its last field. ``work`` is an empty directory for temporary files and mounts, which core removes.

The top-level table of a plugin's own name is the plugin's. It says the model of that table, a frozen attrs class, by
``settings``: an attribute or a property beside ``contract``. Core reads the table by this model before it calls any hook, with
every problem told by file and key, checks it in ``terra validate`` and describes it in the JSON Schemas; a hook asks for it by
``session.settings(NAME, Model)``. A plugin that says no model has no table, and one of its name is refused.

It says the programs that it runs by ``programs``, such as ``{"tgtd": "tgt"}``, each with the package of Debian that has it. The
hooks ``examine_...`` are asked by ``terra doctor``, with the controller up or down: each looks by code that shares nothing with
the plugin's other hooks, and changes nothing.

A hook that acquires something returns an unentered context manager, an ``Offer``. Core enters it on a stack of its own, and
leaves it with the exception when a later step fails. Commands call hooks from their main thread; the controller from several,
which each role describes. A hook never prints, never reads standard input, never changes the working directory, the
environment, the umask or signal handlers: progress goes to ``session.report``, which may raise to end the work.
"""

from terra_core.config.local_boot import BootDisk, LocalBoot, StartChoice
from terra_core.hookspecs.boot import Boot, Bootloader, BootNetwork, NodeBoot, Sighting, Sightings
from terra_core.hookspecs.images import Builder, BuildRequest, BuiltImage, Registry
from terra_core.hookspecs.machine import BootStep, CheckedGroup, Filesystem, Mount, Network, PreparedGroup
from terra_core.hookspecs.markers import CONTRACT, Offer, Role, hookimpl
from terra_core.oci.signature import FoundSignature
from terra_core.system.finding import Finding
from terra_core.system.rendered import RenderedFile, RenderedLink
from terra_core.system.room import Room
from terra_core.system.roots import Roots
from terra_core.system.trial import Trial

# isort: off
from terra_core.hookspecs.storage import (
    Backing, Connected, Export, Served, Storage, Store, Target, TargetRequest, Volume, VolumeRequest,
)  # fmt: skip
# isort: on

_ROLES: tuple[type[Role], ...] = (Network, Builder, Registry, Filesystem, Store, Storage, Boot, Bootloader)
ROLES = {role.role: role for role in _ROLES}
"""Every role by its key under ``[plugins]``."""

__all__ = [
    "CONTRACT", "ROLES", "Backing", "Boot", "BootDisk", "BootNetwork", "BootStep", "Bootloader", "BuildRequest", "Builder",
    "BuiltImage", "CheckedGroup", "Connected", "Export", "Filesystem", "Finding", "FoundSignature", "LocalBoot", "Mount",
    "Network", "NodeBoot", "Offer", "PreparedGroup", "Registry", "RenderedFile", "RenderedLink", "Role", "Room", "Roots",
    "Served", "Sighting", "Sightings", "StartChoice", "Storage", "Store", "Target", "TargetRequest", "Trial", "Volume",
    "VolumeRequest", "hookimpl",
]  # fmt: skip
