"""The script ``boot=terra``, run by sh, with functions of initramfs-tools(7) that tell that they were called."""

from __future__ import annotations

from pathlib import Path

from terra_core.system.process import run

SCRIPT = Path(__file__).parents[3] / "terra_core/machine/scripts/terra"
_AROUND = """\
cat() { if [ "$1" = /proc/cmdline ]; then echo "$line"; else command cat "$@"; fi; }
panic() { echo "panic: $*"; exit; }
for name in local_top local_premount local_bottom configure_networking wait_for_udev; do
	eval "$name() { echo $name; }"
done
log_failure_msg() { echo "failure: $*"; }
log_warning_msg() { echo "warning: $*"; }
modprobe() { echo "modprobe $*"; case " $there " in *" $1 "*) ;; *) return 1 ;; esac; }
insmod() { echo "insmod ${1#"$terra"}"; [ "$1" != "$terra/modules/bad.ko" ]; }
"""


def booted(work: Path, files: dict[str, str], then: str = "mountroot", **variables: str) -> list[str]:
    """Return the calls of a boot with these files of the archive."""
    terra = work / "terra"
    for path, content in files.items():
        (terra / path).parent.mkdir(parents=True, exist_ok=True)
        (terra / path).write_text(content)
    keep = "terra_keep_addresses() { echo terra_keep_addresses; }"
    places = f"terra={terra} terra_dev={work}/dev terra_run={work}/run"
    script = f"set -eu\npanic= there=\n{_AROUND}\n. {SCRIPT}\nset +e\n{places}\n{keep}\n{then}\n"
    given = {"line": "boot=terra", **variables}
    set_first = "".join(f"{name}='{value}'\n" for name, value in given.items())
    done = run(["sh", "-c", script.replace("panic= there=\n", f"panic= there=\n{set_first}")])
    return done.text.splitlines()


def test_a_machine_with_its_own_disks_is_not_connected(tmp_path: Path) -> None:
    said = booted(tmp_path, {"steps/mount": 'echo "mount, again after: $panic"\n'})
    assert said == ["local_top", "wait_for_udev", "mount, again after: "]


def test_the_network_is_up_before_the_step_that_needs_it_and_its_addresses_are_kept(tmp_path: Path) -> None:
    said = booted(tmp_path, {"steps/connect": 'echo "connect, again after: $panic"\n', "steps/mount": "echo mount\n"})
    assert said == [
        "local_top", "configure_networking", "connect, again after: 30", "terra_keep_addresses", "wait_for_udev", "mount",
    ]  # fmt: skip
    assert "connect, again after: 5" in booted(tmp_path, {}, panic="5")


def test_without_its_archive_a_machine_says_so(tmp_path: Path) -> None:
    assert booted(tmp_path, {}) == ["panic: no boot steps: the archive that Terra made for this machine was not loaded"]


def test_words_of_the_kernel_line(tmp_path: Path) -> None:
    then = "terra_word version os; terra_word label os; terra_word x; terra_word empty no; terra_words t; terra_words none"
    said = booted(tmp_path, {}, then, line="version=1 t=a=b xversion=9 t=* version=2 empty= t=iqn.2024:x")
    assert said == ["2", "os", "", "", "a=b", "*", "iqn.2024:x"]


MODULES = {
    "steps/mount": "echo mount\n",
    "modules/wanted": "t_fs\nt_disk\n",
    "modules/list": "soft bad.ko optional\nt_crc - required\nt_journal bad.ko required\nt_fs t_fs.ko required\n",
}


def test_modules_of_the_ram_disk_are_enough(tmp_path: Path) -> None:
    said = booted(tmp_path, MODULES, there="t_fs t_disk")
    assert said == ["modprobe t_fs", "modprobe t_disk", "local_top", "wait_for_udev", "mount"]


def test_modules_that_it_lacks_are_loaded_in_order(tmp_path: Path) -> None:
    said = booted(tmp_path, MODULES, there="t_disk t_crc")
    assert said[2:6] == ["insmod /modules/bad.ko", "modprobe t_crc", "insmod /modules/bad.ko", said[5]]
    assert said[5].startswith("failure: the kernel module t_journal cannot be loaded; this is kernel ")
    assert said[6:] == ["insmod /modules/t_fs.ko", "local_top", "wait_for_udev", "mount"]


