"""Building by BuildKit, which the engine's own command speaks to: the docker SDK does not (docker-py issue 2230)."""

from __future__ import annotations

import os
import re
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from attrs import define, field, frozen
from docker import APIClient
from docker.utils import version_lt

from terra_core.building.context import dockerfile_text, named_line, stream_context
from terra_core.building.instructions import HERE_DOCUMENT, read_dockerfile
from terra_core.building.output import plain
from terra_core.errors import CommandError, TerraError
from terra_core.hookspecs import BuildRequest
from terra_core.system.process import converse, run
from terra_core.system.progress import Event, Report
from terra_core.system.reading import lines_of
from terra_docker.settings import Docker

_OLDEST_API = "1.39"
_OLDEST_RELEASE = "18.09"
_LAST_WITHOUT_BUILDX = 22
"""The docker command's last major version that speaks to BuildKit by itself; later ones leave it to buildx."""
_BUILD_SECONDS = 4 * 3600
_KEPT_LINES = 30
_PASSED_ON = ("DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT", "SSH_AUTH_SOCK")
_LINE = re.compile(r"#(\d+) (.*)")
_PLACE = re.compile(r"\[(?:\S+ )?(\d+)/(\d+)\] (.*)")
_OUTPUT = re.compile(r"\d+\.\d+ ?(.*)")
_NOTE = re.compile(
    r"sha256:[0-9a-f]{64}|DONE \d.*|CACHED|\.\.\.|(?:exporting|writing|naming|transferring|resolve|extracting) .*"
)


@frozen
class BuildKit:
    """A docker command that speaks BuildKit to the engine.

    :param command: its words, up to those of the build.
    :param environment: what it needs beside the clean environment.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]

    def build(self, build: BuildRequest, labels: Mapping[str, str], doing: str, report: Report) -> str:
        """Build an image that has no name yet, and give its id.

        :raises TerraError: with the failed step and the end of what it printed.
        """
        progress = _Progress(doing, report)
        with tempfile.TemporaryDirectory(prefix="terra-build-") as work:
            answer = Path(work, "id")
            words = [*self.command, "--progress=plain", "--network=host", f"--iidfile={answer}", f"--file={build.dockerfile}"]
            words += ["--no-cache"] if build.no_cache else []
            words += [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
            words += [f"--label={name}={value}" for name, value in labels.items()]
            lines = converse([*words, "-"], stdin=_context(build, report), timeout=_BUILD_SECONDS, env=self.environment)
            try:
                with closing(lines):
                    for line in lines:
                        progress.take(plain(line))
            except CommandError as error:
                raise progress.failed(error, build) from error
            image = answer.read_text().strip()
        report(Event("build", f"built {build.reference or image}", progress.total, progress.total, "steps"))
        return image


def _context(build: BuildRequest, report: Report) -> Iterator[bytes]:
    # BuildKit would apply a .dockerignore again, and to what is laid over the context too.
    return stream_context(build, report, ignore_file=build.overlay is None)


def find_buildkit(settings: Docker, client: APIClient, why: str) -> BuildKit:
    """Look for a docker command on PATH that can speak BuildKit to the engine.

    :param why: what needs it, for the message.
    :raises TerraError: when there is none, with the reason for each command.
    """
    if version_lt(client.version()["ApiVersion"], _OLDEST_API):
        raise TerraError(f"{why}, and the engine is older than {_OLDEST_RELEASE}, which has none", hint="upgrade the engine")
    host = ("--host", settings.engine) if settings.engine else ()
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    reasons = []
    for path in _commands():
        version = _version(path)
        if _answers([path, "buildx", "version"], passed_on):
            return BuildKit((path, *host, "buildx", "build", "--builder=default", "--load"), passed_on)
        if version is not None and version <= _LAST_WITHOUT_BUILDX:
            return BuildKit((path, *host, "build"), {**passed_on, "DOCKER_BUILDKIT": "1"})
        reasons.append(f"{path} has no buildx" if version is not None else f"{path} does not say its version")
    raise TerraError(
        f"{why}, and no docker command here can speak to it: {'; '.join(reasons) or 'none is installed'}",
        hint="install buildx (docker-buildx of Debian 13, or docker-buildx-plugin), or docker.io of Debian 12 or Ubuntu 22.04",
    )


def _commands() -> Iterator[str]:
    """Yield every docker command on PATH in the order of PATH, each file once."""
    seen = set()
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(directory, "docker")
        if directory and os.access(path, os.X_OK) and path.is_file() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield str(path)


def _version(path: str) -> int | None:
    try:
        found = re.search(r"version (\d+)\.", run([path, "--version"]).text)
    except CommandError:
        return None
    return int(found[1]) if found else None


def _answers(words: list[str], environment: Mapping[str, str]) -> bool:
    try:
        run(words, env=environment)
    except CommandError:
        return False
    return True


@define
class _Progress:
    """The state of a build, according to its plain output so far."""

    doing: str
    report: Report
    done: int = 0
    total: int = 0
    _names: dict[str, str] = field(factory=dict)
    _outputs: dict[str, deque[str]] = field(factory=dict)
    _failure: tuple[str, str] | None = None

    def take(self, line: str) -> None:
        """Take one line."""
        found = _LINE.fullmatch(line)
        if found is None or self._failure is not None:
            return
        number, text = found.groups()
        output = _OUTPUT.fullmatch(text)
        if number not in self._names:
            self._begin(number, text)
        elif text.startswith("ERROR: "):
            self._failure = (number, text.removeprefix("ERROR: "))
        elif output and output[1]:
            self._outputs[number].append(output[1])
            self._say(output[1])
        elif not output and text != self._names[number] and not _NOTE.fullmatch(text):
            self._say(text)

    def failed(self, error: CommandError, build: BuildRequest) -> TerraError:
        """Return the error for a build that ended with one."""
        if self._failure is None:
            said = lines_of(error.message.strip())[-1]
            line = named_line(build, said)
            here = any(need.what.endswith(HERE_DOCUMENT) for need in read_dockerfile(dockerfile_text(build) or "").needs)
            hint = "BuildKit of an engine before 23 knows no here-documents" if line and here else ""
            return TerraError("\n".join([f"{self.doing}: {said}", *([line] if line else [])]), hint=hint)
        number, said = self._failure
        name = self._names[number]
        place = _PLACE.fullmatch(name)
        step = f"step {place[1]}/{place[2]}, {place[3]}," if place else name
        copying = place is not None and place[3].startswith(("COPY ", "ADD ")) and "--from=" not in place[3]
        missing = copying and "not found" in said
        hint = "the file has to be in the build's directory (--context)" if missing else ""
        return TerraError("\n".join([f"{self.doing}: {step} failed: {said}", *self._outputs[number]]), hint=hint)

    def _begin(self, number: str, text: str) -> None:
        self._names[number] = text
        self._outputs[number] = deque(maxlen=_KEPT_LINES)
        place = _PLACE.fullmatch(text)
        if place:
            self.done, self.total = max(self.done, int(place[1]) - 1), max(self.total, int(place[2]))
            self._say(f"Step {place[1]}/{place[2]} : {place[3]}")
        elif not text.startswith(("[internal]", "copy /context")):
            self._say(text)

    def _say(self, text: str) -> None:
        self.report(Event("build", text.strip(), min(self.done, self.total), self.total or None, "steps"))
