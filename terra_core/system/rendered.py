"""Files and links of a machine, as they shall be."""

from __future__ import annotations

from attrs import frozen


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
