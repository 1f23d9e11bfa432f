"""Parsing what tgtadm(8) shows of targets and portals; it has no machine-readable output.

The alias that an initiator has for itself (RFC 7143 section 13.7) is a part of it, whatever is in it: a machine that has logged
in to its own disks can make up any lines after its name, such as those of a target. What contradicts itself is refused as a
whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from attrs import Factory, evolve, frozen

from terra_core.system.reading import lines_of

_SECTIONS = ("System information", "I_T nexus information", "LUN information", "Account information", "ACL information")
_TARGET = re.compile(r"Target (\d+): (\S+)")
_NEXUS = re.compile(r"I_T nexus: (\d+)")
_INITIATOR = re.compile(r"Initiator: (\S+) alias: .*")
_CONNECTION = re.compile(r"Connection: (\d+)")
_ADDRESS = re.compile(r"IP Address: (\S+)")
_LUN = re.compile(r"LUN: (\d+)")
_BACKING = re.compile(r"Backing store path: (.+)")
_STATISTICS = re.compile(r" *(\d+) +\d+ +(\d+) +\d+ +\d+ +(\d+) +\d+ +\d+ +\d+ +(\d+) +\d+ +\d+")
"""Target, LUN, session, and then bytes and commands: of reads begun and done, of writes begun and done; and errors."""
_PORTAL = re.compile(r"Portal: \[?([0-9A-Fa-f.:]+?)\]?:(\d+),\d+")


@frozen
class Nexus:
    """A session of an initiator.

    :param id: its number.
    :param initiator: who logged in.
    :param connections: the numbers of its connections.
    :param address: where the first of them comes from.
    """

    id: int
    initiator: str = ""
    connections: tuple[int, ...] = ()
    address: str = ""


@frozen
class Exported:
    """A target as tgtd shows it.

    :param id: its number.
    :param iqn: its name.
    :param sessions: who is logged in.
    :param luns: the file behind each logical unit, LUN 0 aside.
    :param accounts: the accounts of which a machine has to know one to log in; any may, without one.
    :param rules: the names and addresses that may log in; the output does not tell which of them each one is.
    """

    id: int
    iqn: str
    sessions: tuple[Nexus, ...] = ()
    luns: Mapping[int, str] = Factory(dict)
    accounts: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


def parse_targets(text: str) -> tuple[Exported, ...]:
    """Parse the output of ``tgtadm --mode target --op show``.

    :raises ValueError: when it contradicts itself: tgtd shows each target once, in the order of their numbers.
    """
    found = [_parse_target(block) for block in re.split(r"^(?=Target )", text, flags=re.MULTILINE) if block.strip()]
    for one, following in pairwise(found):
        if following.id <= one.id:
            raise ValueError(f"target {following.id} stands after target {one.id}")
    names = Counter(one.iqn for one in found)
    if names and names.most_common(1)[0][1] > 1:
        raise ValueError(f"{names.most_common(1)[0][0]} stands there twice")
    return tuple(found)


def parse_accounts(text: str) -> frozenset[str]:
    """Return the names of the output of ``tgtadm --mode account --op show``."""
    return frozenset(line.strip() for line in lines_of(text)[1:])


def parse_portals(text: str) -> frozenset[tuple[str, int]]:
    """Address and port of every line of ``tgtadm --mode portal --op show``."""
    return frozenset((found[1], int(found[2])) for found in _PORTAL.finditer(text))


def parse_statistics(text: str) -> Mapping[int, tuple[int, int]]:
    """Return bytes read and written by target, of what ``tgtadm --mode sys --op stat`` says of each LUN and session."""
    served: dict[int, tuple[int, int]] = {}
    for line in lines_of(text):
        if found := _STATISTICS.fullmatch(line):
            target, _, read, written = (int(word) for word in found.groups())
            former = served.get(target, (0, 0))
            served[target] = (former[0] + read, former[1] + written)
    return served


def parse_sessions(text: str) -> frozenset[tuple[int, int]]:
    """Return target and number of each session, of what ``tgtadm --mode sys --op stat`` says, which is numbers only."""
    return frozenset((int(found[1]), int(found[2])) for line in lines_of(text) if (found := _STATISTICS.fullmatch(line)))


def _parse_target(text: str) -> Exported:
    heading, *lines = lines_of(text)
    found = _TARGET.match(heading)
    if found is None:
        raise ValueError(f"it has a target in an unknown way: {heading!r}")
    sections: dict[str, list[str]] = {}
    section: list[str] = []
    for line in lines:
        if line.startswith("    ") and not line.startswith("     "):
            name = line.strip().rstrip(":")
            if name in sections:
                raise ValueError(f"target {found[1]} has its {name} twice")
            section = sections[name] = []
        else:
            section.append(line.strip())
    if tuple(sections) != _SECTIONS:
        raise ValueError(f"target {found[1]} has {', '.join(sections) or 'nothing'}")
    return Exported(
        id=int(found[1]),
        iqn=found[2],
        sessions=_parse_sessions(sections.get("I_T nexus information", [])),
        luns=_parse_luns(sections.get("LUN information", [])),
        accounts=tuple(sections.get("Account information", [])),
        rules=tuple(sections.get("ACL information", [])),
    )


def _parse_sessions(lines: list[str]) -> tuple[Nexus, ...]:
    sessions: list[Nexus] = []
    for line in lines:
        if found := _NEXUS.fullmatch(line):
            sessions.append(Nexus(int(found[1])))
        elif not sessions:
            raise ValueError("a session has no number")
        elif found := _INITIATOR.fullmatch(line):
            sessions[-1] = evolve(sessions[-1], initiator=found[1])
        elif found := _CONNECTION.fullmatch(line):
            sessions[-1] = evolve(sessions[-1], connections=(*sessions[-1].connections, int(found[1])))
        elif (found := _ADDRESS.fullmatch(line)) and not sessions[-1].address:
            sessions[-1] = evolve(sessions[-1], address=found[1])
    return tuple(sessions)


def _parse_luns(lines: list[str]) -> dict[int, str]:
    luns: dict[int, str] = {}
    number = 0
    for line in lines:
        if found := _LUN.fullmatch(line):
            number = int(found[1])
        elif (found := _BACKING.fullmatch(line)) and number:
            luns[number] = found[1]
    return luns
