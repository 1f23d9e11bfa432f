"""The tokens of a controller: named, with roles, and kept as their digests. The one in the file of its host is beside them."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from attrs import evolve, frozen
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from terra_core.controller.database import tokens
from terra_core.errors import ConfigError, ConflictError, NotFoundError
from terra_core.service.access import LOCAL, Caller, Role, TokenRefused, digest_of, is_same
from terra_core.service.database import explained
from terra_core.service.tokens import new_token

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_MOST_DAYS = 3650
_OTHER_NAME = "choose another name: terra token list shows all"


@frozen(kw_only=True)
class Token:
    """A token, without its secret.

    :param name: its name.
    :param role: what it may do.
    :param digest: the digest of its secret.
    :param created: when it was made, in UTC as RFC 3339 has it, as all times here.
    :param last_used: when it was used last, to the minute; empty when it never was.
    :param expires: until when it is valid; empty when it has no end.
    :param revoked: when it was revoked; empty when it was not.
    """

    name: str
    role: Role
    digest: str
    created: str
    last_used: str = ""
    expires: str = ""
    revoked: str = ""


class Tokens:
    """The gate of a controller: the tokens in its database, held in memory, and the one of its host.

    What another controller on the same database changes is seen by :meth:`look`.

    :param engine: the database.
    :param own: the token of the host, which may do everything.
    :raises TerraError: when the database cannot be read.
    """

    def __init__(self, engine: Engine, own: str) -> None:
        self._engine = engine
        self._own = digest_of(own.encode())
        self._lock = threading.Lock()
        self._known: Mapping[str, Token] = {}
        self._used: dict[str, str] = {}
        self._read()

    def recognise(self, token: bytes) -> Caller | None:
        """Return who has a token; ``None`` where nobody has.

        :raises TokenRefused: for one that has expired or was revoked.
        """
        digest = digest_of(token)
        if is_same(digest, self._own):
            return Caller(name=LOCAL, role=Role.ADMIN)
        found = self._known.get(digest)  # who can choose a digest's first digits has found SHA-256 broken
        if found is None or not is_same(digest, found.digest):
            return None
        now = _now()
        # The time of a revocation is not compared: the clock may have been set back, or be another controller's.
        state = "was revoked" if found.revoked else "has expired" if found.expires and found.expires <= now else ""
        if state:
            raise TokenRefused(f"the token {found.name!r} {state}", hint="ask whoever runs the controller for another")
        self._used[found.name] = now
        return Caller(name=found.name, role=found.role)

    def create(self, name: str, role: Role, days: int | None = None) -> tuple[Token, str]:
        """Make a token; return it and its secret, which is not stored.

        :param name: lower case; the name of a token that was revoked is not given again, so that the audit log stays clear.
        :param days: how long it is valid; without end when left out.
        :raises ConfigError: when name or days are not what they have to be.
        :raises ConflictError: when there is, or was, one of this name.
        """
        _check(name, days)
        secret = new_token()
        expires = "" if days is None else _text(datetime.now(UTC) + timedelta(days=days))
        token = Token(name=name, role=role, digest=digest_of(secret.encode()), created=_now(), expires=expires)
        values = {column.name: getattr(token, column.name) for column in tokens.c} | {"role": role.value}
        with explained(self._engine), self._engine.begin() as connection:
            former = connection.execute(select(tokens.c.revoked).where(tokens.c.name == name)).one_or_none()
            if former is not None:
                state = "was revoked, and its name is not given again" if former.revoked else "is there already"
                raise ConflictError(f"the token {name!r} {state}", hint=_OTHER_NAME)
            try:
                connection.execute(insert(tokens).values(**values))
            except IntegrityError:  # of a server, on which another controller may have made one since the look
                raise ConflictError(f"the token {name!r} is there already", hint=_OTHER_NAME) from None
        self._read()
        return token, secret

    def revoke(self, name: str) -> Token:
        """Take a token's rights away, from the next request on; one that was revoked before stays as it is.

        :raises NotFoundError: when there is none of this name.
        :raises ConflictError: for the token of the host, which is in a file.
        """
        if name == LOCAL:
            hint = "to replace it, remove the file etc/terra/token on the controller's host and restart the controller"
            raise ConflictError(f"{LOCAL} is the token of the controller's own host", hint=hint)
        with explained(self._engine), self._engine.begin() as connection:
            if connection.execute(select(tokens.c.name).where(tokens.c.name == name)).first() is None:
                raise NotFoundError(f"no token is named {name!r}", hint="terra token list shows all of them")
            still = (tokens.c.name == name) & (tokens.c.revoked == "")
            connection.execute(update(tokens).where(still).values(revoked=_now()))
        self._read()
        return next(token for token in self.all() if token.name == name)

    def all(self) -> Sequence[Token]:
        """Return every token of the database by name, with those that are not valid any more."""
        used = dict(self._used)
        found = sorted(self._known.values(), key=lambda token: token.name)
        return [_used_at(token, used.get(token.name, "")) for token in found]

    def look(self) -> None:
        """Store when tokens were used, and read what other controllers changed; called every few seconds.

        :raises TerraError: when the database cannot be used.
        """
        self._read()

    def _read(self) -> None:
        with self._lock:
            with explained(self._engine), self._engine.begin() as connection:
                rows = connection.execute(select(tokens)).all()
            found = [Token(**{**row._mapping, "role": _role(row.role)}) for row in rows]
            self._known = {token.digest: token for token in found}  # first, as the next step may fail on a full disk
            self._write_used(found)

    def _write_used(self, known: Sequence[Token]) -> None:
        used = {token.name: when for token in known if (when := self._used.get(token.name, ""))[:16] > token.last_used[:16]}
        if not used:  # to the minute: not every request is a write
            return
        with explained(self._engine), self._engine.begin() as connection:
            for name, when in used.items():
                connection.execute(update(tokens).where(tokens.c.name == name).values(last_used=when))


def _used_at(token: Token, when: str) -> Token:
    return evolve(token, last_used=max(token.last_used, when))


def _role(text: str) -> Role:
    """Return a role of the database; the least where a later version of Terra wrote one that this does not know."""
    try:
        return Role(text)
    except ValueError:
        return Role.READ


def _check(name: str, days: int | None) -> None:
    problems = []
    if not _NAME.fullmatch(name) or name == LOCAL:
        problems.append(
            'request: name: expected 1 to 63 lower case letters, digits, ".", "_", "@" or "-", beginning with a letter or a '
            f'digit, and not "{LOCAL}", got {name[:80]!r}'
        )
    if days is not None and not 0 < days <= _MOST_DAYS:
        problems.append(f"request: days: expected from 1 to {_MOST_DAYS}, got {str(days)[:20]}")
    if problems:
        raise ConfigError(problems)


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
