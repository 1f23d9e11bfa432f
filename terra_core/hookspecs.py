"""What core may ask of a plugin.

A plugin fills a role by implementing every hook of it, on the instance that its entry point in the group ``terra.plugins``
loads. Only the plugin that TOML selects for a role is called, and it gets the arguments that it names. All hooks raise
:class:`terra_core.errors.TerraError` for what a user can act upon.

A hook that acquires something returns an unentered context manager. Core enters it on a stack of its own, and leaves it
with the exception when a later step fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy
from attrs import field, frozen

from terra_core.config.node import DiskGroup, Firmware
from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import Address, Hostname, ImageReference, Mac

if TYPE_CHECKING:
    from terra_core.image.source import ImageDocuments, ImageSource  # slow to import

hookspec = pluggy.HookspecMarker("terra")
hookimpl = pluggy.HookimplMarker("terra")


@frozen(kw_only=True)
class RenderedFile:
    """A file of a machine, rendered from its TOML.

    :param path: where it stands in the machine, without the leading slash.
    :param content: its bytes.
    :param mode: its permission bits.
    :param owner: the user and group that it belongs to, by name, as chown(1) writes it.
    """

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


class Builder(StrEnum):
    """What builds an image.

    ``AUTO`` is the classic builder, and BuildKit for a Dockerfile that needs it.
    """

    AUTO = "auto"
    CLASSIC = "classic"
    BUILDKIT = "buildkit"


@frozen(kw_only=True)
class BuildRequest:
    """An image to build.

    :param context: the directory that the build sees, less what its .dockerignore names; nothing outside it is read.
    :param overlay: a directory whose tree is laid over the context, all of it, with the modes that it has.
    :param dockerfile: the path of the Dockerfile within the two.
    :param reference: the name that the image gets; ``None`` for none.
    :param no_cache: whether every step runs again.
    :param arguments: values for the Dockerfile's ARG instructions.
    :param labels: labels that the image gets, beside those of the Dockerfile.
    :param base: the only image that it stands on, which the labels ``org.opencontainers.image.base.*`` name; none without it.
    :param components: the images that its Dockerfile lays over the base; they have to be for the same machine.
    :param builder: which of the engine's builders does it.
    :param epoch: seconds since 1970 that no time of a file that is sent is later than, SOURCE_DATE_EPOCH as
        https://reproducible-builds.org/specs/source-date-epoch/ has it; the files of the overlay have exactly this one. When
        left out, the environment's SOURCE_DATE_EPOCH, or the time of the newest file of the context.
    """

    context: Path
    dockerfile: str
    reference: ImageReference | None
    overlay: Path | None = None
    no_cache: bool = False
    arguments: Mapping[str, str] = field(factory=dict)
    labels: Mapping[str, str] = field(factory=dict)
    base: ImageReference | None = None
    components: Sequence[ImageReference] = ()
    builder: Builder = Builder.AUTO
    epoch: int | None = None


@frozen(kw_only=True)
class BuiltImage:
    """An image in the engine.

    :param reference: its name; ``None`` when it got none.
    :param id: the digest of its configuration.
    :param size: its size in bytes.
    """

    reference: ImageReference | None
    id: str
    size: int


@frozen(kw_only=True)
class Mount:
    """A part of a group, and where it belongs in the machine.

    :param path: where the machine mounts it, ``/`` for its root.
    :param device: the device to mount here and now.
    :param filesystem: the type, for mount(8).
    :param options: mount options, for both here and the machine.
    :param source: what the machine's fstab(5) names as its source.
    """

    path: str
    device: Path
    filesystem: str
    options: tuple[str, ...]
    source: str


@frozen(kw_only=True)
class PreparedGroup:
    """A formatted group.

    :param mounts: all of its mounts; core makes them, parents before children.
    :param kernel_arguments: what the kernel line needs to find the root, for the group of the operating system.
    """

    mounts: tuple[Mount, ...]
    kernel_arguments: tuple[str, ...] = ()


@frozen(kw_only=True)
class TargetRequest:
    """A disk group that a machine shall reach over the network.

    :param hostname: the machine.
    :param number: the target's number, never given twice by one controller.
    :param generation: how often this host name has been provisioned, from 1; it keeps names from being used twice.
    :param group: the disk group.
    :param first_lun: how many LUN files the machine's groups before this one have.
    :param boot: whether the machine boots from it.
    :param portal: the address that the storage service answers on.
    """

    hostname: Hostname
    number: int
    generation: int
    group: DiskGroup
    first_lun: int
    boot: bool
    portal: Address


@frozen(kw_only=True)
class Lun:
    """A logical unit of a target.

    :param id: its number within the target.
    :param path: the file behind it.
    :param size: its size in MB.
    """

    id: int
    path: str
    size: int


@frozen(kw_only=True)
class Target:
    """A target as the controller stores it; enough to make it again after a restart.

    :param label: the label of the disk group.
    :param iqn: its iSCSI qualified name (RFC 7143 section 4.2.7).
    :param id: its number.
    :param initiator: the only initiator that may reach it, by qualified name.
    :param portal: the address it is reached at.
    :param luns: its logical units, in the order of the group's disks.
    :param kernel_arguments: what a machine's kernel line needs to reach it.
    """

    label: str
    iqn: str
    id: int
    initiator: str
    portal: Address
    luns: tuple[Lun, ...]
    kernel_arguments: tuple[str, ...] = ()


@frozen(kw_only=True)
class BootNetwork:
    """What the network boot service is told of the network.

    :param address: the address it answers on.
    :param gateway: the gateway that machines are told of, if any.
    """

    address: Address
    gateway: Address | None = None


@frozen(kw_only=True)
class NodeBoot:
    """What a machine boots.

    :param hostname: the machine.
    :param mac: the interface it boots from.
    :param image: the digest of the manifest that kernel and initrd came from.
    :param kernel_arguments: the kernel line, beyond what the boot plugin adds for itself.
    :param kernel: the kernel as a file here; ``None`` when it was published before, or when the image has none.
    :param initrd: the initial RAM disk that belongs to it; given whenever ``kernel`` is.
    """

    hostname: Hostname
    mac: Mac
    image: str
    kernel_arguments: tuple[str, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None


@frozen(kw_only=True)
class Trial:
    """How a system did that was started to see whether it comes up.

    :param state: what ``systemctl is-system-running`` said in the end; empty when it never did.
    :param failed: the units that failed, a line each.
    :param errors: the journal's errors, or what else there is to see where there is no journal.
    """

    state: str
    failed: tuple[str, ...] = ()
    errors: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it came up, and every unit with it."""
        return self.state == "running"


