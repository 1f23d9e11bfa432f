"""Why a connection failed, in the system's words, without the class names and numbers that libraries add."""

from __future__ import annotations

import socket
import ssl

from terra_core.system.certificates import explain


def reason_of(error: BaseException) -> str:
    """Return the reason at the bottom of an error of requests, urllib3, the docker SDK or the system itself."""
    inner = _innermost(error)
    if isinstance(inner, socket.gaierror):
        return f"the name cannot be resolved: {inner.strerror}"
    if isinstance(inner, ssl.SSLCertVerificationError):
        said, hint = explain(inner, "")
        return f"its certificate {said}" + (f" ({hint})" if hint else "")
    if isinstance(inner, ssl.SSLError) and inner.reason:
        return f"TLS fails: {inner.reason.replace('_', ' ').lower()}"
    if isinstance(inner, OSError) and inner.strerror:
        return f"{inner.filename}: {inner.strerror}" if isinstance(inner.filename, str) else inner.strerror
    return str(inner) or type(inner).__name__


def _innermost(error: BaseException) -> BaseException:
    seen = {id(error)}
    while True:
        parts = (getattr(error, "reason", None), *error.args, error.__cause__)
        inner = next((part for part in parts if isinstance(part, BaseException) and id(part) not in seen), None)
        if inner is None:
            return error
        seen.add(id(inner))
        error = inner
