"""The token that every request but ``/healthz`` has to bear (RFC 6750)."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.service.private import may_be_read_by_others
from terra_core.system.files import write_file
from terra_core.system.reading import read_regular, salvaged

PREFIX = "terra_"
"""What a token begins with, so that programs that look for secrets in files know one."""
_LONGEST = 4096


def new_token() -> str:
    """Return a token of 256 random bits that nobody had before."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"


def read_or_make_token(path: Path) -> str:
    """Return the token in ``path``; make one that only its owner may read where there is none.

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
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with suppress(FileExistsError):  # of two that start at once, the first one's token counts
            write_file(path, f"{new_token()}\n".encode(), mode=0o600, new=True)
    except OSError as error:
        raise TerraError(f"{path}: the token cannot be written: {error.strerror}") from error
    return read_token(path)


def read_token(path: Path, *, variable: str = "") -> str:
    """Return the token in ``path``.

    :param variable: what named the file, where it is none of the controller's own.
    :raises TerraError: when there is none, or it may not be read.
    """
    named = f"{variable} names it: `terra token create NAME --output FILE` writes such a file" if variable else ""
    try:
        token = salvaged(read_regular(path, _LONGEST)).strip()
    except FileNotFoundError:
        hint = named or "set TERRA_TOKEN or TERRA_TOKEN_FILE, or start a controller on this machine"
        raise TerraError(f"{path}: no token here", hint=hint) from None
    except PermissionError:
        if variable:
            raise TerraError(f"{path}: may not be read by you", hint=named) from None
        raise TerraError(
            f"{path}: may be read by root only", hint="run this as root, or set TERRA_TOKEN or TERRA_TOKEN_FILE"
        ) from None
    except OSError as error:
        raise TerraError(f"{path}: cannot be read: {error.strerror}", hint=named) from error
    if len(token) < 16 or not token.isascii() or not token.isprintable():
        hint = named or "remove the file and start the controller, which makes a new one"
        raise TerraError(f"{path}: holds no token", hint=hint)
    return token
