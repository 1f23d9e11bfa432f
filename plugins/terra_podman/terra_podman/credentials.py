"""What ``podman login`` left: containers-auth.json(5), in the order in which the containers tools look."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from terra_core.errors import InterruptedWork, TerraError
from terra_core.oci.structure import DOCUMENT_BYTES, Node, read_document
from terra_core.registry import Credentials
from terra_core.registry.stored import asked_of_helper, folded, sendable, unpacked
from terra_core.system.reading import decoded, read_regular
from terra_podman.registries import FILES

_HUB_HOSTS = ("docker.io", "registry-1.docker.io")
_HUB = "index.docker.io"
_VARIABLES = ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME")


@frozen
class _File:
    """A file of credentials.

    :param path: where it is.
    :param needed: what names it, where it has to be there.
    :param legacy: whether it is ``.dockercfg``: its top is what ``auths`` is in the others, and knows registries alone.
    """

    path: Path
    needed: str = ""
    legacy: bool = False


def stored_credentials(repository: str, *, auth_file: str | None, helpers: tuple[str, ...] = (FILES,)) -> Credentials | None:
    """Return what is stored for a repository, or else for what is above it, up to the registry.

    :param repository: ``host/path`` or ``host:port/path``.
    :param auth_file: the only file that is read, where the configuration names one.
    :param helpers: what is asked, in this order: :data:`terra_podman.registries.FILES`, or the name of a credential helper.
    :raises TerraError: when there are none, and one of the places cannot be used.
    """
    problem: TerraError | None = None
    for helper in helpers:
        try:
            if helper == FILES:
                found = _from_files(repository, auth_file)
            else:
                found = asked_of_helper(helper, _host(repository), Path("registries.conf: credential-helpers"), _VARIABLES)
        except InterruptedWork:
            raise
        except TerraError as error:
            problem = problem or error
            continue
        if found is not None and found != Credentials():
            return found
    if problem is not None:
        raise problem
    return None


def _from_files(repository: str, auth_file: str | None) -> Credentials | None:
    for file in _files(auth_file):
        found = _from_file(repository, file)
        if found is not None:
            return found
    return None


def _files(auth_file: str | None) -> Iterator[_File]:
    """Return the files in the order in which they are looked at."""
    home, runtime = os.environ.get("HOME", "/root"), os.environ.get("XDG_RUNTIME_DIR")
    if auth_file:
        yield _File(Path(auth_file), needed="[podman] auth_file")
        return
    for variable, name in (("REGISTRY_AUTH_FILE", ""), ("DOCKER_CONFIG", "config.json")):
        if named := os.environ.get(variable):
            yield _File(Path(named, name), needed=variable if variable == "REGISTRY_AUTH_FILE" else "")
            return
    yield _File(Path(runtime, "containers/auth.json") if runtime else Path(f"/run/containers/{os.getuid()}/auth.json"))
    yield _File(Path(os.environ.get("XDG_CONFIG_HOME") or Path(home, ".config"), "containers/auth.json"))
    yield _File(Path(home, ".docker/config.json"))
    yield _File(Path(home, ".dockercfg"), legacy=True)


def _from_file(repository: str, file: _File) -> Credentials | None:
    try:
        content = decoded(read_regular(file.path, DOCUMENT_BYTES), "replace")
    except (FileNotFoundError, NotADirectoryError):
        if file.needed:
            hint = f"make it: podman login --authfile {file.path} {_host(repository)}"
            raise TerraError(f"{file.path}: is not there, and {file.needed} names it", hint=hint) from None
        return None
    except OSError as error:
        raise TerraError(f"{file.path}: the credentials of podman login cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TerraError(f"{file.path}: {error}") from None
    if not content.strip():
        return None
    top = folded(read_document(content.encode(), str(file.path), unique=False))
    helpers = top["credhelpers"].mapping() if not file.legacy else {}
    if helper := helpers.get(_host(repository)):
        return asked_of_helper(helper, _host(repository), file.path, _VARIABLES)
    auths = read_document(content.encode(), str(file.path), unique=False) if file.legacy else top["auths"]
    return _written(repository, auths, file)


def _written(repository: str, auths: Node, file: _File) -> Credentials | None:
    if not auths:
        return None
    if not isinstance(auths.value, dict):
        auths.refuse("an object")
    for key in [_host(repository)] if file.legacy else _with_parents(repository):
        if key in auths.value:
            return _unpacked(repository, auths[key], file)
    wanted = _registry(_host(repository))
    fitting = [key for key in auths.value if _registry(_key(key, legacy=file.legacy)) == wanted]
    return _unpacked(repository, auths[fitting[0]], file) if fitting else None


def _unpacked(repository: str, entry: Node, file: _File) -> Credentials | None:
    entry = folded(entry) if entry else entry
    if not entry or not entry["auth"]:
        return None
    login = f"log in again: podman login --authfile {file.path} {_host(repository)}"
    user, colon, password = unpacked(sendable(entry["auth"].text()), f"{entry.where}.auth", again=login).partition(":")
    if not colon:  # as podman has it, which says so in its log
        return None
    token = sendable(entry["identitytoken"].text()) if entry["identitytoken"] else ""
    return Credentials(user, password.strip("\0"), token)


def _with_parents(repository: str) -> Iterator[str]:
    """Return a repository, and what is above it, the most specific first."""
    parts = repository.split("/")
    yield from ("/".join(parts[:count]) for count in range(len(parts), 0, -1))


def _key(key: str, *, legacy: bool) -> str:
    """Return what an older key is about, which may be a URL."""
    bare = re.sub(r"^https?://", "", key)
    return bare.partition("/")[0] if legacy or bare != key else bare


def _registry(host: str) -> str:
    return _HUB if host in _HUB_HOSTS else host


def _host(repository: str) -> str:
    return repository.partition("/")[0]
