"""Mounts and loop devices of the real kernel."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.errors import CommandError, ConflictError, InterruptedWork, NotFoundError, TerraError
from terra_core.system import mounts
from terra_core.system.mounts import LoopDevice, bound, loop_device, loop_devices, mount_points, mounted, sweep
from terra_core.system.namespaces import private_mounts
from terra_core.system.process import Completed, interruption, run
from terra_core.system.waiting import wait_until
from tests.integration.somebody import somebodys_namespace

MB = 1024 * 1024


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make a file with an ext4 file system."""
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(16 * MB)
    run(["mkfs.ext4", "-q", path])
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def _clear(tmp_path: Path) -> Iterator[None]:
    yield
    sweep(tmp_path, tmp_path)


def attached(image: Path) -> list[Path]:
    return [device.path for device in loop_devices() if device.file == image]


def points_below(directory: Path) -> list[Path]:
    return [point.path for point in mount_points() if directory in point.path.parents]


def test_a_file_system_that_wants_the_kernel_to_panic_when_it_is_broken_does_not_get_that(image: Path, target: Path) -> None:
    run(["tune2fs", "-e", "panic", image])
    with loop_device(image) as device, mounted(device, target, filesystem="ext4", options=("errors=panic",)):
        (line,) = (one for one in Path("/proc/self/mountinfo").read_text().splitlines() if f" {target} " in one)
    assert "errors=remount-ro" in line


def test_a_file_is_mounted_for_as_long_as_it_is_needed(image: Path, target: Path) -> None:
    with loop_device(image) as device:
        assert attached(image) == [device]
        with mounted(device, target, filesystem="ext4", options=("noatime",)) as place:
            assert (place / "lost+found").is_dir()
            assert points_below(target.parent) == [target]
        assert not points_below(target.parent)
    assert not attached(image)


def test_what_is_written_can_be_read_the_next_time(image: Path, target: Path) -> None:
    with loop_device(image) as device, mounted(device, target, filesystem="ext4"):
        (target / "word").write_text("kept")
    with loop_device(image, read_only=True) as device, mounted(device, target, filesystem="ext4", options=("ro",)):
        assert (target / "word").read_text() == "kept"


def test_a_read_only_loop_device_takes_no_writes(image: Path) -> None:
    with (
        loop_device(image, read_only=True) as device,
        device.open("r+b", buffering=0) as opened,
        pytest.raises(OSError, match=os.strerror(errno.EPERM)),
    ):
        opened.write(bytes(512))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, InterruptedWork("enough"), RuntimeError])
def test_nothing_is_left_when_the_work_fails(
    image: Path, target: Path, failure: BaseException | type[BaseException]
) -> None:
    with (
        pytest.raises((KeyboardInterrupt, InterruptedWork, RuntimeError)),
        loop_device(image) as device,
        mounted(device, target, filesystem="ext4"),
    ):
        raise failure
    assert not points_below(target.parent)
    assert not attached(image)


