"""Credentials as the tools around containers store them: in a file as base64, or with a credential helper.

https://github.com/docker/docker-credential-helpers says how a helper is asked.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Collection
from pathlib import Path

from terra_core.errors import CommandError, TerraError
from terra_core.oci import ImageError
from terra_core.oci.structure import Node, read_document
from terra_core.registry.access import Credentials
from terra_core.system.process import run

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_SECONDS = 60
_TOKEN_USER = "<token>"  # noqa: S105  # what a helper says instead of a user's name


def unpacked(packed: str, where: str, *, again: str) -> str:
    """Return the ``USER:PASSWORD`` that stands in a file as base64.

    :param where: the file, and the key in it.
    :param again: what a user does to store it anew, for the hint.
    :raises TerraError: when it is no base64.
    """
    try:
        content = base64.b64decode(re.sub(r"[\r\n]", "", packed), validate=True)
    except (binascii.Error, ValueError):
        raise TerraError(f"{where}: is not base64 of a user and a password", hint=again) from None
    return content.decode(errors="surrogateescape")


def asked_of_helper(helper: str, key: str, source: Path, variables: Collection[str] = ()) -> Credentials | None:
    """Return what a credential helper has for a registry; nothing when it has nothing.

    :param helper: its name, less ``docker-credential-``.
    :param key: what it knows the registry by.
    :param source: the file that names the helper, for errors.
    :param variables: the environment variables that it gets besides those of every program.
    :raises TerraError: when it can't be run, or what it says can't be used.
    """
    if not _HELPER.fullmatch(helper):
        raise TerraError(f"{source}: {helper!r} is no name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        own = {name: os.environ[name] for name in variables if name in os.environ}
        done = run([program, "get"], stdin=key.encode(), timeout=_HELPER_SECONDS, accept=(0, 1), env=own)
    except CommandError as error:
        raise TerraError(f"{source}: asking for the credentials of {key}: {error.message}", hint=error.hint) from error
    if done.code:
        if b"not found" in done.stdout + done.stderr:
            return None
        said = done.text.strip() or done.stderr.decode(errors="replace").strip()
        raise TerraError(f"{program}: gave no credentials for {key}: {said[:200]}")
    try:
        answer = read_document(done.stdout, program)
        user, secret = sendable(answer["Username"].text()), sendable(answer["Secret"].text())
    except ImageError as error:
        raise TerraError(error.message) from error
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)


def sendable(text: str) -> str:
    """Return a text of JSON as Go has it: half of a pair that UTF-16 needs for one character is no character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def folded(node: Node) -> Node:
    """Return an object with its keys in lower case: tools that are written in Go tell no upper from lower case in them."""
    if not isinstance(node.value, dict):
        node.refuse("an object")
    return Node({key.lower(): value for key, value in node.value.items()}, node.where)
