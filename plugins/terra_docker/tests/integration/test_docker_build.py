"""Building on a real engine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from docker import DockerClient

from lab.containers import nothing_left
from lab.engine import Engine
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import BuildRequest, BuiltImage
from terra_core.system.progress import Event
from terra_docker import plugin

BASE = "terra.test/base:1"
REFERENCE = parse_image_reference("terra.test/built:1")


def build(engine: Engine, context: Path, *lines: str, listen: list[Event] | None = None, stop: str = "") -> BuiltImage:
    """Build a Dockerfile of ``lines``; interrupt it when an event says ``stop``."""

    def report(event: Event) -> None:
        if listen is not None:
            listen.append(event)
        if stop and stop in event.text:
            raise InterruptedWork("asked to")

    (context / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *lines]))
    session = Session(tables={"docker": {"engine": engine.host}}, report=report)
    request = BuildRequest(context=context, dockerfile="Dockerfile", reference=REFERENCE, no_cache=True)
    return plugin.build_image(request, session)


def test_progress_is_told_step_by_step(engine: Engine, client: DockerClient, context: Path) -> None:
    events: list[Event] = []
    built = build(engine, context, "RUN echo hello from the step", "RUN true", listen=events)
    assert client.images.get("terra.test/built:1").id == built.id
    assert built.size == client.images.get("terra.test/built:1").attrs["Size"] > 0
    steps = [event for event in events if event.step == "build"]
    assert {event.total for event in steps} == {5}, "a step for each label, since the Dockerfile is of the context"
    assert [event.done for event in steps] == sorted(event.done or 0 for event in steps)
    assert (steps[-1].done, steps[-1].text) == (5, "built terra.test/built:1")
    texts = [event.text for event in steps]
    assert texts.index("Step 2/5 : RUN echo hello from the step") < texts.index("hello from the step")
    assert not any("--->" in text for text in texts)
    sent = [event for event in events if event.step == "context"]
    assert sent[-1].done == sent[-1].total == len((context / "Dockerfile").read_bytes())


def test_a_build_that_is_interrupted_while_it_sends_leaves_nothing(
    engine: Engine, client: DockerClient, context: Path
) -> None:
    (context / "big").write_bytes(bytes(30_000_000))
    with nothing_left(client), pytest.raises(InterruptedWork):
        build(engine, context, "COPY big /", stop="sending")


def test_what_another_build_made_meanwhile_stays(engine: Engine, client: DockerClient, context: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    made: list[BuiltImage] = []
    request = BuildRequest(
        context=other, dockerfile="Dockerfile", reference=parse_image_reference("terra.test/other:1"), no_cache=True
    )
    (other / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo other > /other\nRUN echo more > /more\n")
    session = Session(tables={"docker": {"engine": engine.host}})
    worker = threading.Thread(target=lambda: made.append(plugin.build_image(request, session)))

    def begin_other(event: Event) -> None:
        if event.text == "now":
            worker.start()
            worker.join(60)
            raise InterruptedWork("asked to")

    (context / "Dockerfile").write_text(f"FROM {BASE}\nRUN touch /a\nRUN echo now && sleep 600\n")
    mine = BuildRequest(context=context, dockerfile="Dockerfile", reference=REFERENCE, no_cache=True)
    with pytest.raises(InterruptedWork):
        plugin.build_image(mine, session.reporting_to(begin_other))
    assert client.images.get("terra.test/other:1").id == made[0].id
    assert client.containers.run("terra.test/other:1", ["cat", "/other", "/more"], network_mode="none", remove=True)


def test_output_names_no_container_that_is_not_of_the_build(engine: Engine, client: DockerClient, context: Path) -> None:
    bystander = client.containers.create(BASE, "true", network_mode="none")
    try:
        with pytest.raises(TerraError):
            build(engine, context, f"RUN echo ' ---> Running in {str(bystander.id)[:12]}'; false")
        bystander.reload()
    finally:
        bystander.remove()


def test_colours_and_control_characters_stay_out_of_messages(engine: Engine, context: Path) -> None:
    with pytest.raises(TerraError) as caught:
        build(engine, context, "RUN echo one >&2; echo '\\033[1mtwo\\033[0m\\a'; false")
    assert "\x1b" not in str(caught.value)
    assert "\x07" not in str(caught.value)
    assert "one" in str(caught.value)


def test_only_the_end_of_a_long_output_is_kept(engine: Engine, context: Path) -> None:
    with pytest.raises(TerraError) as caught:
        build(engine, context, "RUN i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i; done; false")
    lines = str(caught.value).splitlines()
    assert lines[-1] == "line 500"
    assert len(lines) < 40
