"""The boot tree of iPXE, which the HTTP server offers.

::

    boot.ipxe                               the script that every machine begins with
    machines/01-54-b2-03-07-f1-d1.ipxe      a machine's own
    nodes/cm-01.0f3a.../                    its kernel, see terra_tftp.tree

It cannot be listed, and the name of a machine's directory ends in a word that only the controller can make: a client that knows
a host name does not find its files; one that knows the MAC address finds them through the script.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from terra_core.config.controller import Paths
from terra_core.config.values import Hostname, Mac
from terra_core.system.files import write_file
from terra_ipxe.loaders import missing_loaders
from terra_ipxe.scripts import START, heading, machine_script, script_path, start_script
from terra_tftp.files import make_directory
from terra_tftp.menus import Entry

_KEY_BYTES = 32
_WORD_LENGTH = 32


@frozen
class BootPaths:
    """The paths of the service, besides those of :class:`terra_tftp.configuration.ServicePaths`.

    What machines boot from is below the controller's boot tree: it is in a backup, and hosts have it in common.

    :param base: the controller's.
    """

    base: Paths

    @property
    def place(self) -> Path:
        """The directory of all that machines boot from."""
        return self.base.tftp / "ipxe"

    @property
    def loaders(self) -> Path:
        """The directory that is served by TFTP."""
        return self.place / "tftp"

    @property
    def tree(self) -> Path:
        """The directory that is served by HTTP."""
        return self.place / "http"

    @property
    def directory(self) -> Path:
        """The directory for files that are needed only while the service runs."""
        return self.base.run / "ipxe"

    @property
    def key(self) -> Path:
        """The secret of the names of machines' directories."""
        return self.place / "key"

    @property
    def former(self) -> Path:
        """Where earlier versions had what is in :attr:`place` now."""
        return self.base.root / "srv/ipxe"

    @property
    def former_key(self) -> Path:
        """Where earlier versions had the secret."""
        return self.base.state / "ipxe.key"


class ScriptLayout:
    """See :class:`terra_tftp.tree.Layout`."""

    def __init__(self, paths: BootPaths) -> None:
        self._paths = paths
        self._key: bytes | None = None

    def common(self) -> Mapping[str, str]:
        return {START: start_script()}

    def menus(self, mac: Mac) -> Sequence[str]:
        return (script_path(mac),)

    def texts(self, entry: Entry) -> Sequence[str]:
        return (machine_script(entry),)

    def heading(self, hostname: Hostname) -> str:
        return heading(hostname)

    def node(self, hostname: Hostname) -> str:
        if self._key is None:
            self._key = read_key(self._paths.key, self._paths.former_key)
        word = hmac.digest(self._key, hostname.encode(), hashlib.sha256).hex()[:_WORD_LENGTH]
        return f"{hostname}.{word}"

    def hostname(self, node: str) -> Hostname:
        return Hostname(node.rpartition(".")[0])

    def missing(self, root: Path) -> Sequence[str]:
        return missing_loaders(self._paths.loaders)


def read_key(path: Path, former: Path) -> bytes:
    """Return the secret of the names of machines' directories; it is made when there is none.

    Another host may make it at the same time: the first one counts.

    :param former: where an earlier version had it, and the first one is taken from.
    """
    for new in (True, False):
        key = _bytes_of(path)
        if len(key) == _KEY_BYTES:
            break
        key = _bytes_of(former)
        if len(key) != _KEY_BYTES:
            key = secrets.token_bytes(_KEY_BYTES)
        make_directory(path.parent)
        with suppress(FileExistsError):  # by now another host's is there, or one that is none
            write_file(path, key, mode=0o600, new=new)
            break
    return key


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
