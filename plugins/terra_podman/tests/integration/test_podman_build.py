"""Building with a real podman, and with no Docker Engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.podman import PodmanStorage
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import BuildRequest, BuiltImage
from terra_core.oci import ImageConfig
from terra_core.system import process
from terra_core.system.progress import Event
from terra_core.system.waiting import wait_until
from terra_core.system.workspace import IMAGE_PREFIX, roomy
from terra_podman import plugin

BASE = "terra.test/base:1"
REFERENCE = parse_image_reference("terra.test/built:1")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Make an empty build context."""
    directory = tmp_path / "context"
    directory.mkdir()
    return directory


def build(
    context: Path,
    *lines: str,
    listen: list[Event] | None = None,
    stop: str = "",
    arguments: dict[str, str] | None = None,
    cached: bool = False,
) -> BuiltImage:
    """Build a Dockerfile of ``lines``; interrupt it when an event says ``stop``."""

    def report(event: Event) -> None:
        if listen is not None:
            listen.append(event)
        if stop and stop in event.text:
            raise InterruptedWork("asked to")

    (context / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *lines]))
    os.utime(context / "Dockerfile", (1_000_000_000, 1_000_000_000))
    request = BuildRequest(
        context=context, dockerfile="Dockerfile", reference=REFERENCE, no_cache=not cached, arguments=arguments or {}
    )
    return plugin.build_image(request, Session(report=report))


def saved(image: BuiltImage, tmp_path: Path) -> ImageConfig:
    """Return what the image says of itself where it is read."""
    with plugin.save_image(image.id, tmp_path, Session()) as found:
        assert str(found.digest) == image.id
        return found.config


def test_a_build_tells_its_steps_and_its_image_can_be_read(podman: PodmanStorage, context: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    built = build(context, "ARG WORD", "RUN echo hello $WORD", "HEALTHCHECK CMD true", listen=events, arguments={"WORD": "you"})
    steps = [event for event in events if event.step == "build"]
    texts = [event.text for event in steps]
    assert texts.index("Step 3/5 : RUN echo hello $WORD") < texts.index("hello you")
    assert {event.total for event in steps} == {5}
    assert [event.done for event in steps] == sorted(event.done or 0 for event in steps)
    assert texts[-1] == "built terra.test/built:1"
    assert not any("-->" in text for text in texts)
    known = podman("image", "inspect", "--format={{.Id}} {{.Size}} {{.Labels}} {{.HealthCheck}}", "terra.test/built:1").text
    assert built.id.removeprefix("sha256:") in known
    assert str(built.size) in known
    assert "terra.builder:terra-podman" in known
    assert "io.buildah.version" not in known
    config = saved(built, tmp_path)
    base = podman("image", "inspect", "--format={{index .RootFS.Layers 0}}", BASE).text.strip()
    assert built.base_layers == (base,)
    assert str(config.diff_ids[0]) == base
    again = build(context, "ARG WORD", "RUN echo hello $WORD", "HEALTHCHECK CMD true", arguments={"WORD": "you"}, cached=True)
    assert again.id == built.id


def test_bits_that_podman_does_not_copy_are_named(podman: PodmanStorage, context: Path) -> None:
    (context / "tool").write_text("#!/bin/sh\n")
    (context / "tool").chmod(0o4755)
    events: list[Event] = []
    build(context, "COPY tool /bin/", "RUN chmod 4755 /bin/tool && [ -u /bin/tool ]", listen=events)
    assert "podman copies without the setuid and setgid bits: tool; set them by RUN chmod" in [event.text for event in events]


def test_values_of_arguments_stand_on_no_command_line(podman: PodmanStorage, context: Path) -> None:
    seen: list[str] = []

    def look(event: Event) -> None:
        if event.text == "now":
            seen.extend(path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline"))

    (context / "Dockerfile").write_text(f"FROM {BASE}\nARG KEY\nRUN echo now && sleep 1\n")
    request = BuildRequest(
        context=context, dockerfile="Dockerfile", reference=None, no_cache=True, arguments={"KEY": "not-to-be-seen"}
    )
    built = plugin.build_image(request, Session(report=look))
    podman("rmi", "--force", built.id.removeprefix("sha256:"))
    assert any("--build-arg=KEY" in line for line in seen)
    assert not any("not-to-be-seen" in line for line in seen)


def test_a_failed_step_shows_its_output_and_leaves_nothing(podman: PodmanStorage, context: Path) -> None:
    with podman.nothing_left(), pytest.raises(TerraError) as caught:
        build(context, "RUN touch /a", "RUN echo '\\033[1mthe reason\\033[0m\\a' >&2; exit 3", "RUN echo never")
    said = "step 3/5, RUN echo '\\033[1mthe reason\\033[0m\\a' >&2; exit 3, failed: the command ended with exit status 3"
    assert caught.value.message == f"building terra.test/built:1: {said}\nthe reason"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("ADD not-there /etc/", 'step 2/3, ADD not-there /etc/, failed: "/not-there": no such file', "--context"),
        ("FETCH everything", 'step 2/3, FETCH everything, failed: Unknown instruction: "FETCH"', ""),
        ("COPY --from=127.0.0.1:1/x:1 a /", "the registry 127.0.0.1:1 does not answer", ""),
    ],
)
def test_what_cannot_be_built_says_why(podman: PodmanStorage, context: Path, line: str, message: str, hint: str) -> None:
    with podman.nothing_left(), pytest.raises(TerraError) as caught:
        build(context, line)
    assert message in caught.value.message
    assert "imagebuilder" not in caught.value.message
    assert hint in caught.value.hint


