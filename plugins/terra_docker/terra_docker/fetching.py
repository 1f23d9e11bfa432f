"""The progress of an image that the engine fetches itself, all layers as one step: ``POST /images/create`` of its API."""

from __future__ import annotations

from attrs import define, field

from terra_core.system.progress import Event, Report
from terra_docker.streams import Record

_WAITING = frozenset({"Pulling fs layer", "Waiting"})
_COME = frozenset({"Verifying Checksum", "Download complete", "Extracting", "Pull complete"})


@define
class Fetching:
    """The layers on their way.

    :param report: is told how many bytes of all of them have come.
    """

    report: Report
    _layers: dict[str, tuple[int, int]] = field(factory=dict)
    _missing: set[str] = field(factory=set)
    _ended: bool = False

    def take(self, record: Record) -> bool:
        """Read a record; return whether it was one about a layer."""
        layer, status = str(record.get("id", "")), str(record["status"])
        detail = record.get("progressDetail") or {}
        if status in _WAITING:
            self._layers.setdefault(layer, (0, 0))
            self._missing.add(layer)
            self._ended = False
        elif status == "Downloading" and layer in self._layers:
            self._layers[layer] = int(detail.get("current") or 0), int(detail.get("total") or 0)
        elif status in _COME and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
            self._missing.discard(layer)
        else:
            return False
        self._tell()
        return True

    def _tell(self) -> None:
        done, total = (sum(part) for part in zip(*self._layers.values(), strict=True))
        if self._ended or not total:
            return
        self._ended = not self._missing
        text = "all layers have come" if self._ended else "fetching layers"
        self.report(Event("fetch", text, total if self._ended else min(done, total - 1), total))
