"""What plugins give to be written into a machine."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class RenderedFile:
    """A file of a machine.

    :param path: where it stands in the machine, without the leading slash.
    :param content: its bytes.
    :param mode: its permission bits.
    :param owner: the user and group that it belongs to, by name, as chown(1) writes it.
    """

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


@frozen(kw_only=True)
class RenderedLink:
    """A symbolic link of a machine, such as the one that enables a unit of systemd.

    :param path: where it stands in the machine, without the leading slash.
    :param target: what it points to, as symlink(7) has it.
    """

    path: str
    target: str
