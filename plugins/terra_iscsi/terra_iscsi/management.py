"""Accounts of tgtd (CHAP, RFC 7143 section 12.1), by its management socket.

tgtadm(8) takes the secret of an account as an argument, which every user of a host can read; this says the same to tgtd itself.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from pathlib import Path

from terra_core.errors import TerraError

_REQUEST = struct.Struct("=ii64sIiQQ6I")
"""``struct tgtadm_req`` of tgt 1.0.85: mode, operation, driver, length, target, session, LUN, and six numbers, all 0 here."""
_ANSWER = struct.Struct("=II")
"""``struct tgtadm_rsp``: an error of tgtd's own numbers, and the length of the answer."""
_ACCOUNTS = 7
_NO_LUN = 2**64 - 1
NO_TARGET = -1


class Change(IntEnum):
    """What is done with an account."""

    NEW = 0
    DELETE = 1
    BIND = 3
    UNBIND = 4


def change_account(path: Path, change: Change, user: str, *, secret: str = "", target: int = NO_TARGET, seconds: float) -> bool:
    """Make or remove an account, or bind it to a target or from it; return whether tgtd did so.

    :param path: the socket.
    :param user: the name of the account.
    :param secret: its secret, where it is new.
    :param target: the number of the target, where there is one.
    :param seconds: how long tgtd may take for each step.
    :raises TerraError: when tgtd does not answer.
    """
    words = [f"user={user}", *([f"password={secret}"] if secret else [])]
    content = ",".join(words).encode() + b"\0"
    length = _REQUEST.size + len(content)
    request = _REQUEST.pack(_ACCOUNTS, change, b"iscsi", length, target, 0, _NO_LUN, *(0,) * 6)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(request + content)
            answer = connection.recv(_ANSWER.size, socket.MSG_WAITALL)
    except OSError as error:
        raise TerraError(f"tgtd does not answer on {path}: {error.strerror or error}") from error
    if len(answer) != _ANSWER.size:
        raise TerraError(f"tgtd ended the connection on {path} without an answer")
    refused, _ = _ANSWER.unpack(answer)
    return not refused
