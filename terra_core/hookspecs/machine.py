"""What plugins put into a machine: the role ``network``, and what it needs in order to reach and to mount its root."""

from collections.abc import Sequence

from attrs import frozen

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.hookspecs.markers import Role, hook, optional


@frozen(kw_only=True)
class RenderedFile:
    """A file of a machine.

    :param path: its path in the machine, without the leading slash.
    :param mode: its permission bits.
    :param owner: its user and group by name, as for chown(1).
    """

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


@frozen(kw_only=True)
class RenderedLink:
    """A symbolic link of a machine, such as the one that enables a unit of systemd.

    :param path: its path in the machine, without the leading slash.
    :param target: the path that it holds (symlink(7)).
    """

    path: str
    target: str


@frozen(kw_only=True)
class BootStep:
    """What a plugin brings into the initial RAM disk and the system of a machine.

    ``boot=terra`` sources the script in ``mountroot`` of initramfs-tools(7), with its functions and variables: the storage
    plugin's first, when the network is up, to make the disks appear; then the filesystem plugin's, to mount the root at
    ``$rootmnt``. ``terra_word NAME [DEFAULT]`` prints the value of the last ``NAME=value`` of the kernel line, and
    ``terra_words NAME`` each of them on a line. A step that cannot go on calls ``panic`` with the reason.

    All of it goes into an archive of its own, which is loaded after the image's RAM disk, so that it works with images that
    were built before the plugin was installed.

    :param script: the script, in POSIX sh.
    :param modules: kernel modules by name, loaded before the scripts run; those that the RAM disk lacks are taken from the
        image, with those that they need. A module that is built into the kernel is fine.
    :param needs: programs that the image's own RAM disk must have; core checks that before anything is written.
    :param programs: programs of this machine by name, copied with their libraries; the script calls them by name.
    :param files: further files of the RAM disk.
    :param system: files and links of the machine's root.
    """

    script: str
    modules: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    files: tuple[RenderedFile, ...] = ()
    system: tuple[RenderedFile | RenderedLink, ...] = ()


class Network(Role, role="network", default="netplan"):
    """The network configuration of an image."""

    @hook
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile | RenderedLink]:
        """Return the files that configure the machine's network, and the links that enable its units.

        Called once for each build, with the whole server.toml. Write nothing.
        """

    @optional
    def check_network(self, files: Sequence[RenderedFile], session: Session) -> bool:
        """Check the files with the program that will read them, where this machine has it; return whether they were read.

        Called once for each build, after :meth:`render_network` and before anything is built. Change nothing outside a
        temporary directory, and end within a minute.

        :param files: every file that the image gets, also those of the build's context that replace rendered ones.
        :raises TerraError: with the program's message, and the key of server.toml that caused it.
        """
        return False
