"""What a Dockerfile asks of its builder."""

from __future__ import annotations

import pytest

from terra_core.building.instructions import read_dockerfile


def needs(text: str) -> list[tuple[int, str]]:
    """Return the lines of a Dockerfile that need something, and what they need."""
    return [(need.line, need.what) for need in read_dockerfile(text).needs]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN true\nCOPY --chown=1:1 a b\nCOPY --from=x a b\n", []),
        ("FROM a\nCOPY --chmod=0644 a b\n", [(2, "COPY --chmod")]),
        ("FROM a\ncopy \\\n  # between\n  --chmod=0644 a b\n", [(2, "COPY --chmod")]),
        ("FROM a\nRUN --mount=type=cache,target=/x --network=none true\n", [(2, "RUN --mount"), (2, "RUN --network")]),
        ("FROM a\nADD --link a b\n", [(2, "ADD --link")]),
        ("FROM a\nRUN echo --mount=type=cache\n", []),
        ("FROM a\nRUN <<EOF\nCOPY --chmod=1 a b\nEOF\nRUN true\n", [(2, "RUN with a here-document")]),
        ("FROM a\nRUN <<-'END' cat\n\tbody\n\tEND\n", [(2, "RUN with a here-document")]),
        ("FROM a\nCOPY <<one <<two /x\n1\none\n2\ntwo\nRUN --m=x true\n", [(2, "COPY with a here-document"), (7, "RUN --m")]),
        ("FROM a\nRUN cat <<< word\n", []),
        ("FROM a\nRUN cat <<EOF\nRUN true\n", []),
        ("# escape=`\nFROM a\nRUN echo \\\nCOPY --chmod=1 a b\n", [(4, "COPY --chmod")]),
        ("FROM a\nONBUILD COPY --chmod=1 a b\n", []),
        ("", []),
    ],
)
def test_what_only_buildkit_does(text: str, expected: list[tuple[int, str]]) -> None:
    assert needs(text) == expected


def test_the_syntax_directive_counts_at_the_top_only() -> None:
    assert read_dockerfile("# syntax=docker/dockerfile:1\nFROM a\n").syntax == "docker/dockerfile:1"
    assert read_dockerfile("#Escape = \\\n# SYNTAX = x/y:1\nFROM a\n").syntax == "x/y:1"
    assert read_dockerfile("# Made by Terra.\n# syntax=x/y:1\nFROM a\n").syntax is None
    assert read_dockerfile("FROM a\n# syntax=x/y:1\n").syntax is None


def test_bases_are_the_images_and_not_the_stages() -> None:
    text = "FROM one:1 AS First\nFROM --platform=linux/amd64 two\nFROM first\nFROM scratch\nFROM $BASE\n"
    assert read_dockerfile(text).bases == ["one:1", "two", "$BASE"]


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("FROM a\nRUN true\n", True),
        ("FROM a\nRUN true \\\n", False),
        ("FROM a\nRUN true \\\n# end\n", False),
        ("\n# only\n", False),
    ],
)
def test_whether_a_line_at_the_end_is_an_instruction(text: str, closed: bool) -> None:
    assert read_dockerfile(text).closed is closed
