"""Why a connection failed, in the system's words, without the class names and numbers that libraries add."""

from __future__ import annotations

import socket
import ssl

from terra_core.system.certificates import explain

_OF_ADDRESSES = frozenset({"LocationParseError", "ProxySchemeUnknown", "InvalidSchema", "InvalidProxyURL"})
"""Errors of requests and urllib3 by their names: most runs need neither."""


def reason_of(error: BaseException) -> str:
    """Return the reason at the bottom of an error of requests, urllib3, the docker SDK or the system itself."""
    inner = _innermost(error)
    if type(inner).__name__ in _OF_ADDRESSES and _has_proxies():  # which may have a password, and such an error shows all of it
        return "the address of the proxy in the environment is none, or of a kind that Terra cannot use"
    if type(error).__name__ == "ProxyError":
        return f"the proxy of the environment: {_said(inner)}"
    return _said(inner)


def _has_proxies() -> bool:
    from urllib.request import getproxies  # here, because most runs ask no server

    return bool(getproxies())


def _said(inner: BaseException) -> str:
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
