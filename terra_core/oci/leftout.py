"""What of an image is left out of a tree of files, counted, to be reported when the image is applied."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from terra_core.oci.faults import shown

_MOST = 20
"""How many kinds are counted separately: an image may have any names of extended attributes."""


@define
class LeftOut:
    """What was left out, by what it is and why."""

    _found: dict[tuple[str, str], list[str]] = field(factory=dict)
    _counts: dict[tuple[str, str], int] = field(factory=dict)

    def note(self, what: str, why: str, at: bytes) -> None:
        """Take note of something.

        :param what: such as ``the extended attribute com.apple.provenance``.
        :param why: a sentence without an end.
        :param at: the name of the entry.
        """
        key = (what, why)
        if key not in self._counts and len(self._counts) >= _MOST:
            key = ("more of that kind", "see the lines before")
        self._counts[key] = self._counts.get(key, 0) + 1
        self._found.setdefault(key, [shown(at)])

    def sentences(self) -> Iterable[str]:
        """Yield one line for each kind of thing that was left out."""
        for (what, why), (first,) in self._found.items():
            others = self._counts[what, why] - 1
            more = f" and {others} other{'s' * (others > 1)}" if others else ""
            yield f"{what} of {first}{more}: {why}"
