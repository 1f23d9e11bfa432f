"""The token that every request but ``/healthz`` has to bear (RFC 6750)."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.service.private import may_be_read_by_others
from terra_core.system.reading import read_regular, salvaged

_LONGEST = 4096


def read_or_make_token(path: Path) -> str:
    """The token in ``path``; made at the first start, readable by its owner only.

    A file that others may read is taken, and the log says so: whoever wrote it may have meant it.

    :raises TerraError: when the file holds no token, or cannot be made.
    """
    if path.exists():
        token = read_token(path)
        if may_be_read_by_others(path):
            import structlog  # here, because commands read tokens, too

            log = structlog.get_logger(__name__)
            log.warning("others may read the token, and do with it what root may", path=str(path), remedy=f"chmod 600 {path}")
        return token
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # of two that start at once, the first one's token counts
            os.link(fresh, path)
    except OSError as error:
        raise TerraError(f"{path}: the token cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            fresh.unlink()
    return read_token(path)


def read_token(path: Path) -> str:
    """The token in ``path``.

    :raises TerraError: when there is none, or it may not be read.
    """
    try:
        token = salvaged(read_regular(path, _LONGEST)).strip()
    except FileNotFoundError:
        raise TerraError(f"{path}: no token here", hint="set TERRA_TOKEN, or start a controller on this machine") from None
    except PermissionError:
        raise TerraError(f"{path}: may be read by root only", hint="run this as root, or set TERRA_TOKEN") from None
    except OSError as error:
        raise TerraError(f"{path}: cannot be read: {error.strerror}") from error
    if len(token) < 16 or not token.isascii() or not token.isprintable():
        raise TerraError(f"{path}: holds no token", hint="remove the file and start the controller, which makes a new one")
    return token
