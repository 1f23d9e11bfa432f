"""Reading tar streams: POSIX ustar and pax, GNU and version 7, with nothing trusted and memory bounded.

:class:`TarReader` gives :class:`Entry` objects; :mod:`terra_core.image.entries` makes files of them.
"""

from terra_core.oci.tar.entry import Entry, Kind
from terra_core.oci.tar.reader import TarReader
from terra_core.oci.tar.stream import ByteStream, FileStream

__all__ = ["ByteStream", "Entry", "FileStream", "Kind", "TarReader"]
