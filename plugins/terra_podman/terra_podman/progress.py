"""What ``podman build`` prints, line by line, and what of it says why a build failed."""

from __future__ import annotations

import re
from collections import deque
from contextlib import suppress

from attrs import define, field

from terra_core.building.failures import Remedies, registry_failure
from terra_core.building.output import plain
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import CommandError, TerraError
from terra_core.system.progress import Event, Report

_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP (\d+)/(\d+): (.*)")
_STAGE = re.compile(r"\[\d+/\d+\] STEP ")
_IMAGE = re.compile(r"--> (?:[0-9a-f]{10,64})?")
_CACHED = re.compile(r"--> Using cache [0-9a-f]+")
_NOTE = re.compile(
    r"(?:\[\d+/\d+\] )?COMMIT\b.*|[0-9a-f]{64}|Successfully tagged .*|Writing manifest to image destination|Storing signatures"
    r"|Getting image source signatures"
)
_LOGGED = re.compile(r'time="[^"]*" level=(\w+) msg="(.*)"')
_FAILED = "Error: "
_PREFIX = re.compile(r'building at STEP "(?:[^"\\]|\\.)*": |creating build container: |building: ')
_EXIT = re.compile(r"(?:while running runtime: )?exit status (\d+)")
_SOURCES = re.compile(r'checking on sources under "[^"]*": (?:copier: )?(?:stat: )?')
_TRANSFER = re.compile(r'reading "[^"]*": error during bulk transfer for copier\.request\{.*\}: (?:copier: )?(?:get: )?')
_STRUCTURE = re.compile(r" &imagebuilder\.Step\{.*")
_NO_STAGE = "no stage or image found with that name"
_KEPT_LINES = 30
REMEDIES = Remedies(
    login="podman login",
    certificates="/etc/containers/certs.d",
    without_tls='write a [[registry]] with its location and "insecure = true" into a file of /etc/containers/registries.conf.d',
)
"""What a user of Podman does where a registry refuses."""


@define
class Progress:
    """What a build has said so far.

    :param doing: what the build is called in messages.
    :param total: how many steps it will take, as far as that is known before.
    """

    doing: str
    report: Report
    total: int
    done: int = 0
    step: str = ""
    images: set[str] = field(factory=set)
    _number: int = 0
    _warned: str = ""
    _lines: deque[str] = field(factory=lambda: deque(maxlen=_KEPT_LINES))

    def take(self, line: str) -> None:
        """Take one line."""
        line = plain(line)
        step, logged = _STEP.fullmatch(line), _LOGGED.fullmatch(line)
        if step:
            self.done, self._number, self.step = self._number, self._number + 1, step[3]
            if not _STAGE.match(line):
                self.total = int(step[2])
            self._lines.clear()
            self._warned = ""
            self._say(f"Step {self._number}/{self.total} : {step[3]}")
        elif _IMAGE.fullmatch(line):
            self.images.add(line.removeprefix("--> "))
        elif logged:
            if logged[1] == "warning":
                self._warned = logged[2].replace('\\"', '"')
                self._say(self._warned)
        elif line.startswith(_FAILED):
            self._lines.append(line)
        elif line and not _CACHED.fullmatch(line) and not _NOTE.fullmatch(line):
            self._lines.append(line)
            self._say(line.strip())

    def end(self, built: str) -> None:
        """Report that the build has ended."""
        self.report(Event("build", f"built {built}", self.total, self.total, "steps"))

    def failed(self, error: CommandError) -> TerraError:
        """Return the error for a build that ended with one."""
        lines = list(self._lines)
        at = max((number for number, line in enumerate(lines) if line.startswith(_FAILED)), default=None)
        if at is None:
            return TerraError(f"{self.doing}: {error.message}", hint=error.hint)
        said, output = lines[at].removeprefix(_FAILED), lines[:at]
        asked = self._image_asked_for()
        where = f"step {self._number}/{self.total}, {self.step}, failed" if self.step else "the build failed"
        if asked is not None and "exit status" not in said:
            # Of an image that COPY --from names, the end of the build does not say why it did not come.
            said = self._warned if said.endswith(_NO_STAGE) and self._warned else said
            return registry_failure(f"{self.doing}: {where}", asked, said, REMEDIES)
        said = _STRUCTURE.sub("", _PREFIX.sub("", said)).removeprefix("Build error: ")
        copying = (_SOURCES.match(said) or _TRANSFER.match(said)) and "--from=" not in self.step
        said = _TRANSFER.sub("", _SOURCES.sub("", said))
        ended = _EXIT.fullmatch(said)
        said = f"the command ended with exit status {ended[1]}" if ended else said
        hint = "the file has to be in the build's directory (--context)" if copying else ""
        return TerraError("\n".join([f"{self.doing}: {where}: {said}", *output]), hint=hint)

    def _image_asked_for(self) -> ImageReference | None:
        """Return the image that the current step has podman pull, if it is such a step."""
        found = re.match(r"FROM (?:--platform=\S+ )?(\S+)|(?:COPY|ADD) (?:--\S+ )*?--from=(\S+)", self.step, re.IGNORECASE)
        with suppress(ValueError):
            return parse_image_reference(found[1] or found[2]) if found else None
        return None

    def _say(self, text: str) -> None:
        self.report(Event("build", text, self.done, self.total, "steps"))