@frozen(kw_only=True)
class BootDisk:
    """A disk that an installed machine may start from.

    :param device: the whole disk.
    :param core_sector: the first sector of the area that a boot loader for a BIOS may use; ``None`` when none is wanted.
    :param core_sectors: the length of that area, in sectors.
    :param sector_size: in bytes.
    :param esp: the block device of its EFI system partition, which is Terra's own; ``None`` when none is wanted.
    :param esp_number: the number of that partition.
    """

    device: Path
    core_sector: int | None = None
    core_sectors: int = 0
    sector_size: int = 512
    esp: Path | None = None
    esp_number: int = 0


@frozen(kw_only=True)
class BootLoader:
    """The boot loader of an installed machine.

    :param hostname: the machine.
    :param disks: the disks that it starts from; each must be able to start it alone.
    :param firmware: what starts the boot loader.
    :param filesystem: the UUID of the file system that the root is on; empty while there is none yet.
    :param subvolume: the path of the root within that file system; empty when it is the file system's own.
    :param kernel: the path of the kernel in the root, such as ``boot/vmlinuz-6.1.0``; empty while it is not known.
    :param initrd: the path of its initial RAM disk.
    :param kernel_arguments: the kernel line, beyond what the boot loader adds for the consoles.
    """

    hostname: Hostname
    disks: tuple[BootDisk, ...]
    firmware: Firmware
    filesystem: str = ""
    subvolume: str = ""
    kernel: str = ""
    initrd: str = ""
    kernel_arguments: tuple[str, ...] = ()


class Network:
    """Role ``network``: the network configuration of an image."""

    @hookspec(firstresult=True)
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile] | None:
        """Render the files that configure the machine's network.

        Called once a build. Write nothing; the plugin's own table is ``session.settings(NAME, Model)``.

        :param server: the whole server.toml.
        """


