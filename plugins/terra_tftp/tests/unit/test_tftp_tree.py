"""Publishing machines, and withdrawing them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname, Mac
from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.hookspecs import NodeBoot
from terra_core.system.progress import Event
from terra_tftp import files as boot_files
from terra_tftp import plugin

ONE, TWO = Hostname("cm-01"), Hostname("cm-02")
MAC, MAC_TWO = Mac("54:b2:03:07:f1:d1"), Mac("54:b2:03:07:f1:d2")
DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    former = os.umask(0o077)
    yield Session(paths=Paths(tmp_path / "root"))
    os.umask(former)


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    (tmp_path / "vmlinuz-6.1").write_text("kernel")
    (tmp_path / "initrd.img-6.1").write_text("initrd")
    return tmp_path / "vmlinuz-6.1"


def node(
    hostname: Hostname = ONE,
    mac: Mac = MAC,
    image: str = DIGEST,
    kernel: Path | None = None,
    arguments: tuple[str, ...] = ("boot=terra",),
    steps: Path | None = None,
) -> NodeBoot:
    initrd = kernel.with_name("initrd.img-6.1") if kernel else None
    return NodeBoot(
        hostname=hostname, mac=mac, image=image, kernel_arguments=arguments, kernel=kernel, initrd=initrd, steps=steps
    )


def bios(session: Session, mac: Mac = MAC) -> Path:
    return session.paths.tftp / "pxelinux.cfg" / f"01-{mac.replace(':', '-')}"


def uefi(session: Session, mac: Mac = MAC) -> Path:
    return session.paths.tftp / "grub" / f"{mac}.cfg"


def files(session: Session) -> list[str]:
    root = session.paths.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def install_pxe(session: Session, tmp_path: Path) -> None:
    for name in ("pxelinux.0", "ldlinux.c32", "shimx64.efi", "grubx64.efi", "kernel/vmlinuz", "kernel/initrd.img"):
        (tmp_path / "pxe" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pxe" / name).write_text(name)
    plugin.install_boot_image(tmp_path / "pxe", session)


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    (tmp_path / "steps").write_text("steps")
    (tmp_path / "steps").chmod(0o600)
    return tmp_path / "steps"


def test_boot_steps_are_a_machines_own_and_loaded_after_its_ram_disk(session: Session, kernel: Path, steps: Path) -> None:
    assert plugin.publish_boot(node(kernel=kernel, steps=steps), session)
    own = session.paths.tftp / "nodes/cm-01"
    assert (own / "steps.img").read_text() == "steps"
    assert (own / "steps.img").stat().st_mode & 0o777 == 0o400, "it may hold the machine's secrets"
    assert "INITRD nodes/cm-01/initrd.img,nodes/cm-01/steps.img\n" in bios(session).read_text()
    assert "initrd /nodes/cm-01/initrd.img /nodes/cm-01/steps.img\n" in uefi(session).read_text()
    assert not plugin.publish_boot(node(kernel=kernel, steps=steps), session)
    steps.write_text("others")
    plugin.publish_boot(node(hostname=TWO, mac=MAC_TWO, kernel=kernel, steps=steps), session)
    other = session.paths.tftp / "nodes/cm-02"
    assert (other / "initrd.img").samefile(own / "initrd.img"), "what is of the image is stored once"
    assert ((own / "steps.img").read_text(), (other / "steps.img").read_text()) == ("steps", "others")


def test_boot_steps_belong_to_the_daemon_that_sends_them(
    session: Session, kernel: Path, steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))  # root alone can
    mine = evolve(session, tables={"tftp": {"user": "nobody"}})
    plugin.publish_boot(node(kernel=kernel, steps=steps), mine)
    archive = session.paths.tftp / "nodes/cm-01/steps.img"
    archive.chmod(0o644)  # as a Terra left it that let everybody read it
    assert not plugin.publish_boot(node(), mine)
    assert archive.stat().st_mode & 0o777 == 0o400
    assert given == [(pwd.getpwnam("nobody").pw_uid, -1)] * 2


def test_what_one_daemon_alone_reads_is_its_own_before_it_is_there(
    session: Session, kernel: Path, steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = session.paths.tftp / "nodes/cm-01"
    found: list[list[str]] = []

    def give(*_: int) -> None:
        found.append([(own / name).read_text() for name in ("steps.img", "report.img") if (own / name).exists()])

    monkeypatch.setattr(os, "fchown", give)
    mine = evolve(session, tables={"tftp": {"user": "nobody"}})
    first = evolve(node(kernel=kernel, steps=steps), report=b"first")
    plugin.publish_boot(first, mine)
    assert found == [[], ["steps"]]
    plugin.publish_boot(evolve(node(), report=b"second"), mine)
    assert found[-1] == ["steps", "first"], "a machine that asks in this moment gets the former one"


def test_boot_steps_outlive_a_restart_and_are_missed(session: Session, kernel: Path, steps: Path) -> None:
    plugin.publish_boot(node(kernel=kernel, steps=steps), session)
    assert not plugin.publish_boot(node(), session)
    assert "steps.img" in bios(session).read_text()
    (session.paths.tftp / "nodes/cm-01/steps.img").unlink()
    with pytest.raises(NotFoundError, match="the boot steps of cm-01 are not there any more"):
        plugin.publish_boot(node(), session)


def test_a_machine_that_was_provisioned_before_there_were_steps_goes_on_booting(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    assert not plugin.publish_boot(node(), session)
    assert "INITRD nodes/cm-01/initrd.img\n" in bios(session).read_text()


def test_an_image_without_a_kernel_has_steps_too(session: Session, tmp_path: Path, steps: Path) -> None:
    install_pxe(session, tmp_path)
    plugin.publish_boot(node(steps=steps), session)
    assert "INITRD kernel/initrd.img,nodes/cm-01/steps.img\n" in bios(session).read_text()
    plugin.withdraw_boot(ONE, MAC, session)
    assert not any("cm-01" in name for name in files(session))


def test_a_machine_gets_its_kernel_and_both_menus_readable_for_all(session: Session, kernel: Path) -> None:
    assert plugin.publish_boot(node(kernel=kernel), session)
    own = session.paths.tftp / "nodes/cm-01"
    assert ((own / "vmlinuz").read_text(), (own / "initrd.img").read_text()) == ("kernel", "initrd")
    assert (own / "image").read_text().strip() == DIGEST
    line = "ip=dhcp BOOTIF=01-54-b2-03-07-f1-d1 boot=terra net.ifnames=0 console=tty0 console=ttyS0,115200\n"
    assert f"LINUX nodes/cm-01/vmlinuz\n  INITRD nodes/cm-01/initrd.img\n  APPEND {line}" in bios(session).read_text()
    assert f"linux /nodes/cm-01/vmlinuz {line}initrd /nodes/cm-01/initrd.img\nboot\n" in uefi(session).read_text()
    for path in (session.paths.tftp, *session.paths.tftp.rglob("*")):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644), path


def test_copying_is_said_to_its_end(session: Session, kernel: Path) -> None:
    events: list[Event] = []
    plugin.publish_boot(node(kernel=kernel), session.reporting_to(events.append))
    assert [(event.done, event.total) for event in events if event.unit == "files"] == [(0, 2), (1, 2), (2, 2)]


def test_the_second_identical_run_changes_nothing(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    before = {name: (session.paths.root / name).stat().st_mtime_ns for name in files(session)}
    assert not plugin.publish_boot(node(kernel=kernel), session)
    assert not plugin.publish_boot(node(), session)
    assert {name: (session.paths.root / name).stat().st_mtime_ns for name in files(session)} == before


def test_other_arguments_change_the_menus_and_leave_the_kernel(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    assert plugin.publish_boot(node(arguments=("boot=terra", "quiet")), session)
    assert "boot=terra quiet" in bios(session).read_text()
    assert "boot=terra quiet" in uefi(session).read_text()


def test_withdrawing_from_a_tree_that_is_not_there_is_nothing_to_do(session: Session) -> None:
    assert not plugin.withdraw_boot(ONE, MAC, session)
    assert not session.paths.root.exists()


def test_machines_of_one_image_share_one_kernel_until_the_last_has_gone(session: Session, kernel: Path, tmp_path: Path) -> None:
    nodes = session.paths.tftp / "nodes"
    plugin.publish_boot(node(kernel=kernel), session)
    plugin.publish_boot(node(TWO, MAC_TWO, DIGEST, kernel), session)
    assert (nodes / "cm-01/vmlinuz").samefile(nodes / "cm-02/vmlinuz")
    assert (nodes / "cm-01/initrd.img").samefile(nodes / "cm-02/initrd.img")
    plugin.withdraw_boot(ONE, MAC, session)
    assert (nodes / "cm-02/vmlinuz").read_text() == "kernel"
    plugin.publish_boot(node(ONE, MAC, OTHER, kernel), session)
    assert not (nodes / "cm-01/vmlinuz").samefile(nodes / "cm-02/vmlinuz")


def test_a_machine_more_looks_at_no_other_machine(session: Session, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(30):
        plugin.publish_boot(node(Hostname(f"old-{at}"), Mac(f"54:b2:03:07:00:{at:02x}"), kernel=kernel), session)
    looked: list[Path] = []
    before = boot_files.read_file

    def counting(path: Path) -> str | None:
        looked.append(path)
        return before(path)

    monkeypatch.setattr("terra_tftp.tree.read_file", counting)
    plugin.publish_boot(node(kernel=kernel), session)
    plugin.publish_boot(node(TWO, MAC_TWO, OTHER, kernel=kernel), session)
    plugin.withdraw_boot(ONE, MAC, session)
    assert not [path for path in looked if "old-" in str(path)]
    (shared,) = {path.parent for path in (session.paths.tftp / "kernels").rglob("vmlinuz") if DIGEST[7:] in str(path)}
    assert (shared / "vmlinuz").stat().st_nlink == 31


def test_a_kernel_that_only_its_image_has_left_goes(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    plugin.publish_boot(node(image=OTHER, kernel=kernel), session)
    kernels = session.paths.tftp / "kernels"
    assert [path.name for path in kernels.iterdir()] == [OTHER[7:]]
    plugin.withdraw_boot(ONE, MAC, session)
    assert list(kernels.iterdir()) == []


def test_a_new_image_brings_its_kernel_without_touching_that_of_others(session: Session, kernel: Path, tmp_path: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    plugin.publish_boot(node(TWO, MAC_TWO, DIGEST, kernel), session)
    kernel.write_text("newer kernel")
    assert plugin.publish_boot(node(image=OTHER, kernel=kernel), session)
    nodes = session.paths.tftp / "nodes"
    assert (nodes / "cm-01/vmlinuz").read_text() == "newer kernel"
    assert (nodes / "cm-02/vmlinuz").read_text() == "kernel"
    assert "nodes/cm-01/vmlinuz" in bios(session).read_text()


def test_another_interface_takes_the_menus_along(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    plugin.publish_boot(node(mac=MAC_TWO), session)
    assert not bios(session).exists()
    assert not uefi(session).exists()
    assert "BOOTIF=01-54-b2-03-07-f1-d2" in bios(session, MAC_TWO).read_text()


def test_withdrawing_a_machine_leaves_the_menus_of_the_one_that_has_its_interface_now(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    plugin.publish_boot(node(TWO, MAC, DIGEST, kernel), session)
    plugin.withdraw_boot(ONE, MAC, session)
    assert "nodes/cm-02/vmlinuz" in bios(session).read_text()
    assert "nodes/cm-02/vmlinuz" in uefi(session).read_text()


def test_an_image_without_a_kernel_boots_the_pxe_images(session: Session, tmp_path: Path) -> None:
    install_pxe(session, tmp_path)
    assert plugin.publish_boot(node(), session)
    assert "LINUX kernel/vmlinuz\n  INITRD kernel/initrd.img\n" in bios(session).read_text()
    assert "linux /kernel/vmlinuz ip=dhcp" in uefi(session).read_text()
    assert not plugin.publish_boot(node(), session)


def test_without_any_kernel_the_error_says_what_to_install_and_nothing_is_published(session: Session) -> None:
    with pytest.raises(TerraError, match="the image of cm-01 has no kernel") as caught:
        plugin.publish_boot(node(), session)
    assert caught.value.hint == "install one with: terra pxe IMAGE"
    assert [name for name in files(session) if "cm-01" in name or "54" in name] == []


@pytest.mark.parametrize("lost", ["vmlinuz", "initrd.img", "image"])
def test_a_kernel_that_is_not_whole_is_never_replaced_by_another(
    session: Session, kernel: Path, tmp_path: Path, lost: str
) -> None:
    install_pxe(session, tmp_path)
    plugin.publish_boot(node(kernel=kernel), session)
    (session.paths.tftp / "nodes/cm-01" / lost).unlink()
    with pytest.raises(NotFoundError, match="the kernel that cm-01 boots is not whole any more"):
        plugin.publish_boot(node(), session)
    assert plugin.publish_boot(node(kernel=kernel), session)
    assert (session.paths.tftp / "nodes/cm-01/vmlinuz").read_text() == "kernel"


def test_missing_boot_loaders_are_a_warning(session: Session, kernel: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def listen(event: Event) -> None:
        said.append(event.text)

    plugin.publish_boot(node(kernel=kernel), session.reporting_to(listen))
    assert "cm-01 cannot boot yet: the boot loaders pxelinux.0, ldlinux.c32, shimx64.efi, grubx64.efi" in said[-1]
    install_pxe(session, tmp_path)
    said.clear()
    plugin.publish_boot(node(), session.reporting_to(listen))
    assert said == []


def test_an_interrupted_machine_leaves_nothing(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(TWO, MAC_TWO, OTHER, kernel), session)
    before = files(session)

    def interrupt(event: Event) -> None:
        if event.done == 1:
            raise InterruptedWork("asked for")

    with pytest.raises(InterruptedWork):
        plugin.publish_boot(node(kernel=kernel), session.reporting_to(interrupt))
    assert files(session) == before


def test_no_menu_refers_to_a_kernel_that_is_being_replaced(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel=kernel), session)
    seen: list[bool] = []

    def look(event: Event) -> None:
        seen.append(bios(session).exists() or uefi(session).exists())

    plugin.publish_boot(node(image=OTHER, kernel=kernel), session.reporting_to(look))
    assert seen[:2] == [False, False]
    assert bios(session).exists()


def test_a_kernel_that_is_a_link_is_refused(session: Session, kernel: Path) -> None:
    kernel.unlink()
    kernel.symlink_to("/etc/shadow")
    with pytest.raises(TerraError, match="is not a regular file"):
        plugin.publish_boot(node(kernel=kernel), session)
    assert not (session.paths.tftp / "nodes/cm-01").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"hostname": "../../etc"}, {"hostname": "a\nb"}, {"hostname": "CM-01"}, {"hostname": ""}, {"hostname": "-a"},
        {"mac": "xx:xx:xx:xx:xx:xx"}, {"mac": "54-b2-03-07-f1-d1"}, {"mac": "54:b2:03:07:f1:d1\n"},
        {"image": "latest"}, {"image": f"{DIGEST}\n"}, {"arguments": ("a\n  KERNEL evil",)}, {"arguments": ("$(id)",)},
    ],
)  # fmt: skip
def test_text_that_does_not_belong_into_a_path_or_menu_is_refused(
    session: Session, kernel: Path, wrong: dict[str, object]
) -> None:
    with pytest.raises(TerraError):
        plugin.publish_boot(node(kernel=kernel, **wrong), session)  # type: ignore[arg-type]  # what core would never send
    assert not session.paths.root.exists()


def test_a_tree_that_cannot_be_written_is_an_error_that_names_the_path(session: Session, kernel: Path) -> None:
    (session.paths.tftp).mkdir(parents=True)
    (session.paths.tftp / "nodes").write_text("a file where a directory has to be")
    with pytest.raises(TerraError, match="nodes: cannot be written"):
        plugin.publish_boot(node(kernel=kernel), session)


@pytest.mark.parametrize("again", [True, False])
def test_what_a_killed_run_left_is_completed_or_removed(session: Session, kernel: Path, again: bool) -> None:
    plugin.publish_boot(node(TWO, MAC_TWO, OTHER, kernel), session)
    before = files(session)
    own = session.paths.tftp / "nodes/cm-01"
    own.mkdir()
    half_menus = [menu.with_name(f".{menu.name}.new") for menu in (bios(session), uefi(session))]
    for path in (own / ".vmlinuz.new", own / "initrd.img", *half_menus):
        path.write_text("half of it")
    if again:
        assert plugin.publish_boot(node(kernel=kernel), session)
        assert (own / "initrd.img").read_text() == "initrd"
        assert not list(session.paths.tftp.rglob(".*"))
    plugin.withdraw_boot(ONE, MAC, session)
    assert [name for name in files(session) if name not in before] == []


@pytest.mark.parametrize("again", [True, False], ids=["at a restart", "as at first"])
def test_secrets_that_others_may_read_are_found_and_kept_from_them(session: Session, kernel: Path, again: bool) -> None:
    steps = kernel.with_name("steps")
    steps.write_text("the secret of a machine")
    known = evolve(node(kernel=kernel, steps=steps), report=b"a token")
    plugin.publish_boot(known, session)
    place = session.paths.tftp / "nodes/cm-01"

    def open_to_others() -> list[str]:
        found = plugin.examine_boot([known], session)
        return [one.problem.partition(":")[0] for one in found if "others than the service may read it" in one.problem]

    assert open_to_others() == []
    for name in ("steps.img", "report.img"):
        (place / name).chmod(0o444)
        assert open_to_others() == [str(place / name)]
        plugin.publish_boot(evolve(known, kernel=None, initrd=None, steps=None, report=None) if again else known, session)
        assert open_to_others() == []
