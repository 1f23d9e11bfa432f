"""The authentication that a registry asks for: the ``WWW-Authenticate`` header of RFC 9110 section 11."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import frozen

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # the grammar's name for a word
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|$)")
_TOKEN68 = re.compile(r"[ \t]+[0-9A-Za-z._~+/-]+=*(?=\s*(?:,|$))")  # what Negotiate and NTLM have in place of parameters
_LONGEST = 8192


@frozen
class Challenge:
    """One way to authenticate.

    :param scheme: in lower case, such as ``bearer``.
    :param parameters: by name in lower case.
    """

    scheme: str
    parameters: Mapping[str, str]


def read_challenges(header: str) -> Sequence[Challenge]:
    """Read the value of a ``WWW-Authenticate`` header; what is not understood ends the list.

    :param header: several challenges are parted by commas, as their parameters are.
    """
    found: list[Challenge] = []
    at, text = 0, header[:_LONGEST]
    while scheme := _SCHEME.match(text, at):
        token = _TOKEN68.match(text, scheme.end())
        at = token.end() if token else scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(text, at):
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if plain is None else plain)
            at = parameter.end()
            comma = re.compile(r"\s*,").match(text, at)
            if comma is None or not _PARAMETER.match(text, comma.end()):
                break
            at = comma.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found
