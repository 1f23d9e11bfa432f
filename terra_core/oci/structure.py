"""Strict reading of the JSON documents of an image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NoReturn

from attrs import frozen

from terra_core.oci.faults import ImageError

DOCUMENT_BYTES = 4 << 20
"""The longest index, manifest or configuration that is read, in bytes."""


@frozen
class Node:
    """A value of a document, and where it stands there.

    :param value: as the JSON reader gave it.
    :param where: the document and the path inside it, for messages.
    """

    value: object
    where: str

    def refuse(self, expected: str) -> NoReturn:
        """Raise an error that says what was expected and what was found.

        :raises ImageError: always.
        """
        found = "nothing" if self.value is None else type(self.value).__name__
        raise ImageError(f"{self.where}: expected {expected}, found {found}")

    def __getitem__(self, key: str) -> Node:
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return Node(self.value.get(key), f"{self.where}.{key}")

    def __bool__(self) -> bool:
        return self.value is not None

    def text(self) -> str:
        """Return the value, which has to be a string."""
        if not isinstance(self.value, str):
            self.refuse("a string")
        return self.value

    def size(self) -> int:
        """Return the value, which has to be a whole number, zero or above."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 0 <= self.value < 1 << 63:
            self.refuse("a size in bytes")
        return self.value

    def items(self) -> Iterator[Node]:
        """Yield the elements of the value, which has to be a list."""
        if not isinstance(self.value, list):
            self.refuse("a list")
        for position, value in enumerate(self.value):
            yield Node(value, f"{self.where}[{position}]")

    def texts(self) -> tuple[str, ...]:
        """Return the strings of the value, which has to be a list, or none where it is missing."""
        return tuple(item.text() for item in self.items()) if self else ()

    def mapping(self) -> dict[str, str]:
        """Return the strings of the value, which has to be an object, by key, or none where it is missing."""
        if not self:
            return {}
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return {key: self[key].text() for key in self.value}


def read_document(content: bytes, where: str, *, top: type = dict, unique: bool = True) -> Node:
    """Read a JSON document whose top is an object, or a list where ``top`` says so.

    :param content: the document, at most :data:`DOCUMENT_BYTES` of it.
    :param where: what it is, for messages.
    :param top: ``dict`` or ``list``.
    :param unique: whether a key may stand in an object once only; the last one counts otherwise.
    :raises ImageError: when it is not JSON, repeats a key, nests too deeply or has another top.
    """
    try:
        value = json.loads(content.decode(), object_pairs_hook=_unique if unique else None, parse_constant=_no_constant)
    except RecursionError:
        raise ImageError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise ImageError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(value, top):
        raise ImageError(f"{where}: expected {'a list' if top is list else 'an object'} at the top")
    return Node(value, where)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
