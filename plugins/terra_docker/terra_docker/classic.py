"""Building on the engine by its classic builder: https://docs.docker.com/reference/api/engine/, ``POST /build``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from attrs import define, field
from docker import APIClient
from docker.errors import APIError

from terra_core.building.context import dockerfile_text, named_line, stream_context
from terra_core.building.failures import registry_failure
from terra_core.building.instructions import label_line, read_dockerfile
from terra_core.building.output import plain
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import TerraError
from terra_core.hookspecs import BuildRequest
from terra_core.system.progress import Event, Report
from terra_docker.engine import REMEDIES
from terra_docker.fetching import Fetching
from terra_docker.leftovers import Leftovers
from terra_docker.streams import Record, records

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_KEPT_LINES = 30


def build_by_classic(
    client: APIClient, build: BuildRequest, labels: Mapping[str, str], doing: str, leftovers: Leftovers, report: Report
) -> str:
    """Build an image that has no name yet, and give its id.

    :param doing: what the build is called in messages.
    :param leftovers: notes every container and image that the engine names.
    :raises TerraError: with the failed step and the end of the engine's output.
    """
    progress = ClassicProgress(doing, leftovers, report)
    line = _label_line(build, labels)

    def request() -> Iterable[Record]:
        answer: Iterable[Record] = client.build(
            fileobj=stream_context(build, report, more=line),  # type: ignore[arg-type]  # requests sends any iterable in chunks
            custom_context=True,
            dockerfile=build.dockerfile,
            nocache=build.no_cache,
            buildargs=dict(build.arguments),
            labels={} if line else dict(labels),
            rm=True,
            forcerm=True,
            network_mode="host",
            decode=True,
        )
        return answer

    with records(client, request) as answer:
        for record in answer:
            progress.take(record)
    if not progress.image:
        raise TerraError(f"{doing}: the engine ended without an image\n{progress.output}")
    report(Event("build", f"built {build.reference or progress.image}", progress.total, progress.total, "steps"))
    return progress.image


def _label_line(build: BuildRequest, labels: Mapping[str, str]) -> bytes:
    """Return one instruction for all labels, for the Dockerfile's end: the engine would make a step of each label.

    Empty where the line would have another meaning, and for a Dockerfile of the context, which the build can read and must not
    differ.
    """
    if build.overlay is None or not (build.overlay / build.dockerfile).exists():
        return b""
    return label_line(read_dockerfile(dockerfile_text(build) or ""), labels).encode()


@define
class ClassicProgress:
    """The state of a build, according to its records so far."""

    doing: str
    leftovers: Leftovers
    report: Report
    image: str = ""
    done: int = 0
    total: int = 0
    step: str = ""
    _lines: deque[str] = field(factory=lambda: deque(maxlen=_KEPT_LINES))
    _unfinished: str = ""
    _fetching: Fetching = field(init=False)

    @_fetching.default
    def _fetch(self) -> Fetching:
        return Fetching(self.report)

    @property
    def output(self) -> str:
        """Return the end of what the current step printed."""
        return "\n".join(line for line in (*self._lines, plain(self._unfinished)) if line)

    def take(self, record: Record) -> None:
        """Take one record.

        :raises TerraError: when it is the record of a failure.
        """
        if "errorDetail" in record or "error" in record:
            raise self._failed(record)
        if "stream" in record:
            for line in self._complete_lines(record["stream"]):
                self._take_line(line)
        elif "status" in record and not self._fetching.take(record):
            self._say(" ".join(str(part) for part in (record.get("id"), record["status"]) if part))
        self.image = (record.get("aux") or {}).get("ID", self.image)

    def _complete_lines(self, text: str) -> Iterator[str]:
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            yield plain(line)

    def _take_line(self, line: str) -> None:
        step = _STEP.fullmatch(line)
        if step:
            self.done, self.total, self.step = int(step[1]) - 1, int(step[2]), step[3]
            self._lines.clear()
            self._say(line)
        elif not self.leftovers.notice(line) and line:
            self._lines.append(line)
            self._say(line.strip())

    def _say(self, text: str) -> None:
        self.report(Event("build", text, self.done, self.total or None, "steps"))

    def _failed(self, record: Record) -> TerraError:
        said = str((record.get("errorDetail") or {}).get("message") or record.get("error"))
        where = f"step {self.done + 1}/{self.total}, {self.step}, failed" if self.step else "the build failed"
        doing = f"{self.doing}: {where}"
        asked = self._image_asked_for()
        if asked and not self.output:
            return registry_failure(doing, asked, said, REMEDIES)
        copying = said.startswith(("COPY failed", "ADD failed")) and "--from=" not in self.step
        hint = "the file has to be in the build's directory (--context)" if copying else ""
        return TerraError("\n".join([f"{doing}: {said}", *([self.output] if self.output else [])]), hint=hint)

    def _image_asked_for(self) -> ImageReference | None:
        """Return the image that the current step has the engine pull, if it is such a step."""
        found = re.match(r"FROM (?:--platform=\S+ )?(\S+)|COPY (?:--\S+ )*?--from=(\S+)", self.step, re.IGNORECASE)
        try:
            return parse_image_reference(found[1] or found[2]) if found else None
        except ValueError:
            return None


def refused(build: BuildRequest, doing: str, error: APIError) -> TerraError:
    """Return the error for a build that the engine did not even begin."""
    said = str(error.explanation or error)
    line = named_line(build, said)
    return TerraError(f"{doing}: {said}\n{line}" if line else f"{doing}: the engine refused it: {said}")
