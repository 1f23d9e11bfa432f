"""What a build leaves out: https://docs.docker.com/build/concepts/context/#dockerignore-files, as BuildKit does it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import field, frozen

from terra_core.building.patterns import PatternError, matcher
from terra_core.config.values import shown
from terra_core.errors import ConfigError
from terra_core.system.reading import decoded, lines_of, read_regular

IGNORE = ".dockerignore"

_MOST_BYTES = 1024 * 1024
_SPACE = "\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What Go's strings.TrimSpace removes: fewer characters than :meth:`str.strip` does."""
_MAGIC = frozenset("*[]?^\\")


@frozen
class Rule:
    """One line of the file.

    :param pattern: its pattern, cleaned.
    :param exception: whether it takes back what lines before it left out.
    """

    pattern: str
    exception: bool
    matches: Callable[[str], bool] = field(repr=False, eq=False)

    @property
    def head(self) -> str:
        """Return the pattern without a star of its own, or two, at the end."""
        return self.pattern.removesuffix("/**").removesuffix("/*")


def read_rules(path: Path) -> Sequence[Rule]:
    """Read the file; without it, nothing is left out.

    :raises OSError: when it is no regular file, or cannot be read.
    :raises ConfigError: with every line that is no pattern.
    """
    try:
        return parse_rules(read_regular(path, _MOST_BYTES), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def parse_rules(data: bytes, source: str) -> Sequence[Rule]:
    """Read what stands in the file, as Docker does it: a line that begins with # is a comment, one with ! an exception.

    :param source: its name, for errors.
    :raises ConfigError: with every line that is no pattern.
    """
    try:
        lines = lines_of(decoded(data, "surrogateescape"))
    except ValueError as error:
        raise ConfigError([f"{source}: {error}"]) from None
    rules, problems = [], []
    for number, line in enumerate(lines, 1):
        text = line.strip(_SPACE)
        if not text or line.startswith("#"):
            continue
        try:
            rules.append(_rule(text))
        except PatternError as error:
            problems.append(f"{source}: line {number}: {shown(text)} is no pattern of Docker's: {error}")
    if problems:
        raise ConfigError(problems)
    return rules


def _rule(text: str) -> Rule:
    exception = text.startswith("!")
    pattern = _cleaned(text.removeprefix("!").strip(_SPACE) if exception else text)
    if len(pattern) > 1:
        pattern = pattern.removeprefix("/")
    # Docker parses it a second time: a "!" or a space counts after a path without a meaning was removed before it.
    text = _cleaned((f"!{pattern}" if exception else pattern).strip(_SPACE))
    exception, pattern = text.startswith("!"), text.removeprefix("!")
    if not pattern:
        raise PatternError('a "!" needs a pattern after it')
    return Rule(pattern, exception, matcher(pattern))


def _cleaned(pattern: str) -> str:
    """Clean a path as Go's filepath.Clean does, which does not keep two slashes in front."""
    pattern = posixpath.normpath(pattern) if pattern else ""
    return f"/{pattern.lstrip('/')}" if pattern.startswith("//") else pattern


def walk(root: Path, rules: Sequence[Rule]) -> Iterator[str]:
    """Yield the names below ``root`` that the rules leave, each after its directory; no symbolic link is followed.

    A directory that is left out is yielded all the same when something in it is not.

    :raises OSError: when a directory cannot be read.
    """
    asked = _Rules(tuple(rules))
    opened = [("", _listed(root, ""), tuple(False for _ in rules))]
    waiting: list[str] = []  # the directories around what is looked at that are left out so far
    while opened:
        above, entries, held = opened[-1]
        entry = next(entries, None)
        if entry is None:
            opened.pop()
            waiting = waiting[:-1] if waiting[-1:] == [above] else waiting
            continue
        name = f"{above}/{entry.name}" if above else entry.name
        out, matched = asked.judge(name, held)
        if not out:
            yield from waiting
            waiting = []
            yield name
        if entry.is_dir(follow_symlinks=False) and (not out or asked.may_keep(name)):
            waiting += [name] if out else []
            opened.append((name, _listed(root, name), matched))


def _listed(root: Path, name: str) -> Iterator[os.DirEntry[str]]:
    return iter(sorted(os.scandir(root / name), key=lambda entry: entry.name))


@frozen
class _Rules:
    rules: tuple[Rule, ...]
    prefixes: bool = field(init=False)

    @prefixes.default
    def _only_prefixes(self) -> bool:
        return not any(_MAGIC & set(rule.head) for rule in self.rules if rule.exception)

    def judge(self, name: str, above: Sequence[bool]) -> tuple[bool, tuple[bool, ...]]:
        """Return whether a name is left out, and which of the rules match it, given those that match its directory."""
        out, matched = False, []
        for rule, held in zip(self.rules, above, strict=True):
            hit = held or (rule.exception is out and rule.matches(name))
            matched.append(hit)
            out = not rule.exception if hit else out
        return out, tuple(matched)

    def may_keep(self, name: str) -> bool:
        """Return whether an exception may name something in a directory that is left out."""
        return not self.prefixes or any(f"{rule.head}/".startswith(f"{name}/") for rule in self.rules if rule.exception)
