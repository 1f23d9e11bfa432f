"""What plugins give to be written into a machine."""

from __future__ import annotations

from attrs import frozen


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
