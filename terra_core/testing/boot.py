"""What the contract promises of the role ``boot``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import evolve

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs import Boot, BootNetwork, NodeBoot
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from terra_core.testing.conformance import Conformance, everything, killed_after

HOST, MAC = Hostname("conformance-01"), Mac("02:00:00:00:00:01")
OTHER, OTHER_MAC = Hostname("conformance-02"), Mac("02:00:00:00:00:02")


class BootConformance(Conformance[Boot]):
    """The promises of a network boot service.

    :cvar address: the address that it answers on; ``surroundings`` has to have it.
    """

    _role = Boot
    address: ClassVar[str] = "127.0.0.1"

    @pytest.fixture
    def stopped(self, role: Boot, session: Session) -> Iterator[Session]:
        """Return the session; the service is stopped in the end."""
        with Undo() as undo:
            undo.callback(role.stop_boot, session)
            yield session

    @property
    def network(self) -> BootNetwork:
        """The network that the service is told of."""
        return BootNetwork(address=Address(self.address))

    def node(self, place: Path, hostname: Hostname = HOST, mac: Mac = MAC, *, image: str = "a") -> NodeBoot:
        """Return what a machine boots, with files made for it."""
        place.mkdir(parents=True, exist_ok=True)
        for name in ("vmlinuz", "initrd.img", "steps.img"):
            (place / name).write_bytes(f"{name} of {hostname} {image}".encode())
        return NodeBoot(
            hostname=hostname,
            mac=mac,
            image=f"sha256:{image * 64}",
            kernel_arguments=("boot=terra", "terra.uuid=1234"),
            kernel=place / "vmlinuz",
            initrd=place / "initrd.img",
            steps=place / "steps.img",
        )

    def use(self, role: Boot, session: Session) -> None:
        """Publish a machine."""
        role.publish_boot(self.node(session.paths.root.parent / "files"), session)

    def test_publishing_is_idempotent_and_needs_the_files_once(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        node = self.node(tmp_path / "files")
        assert role.publish_boot(node, stopped) is True
        assert role.publish_boot(node, stopped) is False
        assert role.publish_boot(evolve(node, kernel=None, initrd=None, steps=None), stopped) is False

    def test_another_image_or_line_is_a_change(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        role.publish_boot(self.node(tmp_path / "files"), stopped)
        assert role.publish_boot(evolve(self.node(tmp_path / "files"), kernel_arguments=("quiet",)), stopped) is True
        assert role.publish_boot(self.node(tmp_path / "next", image="b"), stopped) is True

    def test_what_the_next_boot_reports_itself_with_is_replaced_and_kept(
        self, role: Boot, stopped: Session, tmp_path: Path
    ) -> None:
        node = evolve(self.node(tmp_path / "files"), report=b"the first report")
        known = evolve(node, kernel=None, initrd=None, steps=None)
        role.publish_boot(node, stopped)
        for given, kept, changed in (
            (None, b"the first report", False),
            (b"the second report", b"the second report", True),
            (None, b"the second report", False),
        ):
            assert role.publish_boot(evolve(known, report=given), stopped) is changed
            found = [path.read_bytes() for path in stopped.paths.root.rglob("*") if path.is_file()]
            assert [content for content in found if content.endswith(b" report")] == [kept]

    def test_another_address_takes_the_place_of_the_former(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        before = everything(stopped.paths.root)
        role.publish_boot(self.node(tmp_path / "files"), stopped)
        kept = evolve(self.node(tmp_path / "files"), kernel=None, initrd=None, steps=None)
        assert role.publish_boot(evolve(kept, mac=OTHER_MAC), stopped) is True
        role.publish_boot(self.node(tmp_path / "other", OTHER), stopped)  # the former address is free for another machine
        assert role.publish_boot(evolve(kept, mac=OTHER_MAC), stopped) is False
        assert role.withdraw_boot(OTHER, MAC, stopped) is True
        assert role.withdraw_boot(HOST, OTHER_MAC, stopped) is True
        added = everything(stopped.paths.root).keys() - before.keys()
        assert not [path for path in added if MAC in path or MAC.replace(":", "-") in path]

    def test_withdrawing_is_idempotent_and_leaves_nothing(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        role.publish_boot(self.node(tmp_path / "files"), stopped)
        role.withdraw_boot(HOST, MAC, stopped)
        before = everything(stopped.paths.root)
        role.publish_boot(self.node(tmp_path / "other", OTHER, OTHER_MAC), stopped)
        assert role.withdraw_boot(OTHER, OTHER_MAC, stopped) is True
        assert everything(stopped.paths.root) == before
        assert role.withdraw_boot(OTHER, OTHER_MAC, stopped) is False

    def test_withdrawing_one_leaves_the_other(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        other = self.node(tmp_path / "other", OTHER, OTHER_MAC)
        role.publish_boot(self.node(tmp_path / "files"), stopped)
        role.publish_boot(other, stopped)
        role.withdraw_boot(HOST, MAC, stopped)
        assert role.publish_boot(evolve(other, kernel=None, initrd=None, steps=None), stopped) is False

    @pytest.mark.parametrize("hostname", ["../escape", "a/b", "", "a\nb", "-x\x00"])
    def test_a_name_that_is_no_host_name_becomes_no_path(
        self, role: Boot, stopped: Session, tmp_path: Path, hostname: str
    ) -> None:
        node = evolve(self.node(tmp_path / "files"), hostname=Hostname(hostname))
        with pytest.raises(TerraError):
            role.publish_boot(node, stopped)
        with pytest.raises(TerraError):
            role.withdraw_boot(Hostname(hostname), MAC, stopped)

    @pytest.mark.parametrize("argument", ["a b", "a\nb", 'a"b', "a$(b)", "a;b"])
    def test_no_argument_becomes_a_word_of_a_menu(
        self, role: Boot, stopped: Session, tmp_path: Path, argument: str
    ) -> None:
        node = evolve(self.node(tmp_path / "files"), kernel_arguments=("quiet", argument))
        try:
            role.publish_boot(node, stopped)
        except TerraError:
            return
        texts = [path.read_bytes() for path in stopped.paths.root.rglob("*") if path.is_file()]
        assert not any(b"\nb" in text or b"\na\n" in text for text in texts), "it is quoted at least"

    def test_a_machine_without_any_kernel_is_refused(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        node = evolve(self.node(tmp_path / "files"), kernel=None, initrd=None)
        with pytest.raises(TerraError, match=HOST):
            role.publish_boot(node, stopped)

    def test_an_image_without_boot_loaders_is_refused(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        (tmp_path / "tree").mkdir()
        with pytest.raises(TerraError):
            role.install_boot_image(tmp_path / "tree", stopped)

    def test_the_service_is_started_once_and_stopped_once(self, role: Boot, stopped: Session) -> None:
        assert role.start_boot(self.network, [], stopped) is True
        assert role.start_boot(self.network, [], stopped) is False
        assert role.stop_boot(stopped) is True
        assert role.stop_boot(stopped) is False

    def test_what_no_machine_did_is_not_seen(self, role: Boot, stopped: Session) -> None:
        assert role.follow_boots("", stopped).seen == ()
        role.start_boot(self.network, [], stopped)
        first = role.follow_boots("", stopped)
        assert first.seen == (), "what its start did is nothing that a machine does"
        for position in (first.position, "0", "9:9", "9:9 9:9", "no position", "\n"):
            assert role.follow_boots(position, stopped).seen == ()

        def leaves_all_alone() -> bool:
            before = everything(stopped.paths.root)
            role.follow_boots(first.position, stopped)
            return everything(stopped.paths.root) == before

        wait_until(leaves_all_alone, seconds=30, what="one look beside which the service writes nothing to its log")

    def test_the_service_outlives_a_controller_that_is_killed(self, role: Boot, stopped: Session) -> None:
        killed_after(lambda: role.start_boot(self.network, [], stopped))
        assert role.start_boot(self.network, [], stopped) is False, "it is found again"
        assert role.stop_boot(stopped) is True, "and the next controller can stop it"

    def test_the_doctor_finds_what_is_missing_and_nothing_else(self, role: Boot, stopped: Session, tmp_path: Path) -> None:
        if not role.brings("examine_boot"):
            return
        own, other = self.node(tmp_path / "files"), self.node(tmp_path / "other", OTHER, OTHER_MAC)
        for node in (own, other):
            role.publish_boot(node, stopped)
        role.start_boot(self.network, [own, other], stopped)
        before = everything(stopped.paths.root).keys()
        assert [one for one in role.examine_boot([own, other], stopped) if one.hostname] == []
        assert everything(stopped.paths.root).keys() == before, "it only looks"
        assert {one.hostname for one in role.examine_boot([other], stopped) if one.hostname} == {HOST}, "of no machine"
        role.withdraw_boot(HOST, MAC, stopped)
        assert {one.hostname for one in role.examine_boot([own, other], stopped) if one.hostname} == {HOST}
