"""``[iscsi]``: the plugin's own table."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import Domain

NAME = "iscsi"
PORT = 3260
"""The port of every portal (RFC 7143 section 4.2.7.1)."""
_CONTROL_PORTS = 32768
_MOST_THREADS = 64


@frozen(kw_only=True)
class Settings:
    """``[iscsi]``.

    :param domain: the domain in the names of targets and initiators.
    :param year: the year in them: one in which you owned the domain.
    :param chap: whether machines that are provisioned from then on have to know a secret in order to log in (CHAP).
    :param control_port: the number of tgtd's control socket, its option ``-C``.
    :param threads: how many requests of a disk a tgtd of Terra's own works on at once; counts from its next start.
    """

    domain: Domain = Domain("terra.internal")
    year: int = 2024
    chap: bool = True
    control_port: int = 0
    threads: int = 4

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "year") and not 1985 <= self.year <= 9999:
            yield Problem("year", f"expected a year of four digits, from 1985, when domains began, got {self.year}")
        if has(self, "control_port") and not 0 <= self.control_port < _CONTROL_PORTS:
            yield Problem("control_port", f"expected from 0 to {_CONTROL_PORTS - 1}, got {self.control_port}")
        if has(self, "threads") and not 1 <= self.threads <= _MOST_THREADS:
            yield Problem("threads", f"expected from 1 to {_MOST_THREADS}, got {self.threads}")
