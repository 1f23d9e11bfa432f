"""What the contract promises of the role ``builder``."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from terra_core.config.session import Session
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import Builder, BuildRequest, BuiltImage
from terra_core.oci.repacking import Repacking, repack
from terra_core.oci.source import PortableImage
from terra_core.system.progress import Event, silent
from terra_core.testing.conformance import Conformance, die, everything, killed_after
from terra_core.testing.images import Found, digest_of, files_of, layers_of, read_all
from terra_core.testing.tiny import write_tiny_root

BASE = parse_image_reference("terra.test/conformance-base:1")
PART = parse_image_reference("terra.test/conformance-part:1")
NAME = parse_image_reference("terra.test/conformance:1")
_EPOCH = 1_700_000_000
_LATER = _EPOCH + 50_000_000
_AT_ONCE = 50.0
"""How long an interrupted build may take to end, in seconds; its step would go on for longer."""
_STEP = "RUN echo mark-$((40 + 2)); sleep 60"
_MARK = "mark-42"
_BASE_NAME = "org.opencontainers.image.base.name"
_SYSTEMCTL = """#!/bin/sh
case "$1" in
	is-system-running) echo {state} ;;
	*) [ {state} = running ] || echo "broken.service loaded failed failed Broken" ;;
esac
"""
_JOURNALCTL = "#!/bin/sh\necho the journal has an error\n"
_INIT = "#!/bin/sh\nexec sleep 600\n"


class BuilderConformance(Conformance[Builder]):
    """The promises of a builder.

    What it builds on is made of this machine's own programs, by the builder itself: no registry is asked. Images and build
    caches stay in the builder, so ``surroundings`` or ``session`` should give it an engine, or a store of images, that is
    thrown away. :meth:`held` has to be overridden.
    """

    _role = Builder

    def held(self, session: Session) -> Collection[str]:
        """Return the ids of all images and containers that the builder has, also of those without a name."""
        raise NotImplementedError("say what images and containers the builder has: override held()")

    @pytest.fixture
    def context(self, tmp_path: Path) -> Path:
        """Return an empty build context."""
        place = tmp_path / "context"
        place.mkdir()
        return place

    @pytest.fixture
    def base(self, role: Builder, session: Session, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
        """Return a small image with a shell; the builder takes it from its cache when it was built before."""
        place = tmp_path_factory.mktemp("base")
        write_tiny_root(place / "root.tar")
        files = {"Dockerfile": b'FROM scratch\nADD root.tar /\nCMD ["/sbin/init"]\n'}
        return self.build(role, session, place, files, BASE, epoch=_EPOCH)

    def build(
        self,
        role: Builder,
        session: Session,
        context: Path,
        files: Mapping[str, bytes],
        reference: ImageReference | None = NAME,
        **more: object,
    ) -> BuiltImage:
        """Write files into a context, a ``Dockerfile`` among them, and build it.

        :param more: further parts of the request.
        """
        for name, content in files.items():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_bytes(content)
        request = BuildRequest(context=context, dockerfile="Dockerfile", reference=reference, **more)  # type: ignore[arg-type]
        return role.build_image(request, session)

    def on_base(self, *lines: str) -> dict[str, bytes]:
        """Return a Dockerfile that stands on the base."""
        return {"Dockerfile": "\n".join([f"FROM {BASE}", *lines, ""]).encode()}

    def files(self, role: Builder, session: Session, built: BuiltImage, work: Path) -> dict[str, Found]:
        """Return what is in an image."""
        work.mkdir(exist_ok=True)
        with role.save_image(built.id, work, session) as image:
            return files_of(layers_of(image))

    def use(self, role: Builder, session: Session) -> None:
        """Build an image of one file."""
        context = session.paths.root.parent / "context"
        context.mkdir()
        self.build(role, session, context, {"Dockerfile": b"FROM scratch\nCOPY Dockerfile /\n"})

    def stopping(self, session: Session, happens: Callable[[], None]) -> Session:
        """Return the session with a listener that does something when the step of ``_STEP`` has begun."""

        def report(event: Event) -> None:
            if _MARK in event.text:
                happens()

        return session.reporting_to(report)

    # Building

    def test_an_image_is_what_its_request_says(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, tmp_path: Path
    ) -> None:
        word = "two words; $(id) \"quoted\" 'too'"
        labels = {"terra.test": 'a "label" of $HOME; it\'s fine', "other": "2"}
        files = self.on_base("ARG WORD", 'RUN printf %s "$WORD" > /word', "COPY sub/file /copied", "LABEL own=here")
        built = self.build(
            role, session, context, {**files, "sub/file": b"content"}, arguments={"WORD": word}, labels=labels, no_cache=True
        )
        assert built.reference == NAME
        assert built.size > 0
        (tmp_path / "work").mkdir()
        with role.save_image(built.id, tmp_path / "work", session) as image:
            assert str(digest_of(image.config_document)) == built.id, "its id is the digest of its configuration"
            assert {key: image.config.labels.get(key) for key in (*labels, "own")} == {**labels, "own": "here"}
            assert image.config.cmd == ("/sbin/init",), "what the base says holds"
            assert _BASE_NAME not in image.config.labels, "the request names none"
            found = files_of(layers_of(image))
        assert found["word"].content.decode() == word
        assert found["copied"].content == b"content"

    def test_an_image_needs_no_name(self, role: Builder, session: Session, context: Path, tmp_path: Path) -> None:
        files = {"Dockerfile": b"FROM scratch\nCOPY file /\n", "file": b"nameless"}
        built = self.build(role, session, context, files, None)
        assert built.reference is None
        assert self.files(role, session, built, tmp_path / "work")["file"].content == b"nameless"

    def test_a_name_that_is_a_digest_is_refused(self, role: Builder, session: Session, context: Path) -> None:
        wrong = parse_image_reference(f"terra.test/conformance@sha256:{'0' * 64}")
        with pytest.raises(TerraError, match=r"terra\.test/conformance@sha256"):
            self.build(role, session, context, {"Dockerfile": b"FROM scratch\nCOPY Dockerfile /\n"}, wrong)

    def test_the_overlay_is_laid_over_the_context_all_of_it(
        self, role: Builder, session: Session, context: Path, tmp_path: Path
    ) -> None:
        overlay = tmp_path / "overlay"
        (overlay / "tree").mkdir(parents=True)
        modes = {"tree/private": 0o600, "tree/program": 0o755, "tree/both": 0o640}
        for name, mode in modes.items():
            (overlay / name).write_bytes(b"overlay")
            (overlay / name).chmod(mode)
        (overlay / "tree").chmod(0o750)
        files = {
            "Dockerfile": b"FROM scratch\nCOPY tree /tree\nCOPY context /tree/\n",
            ".dockerignore": b"tree/private\n",
            "tree/both": b"context",
            "context": b"context",
        }
        built = self.build(role, session, context, files, overlay=overlay, epoch=_EPOCH)
        found = self.files(role, session, built, tmp_path / "work")
        assert {name: found[name].content for name in modes} == dict.fromkeys(modes, b"overlay")
        assert {name: found[name].entry.mode & 0o7777 for name in modes} == modes
        assert {found[name].entry.mtime for name in modes} == {_EPOCH}, "they have exactly the epoch"
        assert found["tree/context"].content == b"context"
        assert (context / "tree/both").read_bytes() == b"context", "the context is not changed"

    def test_nothing_outside_the_context_is_read(self, role: Builder, session: Session, context: Path, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"not for the image")
        (context / "link").symlink_to(secret)
        for line in ("COPY link /", "COPY . /", "COPY ../secret /", f"COPY {secret} /"):
            try:
                built = self.build(role, session, context, {"Dockerfile": f"FROM scratch\n{line}\n".encode()})
            except TerraError:
                continue
            found = self.files(role, session, built, tmp_path / "work").values()
            assert not any(b"not for the image" in file.content for file in found), line

    def test_what_dockerignore_names_is_left_out(self, role: Builder, session: Session, context: Path, tmp_path: Path) -> None:
        files = dict.fromkeys(("kept", "dropped.log", "sub/dropped.log", "sub/again.log", "secret/key"), b"x")
        files |= {"Dockerfile": b"FROM scratch\nCOPY . /\n", ".dockerignore": b"**/*.log\nsecret\n!sub/again.log\n"}
        found = self.files(role, session, self.build(role, session, context, files), tmp_path / "work")
        assert {name for name in found if found[name].entry.isreg()} >= {"kept", "sub/again.log"}
        assert not {"dropped.log", "sub/dropped.log", "secret/key"} & set(found)

    def test_no_time_is_later_than_the_epoch(
        self, role: Builder, session: Session, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
        files = {"Dockerfile": b"FROM scratch\nCOPY new old /\n", "new": b"new", "old": b"old"}
        for name, content in files.items():
            (context / name).write_bytes(content)
            os.utime(context / name, (_LATER, _LATER) if name == "new" else (_EPOCH - 5, _EPOCH - 5))
        request = BuildRequest(context=context, dockerfile="Dockerfile", reference=NAME, epoch=_EPOCH)
        built = role.build_image(request, session)
        assert built.epoch == _EPOCH
        found = self.files(role, session, built, tmp_path / "work")
        assert max(found[name].entry.mtime for name in ("new", "old")) <= _EPOCH
        request = BuildRequest(context=context, dockerfile="Dockerfile", reference=NAME)
        assert role.build_image(request, session).epoch == _LATER, "that of the newest file"
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(_EPOCH - 7))
        assert role.build_image(request, session).epoch == _EPOCH - 7

    def test_two_builds_of_the_same_are_one_image(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, tmp_path: Path
    ) -> None:
        digests = set()
        for at in range(2):
            place, work = context / str(at), tmp_path / f"work-{at}"
            place.mkdir()
            work.mkdir()
            files = {**self.on_base("COPY file /file", "RUN mkdir /made; echo made > /made/file"), "file": b"content"}
            for name in files:
                (place / name).touch()
            built = self.build(role, session, place, files, epoch=_EPOCH, no_cache=True)
            repacking = Repacking(epoch=built.epoch, kept=built.base_layers, compress=True)
            with role.save_image(built.id, work, session) as image:
                digests.add(repack(image, work / "repacked", repacking, silent).digest)
        assert len(digests) == 1, "wherever and whenever it was built"

    def test_every_step_runs_again_when_it_has_to(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, tmp_path: Path
    ) -> None:
        files = self.on_base("RUN cat /proc/sys/kernel/random/uuid > /random")
        built = [self.build(role, session, context, files, no_cache=True) for _ in range(2)]
        found = {self.files(role, session, one, tmp_path / "work")["random"].content for one in built}
        assert len(found) == 2

    def test_what_an_image_stands_on_is_said(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, tmp_path: Path
    ) -> None:
        part = tmp_path / "part"
        part.mkdir()
        self.build(role, session, part, {"Dockerfile": b"FROM scratch\nCOPY part /\n", "part": b"part"}, PART)
        files = self.on_base(f"COPY --from={PART} / /", "RUN echo own > /own")
        built = self.build(role, session, context, files, base=BASE, components=(PART,))
        (tmp_path / "work").mkdir()
        with role.save_image(base.id, tmp_path / "work", session) as image:
            below = [str(one) for one in image.config.diff_ids]
        with role.save_image(built.id, tmp_path / "work", session) as image:
            assert [str(one) for one in image.config.diff_ids][: len(below)] == below
            assert image.config.labels[_BASE_NAME] == str(BASE)
            assert files_of(layers_of(image))["part"].content == b"part"
        assert set(built.base_layers) == set(below)

    def test_an_image_of_one_base_begins_no_other(
        self, role: Builder, session: Session, context: Path, base: BuiltImage
    ) -> None:
        with pytest.raises(TerraError, match="FROM"):
            self.build(role, session, context, self.on_base("RUN true", "FROM scratch", "COPY Dockerfile /"), base=BASE)

    def test_a_step_that_fails_is_said_and_leaves_nothing(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, tmp_path: Path
    ) -> None:
        built = self.build(role, session, context, self.on_base("RUN echo good > /good"))
        before = set(self.held(session))
        files = self.on_base("RUN echo first > /first", f"{_STEP.partition(';')[0]} >&2; exit 7")
        with pytest.raises(TerraError) as caught:
            self.build(role, session, context, files, no_cache=True)
        assert _MARK in str(caught.value), "the end of its output is said"
        assert "exit 7" in str(caught.value), "and the step"
        assert set(self.held(session)) == before, "no image and no container is left"
        assert "good" in self.files(role, session, built, tmp_path / "work"), "what had the name before stays"

    @pytest.mark.parametrize("failure", [InterruptedWork("asked to"), KeyboardInterrupt()], ids=["listener", "keyboard"])
    def test_a_build_that_is_interrupted_ends_at_once_and_leaves_nothing(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, failure: BaseException
    ) -> None:
        def stop() -> None:
            raise failure

        before, begun = set(self.held(session)), time.monotonic()
        files = self.on_base("RUN echo first > /first", _STEP)
        with pytest.raises(type(failure)):
            self.build(role, self.stopping(session, stop), context, files, no_cache=True)
        assert time.monotonic() - begun < _AT_ONCE
        assert set(self.held(session)) == before

    def test_after_a_kill_the_same_can_be_built(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, tmp_path: Path
    ) -> None:
        deadly = self.stopping(session, die)
        killed_after(lambda: self.build(role, deadly, context, self.on_base(_STEP), no_cache=True))
        built = self.build(role, session, context, self.on_base("RUN echo made > /made"), no_cache=True)
        assert self.files(role, session, built, tmp_path / "work")["made"].content == b"made\n"

    def test_what_is_no_dockerfile_is_said_with_its_place(self, role: Builder, session: Session, context: Path) -> None:
        before = set(self.held(session))
        with pytest.raises(TerraError, match="Dockerfile"):
            self.build(role, session, context, {"file": b"but no Dockerfile"})
        with pytest.raises(TerraError, match="NONSENSE"):
            self.build(role, session, context, {"Dockerfile": b"FROM scratch\nNONSENSE here\n"})
        assert set(self.held(session)) == before

    def test_building_keeps_nothing_where_the_controller_keeps_things(
        self, role: Builder, session: Session, context: Path
    ) -> None:
        self.build(role, session, context, {"Dockerfile": b"FROM scratch\nCOPY Dockerfile /\n"})
        assert everything(session.paths.root) == {}

    # Saving

    def test_what_is_saved_can_be_read_more_than_once_and_the_work_directory_is_left_as_it_was(
        self, role: Builder, session: Session, context: Path, tmp_path: Path
    ) -> None:
        built = self.build(role, session, context, {"Dockerfile": b"FROM scratch\nCOPY file /\n", "file": b"content"})
        work = tmp_path / "work"
        work.mkdir()
        (work / "theirs").write_text("stays")
        before = everything(work)
        offer = role.save_image(built.id, work, session)
        assert everything(work) == before, "nothing is written before it is entered"
        with offer as image:
            assert isinstance(image, PortableImage)
            plain = layers_of(image)
            assert [hashlib.sha256(one).hexdigest() for one in plain] == [one.encoded for one in image.config.diff_ids]
            assert layers_of(image) == plain
            for layer in image.manifest.layers:
                with image.open_layer(layer) as blob:
                    assert layer.digest.matches(read_all(blob)), "a layer is what the manifest says"
        assert everything(work) == before
        with pytest.raises(RuntimeError), role.save_image(built.id, work, session):
            raise RuntimeError
        assert everything(work) == before

    def test_an_image_that_is_not_there_is_named(self, role: Builder, session: Session, tmp_path: Path) -> None:
        unknown = f"sha256:{'0' * 64}"
        with pytest.raises(TerraError, match=unknown), role.save_image(unknown, tmp_path, session):
            raise AssertionError("there is none")
        with pytest.raises(TerraError):
            role.try_image(unknown, 5, session)

    # Trying

    @pytest.mark.parametrize("state", ["running", "degraded"])
    def test_a_trial_says_how_the_system_does_and_leaves_nothing(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, tmp_path: Path, state: str
    ) -> None:
        image = self.system(role, session, context, state)
        before = set(self.held(session))
        trial = role.try_image(image.id, 60, session)
        assert trial.state == state
        assert trial.healthy == (state == "running")
        if state == "degraded":
            assert any("broken.service" in line for line in trial.failed), "the units that failed are named"
            assert "the journal has an error" in trial.errors
        assert set(self.held(session)) == before, "the container is gone, and the image as it was"

    @pytest.mark.parametrize("init", ["exec sleep 600", "echo it ends; exit 3"], ids=["hangs", "ends"])
    def test_a_system_that_does_not_come_up_is_not_waited_for_longer_than_was_asked(
        self, role: Builder, session: Session, context: Path, base: BuiltImage, init: str
    ) -> None:
        built = self.build(role, session, context, self.on_base(f'CMD ["/bin/sh", "-c", "{init}"]'))
        before, begun = set(self.held(session)), time.monotonic()
        trial = role.try_image(built.id, 4, session)
        assert not trial.healthy
        assert trial.state == ""
        assert time.monotonic() - begun < _AT_ONCE
        assert set(self.held(session)) == before

    def system(self, role: Builder, session: Session, context: Path, state: str) -> BuiltImage:
        """Return an image whose init waits, and whose systemctl(1) says what it is told to say."""
        programs = {"systemctl": _SYSTEMCTL.format(state=state), "journalctl": _JOURNALCTL, "init": _INIT}
        for name, text in programs.items():
            (context / name).write_text(text)
            (context / name).chmod(0o755)
        lines = ["COPY systemctl journalctl /bin/", "COPY init /lib/terra-init", "RUN rm /sbin/init"]
        return self.build(role, session, context, self.on_base(*lines, 'CMD ["/lib/terra-init"]'))