class Registry:
    """Role ``registry``: building images, and moving them to and from registries."""

    @hookspec(firstresult=True)
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage | None:
        """Build an image and give it its name.

        A step that fails leaves no container and no image of this build behind, and neither does an interruption.

        :raises TerraError: with the failed step and the output of the engine.
        """

    @hookspec(firstresult=True)
    def push_image(self, reference: ImageReference, session: Session) -> str | None:
        """Push an image that :meth:`build_image` made.

        :returns: the digest of the manifest that the registry took.
        """

    @hookspec(firstresult=True)
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[ImageSource] | None:
        """Offer an image that :meth:`build_image` made, to be read; no program of it is run.

        :param image: its id.
        :param work: an existing directory with room for all of it, for what has to be written; the plugin leaves it as it was.
        """

    @hookspec(firstresult=True)
    def try_image(self, image: str, seconds: float, session: Session) -> Trial | None:
        """Start an image that :meth:`build_image` made as a container, its own init first, and see how the system does.

        The image stays as it is, and the container is gone afterwards, whatever happens.

        :param image: its id.
        :param seconds: how long it may take to come up.
        """

    @hookspec(firstresult=True)
    def pull_image(
        self, reference: ImageReference, layout: Path, session: Session, trust: Sequence[Trust]
    ) -> AbstractContextManager[ImageSource] | None:
        """Offer to bring an image of a registry into an OCI image layout on disk, readable while it comes.

        Entering looks the reference up, once, and ends when the manifest for this machine's platform and the configuration are
        in the layout, verified. The layers follow; what the layout has already is not fetched again. Leaving without an
        exception waits until all of them are there and verified; leaving with one ends the work at once.

        The layout keeps the registry's own bytes, so that digests are the registry's; it can be read at any time, and finds the
        image by either digest, of the manifest or of the index that the reference names. One pull at a time writes to a layout,
        and others wait until all of it has come. What is left half-way is never taken as complete by a later pull.

        :param reference: by tag or digest.
        :param layout: a directory to make or to add to.
        :param trust: whose signatures the image must have, all of them; without, nothing of a layer is fetched.
        :raises TerraError: as the registry said it, or because the image is not what it has to be or not signed.
        """

    @hookspec(firstresult=True)
    def inspect_image(self, reference: ImageReference, session: Session, trust: Sequence[Trust]) -> ImageDocuments | None:
        """Look an image up in its registry, and fetch its documents only.

        :param trust: as for :meth:`pull_image`.
        :raises TerraError: as :meth:`pull_image` does.
        """


class Filesystem:
    """Role ``filesystem``: disk groups."""

    @hookspec(firstresult=True)
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> Sequence[str] | None:
        """Say whether :meth:`prepare_disks` can do what ``group`` says, before anything is written to any disk.

        :param sizes: the disks' sizes in bytes, in the order of ``group.disk``.
        :returns: what a user should know before; nothing is fine.
        :raises TerraError: when a disk is too small, or a program is missing on this machine.
        """

    @hookspec(firstresult=True)
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup] | None:
        """Offer to format ``devices`` as ``group`` says.

        Called once a group, after every check and before the image is applied. Touch no device here: the work starts when core
        enters the context, and leaving it must leave nothing mounted and no loop device attached.

        :param group: the validated ``[[groups]]`` entry.
        :param devices: block devices or image files, in the order of ``group.disk``.
        :param work: an empty directory for mounts of the plugin's own; it is gone when the context has been left.
        :raises TerraError: naming the device, with the tool's own message.
        """

    @hookspec(firstresult=True)
    def renew_disk(self, devices: Sequence[Path], session: Session) -> bool | None:
        """Give the file system on copies of another group's disks an identity of its own, so that both can be mounted at once.

        :param devices: image files, in the order of the group's disks; none is mounted.
        :returns: whether anything was changed.
        """


