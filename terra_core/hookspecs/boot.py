"""The roles ``boot`` and ``bootloader``: what starts a machine over the network, and from its own disks."""

from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from terra_core.config.local_boot import LocalBoot, StartChoice
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs.markers import Role, hook, optional
from terra_core.system.finding import Finding
from terra_core.system.rendered import RenderedFile


@frozen(kw_only=True)
class BootNetwork:
    """The address that the network boot service answers on, and the gateway that it announces to machines, if any."""

    address: Address
    gateway: Address | None = None


@frozen(kw_only=True)
class NodeBoot:
    """What a machine boots over the network.

    :param mac: the interface that the machine boots from.
    :param image: the digest of the manifest that kernel and initrd came from.
    :param kernel_arguments: the kernel line; a boot plugin may add to it.
    :param kernel: the kernel as a file here; ``None`` when it was published before, or when the image has none.
    :param initrd: the initial RAM disk that belongs to it; given whenever ``kernel`` is.
    :param steps: the archive with the machine's boot steps, to be loaded after any initial RAM disk. It may hold the machine's
        secrets. ``None`` when it was published before, or when the machine was provisioned by a Terra without boot steps.
    :param report: a small archive with what the machine's next boot reports itself with, to be loaded after ``steps``. It holds
        a secret, and replaces the former one at once. ``None`` leaves what was published; a machine can boot without it.
    """

    hostname: Hostname
    mac: Mac
    image: str
    kernel_arguments: tuple[str, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None
    steps: Path | None = None
    report: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Sighting:
    """Something that the boot service saw a machine do, such as to ask for an address.

    :param time: when, in seconds since 1970.
    :param text: what, in the words of a log; the name of the machine goes before it.
    :param address: the machine's address, where that is known.
    :param file: the file that it was sent, which a machine asks for only when it boots.
    """

    mac: Mac
    time: float
    text: str
    address: str = ""
    file: str = ""


@frozen(kw_only=True)
class Sightings:
    """What was seen, oldest first, and the position to go on from."""

    position: str
    seen: tuple[Sighting, ...] = ()


class Boot(Role, role="boot", default="tftp"):
    """The network boot service, which outlives the controller. All hooks are idempotent.

    Keep what machines boot from below ``session.paths.tftp``: that is in a backup, and hosts of one database have it in common.
    """

    @hook
    def publish_boot(self, boot: NodeBoot, session: Session) -> bool:
        """Let a machine boot, by this address alone; return whether anything was changed or mended.

        Complete a file before another refers to it.
        """

    @optional
    def keep_boot(self, boot: NodeBoot, place: Path, session: Session) -> NodeBoot:
        """Return what a machine boots with all of its files, so that it can be published again after something else was.

        Without this hook no machine is upgraded, as it could not be given its former boot files back.

        :param boot: what was published last.
        :param place: an empty directory for the files, which core removes; they may be other names of those that are published.
        """
        raise TerraError("the boot plugin cannot give boot files back")

    @hook
    def withdraw_boot(self, hostname: Hostname, mac: Mac, session: Session) -> bool:
        """Stop a machine from booting, and remove its files; return whether there was anything."""

    @hook
    def install_boot_image(self, tree: Path, session: Session) -> Sequence[str]:
        """Install the boot loaders of an unpacked pxe image, which may hold anything; return their paths in the boot tree."""

    @hook
    def start_boot(self, network: BootNetwork, nodes: Sequence[NodeBoot], session: Session) -> bool:
        """Start the service for all machines if it does not answer as configured; return whether it was started."""

    @optional
    def follow_boots(self, position: str, session: Session) -> Sightings:
        """Return what machines did since a position, controller or not; all kept ones if it is unknown. Called each second."""
        return Sightings(position=position)

    @hook
    def stop_boot(self, session: Session) -> bool:
        """Stop the service if :meth:`start_boot` started it; return whether it was stopped."""

    @optional
    def examine_boot(self, nodes: Sequence[NodeBoot], session: Session) -> Sequence[Finding]:
        """Find what keeps any machine of the database from booting, and boot files of machines that there are not."""
        return ()


class Bootloader(Role, role="bootloader", default="grub"):
    """What starts a machine from its own disks."""

    @hook
    def check_bootloader(self, boot: LocalBoot, session: Session) -> Sequence[str]:
        """Check that :meth:`install_bootloader` can do what ``boot`` says, and return what that is, one line each.

        :param boot: without the UUID of the file system, the kernel, and the block devices: no disk is written to yet.
        :raises TerraError: when an area is too small, or a program or file is missing on this machine.
        """

    @hook
    def install_bootloader(self, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
        """Write the boot loader to the areas and partitions that ``boot`` names, so that it starts nothing yet. Idempotent.

        :returns: the files that let it start the machine; core writes them into the root when all else is on the disks.
        """

    @optional
    def render_menu(self, boot: LocalBoot, session: Session) -> Sequence[RenderedFile]:
        """Return the files that let a further version of a machine start; core writes them into its root. No disk is touched.

        :param boot: as for :meth:`install_bootloader`, with the further root, and without disks.
        """
        return ()

    @optional
    def read_choice(self, partition: Path, session: Session) -> StartChoice:
        """Return which version a disk starts, by what the boot loader keeps on its EFI system partition.

        The boot loader takes a version of ``once`` out of there, writes that to the disk, and starts it only after that. It
        starts the version with the word ``terra.try=NAME`` on its kernel line, and so that a kernel that panics or hangs starts
        the machine again. A version that is not there is passed over.

        :param partition: the block device of that partition.
        :raises TerraError: when it keeps nothing there.
        """
        raise TerraError(f"{partition}: the boot loader keeps nothing there")

    @optional
    def write_choice(self, partition: Path, choice: StartChoice, session: Session) -> bool:
        """Write which version a disk starts, and return ``True`` when it is on the disk.

        A power cut leaves the former choice or this one.

        :param partition: as for :meth:`read_choice`, and not mounted.
        :raises TerraError: when it cannot be written.
        """
        raise TerraError(f"{partition}: the boot loader keeps nothing there")
