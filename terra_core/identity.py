"""The files that make a machine itself: its name, its name resolution, and who may log in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from terra_core.config.server import ResolvConf, Server, Ssh
from terra_core.config.values import GithubUser, Hostname, SshKey, parse_ssh_key
from terra_core.errors import NotFoundError, TerraError
from terra_core.hookspecs import RenderedFile
from terra_core.system.reading import decoded, lines_of
from terra_core.system.reasons import reason_of

_GITHUB = "https://github.com"
_GITHUB_SECONDS = 20
_GITHUB_LIMIT = 256 * 1024
_ACCOUNT = "terra"
_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"


def render_identity(server: Server, *, github: str = _GITHUB) -> Iterator[RenderedFile]:
    """Render hostname(5), hosts(5), resolv.conf(5) and the authorized keys of ``terra`` (sshd(8)).

    The last two are rendered only when server.toml says what to write into them.

    :param github: where the keys of ``ssh.github`` are fetched.
    :raises TerraError: when the keys of ``ssh.github`` cannot be had.
    """
    yield RenderedFile(path="etc/hostname", content=f"{server.hostname}\n".encode())
    yield RenderedFile(path="etc/hosts", content=render_hosts(_HOSTS, server.hostname).encode())
    resolution = _resolv_conf(server.resolvconf)
    if resolution:
        yield RenderedFile(path="etc/resolv.conf", content=resolution.encode())
    keys = _keys(server.ssh, github)
    if keys:
        content = "".join(f"{key}\n" for key in keys).encode()
        owner = f"{_ACCOUNT}:{_ACCOUNT}"
        yield RenderedFile(path=f"home/{_ACCOUNT}/.ssh/authorized_keys", content=content, mode=0o600, owner=owner)


def render_hosts(text: str, hostname: Hostname) -> str:
    """hosts(5) with the machine's own name at 127.0.1.1, and every other line of ``text`` as it stands."""
    kept = [line for line in lines_of(text) if _address_of(line) != "127.0.1.1"]
    if "127.0.0.1" not in map(_address_of, kept):
        kept.insert(0, "127.0.0.1 localhost")
    own = hostname if "." not in hostname else f"{hostname} {hostname.partition('.')[0]}"
    kept.insert(1 + [_address_of(line) for line in kept].index("127.0.0.1"), f"127.0.1.1 {own}")
    return "\n".join(kept) + "\n"


def _address_of(line: str) -> str:
    return (line.partition("#")[0].split() or [""])[0]


def _resolv_conf(table: ResolvConf) -> str:
    lines = [f"nameserver {address}\n" for address in table.nameservers]
    if table.search:
        lines.append(f"search {' '.join(table.search)}\n")
    return "".join(lines)


def _keys(ssh: Ssh, github: str) -> Sequence[SshKey]:
    fetched = _fetch_keys(ssh.github, github) if ssh.github else ()
    return tuple(dict.fromkeys((*ssh.keys, *fetched)))


def _answer(url: str, deadline: float) -> tuple[int, str, bytes]:
    """Return the status and what else a server answers: at most one byte more than the limit of what it was asked for.

    A redirect is not followed: what it leads to is not the account that was named.
    """
    from terra_core.system.http import BoundedSession, read_body  # here, because few files name an account

    asked = {"Accept-Encoding": "identity"}
    with BoundedSession() as session:
        answer = session.get(url, headers=asked, timeout=deadline - time.monotonic(), stream=True, allow_redirects=False)
        with answer:
            left = max(deadline - time.monotonic(), 0)
            content = read_body(answer, _GITHUB_LIMIT, left) if answer.status_code == 200 else b""
            return answer.status_code, answer.reason, content


def _fetch_keys(user: GithubUser, github: str) -> Sequence[SshKey]:
    import requests  # here, because few files name an account
    from urllib3.exceptions import HTTPError

    url = f"{github}/{user}.keys"
    hint = "put the keys into server.toml instead: [ssh] keys = [...]"
    try:
        status, reason, content = _answer(url, time.monotonic() + _GITHUB_SECONDS)
    except (requests.Timeout, TimeoutError):
        raise TerraError(f"ssh.github: {url}: the server took longer than {_GITHUB_SECONDS} seconds", hint=hint) from None
    except (requests.RequestException, HTTPError) as error:
        raise TerraError(f"ssh.github: {url} cannot be fetched: {reason_of(error)}", hint=hint) from error
    if status == 404:
        raise NotFoundError(f"ssh.github: there is no GitHub account {user!r}")
    if status != 200:
        raise TerraError(f"ssh.github: {url}: the server answered {status} {reason}", hint=hint)
    if len(content) > _GITHUB_LIMIT:
        raise TerraError(f"ssh.github: {url}: longer than {_GITHUB_LIMIT} bytes, which no list of keys is")
    try:
        keys = [parse_ssh_key(line.strip()) for line in lines_of(decoded(content)) if line.strip()]
    except ValueError as error:
        raise TerraError(f"ssh.github: {url}: the server sent something else than public keys: {error}") from error
    if not keys:
        raise TerraError(f"ssh.github: the GitHub account {user!r} has no public keys", hint=hint)
    return keys
