"""What ``docker login`` left: Docker's ``config.json``, and the credential helpers that it names.

https://docs.docker.com/reference/cli/docker/login/ and https://github.com/docker/docker-credential-helpers say how both work.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.oci.structure import DOCUMENT_BYTES, Node, read_document
from terra_core.registry import Credentials
from terra_core.registry.stored import asked_of_helper, folded, sendable, unpacked
from terra_core.system.reading import decoded, read_regular

_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_TOKEN = re.compile(r"[\x21-\x7e]*")


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
    config = folded(read_document(content.encode(), str(path), unique=False))
    key = _HUB_KEY if registry == _HUB else registry
    helper = _helper(config, registry, key)
    found = asked_of_helper(helper, key, path, ("DOCKER_CONFIG",)) if helper else None
    return found or _written(config["auths"], registry, key)


def _config_path() -> Path:
    named = os.environ.get("DOCKER_CONFIG")
    return (Path(named) if named else Path(os.environ.get("HOME", "/root"), ".docker")) / "config.json"


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
    entry = folded(auths[fitting[0]])
    user, password = _texts(entry, "username"), _texts(entry, "password")
    if packed := _texts(entry, "auth"):
        user, _, password = unpacked(packed, f"{entry.where}.auth", again=_again(registry)).partition(":")
    token = _texts(entry, "registrytoken")
    if not _TOKEN.fullmatch(token):  # HTTP's own error would show it
        raise TerraError(f"{entry.where}.registrytoken: is no token that can be sent", hint=_again(registry))
    found = Credentials(user, password.strip("\0"), _texts(entry, "identitytoken"), token)
    return None if found == Credentials() else found


def _texts(entry: Node, key: str) -> str:
    return sendable(entry[key].text()) if entry[key] else ""


def _host(key: str) -> str:
    """Return the part of a key that says which registry it is for: older keys are URLs."""
    return re.sub(r"^https?://", "", key).partition("/")[0]


def _again(registry: str) -> str:
    return f"log in again: docker login {registry}"