def test_a_build_that_is_interrupted_before_podman_begins_leaves_nothing(podman: PodmanStorage, context: Path) -> None:
    before = set(roomy().glob(f"{IMAGE_PREFIX}*"))
    with podman.nothing_left(), pytest.raises(InterruptedWork):
        build(context, "COPY . /", stop="copying")
    assert set(roomy().glob(f"{IMAGE_PREFIX}*")) <= before, "no directory of its own stays"


@pytest.mark.parametrize("swept", [False, True], ids=["directory-stays", "directory-is-gone"])
def test_what_a_killed_build_left_goes_with_the_next_one_and_that_of_others_stays(
    podman: PodmanStorage, context: Path, tmp_path: Path, *, swept: bool
) -> None:
    code = (
        "import sys; from pathlib import Path; from terra_core.config.session import Session\n"
        "from terra_core.hookspecs import BuildRequest; from terra_podman import plugin\n"
        "plugin.build_image(BuildRequest(context=Path(sys.argv[1]), dockerfile='Dockerfile', reference=None), "
        "Session(report=lambda event: print(event.text, flush=True)))"
    )
    (context / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo now && sleep 600\n")
    child = subprocess.Popen([sys.executable, "-c", code, context], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while child.stdout.readline().strip() != "now":
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.communicate()
    left = wait_until(lambda: podman.there()[1], seconds=30, what="podman to leave a container")
    for directory in roomy().glob(f"{IMAGE_PREFIX}*"):
        if swept:  # by another command, which leaves those that are younger than a minute
            directory.rename(tmp_path / directory.name)
    other = tmp_path / "other"
    other.mkdir()
    (other / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo now && sleep 600\n")
    words = ["podman", "build", "--network=host", "--no-cache", str(other)]
    foreign = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert foreign.stdout is not None
    while foreign.stdout.readline().strip() != "now":
        assert foreign.poll() is None
    theirs = podman.there()[1] - left
    build(context, "RUN true")
    assert podman.there()[1] == theirs
    foreign.terminate()
    foreign.communicate()
    for container in theirs:
        podman("rm", "--force", container)


def test_a_here_document_is_refused_where_podman_knows_none(podman: PodmanStorage, context: Path) -> None:
    version = podman("version", "--format={{.Client.Version}}").text
    if int(version.partition(".")[0]) >= 5:
        build(context, "RUN <<END", "true", "END")
        return
    with podman.nothing_left(), pytest.raises(TerraError, match=r"Dockerfile line 2: podman 4\.\d+ knows no here-documents"):
        build(context, "RUN <<END", "true", "END")


def test_steps_without_a_container_of_their_own(podman: PodmanStorage, context: Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {BASE}\nRUN touch /made\n")
    request = BuildRequest(context=context, dockerfile="Dockerfile", reference=REFERENCE, no_cache=True)
    assert plugin.build_image(request, Session(tables={"podman": {"isolation": "chroot"}})).id


def test_without_podman_and_where_it_cannot_be_used(
    podman: PodmanStorage, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
        (tmp_path / "storage.conf").write_text("[storage]\ndriver = 1\n")
        with pytest.raises(TerraError, match="podman cannot be used here: ") as caught:
            build(context, "RUN true")
        assert "podman info" in caught.value.hint
    monkeypatch.setattr(process, "_SEARCH_PATH", str(tmp_path))
    with pytest.raises(TerraError, match="the builder is podman, and podman: not found on this machine") as caught:
        build(context, "RUN true")
    assert "apt-get install podman" in caught.value.hint
