"""The names of whiteouts, by which a layer removes something of the layers below.

See ``layer.md`` of the OCI image specification.
"""

from __future__ import annotations

from attrs import frozen

from terra_core.oci.faults import ImageError, shown

_PREFIX = b".wh."
_OPAQUE = b".wh..wh..opq"
_META = b".wh..wh."


@frozen
class Whiteout:
    """What a whiteout hides of its directory, as lower layers have it.

    :param hidden: the name that it hides; empty for none, such as for AUFS's own files, which are of no use to anybody else.
    :param opaque: whether it hides all that is in the directory.
    """

    hidden: bytes
    opaque: bool


def read_whiteout(name: bytes) -> Whiteout | None:
    """Return what the whiteout of this name hides; None when the name is not that of a whiteout.

    :param name: the last component of a path.
    :raises ImageError: when it names nothing that can be hidden.
    """
    if not name.startswith(_PREFIX):
        return None
    hidden = name[len(_PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise ImageError(f"the whiteout {shown(name)!r} names no file")
    opaque = name == _OPAQUE
    return Whiteout(b"" if opaque or name.startswith(_META) else hidden, opaque)
