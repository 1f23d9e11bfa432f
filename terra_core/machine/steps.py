"""The archive that a machine's boot steps come in, behind the initial RAM disk of its image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.hookspecs import BootStep, RenderedFile
from terra_core.image.contained import ContainedRoot
from terra_core.image.kernels import Pair, modules_of
from terra_core.image.ramdisk import Contents
from terra_core.machine.archive import MERGED, File, make_archive
from terra_core.machine.modules import INDEX, Module, ModuleIndex, module_name
from terra_core.machine.packed import unpacked_module
from terra_core.machine.programs import check_programs, collect_programs

BOOT = "terra"
"""The word after ``boot=`` on the kernel line: the initial RAM disk runs its script of that name."""
_RUNNER = f"scripts/{BOOT}"
_OWN = "usr/lib/terra"
_STEPS = f"{_OWN}/steps"
_MODULES = f"{_OWN}/modules"
_HOST_SCRIPT = "scripts/local"
"""A script of initramfs-tools(7) in the RAM disk, which runs the steps."""
_WATCHDOG = "softdog"
"""The kernel's own watchdog, for a machine that has no other."""
_OTHERS = {"dracut": ("usr/lib/dracut-lib.sh", "lib/dracut-lib.sh"), "mkinitcpio": ("init_functions",)}
_MODULE_BYTES = 128 << 20
_ALL_MODULE_BYTES = 256 << 20
_FILE = re.compile(r"(?:[A-Za-z0-9_+@][A-Za-z0-9_+.,:@~-]*/)*[A-Za-z0-9_+@.][A-Za-z0-9_+.,:@~-]*")


@frozen(kw_only=True)
class BootSteps:
    """The steps of a machine in its initial RAM disk.

    :param connect: makes the disks of its root appear; ``None`` when they are its own.
    :param mount: mounts its root.
    """

    connect: BootStep | None = None
    mount: BootStep

    @property
    def all(self) -> tuple[BootStep, ...]:
        """Both, in the order that they are run in."""
        return (self.mount,) if self.connect is None else (self.connect, self.mount)

    @property
    def modules(self) -> tuple[str, ...]:
        """The kernel modules that they need, each once."""
        return tuple(dict.fromkeys(name for step in self.all for name in step.modules))


