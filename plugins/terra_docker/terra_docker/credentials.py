"""What ``docker login`` left: Docker's ``config.json``, and the credential helpers that it names.

https://docs.docker.com/reference/cli/docker/login/ and https://github.com/docker/docker-credential-helpers say how both work.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path

from terra_core.errors import CommandError, TerraError
from terra_core.oci import ImageError
from terra_core.oci.structure import DOCUMENT_BYTES, Node, read_document
from terra_core.registry import Credentials
from terra_core.system.process import run
from terra_core.system.reading import decoded, read_regular

_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_SECONDS = 60
_TOKEN = re.compile(r"[\x21-\x7e]*")
_TOKEN_USER = "<token>"  # noqa: S105  # what a helper says instead of a user's name


def stored_credentials(registry: str) -> Credentials | None:
    """Return what is stored for a registry: with its own helper, with the helper for all, or in the file.

    :param registry: ``host`` or ``host:port``, as a reference names it.
    :raises TerraError: when the file or what a helper says cannot be used.
    """
    path = _config_path()
    try:
        content = decoded(read_regular(path, DOCUMENT_BYTES), "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TerraError(f"{path}: the credentials of docker login cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TerraError(f"{path}: {error}") from None
    config = _folded(read_document(content.encode(), str(path), unique=False))
    key = _HUB_KEY if registry == _HUB else registry
    helper = _helper(config, registry, key)
    found = _ask_helper(helper, key, path) if helper else None
    return found or _written(config["auths"], registry, key)


def _config_path() -> Path:
    named = os.environ.get("DOCKER_CONFIG")
    return (Path(named) if named else Path(os.environ.get("HOME", "/root"), ".docker")) / "config.json"


def _folded(node: Node) -> Node:
    """Return an object with its keys in lower case: Docker, being written in Go, tells no upper from lower case in them."""
    if not isinstance(node.value, dict):
        node.refuse("an object")
    return Node({key.lower(): value for key, value in node.value.items()}, node.where)


def _helper(config: Node, registry: str, key: str) -> str:
    """Return the credential helper of a registry: its own, which may be none, or that of all."""
    own = config["credhelpers"].mapping()
    for name in (key, registry, _host(key)):
        if name in own:
            return own[name]
    return config["credsstore"].text() if config["credsstore"] else ""


def _written(auths: Node, registry: str, key: str) -> Credentials | None:
    if not auths:
        return None
    if not isinstance(auths.value, dict):
        auths.refuse("an object")
    fitting = [name for name in auths.value if name == key] or [name for name in auths.value if _host(name) == _host(key)]
    if not fitting:
        return None
    if not auths[fitting[0]]:
        return None
    entry = _folded(auths[fitting[0]])
    user, password = _texts(entry, "username"), _texts(entry, "password")
    if packed := _texts(entry, "auth"):
        try:
            unpacked = base64.b64decode(re.sub(r"[\r\n]", "", packed), validate=True)
        except (binascii.Error, ValueError):
            raise TerraError(f"{entry.where}.auth: is not base64 of a user and a password", hint=_again(registry)) from None
        user, _, password = unpacked.decode(errors="surrogateescape").partition(":")
    token = _texts(entry, "registrytoken")
    if not _TOKEN.fullmatch(token):  # HTTP's own error would show it
        raise TerraError(f"{entry.where}.registrytoken: is no token that can be sent", hint=_again(registry))
    found = Credentials(user, password.strip("\0"), _texts(entry, "identitytoken"), token)
    return None if found == Credentials() else found


def _texts(entry: Node, key: str) -> str:
    return _sendable(entry[key].text()) if entry[key] else ""


def _sendable(text: str) -> str:
    """Return a text of JSON as Go has it: half of a pair that UTF-16 needs for one character is no character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _host(key: str) -> str:
    """Return the part of a key that says which registry it is for: older keys are URLs."""
    return re.sub(r"^https?://", "", key).partition("/")[0]


def _ask_helper(helper: str, key: str, path: Path) -> Credentials | None:
    if not _HELPER.fullmatch(helper):
        raise TerraError(f"{path}: {helper!r} is no name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        own = {name: os.environ[name] for name in ("DOCKER_CONFIG",) if name in os.environ}
        done = run([program, "get"], stdin=key.encode(), timeout=_HELPER_SECONDS, accept=(0, 1), env=own)
    except CommandError as error:
        raise TerraError(f"{path}: asking for the credentials of {key}: {error.message}", hint=error.hint) from error
    if done.code:
        if b"not found" in done.stdout + done.stderr:
            return None
        said = done.text.strip() or done.stderr.decode(errors="replace").strip()
        raise TerraError(f"{program}: gave no credentials for {key}: {said[:200]}")
    try:
        answer = read_document(done.stdout, program)
        user, secret = _sendable(answer["Username"].text()), _sendable(answer["Secret"].text())
    except ImageError as error:
        raise TerraError(error.message) from error
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)


def _again(registry: str) -> str:
    return f"log in again: docker login {registry}"
