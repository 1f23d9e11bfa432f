"""What the log of lighttpd(8) says of machines, in lines of :data:`terra_ipxe.configuration.LOGGED`. Pure.

::

    1764142000125 10.0.10.50 GET 200 + /machines/01-54-b2-03-07-f1-d1.ipxe
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from terra_core.hookspecs import Sighting
from terra_tftp.sightings import Owners, name_of

_LINE = re.compile(r"(\d{13}) (?:::ffff:)?(\S+) GET 20[06] ([-+X]) /(\S+)")
_ABORTED = "X"


def requests(lines: Iterable[str], owners: Owners, now: float) -> Iterator[Sighting]:
    """Yield the files that machines were sent; what was refused is none of a machine's."""
    for line in lines:
        if (found := _LINE.fullmatch(line)) is None:
            continue
        at, address, ended, path = found.groups()
        owner = owners.of(address, f"/{path}")
        if owner is not None:
            name = name_of(path)
            text = f"does not take {name} to its end" if ended == _ABORTED else f"is sent {name}"
            yield Sighting(mac=owner, time=min(int(at) / 1000, now), text=f"{text} by HTTP", address=address, file=name)
