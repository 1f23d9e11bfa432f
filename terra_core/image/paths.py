"""Names in a tar stream as paths below a root."""

from __future__ import annotations

from terra_core.oci.faults import ImageError


def split_path(name: bytes, most: int) -> tuple[bytes, bytes]:
    """Cut a path into its directory and its last component, both relative to the root.

    Leading slashes, ``.`` and empty components go; ``..`` takes the component before it along, and stays at the root, as
    :manpage:`chroot(2)` has it. That keeps nothing inside: the kernel does, when the path is opened.

    :param name: the path as it stands in the stream.
    :param most: the longest path that is taken, in bytes.
    :returns: directory and last component; both are empty for the root itself.
    :raises ImageError: when it is empty or too long.
    """
    if not name:
        raise ImageError("an empty path")
    if len(name) > most:
        raise ImageError(f"a path of {len(name)} bytes; more than {most} are refused")
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in parts:
        parts = _cleaned(parts)
    last = parts.pop() if parts else b""
    return b"/".join(parts), last


def climbs(name: bytes) -> bool:
    """Return whether a path leads above the directory that it begins in."""
    depth = 0
    for part in name.split(b"/") if b".." in name else ():
        depth += -1 if part == b".." else part not in (b"", b".")
        if depth < 0:
            return True
    return False


def _cleaned(parts: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for part in parts:
        if part != b"..":
            kept.append(part)
        elif kept:
            kept.pop()
    return kept