def test_programs_of_the_archive_are_found_by_name_and_come_after_those_of_the_ram_disk(tmp_path: Path) -> None:
    program = tmp_path / "terra/programs/terra-tool"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho tool\n")
    program.chmod(0o755)
    said = booted(tmp_path, {"steps/mount": 'terra-tool; echo "${PATH##*:}"\n'}, 'mountroot; echo "${PATH##*:}"')
    assert said[2:4] == ["tool", f"{tmp_path}/terra/programs"]
    assert said[4] != f"{tmp_path}/terra/programs"


TRIAL = {"steps/mount": "echo mount\n", "modules/watchdog": "core.ko\nsoftdog.ko\n"}
SETTINGS = "run/systemd/system.conf.d/50-terra-trial.conf"


def test_a_version_on_trial_has_the_watchdog_which_runs_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/watchdog").write_text("not opened")
    said = booted(tmp_path, TRIAL, line="boot=terra terra.try=os.1 version=os.1")
    assert said == ["local_top", "wait_for_udev", "mount"], "that of the machine itself is taken"
    assert (tmp_path / "dev/watchdog").read_text() == ""
    assert "RuntimeWatchdogSec=60" in (tmp_path / SETTINGS).read_text().splitlines()


def test_where_there_is_no_watchdog_it_is_the_kernels_own(tmp_path: Path) -> None:
    said = booted(tmp_path, TRIAL, line="terra.try=os.1")
    lost = "warning: there is no watchdog: a version on trial that hangs stays as it is"
    loads = ["modprobe softdog soft_margin=180", "insmod /modules/core.ko", "insmod /modules/softdog.ko", lost]
    assert said == [*loads, "local_top", "wait_for_udev", "mount", *loads]
    said = booted(tmp_path, TRIAL, line="terra.try=os.1", there="softdog")
    assert said[:2] == ["modprobe softdog soft_margin=180", lost]


def test_a_version_that_is_kept_has_no_watchdog(tmp_path: Path) -> None:
    assert booted(tmp_path, TRIAL, line="boot=terra version=os.1") == ["local_top", "wait_for_udev", "mount"]
    assert not (tmp_path / SETTINGS).exists()


def test_a_watchdog_that_cannot_be_opened_ends_no_start(tmp_path: Path) -> None:
    (tmp_path / "dev/watchdog").mkdir(parents=True)
    said = booted(tmp_path, TRIAL, line="terra.try=os.1")
    assert [line for line in said if "cannot be opened" not in line] == ["local_top", "wait_for_udev", "mount"]


def test_what_the_kernel_line_mounts_has_units_that_every_systemd_reads(tmp_path: Path) -> None:
    words = (
        "systemd.mount-extra=UUID=12-ab:/srv/a-b:btrfs:subvol=/srv,x-systemd.growfs,nofail "
        "systemd.mount-extra=/mnt/data/x:/.x@y+z:none:bind,nofail"
    )
    units = tmp_path / "run/systemd/system"
    assert booted(tmp_path, {}, "terra_mount_further", line=words) == []
    assert (units / r"srv-a\x2db.mount").read_text() == (
        "[Unit]\nSourcePath=/proc/cmdline\n"
        "[Mount]\nWhat=/dev/disk/by-uuid/12-ab\nWhere=/srv/a-b\nType=btrfs\nOptions=subvol=/srv,x-systemd.growfs,nofail\n"
    )
    bind = units / r"\x2ex\x40y\x2bz.mount"
    assert "What=/mnt/data/x\nWhere=/.x@y+z\nType=none\nOptions=bind,nofail\n" in bind.read_text()
    wanted = units / "local-fs.target.wants"
    assert {path.resolve() for path in wanted.iterdir()} == {bind, units / r"srv-a\x2db.mount"}
    (grown,) = units.glob("*.mount.wants/*")
    assert grown.relative_to(units) == Path(r"srv-a\x2db.mount.wants/systemd-growfs@srv-a\x2db.service")
    assert r"BindsTo=srv-a\x2db.mount" in grown.read_text()
    assert "ExecStart=/usr/lib/systemd/systemd-growfs /srv/a-b\n" in grown.read_text()


def test_units_are_named_as_systemd_names_them(tmp_path: Path) -> None:
    paths = ["/srv", "/var/lib/a-b", "/.hidden", "/a.b/.c", "/a_b+c@d"]
    said = booted(tmp_path, {}, "\n".join(f"terra_unit {path}" for path in paths))
    assert said == ["srv", r"var-lib-a\x2db", r"\x2ehidden", "a.b-.c", r"a_b\x2bc\x40d"]
