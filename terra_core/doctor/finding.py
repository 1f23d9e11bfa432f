"""One thing that is off, as ``terra doctor`` says it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import asdict, frozen

from terra_core.hookspecs import Finding


@frozen(kw_only=True)
class Off:
    """One thing that is off.

    :param part: where it was looked for, such as ``volumes``.
    :param hostname: the machine that it is about; empty where it is about none, or about all.
    :param problem: what it is.
    :param hint: how to go on.
    """

    part: str
    hostname: str = ""
    problem: str
    hint: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells two of them apart."""
        return (self.part, self.hostname, self.problem)

    def as_json(self) -> dict[str, str]:
        """Return it as ``terra doctor -o json`` prints it."""
        return asdict(self)


def found_in(part: str, findings: Iterable[Finding]) -> Iterator[Off]:
    """Yield what a plugin found, as found in a part."""
    for one in findings:
        yield Off(part=part, hostname=one.hostname, problem=one.problem, hint=one.hint)
