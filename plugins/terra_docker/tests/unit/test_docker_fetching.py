"""The engine's own pulls, as one step."""

from __future__ import annotations

from terra_core.system.progress import Event
from terra_docker.fetching import Fetching


def told(*records: tuple[str, str, int, int]) -> list[tuple[int | None, int | None]]:
    """Return the progress reported for records: layer, status, and how far it is."""
    events: list[Event] = []
    fetching = Fetching(events.append)
    for layer, status, current, total in records:
        detail = {"current": current, "total": total} if total else {}
        assert fetching.take({"id": layer, "status": status, "progressDetail": detail})
    assert {event.step for event in events} <= {"fetch"}
    return [(event.done, event.total) for event in events]


def test_many_layers_are_one_step_that_ends_once() -> None:
    records = [(f"layer{at}", "Pulling fs layer", 0, 0) for at in range(3)]
    for at in range(3):
        records += [(f"layer{at}", "Downloading", 5, 10), (f"layer{at}", "Verifying Checksum", 0, 0)]
    for at in range(3):
        records += [(f"layer{at}", "Download complete", 0, 0), (f"layer{at}", "Extracting", 3, 10)]
        records += [(f"layer{at}", "Pull complete", 0, 0)]
    assert told(*records) == [(5, 10), (9, 10), (15, 20), (19, 20), (25, 30), (30, 30)]


def test_a_second_image_begins_again() -> None:
    one = [("a", "Pulling fs layer", 0, 0), ("a", "Downloading", 4, 4), ("a", "Pull complete", 0, 0)]
    two = [("b", "Pulling fs layer", 0, 0), ("b", "Downloading", 1, 6), ("b", "Pull complete", 0, 0)]
    assert told(*one, *two) == [(3, 4), (4, 4), (3, 4), (5, 10), (10, 10)]


def test_what_is_not_about_layers_is_left_to_others() -> None:
    fetching = Fetching(lambda event: None)
    assert not fetching.take({"id": "12", "status": "Pulling from library/debian"})
    assert not fetching.take({"status": "Digest: sha256:00"})
    assert not fetching.take({"id": "a", "status": "Already exists", "progressDetail": {}})
