"""Blocks that say of themselves which write they are of: a program that writes them all the time, and one that reads them.

    python3 blocks.py write FILE END    until there is a file END; says each write that the disk has, and its seconds
    python3 blocks.py read FILE         says the number in each block

It stands alone, so that a machine that has nothing of Terra's runs it as well.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import time
from collections.abc import Mapping, Sequence

BLOCK = 4096
BLOCKS = 4096
"""After so many writes, the first block is written again."""
NONE = -1
"""In the place of a number, where a block is not whole."""


def content(number: int) -> bytes:
    """Return the block of a write: its number, and what belongs to it."""
    head = struct.pack(">Q", number)
    return (head + hashlib.sha256(head).digest() * (BLOCK // 32))[:BLOCK]


def numbers(held: bytes) -> list[int]:
    """Return the number of the write that each block of a file is of; :data:`NONE` for a block that is of none."""
    found = []
    for start in range(0, len(held), BLOCK):
        block = held[start : start + BLOCK]
        number = struct.unpack(">Q", block[:8])[0]
        found.append(number if block == content(number) else NONE)
    return found


def lost(acknowledged: Mapping[int, int], held: Sequence[int], begun: int) -> list[tuple[int, int, int]]:
    """Return each block that is not what was acknowledged, with the number that was, and the one that it has.

    A write that was under way at a fault may be there, or not.

    :param acknowledged: the number that was acknowledged last of each block.
    :param held: the numbers that the blocks have.
    :param begun: the last write that was begun.
    """
    return [(block, number, held[block]) for block, number in acknowledged.items() if not number <= held[block] <= begun]


def write(path: str, end: str) -> None:
    """Write block after block, each of them to the disk (fsync(2)), and say so."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    number = 0
    while not os.path.exists(end):  # noqa: PTH110  # the machine loads as little as can be
        number += 1
        began = time.monotonic()
        os.pwrite(descriptor, content(number), number % BLOCKS * BLOCK)
        os.fsync(descriptor)
        sys.stdout.write(f"{number} {time.monotonic() - began:.3f}\n")
        sys.stdout.flush()
    os.close(descriptor)


def main(words: Sequence[str]) -> None:
    """Do what the command line says."""
    if words[0] == "write":
        write(*words[1:])
    else:
        with open(words[1], "rb") as file:  # noqa: PTH123  # as above
            sys.stdout.write("\n".join(map(str, numbers(file.read()))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
