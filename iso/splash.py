"""Draws ``iso/splash.png``, the picture behind the menu of terra.iso: ``python -m iso.splash``.

The ground in layers, and the name: nothing but flat colours, so that the file is small.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

PICTURE = Path(__file__).parent / "splash.png"
_WIDTH, _HEIGHT = 1024, 768
_SKY = (16, 22, 38)
_MOON = (38, 48, 74)
_GROUND = [(470, 34, 52, (58, 68, 60)), (530, 26, 90, (92, 84, 56)), (590, 22, 140, (138, 98, 56)),
           (650, 18, 200, (108, 62, 42)), (708, 12, 260, (64, 38, 34))]  # fmt: skip
_INK = (236, 228, 212)
_STROKE = 7.0
_Segment = tuple[float, float, float, float]
_Arc = tuple[float, float, float, float, float]
# The letters, 60 high above the line, as strokes and as arcs (centre, radius, from, to in degrees, clockwise from the right).
_LETTERS: dict[str, tuple[float, list[_Segment], list[_Arc]]] = {
    "t": (56, [(22, -88, 22, -16), (4, -58, 46, -58)], [(38, -16, 16, 70, 180)]),
    "e": (78, [(8, -30, 64, -30)], [(36, -30, 28, 50, 360)]),
    "r": (54, [(10, -58, 10, 0)], [(36, -30, 26, 180, 290)]),
    "a": (80, [(64, -58, 64, 0)], [(36, -30, 28, 0, 360)]),
}
_WORD = "terra"
_LEFT, _LINE = 88.0, 140.0


def picture() -> bytes:
    """Return the picture as PNG (RFC 2083), 8 bits of red, green and blue for each point."""
    strokes = list(_strokes())
    rows = b"".join(b"\0" + b"".join(bytes(_colour(x, y, strokes)) for x in range(_WIDTH)) for y in range(_HEIGHT))
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _strokes() -> list[tuple[float, list[_Segment], list[_Arc]]]:
    placed, at = [], _LEFT
    for letter in _WORD:
        width, segments, arcs = _LETTERS[letter]
        placed.append(
            (
                at,
                [(x1 + at, y1 + _LINE, x2 + at, y2 + _LINE) for x1, y1, x2, y2 in segments],
                [(x + at, y + _LINE, radius, first, last) for x, y, radius, first, last in arcs],
            )
        )
        at += width
    return placed


def _colour(x: int, y: int, letters: list[tuple[float, list[_Segment], list[_Arc]]]) -> tuple[int, int, int]:
    colour = _SKY
    if math.hypot(x - 800, y - 210) < 120:
        colour = _MOON
    for top, swing, phase, ground in _GROUND:
        if y > top + swing * math.sin((x + phase * 3) / 170) + swing / 3 * math.sin((x - phase) / 61):
            colour = ground
    if 20 < y < _LINE + 20 and _LEFT - 10 < x < _LEFT + 360:
        cover = max(_cover(x, y, segments, arcs) for _, segments, arcs in letters)
        colour = _mixed(colour, cover)
    return colour


def _cover(x: float, y: float, segments: list[_Segment], arcs: list[_Arc]) -> float:
    distances = [_to_segment(x, y, *segment) for segment in segments] + [_to_arc(x, y, *arc) for arc in arcs]
    return min(1.0, max(0.0, _STROKE + 0.5 - min(distances)))


def _mixed(colour: tuple[int, int, int], cover: float) -> tuple[int, int, int]:
    red, green, blue = (round(below + (ink - below) * cover) for below, ink in zip(colour, _INK, strict=True))
    return red, green, blue


def _to_segment(x: float, y: float, x1: float, y1: float, x2: float, y2: float) -> float:
    length = (x2 - x1) ** 2 + (y2 - y1) ** 2
    along = min(1.0, max(0.0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length))
    return math.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1))


def _to_arc(x: float, y: float, centre_x: float, centre_y: float, radius: float, first: float, last: float) -> float:
    angle = math.degrees(math.atan2(y - centre_y, x - centre_x)) % 360
    if first <= angle <= last:
        return abs(math.hypot(x - centre_x, y - centre_y) - radius)
    ends = [math.radians(end) for end in (first, last)]
    return min(math.hypot(x - centre_x - radius * math.cos(end), y - centre_y - radius * math.sin(end)) for end in ends)


if __name__ == "__main__":
    PICTURE.write_bytes(picture())
