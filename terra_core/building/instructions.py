"""What a Dockerfile asks of its builder: https://docs.docker.com/reference/dockerfile/."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from terra_core.system.reading import lines_of

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S.*?)\s*")
_FLAG = re.compile(r"--([a-z-]+)(?:=\S*)?")
_HERE = re.compile(r"(?:^|\s)[0-9]*<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_.-]*)\2(?=\s|$)")
_PLAIN = re.compile(r"[A-Za-z0-9 ._:/@+-]*")
_CLASSIC_FLAGS = {"COPY": {"from", "chown"}, "ADD": {"chown"}, "RUN": set[str]()}

HERE_DOCUMENT = "a here-document"
"""What a :class:`Need` for one ends in."""


@frozen
class Instruction:
    """One instruction.

    :param line: the number of its first line, from 1.
    :param name: in upper case.
    :param words: the rest, its lines joined.
    :param here: whether here-documents follow it.
    """

    line: int
    name: str
    words: str
    here: bool

    @property
    def flags(self) -> list[str]:
        """Return the names of the flags in front of its words."""
        flags = []
        for word in self.words.split():
            flag = _FLAG.fullmatch(word)
            if flag is None:
                break
            flags.append(flag[1])
        return flags


@frozen
class Need:
    """Something that the classic builder can't do.

    :param line: where it is asked for.
    :param what: in words, such as ``RUN --mount``.
    """

    line: int
    what: str


@frozen
class Dockerfile:
    """A Dockerfile, read as far as choosing a builder takes.

    :param directives: the parser directives at its top, by name in lower case.
    :param instructions: its instructions.
    :param closed: whether an instruction that is added at its end is one of its own.
    """

    directives: dict[str, str]
    instructions: tuple[Instruction, ...]
    closed: bool

    @property
    def syntax(self) -> str | None:
        """Return the image that BuildKit is told to fetch and run as the frontend, if any."""
        return self.directives.get("syntax")

    @property
    def needs(self) -> list[Need]:
        """Return all that only BuildKit does."""
        return [Need(step.line, what) for step in self.instructions for what in _beyond_classic(step)]

    @property
    def bases(self) -> list[str]:
        """Return the images named by FROM, word for word; stages of the Dockerfile's own are left out."""
        bases, stages = [], {"scratch"}
        for step in self.instructions:
            words = [word for word in step.words.split() if not word.startswith("--")]
            if step.name == "FROM" and words:
                if words[0].lower() not in stages:
                    bases.append(words[0])
                if len(words) == 3 and words[1].upper() == "AS":
                    stages.add(words[2].lower())
        return bases


def read_dockerfile(text: str) -> Dockerfile:
    """Read a Dockerfile; what is wrong with it is for the builder to say."""
    lines = lines_of(text)
    directives = _directives(lines)
    escape = directives.get("escape", "\\")
    escape = escape if escape in ("\\", "`") else "\\"
    told = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return Dockerfile(directives, tuple(_instructions(lines, escape)), closed=bool(told) and not told[-1].endswith(escape))


def label_line(dockerfile: Dockerfile, labels: Mapping[str, str]) -> str:
    """Return one instruction for all labels, for the end of a Dockerfile: a builder would make a step of each label.

    :returns: nothing where that would not be what it is meant to be.
    """
    words = [f'{name}="{value}"' for name, value in sorted(labels.items()) if _PLAIN.fullmatch(f"{name}{value}")]
    return f"\nLABEL {' '.join(words)}\n" if words and len(words) == len(labels) and dockerfile.closed else ""


def _directives(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive is None:
            break
        found[directive[1].lower()] = directive[2]
    return found


def _instructions(lines: Sequence[str], escape: str) -> Iterator[Instruction]:
    at = 0
    while at < len(lines):
        first = at
        parts, at = _joined(lines, at, escape)
        name, _, words = " ".join(parts).strip().partition(" ")
        if not name:
            continue
        end = _after_here_documents(lines, at, words) if name.upper() in _CLASSIC_FLAGS else at
        yield Instruction(first + 1, name.upper(), words.strip(), here=end != at)
        at = end


def _joined(lines: Sequence[str], at: int, escape: str) -> tuple[list[str], int]:
    """Return the lines of one instruction, without comments, and the number of the line after it."""
    parts: list[str] = []
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if line.startswith("#") or (parts and not line):
            continue
        if not line.endswith(escape):
            return [*parts, line], at
        parts.append(line[: -len(escape)])
    return parts, at


def _after_here_documents(lines: Sequence[str], at: int, words: str) -> int:
    """Return the number of the line after the here-documents that ``words`` announces; ``at`` when there are none."""
    end = at
    for dash, _, name in _HERE.findall(words):
        following = (
            number for number in range(end, len(lines)) if (lines[number].lstrip("\t") if dash else lines[number]) == name
        )
        last = next(following, None)
        if last is None:
            return at
        end = last + 1
    return end


def _beyond_classic(step: Instruction) -> Iterator[str]:
    known = _CLASSIC_FLAGS.get(step.name)
    if known is not None:
        yield from (f"{step.name} --{flag}" for flag in step.flags if flag not in known)
    if step.here:
        yield f"{step.name} with {HERE_DOCUMENT}"
