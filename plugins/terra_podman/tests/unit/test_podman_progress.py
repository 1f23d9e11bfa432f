"""What ``podman build`` prints, as podman 4.3 and 5.4 do."""

from __future__ import annotations

import pytest

from terra_core.errors import CommandError
from terra_core.system.progress import Event
from terra_podman.progress import Progress


def told(*lines: str) -> tuple[Progress, list[Event]]:
    events: list[Event] = []
    progress = Progress("building a:1", events.append, 4)
    for line in lines:
        progress.take(line)
    return progress, events


def test_steps_of_several_stages_are_counted_through() -> None:
    progress, events = told(
        "[1/2] STEP 1/2: FROM a AS x",
        "[1/2] STEP 2/2: RUN one",
        "one says",
        "--> 575c902ee84",
        "[2/2] STEP 1/2: FROM b",
        "[2/2] STEP 2/2: COPY --from=x /a /",
        "[2/2] COMMIT",
        "--> Using cache 575c902ee84c0768cc1dc1b1430a96d559c075e0118129bbeb1d09ebd173b2c7",
        "--> fc1909ca3b2",
        "fc1909ca3b20cbff0df789c424005215ff4a0929c16e068078283012d23cfe7c",
    )
    assert [(event.done, event.total, event.text) for event in events] == [
        (0, 4, "Step 1/4 : FROM a AS x"),
        (1, 4, "Step 2/4 : RUN one"),
        (1, 4, "one says"),
        (2, 4, "Step 3/4 : FROM b"),
        (3, 4, "Step 4/4 : COPY --from=x /a /"),
    ]
    assert progress.images == {"575c902ee84", "fc1909ca3b2"}, "and none that comes from the cache"


@pytest.mark.parametrize(
    ("step", "said", "expected"),
    [
        ("RUN x", 'building at STEP "RUN x": while running runtime: exit status 3', "the command ended with exit status 3"),
        (
            'RUN "x"',
            r'building at STEP "RUN \"x\"": while running runtime: exit status 4',
            "the command ended with exit status 4",
        ),
        (
            "COPY x /",
            'building at STEP "COPY x /": reading "/var/tmp/y/x": error during bulk transfer for copier.request{Request:"GET", '
            'A:b{C:d{}}}: copier: get: lstat "/x"("/z"): lstat /z: no such file or directory',
            'lstat "/x"("/z"): lstat /z: no such file or directory\nthe file has to be in the build\'s directory (--context)',
        ),
        (
            "ADD x /",
            'building at STEP "ADD x /": checking on sources under "/var/tmp/y": copier: stat: "/x": no such file or directory',
            '"/x": no such file or directory\nthe file has to be in the build\'s directory (--context)',
        ),
        (
            "FETCH x",
            'building at STEP "FETCH ": Build error: Unknown instruction: "FETCH" &imagebuilder.Step{Env:[]string{}}',
            'Unknown instruction: "FETCH"',
        ),
    ],
)
def test_why_a_step_failed(step: str, said: str, expected: str) -> None:
    progress, _ = told("STEP 1/2: FROM a", f"STEP 2/2: {step}", "its words", f"Error: {said}")
    message, _, rest = str(progress.failed(CommandError("podman: exit code 1"))).partition("\n")
    assert f"{message}\n{rest}".replace("\nits words", "") == f"building a:1: step 2/2, {step}, failed: {expected}"
    assert "its words" in rest


def test_what_a_step_itself_calls_an_error_is_not_why_it_failed() -> None:
    progress, _ = told("STEP 1/1: RUN x", "Error: of a program", 'Error: building at STEP "RUN x": exit status 1')
    error = progress.failed(CommandError("podman: exit code 1"))
    assert error.message == "building a:1: step 1/1, RUN x, failed: the command ended with exit status 1\nError: of a program"


def test_an_image_that_no_registry_gives() -> None:
    warning = (
        'time="2026-11-26T03:55:11Z" level=warning msg="Failed, retrying in 2s ... (3/3). Error: initializing source '
        'docker://r/x:1: pinging container registry r.example: Get \\"https://r.example/v2/\\": dial tcp 10.0.0.1:443: '
        'connect: connection refused"'
    )
    step = "COPY --from=r.example/x:1 a /"
    end = "Error: COPY --from=r.example/x:1: no stage or image found with that name"
    progress, events = told(f"STEP 1/1: {step}", warning, end)
    error = progress.failed(CommandError("podman: exit code 125"))
    assert error.message.startswith(f"building a:1: step 1/1, {step}, failed: the registry r.example does not answer: ")
    assert 'Get "https://r.example/v2/"' in events[-1].text


def test_an_end_without_a_word() -> None:
    progress, _ = told("STEP 1/1: FROM a")
    assert progress.failed(CommandError("podman: ended by signal 9")).message == "building a:1: podman: ended by signal 9"