class Storage:
    """Role ``storage``: disks that machines reach over the network. The hooks from :meth:`restore_target` on are
    idempotent."""

    @hookspec(firstresult=True)
    def plan_target(self, request: TargetRequest, session: Session) -> Target | None:
        """Say what the target of a group will be: its names, its number and its files.

        Touch nothing: core stores the answer first, so that whatever follows can be undone after any fault.
        """

    @hookspec(firstresult=True)
    def provision_target(self, target: Target, session: Session) -> AbstractContextManager[Target] | None:
        """Offer to allocate the disks of a planned target.

        Entering makes the files; nothing is exported before :meth:`restore_target`. Leaving with an exception removes
        whatever entering made, leaving without one keeps it.
        """

    @hookspec(firstresult=True)
    def restore_target(self, target: Target, session: Session) -> bool | None:
        """Export a target to its initiator and to nobody else, if it is not exported so already.

        :returns: whether anything was changed.
        :raises TerraError: when a file behind it is missing or is not what it was: it is never made anew.
        """

    @hookspec(firstresult=True)
    def release_target(self, target: Target, session: Session) -> bool | None:
        """Take a target away, its initiator logged in or not, and remove the files behind it.

        :returns: whether there was anything.
        """

    @hookspec(firstresult=True)
    def start_storage(self, portal: Address, session: Session) -> bool | None:
        """Start the storage service if it does not answer; it outlives the controller.

        :returns: whether it was started.
        """

    @hookspec(firstresult=True)
    def stop_storage(self, session: Session) -> bool | None:
        """Stop the storage service if it is one that :meth:`start_storage` started.

        :returns: whether it was stopped.
        """


class Boot:
    """Role ``boot``: the network boot service. All hooks are idempotent."""

    @hookspec(firstresult=True)
    def publish_boot(self, boot: NodeBoot, session: Session) -> bool | None:
        """Let a machine boot; every file is complete before the first one refers to it.

        :returns: whether anything was changed.
        """

    @hookspec(firstresult=True)
    def withdraw_boot(self, hostname: Hostname, mac: Mac, session: Session) -> bool | None:
        """Let a machine boot no longer, and remove its files.

        :returns: whether there was anything.
        """

    @hookspec(firstresult=True)
    def install_boot_image(self, tree: Path, session: Session) -> Sequence[str] | None:
        """Install the boot loaders from an unpacked pxe image.

        :param tree: the root of the image; not to be trusted to hold regular files where they are expected.
        :returns: the installed files, relative to the boot tree.
        """

    @hookspec(firstresult=True)
    def start_boot(self, network: BootNetwork, nodes: Sequence[NodeBoot], session: Session) -> bool | None:
        """Start the network boot service if it does not answer as configured; it outlives the controller.

        :param nodes: every machine that is provisioned.
        :returns: whether it was started.
        """

    @hookspec(firstresult=True)
    def stop_boot(self, session: Session) -> bool | None:
        """Stop the network boot service if it is one that :meth:`start_boot` started.

        :returns: whether it was stopped.
        """


class Bootloader:
    """Role ``bootloader``: what starts a machine from its own disks."""

    @hookspec(firstresult=True)
    def check_bootloader(self, boot: BootLoader, session: Session) -> Sequence[str] | None:
        """Say whether :meth:`install_bootloader` can do what ``boot`` says, before anything is written to any disk.

        :param boot: without the file system and the kernel, and without block devices that are yet to be made.
        :returns: what will be done, a line each.
        :raises TerraError: when an area is too small, or a program or file is missing on this machine.
        """

    @hookspec(firstresult=True)
    def install_bootloader(self, boot: BootLoader, work: Path, session: Session) -> Sequence[RenderedFile] | None:
        """Write the boot loader to the disks, so that it starts nothing yet.

        Idempotent. Nothing but the areas and partitions that ``boot`` names may change on any disk.

        :param work: an empty directory for files of the plugin's own.
        :returns: the files that let it start the machine, for core to write into the root when all else is on the disks.
        :raises TerraError: naming the disk.
        """


@frozen
class Role:
    """A role that a plugin may fill.

    :param name: the key under ``[plugins]``.
    :param spec: the class whose hooks make the role.
    :param default: the plugin that fills it where TOML says nothing.
    :param hooks: the names of its hooks.
    """

    name: str
    spec: type
    default: str
    hooks: tuple[str, ...] = field()

    @hooks.default
    def _hooks_of_spec(self) -> tuple[str, ...]:
        return tuple(name for name in vars(self.spec) if not name.startswith("_"))


ROLES: Mapping[str, Role] = {
    role.name: role
    for role in (
        Role("network", Network, "netplan"),
        Role("registry", Registry, "docker"),
        Role("filesystem", Filesystem, "btrfs"),
        Role("storage", Storage, "iscsi"),
        Role("boot", Boot, "tftp"),
        Role("bootloader", Bootloader, "grub"),
    )
}
"""Every role, and its default plugin: the only place beside TOML where a plugin's name stands."""