def problems_of(steps: BootSteps, initrd: str, held: Contents, index: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what keeps boot steps from running with an image's RAM disk and kernel, before anything is written.

    :param initrd: the path of the RAM disk in the image.
    :param held: what it holds.
    :param index: the files of :data:`~terra_core.machine.modules.INDEX` beside the kernel's modules.
    """
    if _HOST_SCRIPT not in held.paths:
        if not held.unread:
            yield _of_another_kind(initrd, held)
        return
    for name in dict.fromkeys(name for step in steps.all for name in step.needs):
        if not held.has_program(name) and not held.unread:
            yield (
                f"the initial RAM disk /{initrd} of the image has no program {name}, which the machine needs to find its root: "
                "install the package that brings it with its hook for initramfs-tools, and run update-initramfs"
            )
    lacking = _lacking(steps.modules, held)
    if "modules.dep" not in index:  # a kernel without modules, or one that has them in its RAM disk alone
        return
    try:
        modules = ModuleIndex.parse(index).to_load(lacking) if lacking else ()
    except TerraError as error:
        yield f"{error.message}, which the machine needs to find its root: install a kernel that has it"
        return
    if modules and not held.has_program("insmod") and not held.unread:
        yield (
            f"the initial RAM disk /{initrd} of the image has neither {', '.join(lacking)} nor the program insmod to load it: "
            f"add the module to /etc/initramfs-tools/modules of the image, and run update-initramfs"
        )


def check_steps(steps: BootSteps) -> None:
    """Check what needs no image: that the programs are installed here, and that files have names that can be packed.

    :raises TerraError: naming the program or file.
    """
    for step in steps.all:
        check_programs(step.programs)
        for file in step.files:
            _checked(file)


def make_steps_archive(steps: BootSteps, inside: ContainedRoot, kernel: Pair | None, held: Contents | None) -> bytes:
    """Return the archive for a machine.

    :param inside: the machine's root, with its image laid down; not to be trusted.
    :param kernel: the kernel that it boots; ``None`` for one that is not the image's, whose RAM disk has to have the modules.
    :param held: what the RAM disk of that kernel holds; ``None`` when nobody knows.
    :raises TerraError: when a module or program is missing, or something is too large.
    """
    runner = resources.files(__package__).joinpath("scripts/terra").read_bytes()
    files = {_RUNNER: File(content=runner), f"{_STEPS}/mount": File(content=steps.mount.script.encode())}
    if steps.connect is not None:
        files[f"{_STEPS}/connect"] = File(content=steps.connect.script.encode())
    files.update(_modules(steps.modules, inside, kernel, held))
    if steps.connect is None:  # a version of its system may be on trial
        files.update(_watchdog(inside, kernel, held))
    files.update(collect_programs([name for step in steps.all for name in step.programs]))
    for file in (file for step in steps.all for file in step.files):
        _checked(file)
        _outside_links(file.path, held)
        files[file.path] = File(content=file.content, mode=file.mode)
    return make_archive(files)


def _modules(names: Sequence[str], inside: ContainedRoot, kernel: Pair | None, held: Contents | None) -> dict[str, File]:
    if not names:
        return {}
    files = {f"{_MODULES}/wanted": File(content="".join(f"{name}\n" for name in names).encode())}
    directory = modules_of(inside, kernel) if kernel is not None else ""
    there = _module_names(held)
    if not directory or not _lacking(names, held):
        return files
    index = {name: inside.read(f"{directory}/{name}", limit=most) or b"" for name, most in INDEX.items()}
    lines, total = [], 0
    for module in ModuleIndex.parse(index).to_load(names):
        name = module_name(module.path)
        need = "required" if module.required else "optional"
        if name in there:
            lines.append(f"{name} - {need}\n")
            continue
        content = _content(inside, f"{directory}/{module.path}", module)
        if content is None:
            continue
        total += len(content)
        if total > _ALL_MODULE_BYTES:
            raise TerraError(f"the modules {', '.join(names)} of the image have more than {_ALL_MODULE_BYTES} bytes")
        files[f"{_MODULES}/{name}.ko"] = File(content=content)
        lines.append(f"{name} {name}.ko {need}\n")
    return {**files, f"{_MODULES}/list": File(content="".join(lines).encode())}


def _watchdog(inside: ContainedRoot, kernel: Pair | None, held: Contents | None) -> dict[str, File]:
    """Return the modules of the kernel's own watchdog, as far as the image has it and its RAM disk has not."""
    directory = modules_of(inside, kernel) if kernel is not None else ""
    if not directory or _WATCHDOG in _module_names(held):
        return {}
    index = {name: inside.read(f"{directory}/{name}", limit=most) or b"" for name, most in INDEX.items()}
    try:
        modules = ModuleIndex.parse(index).to_load([_WATCHDOG])
    except TerraError:
        return {}
    files = {}
    for module in modules:
        content = _content(inside, f"{directory}/{module.path}", module)
        if content is not None:
            files[f"{module_name(module.path)}.ko"] = File(content=content)
    if not files:  # built in
        return {}
    listed = "".join(f"{name}\n" for name in files).encode()
    return {**{f"{_MODULES}/{name}": file for name, file in files.items()}, f"{_MODULES}/watchdog": File(content=listed)}


def _content(inside: ContainedRoot, path: str, module: Module) -> bytes | None:
    packed = inside.read(path, limit=_MODULE_BYTES)
    if packed is None and module.required:
        raise TerraError(f"/{path} of the image is missing, and the machine needs it to find its root")
    return None if packed is None else unpacked_module(packed, path, limit=_MODULE_BYTES)


def _lacking(names: Sequence[str], held: Contents | None) -> tuple[str, ...]:
    there = _module_names(held)
    return tuple(name for name in names if name.replace("-", "_") not in there)


def _module_names(held: Contents | None) -> frozenset[str]:
    """Return the kernel modules that a RAM disk has."""
    paths = held.paths if held is not None else ()
    parts = (path.partition("lib/modules/")[2].partition("/")[2] for path in paths)
    return frozenset(name for part in parts if (name := module_name(part)))


def _of_another_kind(initrd: str, held: Contents) -> str:
    kind = next((kind for kind, marks in _OTHERS.items() if any(mark in held.paths for mark in marks)), "")
    made = f"was made by {kind}" if kind else f"has no {_HOST_SCRIPT}"
    return (
        f"the initial RAM disk /{initrd} of the image {made}, and a machine finds its root by steps that run in one of "
        "initramfs-tools(7): build the image on terraos, or install initramfs-tools in it and run update-initramfs"
    )


def _checked(file: RenderedFile) -> None:
    own = file.path.startswith(f"{_OWN}/") or file.path in (_RUNNER, _OWN, "init")
    if not _FILE.fullmatch(file.path) or own or file.path in MERGED:
        raise TerraError(f"{file.path!r} is no name that a file of a boot step can have")
    if file.owner not in ("root", "root:root"):
        raise TerraError(f"{file.path}: belongs to {file.owner}, and there is only root in an initial RAM disk")


def _outside_links(path: str, held: Contents | None) -> None:
    parts = path.split("/")
    above = {"/".join(parts[:at]) for at in range(1, len(parts))} - MERGED
    if held is not None and (found := above & held.links):
        raise TerraError(f"{path}: /{min(found)} is a link in the initial RAM disk of the image, so the file cannot be there")