@pytest.mark.parametrize("program", ["losetup", "mount"])
def test_nothing_is_left_when_ctrl_c_comes_right_after_the_step(
    image: Path, target: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_ctrl_c(args: list[str], **options: object) -> Completed:
        done = run(args, **options)  # type: ignore[arg-type]  # passed on as it came
        if args[0] == program and "--json" not in args:
            monkeypatch.setattr(mounts, "run", run)
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(mounts, "run", then_ctrl_c)
    with pytest.raises(KeyboardInterrupt), loop_device(image) as device, mounted(device, target, filesystem="ext4"):
        raise AssertionError("not reached")
    assert not points_below(target.parent)
    assert not attached(image)


def test_an_interruption_does_not_stop_the_undoing(image: Path, target: Path) -> None:
    asked = False
    token = interruption.set(lambda: asked)
    try:
        with loop_device(image) as device, mounted(device, target, filesystem="ext4"):
            asked = True
            with pytest.raises(InterruptedWork):
                run(["sleep", "5"])
    finally:
        interruption.reset(token)
    assert not points_below(target.parent)
    assert not attached(image)


def test_a_failed_mount_says_why_and_leaves_nothing(tmp_path: Path, target: Path) -> None:
    blank = tmp_path / "blank.img"
    blank.write_bytes(bytes(MB))
    with pytest.raises(CommandError, match="mount"), loop_device(blank) as device, mounted(device, target, filesystem="ext4"):
        raise AssertionError("not reached")
    assert not points_below(target.parent)
    assert not attached(blank)


def test_a_place_that_is_taken_is_refused_and_stays_mounted(image: Path, target: Path) -> None:
    with loop_device(image) as device, mounted(device, target, filesystem="ext4"):
        with pytest.raises(ConflictError, match="mounted there already"), mounted(device, target, filesystem="ext4"):
            raise AssertionError("not reached")
        assert points_below(target.parent) == [target]


def test_a_file_that_is_attached_is_refused_and_stays_attached(image: Path) -> None:
    with loop_device(image) as device:
        with pytest.raises(ConflictError, match=f"attached to {device}"), loop_device(image):
            raise AssertionError("not reached")
        assert attached(image) == [device]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"), loop_device(tmp_path / "none.img"):
        raise AssertionError("not reached")


def test_a_mount_that_is_still_in_use_goes_with_its_last_user(
    image: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_BUSY_SECONDS", 0.5)
    monkeypatch.setattr(mounts, "_DETACH_SECONDS", 0.5)
    with (
        pytest.raises(TerraError, match="unmounted when its last user ends"),
        loop_device(image) as device,
        mounted(device, target, filesystem="ext4"),
    ):
        user = (target / "open").open("w")
    assert not points_below(target.parent)
    user.close()
    wait_until(lambda: not attached(image), seconds=60, what="the loop device to go")


def test_the_sweep_clears_what_a_killed_process_left(image: Path, tmp_path: Path) -> None:
    work = tmp_path / "run"
    (work / "a").mkdir(parents=True)
    script = (
        "import sys; from pathlib import Path\n"
        "from terra_core.system.mounts import *\n"
        f"with loop_device(Path({str(image)!r})) as d, mounted(d, Path({str(work / 'a')!r}), filesystem='ext4') as m:\n"
        "  (m / 'sub').mkdir()\n"
        "  with mounted(Path('none'), m / 'sub', filesystem='tmpfs'):\n"
        "    print('there', flush=True); sys.stdin.read()\n"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"there\n"
        victim.send_signal(signal.SIGKILL)
    assert len(attached(image)) == 1
    assert sweep(work, tmp_path) == (str(work / "a"), str(work / "a/sub")), "the loop device goes with the last mount"
    assert not points_below(tmp_path)
    assert not attached(image)
    assert sweep(work, tmp_path) == ()


def test_the_sweep_finds_mounts_that_others_hide(tmp_path: Path) -> None:
    work = tmp_path / "run"
    (work / "a").mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "lower", work / "a"])
    (work / "a/below").mkdir()
    run(["mount", "-t", "tmpfs", "hidden", work / "a/below"])
    run(["mount", "-t", "tmpfs", "upper", work / "a"])
    assert len(sweep(work, tmp_path)) == 3
    assert not points_below(tmp_path)


def test_the_sweep_takes_a_mount_away_that_is_in_use(tmp_path: Path) -> None:
    work = tmp_path / "run"
    (work / "a").mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "none", work / "a"])
    with (work / "a/open").open("w"):
        assert sweep(work, tmp_path) == (str(work / "a"),)
        assert not points_below(tmp_path)


def test_the_sweep_detaches_the_loop_device_of_a_removed_file(image: Path, tmp_path: Path) -> None:
    device = run(["losetup", "--find", "--show", image]).text.strip()
    image.unlink()
    assert sweep(tmp_path / "run", tmp_path) == (device,)
    assert not attached(image)


def test_the_sweep_leaves_the_neighbours_alone(image: Path, target: Path, tmp_path: Path) -> None:
    for name in ("tar", "files"):
        (tmp_path / name).mkdir()
    with loop_device(image) as device, mounted(device, target, filesystem="ext4"):
        assert sweep(tmp_path / "tar", tmp_path / "files") == ()
        assert points_below(tmp_path) == [target]
        assert attached(image) == [device]


