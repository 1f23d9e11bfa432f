"""The names of layers that are kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from terra_core.versions.layers import chains, held

FIRST, SECOND, THIRD = (f"sha256:{hashlib.sha256(name).hexdigest()}" for name in (b"one", b"two", b"three"))


def test_a_chain_is_named_as_the_specification_says() -> None:
    first, second, third = chains([FIRST, SECOND, THIRD])
    assert f"sha256:{first}" == FIRST
    assert second == hashlib.sha256(f"{FIRST} {SECOND}".encode()).hexdigest()
    assert third == hashlib.sha256(f"sha256:{second} {THIRD}".encode()).hexdigest()
    assert chains([SECOND, FIRST])[1] != second
    assert chains([]) == ()


def test_the_longest_chain_that_is_there_is_taken(tmp_path: Path) -> None:
    assert held(tmp_path, [FIRST, SECOND]) == (0, None)
    first, second = chains([FIRST, SECOND])
    for name in (first, second):
        (tmp_path / ".terra/layers" / name).mkdir(parents=True)
    assert held(tmp_path, [FIRST, THIRD, SECOND]) == (1, tmp_path / ".terra/layers" / first)
    assert held(tmp_path, [FIRST, SECOND, THIRD]) == (2, tmp_path / ".terra/layers" / second)
    assert held(tmp_path, [SECOND, FIRST]) == (0, None)
