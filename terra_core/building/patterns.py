"""One pattern of a .dockerignore, as https://github.com/moby/patternmatcher understands it.

Docker checks a pattern by the rules of Go's ``filepath.Match``, turns it into a regular expression of Go's, and matches that.
Both steps are here, because their result for some patterns is documented nowhere. Go matches in linear time, and so
does this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from attrs import evolve, frozen

Accepts = Callable[[str], bool]
"""Says whether a character is one of a set."""

_ESCAPED_BY_DOCKER = frozenset(".+()$")
"""Its table has "{", "|" and "}" too, but no room for what comes after "?", so that they keep their meaning."""
_REPEAT = re.compile(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}")
_MOST_REPEATS = 64
"""How many characters the numbers in braces of one pattern may stand for; Docker takes a thousand for each."""
_PERL = {"d": "09", "s": "\t\t\n\n\f\f\r\r  ", "w": "09AZ__az"}
_CONTROLS = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_POSIX = {
    "alnum": "09AZaz", "alpha": "AZaz", "ascii": "\x00\x7f", "blank": "\t\t  ", "cntrl": "\x00\x1f\x7f\x7f", "digit": "09",
    "graph": "!~", "lower": "az", "print": " ~", "punct": "!/:@[`{~", "space": "\t\r  ", "upper": "AZ", "word": "09AZ__az",
    "xdigit": "09AFaf",
}  # fmt: skip
"""Of each class, the first and the last character of its ranges, one after another; so are those of :data:`_PERL`."""
_POSIX_CLASS = re.compile(r"\[:(\^?)(.*?):\]", re.DOTALL)
_GROUP = "(.*/)?"
_MOST_REMEMBERED = 1_000_000


class PatternError(ValueError):
    """Raised for a pattern that Docker refuses; says what is wrong with it."""


def matcher(pattern: str) -> Accepts:
    """Return what says whether a path is one that ``pattern`` names; a directory's parts are not asked for here.

    :param pattern: cleaned as ``filepath.Clean`` does it, without the mark of an exception.
    :raises PatternError: when Docker would refuse it.
    """
    check_syntax(pattern)
    pattern = _replaced(pattern)
    kind, expression = _translated(pattern)
    if kind == "prefix":
        return lambda path: _replaced(path).startswith(pattern[:-2])
    if kind == "suffix":
        return lambda path: _ends_with(_replaced(path), pattern[2:])
    if kind == "exact":
        return lambda path: _replaced(path) == pattern
    automaton = _Automaton(expression)
    return lambda path: automaton.matches(_replaced(path))


def check_syntax(pattern: str) -> None:
    """Check a pattern as Docker has ``filepath.Match`` do it, which looks as far as the second star at most.

    :raises PatternError: says what is wrong.
    """
    if len(pattern) - len(pattern.rstrip("\\")) & 1:
        raise PatternError("nothing follows the last \\")
    at = len(pattern) - len(pattern.lstrip("*"))
    while at < len(pattern) and pattern[at] != "*":
        letter, at = pattern[at], at + 1
        if letter == "\\":
            at += 1
        elif letter == "[":
            at = _after_brackets(pattern, at + (pattern[at : at + 1] == "^"))


def _after_brackets(pattern: str, at: int) -> int:
    ranges = 0
    while pattern[at : at + 1] != "]" or not ranges:
        at = _after_member(pattern, at)
        if pattern[at] == "-":
            at = _after_member(pattern, at + 1)
        ranges += 1
    return at + 1


def _after_member(pattern: str, at: int) -> int:
    if pattern[at : at + 1] in ("", "-", "]"):
        raise PatternError('a "[" needs its members, and a "]" after them; a "-" or a "]" among them needs a \\ in front')
    at += 2 if pattern[at] == "\\" else 1
    if at >= len(pattern):
        raise PatternError('a "[" has no "]"')
    return at


def _replaced(text: str) -> str:
    """Replace bytes that are not UTF-8 by one character each, as Go has them."""
    return text if text.isascii() else re.sub("[\udc80-\udcff]", "\ufffd", text)


def _ends_with(path: str, suffix: str) -> bool:
    return path.endswith(suffix) or (suffix.startswith("/") and path == suffix[1:])


def _translated(pattern: str) -> tuple[str, str]:
    """Return what kind of match a pattern is, and its regular expression, as moby/patternmatcher makes it."""
    kind, out = "exact", []
    at = begin = int(pattern.startswith("\ufeff"))  # Go's text/scanner passes a byte order mark over: files were joined
    while at < len(pattern):
        start, letter, at = at, pattern[at], at + 1
        if letter == "*" and pattern[at : at + 1] == "*":
            at += 1
            at += pattern[at : at + 1] == "/"
            if at < len(pattern):
                out.append(_GROUP)
                kind = "expression"
            elif kind == "exact":
                kind = "prefix"
            else:
                out.append(".*")
                kind = "expression"
            if start == begin:
                kind = "suffix"
            continue
        if letter == "\\":  # check_syntax has seen that something follows
            out.append(letter + pattern[at])
            at += 1
        elif letter in "*?":
            out.append("[^/]*" if letter == "*" else "[^/]")
        else:
            out.append(f"\\{letter}" if letter in _ESCAPED_BY_DOCKER else letter)
        if letter in "*?\\[]":
            kind = "expression"
    return kind, "".join(out)


@frozen
class _Place:
    """A state of a match within a regular expression.

    :param once: the characters that lead to the next place.
    :param held: the characters that keep the match here.
    :param skipped: how many places on the match stands without any.
    :param begins: whether the next place is reached without any at the beginning of the text, and only there.
    """

    once: Accepts | None = None
    held: Accepts | None = None
    skipped: tuple[int, ...] = ()
    begins: bool = False


class _Automaton:
    """The regular expressions that :func:`_translated` writes, matched by the set of places where the match may stand."""

    def __init__(self, expression: str) -> None:
        self._places: list[_Place] = []
        starts, ends = set(), set()
        for alternative in _alternatives(expression):
            starts.add(len(self._places))
            self._places += (*alternative, _Place())
            ends.add(len(self._places) - 1)
        self._ends = frozenset(ends)
        self._first = self._with_skipped(starts, at_begin=True)
        self._moves: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._remembered = 0

    def matches(self, text: str) -> bool:
        """Return whether ``text`` is matched."""
        standing = self._first
        for letter in text:
            move = (standing, letter)
            if move not in self._moves:
                moved = self._moved(standing, letter)
                self._remembered += len(moved) + 1
                if self._remembered > _MOST_REMEMBERED:
                    self._moves.clear()
                    self._remembered = len(moved) + 1
                self._moves[move] = moved
            standing = self._moves[move]
            if not standing:
                return False
        return not standing.isdisjoint(self._ends)

    def _moved(self, standing: frozenset[int], letter: str) -> frozenset[int]:
        moved = set()
        for at in standing:
            place = self._places[at]
            if place.held is not None and place.held(letter):
                moved.add(at)
            if place.once is not None and place.once(letter):
                moved.add(at + 1)
        return self._with_skipped(moved, at_begin=False)

    def _with_skipped(self, standing: set[int], *, at_begin: bool) -> frozenset[int]:
        waiting = list(standing)
        while waiting:
            at = waiting.pop()
            place = self._places[at]
            reached = {at + number for number in (*place.skipped, *([1] if place.begins and at_begin else []))} - standing
            standing |= reached
            waiting += reached
        return frozenset(standing)


def _alternatives(expression: str) -> Iterator[list[_Place]]:
    """Yield the places of each alternative of an expression that has to match a whole path; as Docker writes it, that is only
    said of the beginning of the first one, and of the end of the last.
    """
    anything = _Place(held=lambda _: True, skipped=(1,))
    *others, last = _read(f"^{expression}")
    for places in others:
        yield [*_from_anywhere(places, anything), anything]
    yield _from_anywhere(last, anything)


def _from_anywhere(places: list[_Place], anything: _Place) -> list[_Place]:
    return places if places and places[0].begins else [anything, *places]


def _read(expression: str) -> list[list[_Place]]:
    alternatives: list[list[_Place]] = [[]]
    at, left = 0, _MOST_REPEATS
    single = False  # whether a number in braces may follow, which repeats one place
    while at < len(expression):
        places = alternatives[-1]
        if repeat := _REPEAT.match(expression, at):
            if not single:
                raise PatternError(f"{repeat[0]} repeats nothing; as a name, it needs a \\ in front")
            places[-1:] = _repeated(places[-1], repeat, left)
            at, left, single = repeat.end(), left - _number(repeat[3] or repeat[1]), False
        elif expression.startswith(_GROUP, at):
            at, single = at + len(_GROUP), False
            places += (_Place(skipped=(1, 2)), _Place(held=_no_line_feed, once=lambda letter: letter == "/"))
        elif expression[at] == "|":
            at, single = at + 1, False
            alternatives.append([])
        elif expression[at] == "^":
            at, single = at + 1, True
            places.append(_Place(begins=True))
        else:
            accepts, at = _read_set(expression, at)
            single = expression[at : at + 1] != "*"
            at += not single
            places.append(_Place(once=accepts) if single else _Place(held=accepts, skipped=(1,)))
    return alternatives


def _repeated(place: _Place, repeat: re.Match[str], left: int) -> list[_Place]:
    least, most = _number(repeat[1]), _number(repeat[3] or repeat[1])
    if least > most:
        raise PatternError(f"{repeat[0]} repeats what is before it, and takes the smaller number first")
    if most > left:
        raise PatternError(f"{repeat[0]} repeats what is before it; all such numbers together may be {_MOST_REPEATS} here")
    if place.begins:
        return [place] * least
    more = [_Place(held=place.once, skipped=(1,))] if repeat[2] == "," else [evolve(place, skipped=(1,))] * (most - least)
    return [place] * least + more


def _number(digits: str) -> int:
    return int(digits[:9])  # what is longer is too large all the same


def _read_set(expression: str, at: int) -> tuple[Accepts, int]:
    """Return what one character, escape or class of a regular expression accepts, and where it ends."""
    if expression[at] == "[":
        return _read_class(expression, at + 1)
    if expression[at] == ".":
        return _no_line_feed, at + 1
    found = _read_perl(expression, at)
    if found is not None:
        return found, at + 2
    wanted, at = _read_character(expression, at)
    return lambda letter: letter == wanted, at


def _read_class(expression: str, at: int) -> tuple[Accepts, int]:
    negated = expression[at : at + 1] == "^"
    first = at = at + negated
    sets: list[Accepts] = []
    while expression[at : at + 1] != "]" or at == first:
        posix = _POSIX_CLASS.match(expression, at)
        perl = _read_perl(expression, at)
        if posix:
            if posix[2] not in _POSIX:
                raise PatternError(f"{posix[0]} is no class of characters")
            sets.append(_ranges(_POSIX[posix[2]], negated=bool(posix[1])))
            at = posix.end()
        elif perl is not None:
            sets.append(perl)
            at += 2
        else:
            low, at = _read_character(expression, at)
            high = low
            if expression[at : at + 1] == "-" and expression[at + 1 : at + 2] not in ("", "]"):
                high, at = _read_character(expression, at + 1)
            if high < low:
                raise PatternError(f"the range {low}-{high} ends before it begins")
            sets.append(_ranges(low + high))
    return lambda letter: any(accepts(letter) for accepts in sets) is not negated, at + 1


def _read_character(expression: str, at: int) -> tuple[str, int]:
    letter = expression[at : at + 1]
    if not letter:
        raise PatternError('a "[" has no "]"')
    if letter != "\\":
        return letter, at + 1
    escaped = expression[at + 1 : at + 2]
    if escaped in _CONTROLS:
        return _CONTROLS[escaped], at + 2
    if not escaped.isascii() or escaped.isalnum():
        raise PatternError(f"\\{escaped} has no meaning here; a letter or a digit needs no \\")
    return escaped, at + 2


def _read_perl(expression: str, at: int) -> Accepts | None:
    letter = expression[at + 1 : at + 2] if expression[at : at + 1] == "\\" else ""
    found = _PERL.get(letter.lower())
    return None if found is None else _ranges(found, negated=letter.isupper())


def _ranges(ends: str, *, negated: bool = False) -> Accepts:
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    return lambda letter: any(low <= letter <= high for low, high in pairs) is not negated


def _no_line_feed(letter: str) -> bool:
    return letter != "\n"
