"""The tokens that machines report their boots with, each for one boot: which are good, by a rule and a table of the database.

A machine gets its token with its boot files. When it has reported with it, another one takes that one's place there. Between
the two, the machine may have fetched the former one again. So:

- A token that nobody has reported with is good.
- One that was reported with is good for that same boot again, whose answer may have been lost.
- It is good for another boot that began before the next token was in the boot files, and for one such boot only.
- The first report with a later token ends all earlier ones.

A boot says itself how long ago it began. Who has stolen a token can lie about that, and claim one boot more of that machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum

from attrs import evolve, frozen
from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from terra_core.controller.database import nodes, report_tokens
from terra_core.service.access import digest_of
from terra_core.service.database import explained
from terra_core.service.tokens import new_token

_SLACK_SECONDS = 60.0
"""A kernel starts when its boot files are there, and the clock of a controller may be set."""
_MOST = 8
"""The most tokens of a machine that may be good: only a controller that is killed again and again makes more than two."""


class Verdict(Enum):
    """What a report is worth."""

    GOOD = "good"
    REPEATED = "repeated"
    USED = "used"


@frozen(kw_only=True)
class Token:
    """A token of a machine, without its secret.

    :param digest: the SHA-256 of its secret.
    :param hostname: the machine.
    :param generation: which of that name.
    :param number: its place among those of the machine.
    :param place: what the machine was told beside it, such as where to report to, as a digest.
    :param published: when it was in the boot files for sure, in seconds since 1970; 0 before that.
    :param boots: the ids of the boots that were reported with it, the last two.
    """

    digest: str
    hostname: str
    generation: int
    number: int
    place: str
    published: float = 0.0
    boots: tuple[str, ...] = ()


def judge(tokens: Sequence[Token], token: Token, boot: str, began: float) -> Verdict:
    """Return what a report is worth.

    :param tokens: those of the machine, in order.
    :param token: the one of the report, among them.
    :param boot: the id of the boot.
    :param began: when it began, in seconds since 1970, as the machine says.
    """
    if boot in token.boots:
        return Verdict.REPEATED
    following = next((other for other in tokens if other.number > token.number), None)
    if not token.boots or following is None or not following.published:
        return Verdict.GOOD
    early = began < following.published + _SLACK_SECONDS
    return Verdict.GOOD if early and len(token.boots) == 1 else Verdict.USED


class ReportTokens:
    """The tokens of all machines, in memory so that a wrong one costs no query; may be used from several threads.

    :param engine: the controller's database.
    :param host: the host whose machines they are of, where hosts have stores of their own; those of all machines otherwise.
    """

    def __init__(self, engine: Engine, host: str = "") -> None:
        self._engine, self._host = engine, host
        self._lock = threading.RLock()
        self._known: dict[str, Token] = {}
        self._of: dict[str, tuple[Token, ...]] = {}

    def load(self) -> None:
        """Read them, and drop those of machines that are gone."""
        theirs = (nodes.c.hostname == report_tokens.c.hostname) & (nodes.c.generation == report_tokens.c.generation)
        with self._lock, self._transaction() as connection:
            connection.execute(delete(report_tokens).where(~select(nodes.c.hostname).where(theirs).exists()))
            query = select(report_tokens).order_by(report_tokens.c.number)
            if self._host:
                query = query.where(select(nodes.c.hostname).where(theirs & (nodes.c.host == self._host)).exists())
            rows = connection.execute(query).all()
            self._known, self._of = {}, {}
            for row in rows:
                self._keep(_token_of(row))

    def recognise(self, secret: bytes) -> Token | None:
        """Return the token of a secret; ``None`` for a wrong one. Waits for nothing."""
        return self._known.get(digest_of(secret))

    def of(self, hostname: str) -> Sequence[Token]:
        """Return the tokens of a machine, in order."""
        return self._of.get(hostname, ())

    def issue(self, places: Mapping[tuple[str, int], str]) -> Mapping[str, str]:
        """Make another token for each of some machines; it is good from now on.

        :param places: what each machine is told beside it, by name and generation.
        :returns: the secrets, by name.
        """
        secrets = {hostname: new_token() for hostname, _ in places}
        with self._lock:
            made = []
            for (hostname, generation), place in places.items():
                last = max((token.number for token in self.of(hostname)), default=0)
                digest = digest_of(secrets[hostname].encode())
                made.append(Token(digest=digest, hostname=hostname, generation=generation, number=last + 1, place=place))
            dropped = [token for one in made for token in self.of(one.hostname)[: 1 - _MOST]]
            with self._transaction() as connection:
                _drop(connection, dropped)
                connection.execute(insert(report_tokens), [_row_of(token) for token in made])
            self._forget(dropped)
            for token in made:
                self._keep(token)
        return secrets

    def note_published(self, hostnames: Collection[str], now: float) -> None:
        """Note that the newest tokens of some machines are in their boot files."""
        with self._lock:
            changed = [evolve(tokens[-1], published=now) for hostname in hostnames if (tokens := self.of(hostname))]
            with self._transaction() as connection:
                for token in changed:
                    this = report_tokens.c.digest == token.digest
                    connection.execute(update(report_tokens).where(this).values(published=now))
            for token in changed:
                self._keep(token)

    def use(self, token: Token, boot: str, keep: Callable[[Connection], None]) -> None:
        """Note that a boot was reported with a token, which ends all earlier ones of the machine.

        :param keep: keeps the report, in the same transaction: whether that was done is known when the machine asks again.
        """
        with self._lock:
            earlier = [other for other in self.of(token.hostname) if other.number < token.number]
            used = evolve(token, boots=(*token.boots, boot)[-2:])
            with self._transaction() as connection:
                keep(connection)
                _drop(connection, earlier)
                this = report_tokens.c.digest == token.digest
                connection.execute(update(report_tokens).where(this).values(boots=" ".join(used.boots)))
            self._forget(earlier)
            self._keep(used)

    def forget(self, hostname: str, generation: int) -> None:
        """Drop all tokens of a machine; those of one that has its name after it stay, whichever host that is at."""
        theirs = (report_tokens.c.hostname == hostname) & (report_tokens.c.generation == generation)
        with self._lock:
            with self._transaction() as connection:
                connection.execute(delete(report_tokens).where(theirs))
            self._forget([token for token in self.of(hostname) if token.generation == generation])

    def _keep(self, token: Token) -> None:
        others = [other for other in self.of(token.hostname) if other.digest != token.digest]
        self._of[token.hostname] = tuple(sorted([*others, token], key=lambda one: one.number))
        self._known[token.digest] = token

    def _forget(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            self._known.pop(token.digest, None)
            left = tuple(other for other in self.of(token.hostname) if other.digest != token.digest)
            if left:
                self._of[token.hostname] = left
            else:
                self._of.pop(token.hostname, None)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def _drop(connection: Connection, tokens: Sequence[Token]) -> None:
    for token in tokens:
        connection.execute(delete(report_tokens).where(report_tokens.c.digest == token.digest))


def _row_of(token: Token) -> dict[str, object]:
    names = ("digest", "hostname", "generation", "number", "place", "published")
    return {**{name: getattr(token, name) for name in names}, "boots": " ".join(token.boots)}


def _token_of(row: Row[tuple[object, ...]]) -> Token:
    values = row._mapping  # the documented way to its columns by name
    return Token(**{**values, "boots": tuple(str(values["boots"]).split())})