def test_the_sweep_of_places_that_are_not_there(tmp_path: Path) -> None:
    assert sweep(tmp_path / "none", tmp_path / "nothing") == ()


def test_nothing_of_what_is_mounted_opens_a_device_or_gives_rights(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with mounted(Path("none"), place, filesystem="tmpfs", options=("dev", "suid")):
        (line,) = [row for row in Path("/proc/self/mountinfo").read_text().splitlines() if row.split()[4] == str(place)]
        assert {"nodev", "nosuid"} <= set(line.split()[5].split(","))


@contextmanager
def sweeping(files: Path) -> Iterator[None]:
    yield
    sweep(files, files)


@pytest.mark.parametrize("look", [loop_device, lambda file: sweeping(file.parent)], ids=["end", "sweep"])
def test_a_device_that_became_another_files_stays_with_it(
    look: Callable[[Path], AbstractContextManager[object]], image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place := tmp_path / "gone").mkdir()
    (gone := place / "gone.img").write_bytes(image.read_bytes())
    with ExitStack() as stack:
        device = Path(run(["losetup", "--find", "--show", image]).text.strip())
        stack.callback(run, ["losetup", "--detach", device])
        (now,) = [one for one in loop_devices() if one.path == device]
        status = gone.stat()
        number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
        former = evolve(now, file=gone, number=number, inode=status.st_ino)
        # When it is looked for, it still is that of the file which lets go of it.
        true, first = mounts.loop_devices, [[former]]

        def seen() -> list[LoopDevice]:
            return first.pop() if first else true()

        with look(gone):
            monkeypatch.setattr(mounts, "loop_devices", seen)
        assert now in loop_devices()


def test_a_loop_device_goes_with_a_killed_process(image: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from terra_core.system.mounts import *; from terra_core.system.namespaces import *\n"
        f"with private_mounts(), loop_device(Path({str(image)!r})) as d:\n"
        f"  with mounted(d, Path({str(image.parent)!r}), filesystem='ext4'):\n"
        "    print('there', flush=True); sys.stdin.read()\n"
    )
    with killed_when_there(script):
        assert len(attached(image)) == 1
    wait_until(lambda: not attached(image), seconds=60, what="the loop device to go with its process")
    assert not points_below(image.parent)


@contextmanager
def killed_when_there(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that is killed when it has printed that it is there."""
    victim = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"there\n"
        yield victim
        victim.send_signal(signal.SIGKILL)


def test_what_somebody_copied_is_theirs_and_the_work_is_not_lost(
    image: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_DETACH_SECONDS", 0.5)
    before = image.stat()
    with ExitStack() as theirs:
        with loop_device(image) as device, mounted(device, target, filesystem="ext4"):
            (target / "word").write_text("kept")
            os.sync()
            theirs.enter_context(somebodys_namespace())
        after = image.stat()
        assert after.st_ino != before.st_ino
        assert (after.st_mode, after.st_uid, after.st_size) == (before.st_mode, before.st_uid, before.st_size)
        assert not any(one.holds(image) for one in loop_devices())
        assert [path.name for path in image.parent.iterdir() if path.is_file()] == [image.name]
        with loop_device(image) as device, mounted(device, target, filesystem="ext4", options=("noatime",)):
            assert (target / "word").read_text() == "kept"
    wait_until(lambda: image not in [one.file for one in loop_devices()], seconds=60, what="theirs to go with them")


def test_the_sweep_leaves_what_somebody_holds_to_go_with_them(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mounts, "_DETACH_SECONDS", 0.5)
    place = tmp_path / "run/a"
    place.mkdir(parents=True)
    device = run(["losetup", "--find", "--show", image]).text.strip()
    run(["mount", device, place])
    with somebodys_namespace():
        assert sweep(tmp_path / "run", tmp_path) == (str(place),)
        assert f"{device}: is still held by somebody" in caplog.text
    wait_until(lambda: not attached(image), seconds=60, what="it to go with them")


def test_mounts_of_ones_own_are_seen_by_nobody_else(image: Path, target: Path) -> None:
    here, root = Path.cwd(), Path("/").stat().st_ino
    with ThreadPoolExecutor(1) as elsewhere, ExitStack() as theirs:
        assert elsewhere.submit(points_below, target.parent).result() == []
        with private_mounts(), loop_device(image) as device, mounted(device, target, filesystem="ext4"):
            assert points_below(target.parent) == [target]
            assert str(target) in run(["cat", "/proc/self/mountinfo"]).text, "a program of its own sees them"
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(points_below, target.parent).result() == [target], "and so does a thread of its own"
                assert elsewhere.submit(points_below, target.parent).result() == [], "and no other one"
                elsewhere.submit(theirs.enter_context, somebodys_namespace()).result()
        assert not attached(image), "who made a namespace meanwhile has nothing of it"
        assert (Path.cwd(), Path("/").stat().st_ino) == (here, root)
        assert not points_below(target.parent)


def test_what_others_mount_and_unmount_comes_through(target: Path) -> None:
    run(["mount", "-t", "tmpfs", "shared", target])
    run(["mount", "--make-shared", target])
    (target / "before").mkdir()
    (target / "after").mkdir()
    run(["mount", "-t", "tmpfs", "none", target / "before"])
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(int).result()
        with private_mounts():
            elsewhere.submit(run, ["mount", "-t", "tmpfs", "none", target / "after"]).result()
            elsewhere.submit(run, ["umount", target / "before"]).result()
            assert points_below(target.parent) == [target, target / "after"]
            run(["mount", "-t", "tmpfs", "none", target / "before"])
            assert target / "before" not in elsewhere.submit(points_below, target.parent).result()


def test_threads_that_go_on_do_not_keep_one_in_a_namespace(target: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with private_mounts():
            run(["mount", "-t", "tmpfs", "none", target])
            assert pool.submit(points_below, target.parent).result() == [target]
        assert points_below(target.parent) == []


def test_reading_by_way_of_a_second_place_sets_no_time_of_access(image: Path, target: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    with loop_device(image) as device, mounted(device, target, filesystem="ext4", options=("strictatime",)):
        (target / "directory").mkdir()
        (target / "link").symlink_to("directory")
        for path in (target / "directory", target / "link"):
            os.utime(path, (1, 1), follow_symlinks=False)
        with bound(target, second, for_reading=True):
            assert list((second / "directory").iterdir()) == []
            assert (second / "link").readlink() == Path("directory")
            with pytest.raises(OSError, match="Read-only"):
                (second / "word").write_text("not written")
        assert [(target / name).lstat().st_atime for name in ("directory", "link")] == [1, 1]
        (target / "word").write_text("the first place can be written as before")


def test_a_directory_is_mounted_at_a_second_place(image: Path, target: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    with loop_device(image) as device, mounted(device, target, filesystem="ext4", options=("noatime",)):
        (target / "directory").mkdir()
        with bound(target / "directory", second):
            (second / "word").write_text("kept")
            assert os.statvfs(second).f_flag & os.ST_NOATIME
            with pytest.raises(ConflictError, match="something is mounted there already"), bound(target, second):
                raise AssertionError("not reached")
        assert points_below(tmp_path) == [target]
        assert (target / "directory/word").read_text() == "kept"
        assert not list(second.iterdir())


def test_nothing_that_lasts_as_long_as_the_process_stays_where_mounts_were_private() -> None:
    """A thread that did would hold everything that was mounted there, and the disks below it."""
    code = (
        "import os\n"
        "from terra_core.system.deadline import Deadline\n"
        "from terra_core.system.namespaces import private_mounts\n"
        "with private_mounts(), Deadline(60, print):\n"
        "    pass\n"
        "tasks = os.listdir('/proc/self/task')\n"
        "print(len({os.readlink(f'/proc/self/task/{task}/ns/mnt') for task in tasks}))\n"
    )
    assert run([sys.executable, "-c", code]).text == "1\n"
