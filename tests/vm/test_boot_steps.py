"""An archive of boot steps, unpacked by a kernel after the RAM disk of its image: what is in it works there."""

from __future__ import annotations

from pathlib import Path

from lab.images import build_base_images
from terra_core.hookspecs import BootStep, RenderedFile
from terra_core.image.contained import ContainedRoot
from terra_core.image.kernels import find_kernels
from terra_core.image.ramdisk import contents
from terra_core.machine.archive import join_archives
from terra_core.machine.steps import BootSteps, make_steps_archive
from terra_core.system.emulator import acceleration
from terra_core.system.process import run
from terra_core.system.reading import lines_of

_SECONDS = 300
_RULES = "lib/udev/rules.d/99-terra-test.rules"
_SCRIPT = f"""\
echo "steps: modules $(cat /sys/module/nf_tables/initstate) $(cat /sys/module/libcrc32c/initstate)"
echo "steps: program $(setpriv --version)"
echo "steps: file $(cat /{_RULES})"
echo "steps: link $(readlink /lib)"
echo "steps: word $(terra_word terra.test)"
reboot -f
"""
_STEP = BootStep(
    script=_SCRIPT, modules=("nf_tables",), programs=("setpriv",), files=(RenderedFile(path=_RULES, content=b"# a rule\n"),)
)


def test_modules_programs_and_files_of_a_step_are_there_when_it_runs(tmp_path: Path) -> None:
    root, initrd = tmp_path / "root", tmp_path / "initrd"
    root.mkdir()
    tar = build_base_images()["terraos"].tar
    run(["tar", "--extract", "--file", tar, "--directory", root, "./boot", "./usr/lib/modules"], timeout=300)
    with ContainedRoot(root) as inside:
        kernel = find_kernels(inside).chosen
        assert kernel is not None
        own = b"".join(inside.pieces(kernel.initrd))
        held = contents(iter([own]))
        names = {path.rpartition("/")[2] for path in held.paths}
        assert "libcrc32c.ko" in names, "one that another one needs is in the RAM disk"
        assert not {"nf_tables.ko", "nfnetlink.ko"} & names, "the others come from the tree of the image"
        archive = make_steps_archive(BootSteps(mount=_STEP), inside, kernel, held)
    initrd.write_bytes(join_archives(own, archive))
    line = "boot=terra terra.test=a=b console=ttyS0 panic=-1"
    machine = ["-nodefaults", "-display", "none", "-no-reboot", "-machine", "q35,graphics=off", "-m", "1024"]
    boot = ["-serial", "stdio", "-kernel", str(root / kernel.kernel), "-initrd", str(initrd), "-append", line]
    done = run(["qemu-system-x86_64", *machine, *acceleration("tcg"), *boot], timeout=_SECONDS)
    said = [line.partition("steps: ")[2].strip() for line in lines_of(done.text) if "steps: " in line]
    program = run(["setpriv", "--version"]).text.strip()
    assert said == [
        "modules live live", f"program {program}", "file # a rule", "link usr/lib", "word a=b",
    ], done.text[-3000:]  # fmt: skip
