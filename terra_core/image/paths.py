"""Names in a tar stream as paths below a root."""

from __future__ import annotations

from terra_core.image.faults import ImageError, shown


def split_path(name: bytes, most: int) -> tuple[bytes, bytes]:
    """Cut a path into its directory and its last component, both relative to the root.

    Leading slashes, ``.`` and empty components go. That keeps nothing inside: the kernel does, when the path is opened.

    :param name: the path as it stands in the stream.
    :param most: the longest path that is taken, in bytes.
    :returns: directory and last component; both are empty for the root itself.
    :raises ImageError: when it is empty, too long, or has a component ``..``.
    """
    if not name:
        raise ImageError("an empty path")
    if len(name) > most:
        raise ImageError(f"a path of {len(name)} bytes; more than {most} are refused")
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in parts:
        raise ImageError(f"{shown(name)!r} leads upwards with '..'")
    last = parts.pop() if parts else b""
    return b"/".join(parts), last
