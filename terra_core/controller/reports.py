"""What machines report of their boots, and the tokens that go into their boot files for that."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Any

import structlog
from attrs import asdict, define, evolve

from terra_core.config.controller import Controller, Paths, Tls
from terra_core.controller.boot_report import BootReport, read_report
from terra_core.controller.happening import Happening, Kind, Stage
from terra_core.controller.happenings import Happenings
from terra_core.controller.report_tokens import ReportTokens, Token, Verdict, judge
from terra_core.controller.store import Record
from terra_core.errors import ConflictError, NotFoundError, TerraError, words_of
from terra_core.hookspecs import NodeBoot
from terra_core.machine.report import ReportPlace, make_report_archive

_log = structlog.get_logger(__name__)
REPORTS = "/v1/reports"
"""The path of the route that machines report to."""
_BURST = 5
_SECONDS_EACH = 10.0
_PAUSE_SECONDS = 60.0
"""How long a machine waits for another try when its token could not be put into its boot files."""
_BATCH = 100
_QUIET_SECONDS = 60.0


@define
class _Room:
    """How many reports are taken of a machine now.

    :param left: how many.
    :param at: when that was counted, in seconds of the monotonic clock.
    """

    left: float
    at: float


def place_of(config: Controller, paths: Paths, tls: Tls | None) -> ReportPlace:
    """Return where machines report to.

    :param tls: the certificate of the controller's own authority; ``None`` for plain HTTP.
    :raises TerraError: when the authority's certificate cannot be read.
    """
    address = ip_address(config.portal if ip_address(config.address).is_unspecified else config.address)
    shown = f"[{address}]" if address.version == 6 else str(address)
    try:
        authority = paths.authority.read_text() if tls else ""
    except (OSError, ValueError) as error:
        raise TerraError(
            f"{paths.authority}: cannot be read, and machines know the controller by it: {words_of(error)}",
            hint="run terra controller init",
        ) from error
    url = f"{'https' if tls else 'http'}://{shown}:{config.reports}{REPORTS}"
    return ReportPlace(url=url, authority=authority, image="")


class Reports:
    """Takes reports, and knows which machines need another token; may be used from several threads.

    :param tokens: the tokens.
    :param place: where machines report to; its image is filled in for each.
    :param happenings: where what machines reported is kept.
    """

    def __init__(self, tokens: ReportTokens, place: ReportPlace, happenings: Happenings) -> None:
        self._tokens = tokens
        self._place = place
        self._happenings = happenings
        self._taking, self._lock = threading.Lock(), threading.Lock()  # only the first is held while the database may wait
        self._due: dict[str, float] = {}
        self._rooms: dict[str, _Room] = {}
        self._refused, self._said_at, self._problem = 0, time.monotonic(), ""

    @property
    def url(self) -> str:
        """The URL that machines report to."""
        return self._place.url

    def begin(self, bootable: Iterable[NodeBoot]) -> None:
        """Find the machines that need a token: one that is not in their boot files for sure, or says something else."""
        self._tokens.load()
        for boot in bootable:
            tokens = self._tokens.of(boot.hostname)
            newest = tokens[-1] if tokens else None
            if newest is None or newest.boots or not newest.published or newest.place != self._named(boot.image):
                self.lacks(boot.hostname)

    def recognise(self, secret: bytes) -> Token | None:
        """Return the token of a secret; ``None`` for a wrong one, which is counted. Waits for nothing."""
        token = self._tokens.recognise(secret)
        self._refused += token is None
        return token

    def take(self, token: Token, raw: Mapping[str, Any]) -> None:
        """Take a report.

        :param token: as it was recognised.
        :param raw: the report, as JSON; nobody has looked at it yet.
        :raises ConfigError: when it is no report.
        :raises ConflictError: when another boot was reported with this token.
        :raises NotFoundError: when the machine was deleted just now, or has reported with a later token.
        :raises TerraError: when it cannot be written down; the machine tries again.
        """
        report = read_report(raw)
        if not _is_of(token, report.image):
            _log.warning("a report says an image that its token did not come with", hostname=token.hostname)
            report = evolve(report, image="")  # a trial of that image is not decided by it
        began = time.time() - report.uptime
        with self._taking:
            tokens = self._tokens.of(token.hostname)
            found = next((one for one in tokens if one.digest == token.digest), None)
            if found is None:
                raise NotFoundError("this machine, or its token, is not known any more")
            token = found
            verdict = judge(tokens, token, report.boot_id, began)
            if verdict is Verdict.USED:
                _log.warning("a report was refused, as another boot was reported with its token", hostname=token.hostname)
                raise ConflictError("another boot of this machine was reported with this token")
            if verdict is Verdict.GOOD:
                self._keep(token, report)
                if tokens and tokens[-1].digest == token.digest:
                    self.lacks(token.hostname)

    def _keep(self, token: Token, report: BootReport) -> None:
        """Keep a report, and that its token was used, both or none: a machine that gets no answer says the same again."""
        happening = Happening(
            hostname=token.hostname,
            generation=token.generation,
            kind=Kind.REPORT,
            text=str(report),
            data=report.as_json(),
            stage=Stage.BOOTED if report.ended else None,
        )
        with suppress(TerraError):  # what was seen before goes before it, where it can be written
            self._happenings.flush()
        self._tokens.use(token, report.boot_id, partial(self._happenings.keep, happening))
        self._happenings.tell([happening.machine])

    def has_room(self, hostname: str) -> bool:
        """Count a report of a machine; return whether there are not more of them than any machine sends. Waits for nothing."""
        now = time.monotonic()
        with self._lock:
            room = self._rooms.setdefault(hostname, _Room(_BURST, now))
            room.left, room.at = min(_BURST, room.left + (now - room.at) / _SECONDS_EACH), now
            if room.left < 1:
                return False
            room.left -= 1
        return True

    def lacks(self, hostname: str) -> None:
        """Note that a machine has no good token in its boot files, or nobody knows whether it has."""
        with self._lock:
            self._due[hostname] = 0.0

    def due(self) -> Sequence[str]:
        """Return some machines that need another token now; called every second."""
        self._say_refused()
        now = time.monotonic()
        with self._lock:
            return [hostname for hostname, since in self._due.items() if since <= now][:_BATCH]

    def issue(self, records: Sequence[Record]) -> Sequence[NodeBoot]:
        """Return what machines boot, with another token for the next boot of each.

        :raises TerraError: when the tokens cannot be written down.
        """
        places = {(record.hostname, record.generation): self._named(record.boot.image) for record in records}
        secrets = self._tokens.issue(places) if places else {}
        return [
            evolve(
                record.boot,
                report=make_report_archive(evolve(self._place, image=record.boot.image), secrets[record.hostname]),
            )
            for record in records
        ]

    def published(self, hostnames: Collection[str], *, now: float | None = None) -> None:
        """Note that the boot files of machines have the tokens that were issued last.

        :param now: since when, in seconds since 1970; since now when left out.
        """
        self._tokens.note_published(hostnames, time.time() if now is None else now)
        self.drop(hostnames)

    def put_off(self, problems: Mapping[str, str]) -> None:
        """Try some machines again in a while.

        :param problems: why they did not get their tokens, by their names.
        """
        with self._lock:
            for hostname in problems:
                self._due[hostname] = time.monotonic() + _PAUSE_SECONDS
        said = next(iter(problems.values()), "")
        if said and said != self._problem:
            _log.warning("machines cannot be given what they report their next boots with", machines=len(problems), reason=said)
        self._problem = said

    def drop(self, hostnames: Iterable[str]) -> None:
        """Take note that some machines need nothing now: they are not there, or not to be booted."""
        with self._lock:
            for hostname in hostnames:
                self._due.pop(hostname, None)

    def forget(self, hostname: str, generation: int) -> None:
        """Drop all that is known of a machine that goes.

        :param generation: how often its name had been provisioned, with it.
        """
        self._tokens.forget(hostname, generation)
        self.drop([hostname])
        with self._lock:
            self._rooms.pop(hostname, None)

    def _named(self, image: str) -> str:
        said = json.dumps(asdict(evolve(self._place, image="")), sort_keys=True)
        return f"{_short(said)}.{_short(image)}"

    def _say_refused(self) -> None:
        """Say at most once a minute that somebody reports with wrong tokens."""
        now = time.monotonic()
        if self._refused and now - self._said_at >= _QUIET_SECONDS:
            _log.warning("reports with wrong tokens were refused", number=self._refused)
            self._refused, self._said_at = 0, now


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_of(token: Token, image: str) -> bool:
    """Return whether a token came with the boot files of an image; of one that an earlier Terra made, that is not known."""
    _, _, known = token.place.partition(".")
    return not known or known == _short(image)
