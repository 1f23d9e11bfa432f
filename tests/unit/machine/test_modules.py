"""Which kernel modules are loaded, and in which order; the index comes from an image and may say anything."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable

import pytest
from backports import zstd

from terra_core.errors import TerraError
from terra_core.machine.modules import ModuleIndex, module_name
from terra_core.machine.packed import unpacked_module

INDEX = {
    "modules.dep": b"""\
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/drivers/scsi/iscsi_tcp.ko: kernel/drivers/scsi/libiscsi_tcp.ko kernel/drivers/scsi/libiscsi.ko
kernel/drivers/scsi/libiscsi_tcp.ko: kernel/drivers/scsi/libiscsi.ko
kernel/drivers/scsi/libiscsi.ko:
""",
    "modules.softdep": b"# comment\nsoftdep ext4 pre: crypto-crc32c nothing post: late\nsoftdep cifs gcm\n",
    "modules.alias": b"alias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c_generic\nalias pci:v00* other\n",
    "modules.builtin": b"kernel/drivers/block/virtio_blk.ko\n",
}


def loaded(*names: str, **changes: bytes) -> list[str]:
    index = {**INDEX, **{f"modules.{name}": content for name, content in changes.items()}}
    return [module_name(module.path) for module in ModuleIndex.parse(index).to_load(names)]


def test_what_a_module_needs_is_loaded_before_it() -> None:
    assert loaded("iscsi_tcp") == ["libiscsi", "libiscsi_tcp", "iscsi_tcp"]


def test_what_a_module_would_like_is_tried_before_it() -> None:
    modules = ModuleIndex.parse(INDEX).to_load(["ext4"])
    assert {module_name(module.path): module.required for module in modules} == {
        "crc32c_intel": False, "crc32c_generic": False, "crc16": True, "jbd2": True, "ext4": True,
    }  # fmt: skip
    assert module_name(modules[-1].path) == "ext4"


def test_what_another_one_would_only_like_is_needed_when_it_is_asked_for() -> None:
    modules = ModuleIndex.parse(INDEX).to_load(["ext4", "crc32c_intel"])
    assert [module.required for module in modules if "crc32c" in module.path] == [True, False]


def test_a_name_may_have_hyphens() -> None:
    assert loaded("crc32c-intel") == ["crc32c_intel"]


def test_what_is_built_in_is_not_loaded() -> None:
    assert loaded("virtio_blk", "jbd2") == ["jbd2"]


def test_a_module_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(TerraError, match="the kernel of the image has no module nbd"):
        loaded("nbd")


def test_a_circle_is_named() -> None:
    with pytest.raises(TerraError, match="a circle: a needs b needs a"):
        loaded("a", dep=b"a.ko: b.ko\nb.ko: a.ko\n")


def test_a_circle_of_wishes_is_none() -> None:
    assert loaded("a", dep=b"a.ko:\nb.ko: a.ko\n", softdep=b"softdep a pre: b\n")[-1] == "a"


def test_thousands_that_need_each_other_are_refused() -> None:
    chain = b"".join(b"m%d.ko: m%d.ko\n" % (number, number + 1) for number in range(5000))
    with pytest.raises(TerraError, match="m0 need more than 400 others"):
        loaded("m0", dep=chain + b"m5000.ko:\n")
    with pytest.raises(TerraError, match="need more than 400 others"):
        loaded("a", dep=b"a.ko: " + b" ".join(b"m%d.ko" % number for number in range(5000)) + b"\n" + chain)


@pytest.mark.parametrize("path", ["../../x.ko", "a/../../x.ko", "/etc/x.ko", "kernel/x.ko;reboot", "x.ko.lz4", "x y.ko"])
def test_a_path_that_is_no_modules_is_passed_over(path: str) -> None:
    assert module_name(path) == ""
    with pytest.raises(TerraError, match="has no module x"):
        loaded("x", dep=path.encode() + b":\n")


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "x.ko": bytes, "x.ko.gz": gzip.compress, "x.ko.xz": lzma.compress, "x.ko.zst": zstd.compress,
}  # fmt: skip


@pytest.mark.parametrize(("path", "pack"), PACKERS.items())
def test_a_module_is_unpacked(path: str, pack: Callable[[bytes], bytes]) -> None:
    content = b"\x7fELF" + bytes(range(256)) * 20_000
    assert unpacked_module(pack(content), path, limit=len(content)) == content


@pytest.mark.parametrize(("path", "pack"), list(PACKERS.items())[1:])
def test_a_module_that_unpacks_without_end_or_ends_early_is_refused(path: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TerraError, match="more than 1000000 bytes when unpacked"):
        unpacked_module(pack(bytes(5 << 20)), path, limit=1_000_000)
    packed = pack(bytes(range(256)) * 100)
    with pytest.raises(TerraError, match=r"cut off|broken"):
        unpacked_module(packed[: len(packed) // 2], path, limit=1_000_000)
    with pytest.raises(TerraError, match=r"cut off|broken"):
        unpacked_module(b"no module", path, limit=1_000_000)
