"""The machine's side: what a machine needs in order to reach its root and to mount it."""

from __future__ import annotations

from attrs import frozen

from terra_core.hookspecs.files import RenderedFile, RenderedLink


@frozen(kw_only=True)
class BootStep:
    """What a plugin brings into the initial RAM disk and the system of a machine.

    The script is POSIX sh. ``boot=terra`` sources it within ``mountroot`` of initramfs-tools(7), with its functions and
    variables: the storage plugin's first, when the network is up, to make the disks appear; then the filesystem plugin's, to
    mount the root at ``$rootmnt``. ``terra_word NAME [DEFAULT]`` prints the value of the last ``NAME=value`` of the kernel
    line, and ``terra_words NAME`` each of them on a line. A step that cannot go on calls ``panic`` with the reason.

    All of it goes into an archive of its own, which is loaded after the image's RAM disk: it works with images that were built
    before the plugin was installed.

    :param script: the script.
    :param modules: kernel modules by name, loaded before the scripts run; taken from the image, with those that they need,
        where its RAM disk lacks them. One that the kernel has built in is fine.
    :param needs: programs that the image's own RAM disk must have; looked for before anything is written.
    :param programs: programs of this machine by name, brought with the libraries that they need; the script calls them by name.
    :param files: further files of the RAM disk.
    :param system: files and links of the machine's root.
    """

    script: str
    modules: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    files: tuple[RenderedFile, ...] = ()
    system: tuple[RenderedFile | RenderedLink, ...] = ()
