"""The role ``boot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Mac
from terra_core.hookspecs.markers import Role, hook, optional


@frozen(kw_only=True)
class BootNetwork:
    """The address that the network boot service answers on, and the gateway that it announces to machines, if any."""

    address: Address
    gateway: Address | None = None


@frozen(kw_only=True)
class NodeBoot:
    """What a machine boots.

    :param mac: the interface that the machine boots from.
    :param image: the digest of the manifest that kernel and initrd came from.
    :param kernel_arguments: the kernel line; a boot plugin may add to it.
    :param kernel: the kernel as a file here; ``None`` when it was published before, or when the image has none.
    :param initrd: the initial RAM disk that belongs to it; given whenever ``kernel`` is.
    :param steps: the archive with the machine's boot steps, to be loaded after any initial RAM disk. It may hold the machine's
        secrets. ``None`` when it was published before, or when the machine was provisioned by a Terra without boot steps.
    :param report: a small archive with what the machine's next boot reports itself with, to be loaded after ``steps``. It holds
        a secret. Replace the former one at once, as core gives another one after each boot. ``None`` when what was published
        before is to stay; where that is gone, the machine boots without it.
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
    """The network boot service. All hooks are idempotent."""

    @hook
    def publish_boot(self, boot: NodeBoot, session: Session) -> bool:
        """Let a machine boot; return whether anything was changed, or had to be mended. Complete every file before another one
        refers to it.
        """

    @hook
    def withdraw_boot(self, hostname: Hostname, mac: Mac, session: Session) -> bool:
        """Stop a machine from booting, and remove its files; return whether there was anything."""

    @hook
    def install_boot_image(self, tree: Path, session: Session) -> Sequence[str]:
        """Install the boot loaders from an unpacked pxe image.

        :param tree: the root of the image; not to be trusted to hold regular files where they are expected.
        :returns: the installed files, relative to the boot tree.
        """

    @hook
    def start_boot(self, network: BootNetwork, nodes: Sequence[NodeBoot], session: Session) -> bool:
        """Start the network boot service if it does not answer as configured; return whether it was started.

        It outlives the controller.

        :param nodes: every machine that is provisioned.
        """

    @optional
    def follow_boots(self, position: str, session: Session) -> Sightings:
        """Return what machines did since a position, also while no controller ran. Change nothing. Called every second.

        :param position: that of the last answer; an empty or an unknown one is the beginning of what is kept.
        """
        return Sightings(position=position)

    @hook
    def stop_boot(self, session: Session) -> bool:
        """Stop the network boot service if :meth:`start_boot` started it; return whether it was stopped."""
