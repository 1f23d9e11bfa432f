"""The databases of earlier controllers, as SQL text."""

from __future__ import annotations

from pathlib import Path

DUMPS = Path(__file__).with_name("dumps")
FORMER = ("schema-1-first", "schema-1", "schema-2", "schema-3", "schema-4", "schema-5", "schema-7")
