"""Pushing by the engine: https://docs.docker.com/reference/api/engine/, ``POST /images/{name}/push``."""

from __future__ import annotations

from collections.abc import Iterable

import requests
from attrs import define, field
from docker import APIClient
from docker.errors import DockerException, ImageNotFound

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError, TerraError
from terra_core.system.progress import Event, Report
from terra_docker.engine import connected
from terra_docker.failures import ENGINE_LIST, registry_failure
from terra_docker.settings import Docker
from terra_docker.streams import Record, records


def push_image(reference: ImageReference, settings: Docker, report: Report) -> str:
    """Push an image of the engine to its registry.

    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry or the engine said it.
    """
    if not reference.tag or reference.digest:
        raise TerraError(f"{reference}: an image is pushed under a tag, and this names a digest")
    with connected(settings) as client:
        try:
            return _push(client, reference, report)
        except ImageNotFound as error:
            raise NotFoundError(f"pushing {reference}: the engine has no such image") from error
        except DockerException as error:
            raise registry_failure(f"pushing {reference}", reference, str(error), without_tls=ENGINE_LIST) from error
        except requests.RequestException as error:
            raise TerraError(f"pushing {reference}: the engine went away: {error}") from error


def _push(client: APIClient, reference: ImageReference, report: Report) -> str:
    progress = _Progress(reference, report)

    def request() -> Iterable[Record]:
        name = f"{reference.registry}/{reference.path}"
        answer: Iterable[Record] = client.push(name, tag=reference.tag, stream=True, decode=True)
        return answer

    with records(client, request) as answer:
        for record in answer:
            progress.take(record)
    if not progress.digest:
        raise TerraError(f"pushing {reference}: the engine ended without saying what the registry took")
    report(Event("push", f"pushed {reference}", progress.total, progress.total))
    return progress.digest


@define
class _Progress:
    """What the records of a push have said so far: bytes, a sum over all layers that are on their way."""

    reference: ImageReference
    report: Report
    digest: str = ""
    _layers: dict[str, tuple[int, int]] = field(factory=dict)

    @property
    def total(self) -> int:
        """The bytes of all layers that are pushed, as far as is known."""
        return sum(total for _, total in self._layers.values())

    def take(self, record: Record) -> None:
        """Take one record.

        :raises TerraError: when it is the record of a failure.
        """
        if "errorDetail" in record or "error" in record:
            said = str((record.get("errorDetail") or {}).get("message") or record.get("error"))
            raise registry_failure(f"pushing {self.reference}", self.reference, said, without_tls=ENGINE_LIST)
        self.digest = (record.get("aux") or {}).get("Digest", self.digest)
        detail = record.get("progressDetail") or {}
        if "id" in record and "current" in detail:
            former = self._layers.get(record["id"], (0, 0))[1]
            current = int(detail["current"])
            self._layers[record["id"]] = (current, max(former, int(detail.get("total") or 0), current))
        done = sum(current for current, _ in self._layers.values())
        # The engine tells of a layer when its turn comes: what is known by now is the end only when the engine says so.
        self.report(Event("push", f"pushing {self.reference}", done, self.total if done < self.total else None))
