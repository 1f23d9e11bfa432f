"""The configuration of lighttpd. Pure: nothing here reads or writes a file."""

from __future__ import annotations

import re
from pathlib import Path

from terra_core.config.values import Address
from terra_core.errors import TerraError

CONNECTIONS = 1024
"""The most connections that are open at once; further ones wait."""
FILES = 2 * CONNECTIONS + 64
"""The descriptors of a connection: its socket and its file."""
_PATH = re.compile(r"/[A-Za-z0-9/._+@:~-]*")
_OFFERED = (
    r"boot\.ipxe",
    r"machines/01(-[0-9a-f]{2}){6}\.ipxe",
    r"kernel/(vmlinuz|initrd\.img)",
    r"nodes/[a-z0-9.-]+/(vmlinuz|(initrd|steps|report)\.img)",
)
"""What machines load; all else in the tree is the controller's own."""


LOGGED = "%{msec}t %h %m %s %X %U"
"""A line of the log of requests: milliseconds since 1970, client, method, status, how the connection ended, and path.

Its seconds alone are those of its last look at the clock, up to a second ago: a file would come before its machine's address.
"""


def configuration(tree: Path, address: Address, port: int, log: Path) -> str:
    """Return the configuration file.

    :param log: the file for requests.

    Slow clients are disconnected, so that they do not hold a connection for ever.

    :raises TerraError: when a path has characters that the file can't hold.
    """
    wrong = next((path for path in (tree, log) if not _PATH.fullmatch(str(path))), None)
    if wrong is not None:
        raise TerraError(
            f"{wrong}: lighttpd cannot be given a path with such characters",
            hint="choose a --root of letters, digits and ._+@:~-",
        )
    lines = [
        "# Written by Terra whenever the service starts: [ipxe] of controller.toml is where to change it.",
        'server.modules = ( "mod_access", "mod_accesslog" )',
        f'accesslog.filename = "{log}"',
        f'accesslog.format = "{LOGGED}"',
        f'server.document-root = "{tree}"',
        f'server.bind = "{address}"',
        f"server.port = {port}",
        'server.tag = "Terra"',
        'server.follow-symlink = "disable"',
        f"server.max-connections = {CONNECTIONS}",
        f"server.max-fds = {FILES}",
        "server.max-keep-alive-idle = 5",
        "server.max-read-idle = 15",
        "server.max-write-idle = 60",
        "server.max-request-size = 1",
        'server.feature-flags = ( "server.h2proto" => "disable" )',
        'mimetype.assign = ( "" => "application/octet-stream" )',
        '$HTTP["request-method"] !~ "^(GET|HEAD)$" { url.access-deny = ( "" ) }',
        f'$HTTP["url"] !~ "^/({"|".join(_OFFERED)})$" {{ url.access-deny = ( "" ) }}',
    ]
    return "\n".join(lines) + "\n"
