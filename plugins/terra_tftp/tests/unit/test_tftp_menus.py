"""Menus, word for word."""

from __future__ import annotations

from terra_core.config.values import Hostname
from terra_tftp.menus import Entry, grub_menu, grub_start, pxelinux_default, pxelinux_menu

ENTRY = Entry(
    hostname=Hostname("cm-01"),
    kernel="nodes/cm-01/vmlinuz",
    initrds=("nodes/cm-01/initrd.img", "nodes/cm-01/steps.img"),
    line="ip=dhcp boot=terra",
)


def test_the_menu_of_a_machine_for_bios() -> None:
    assert pxelinux_menu(ENTRY) == """\
# cm-01
SAY Terra: cm-01 boots over the network
DEFAULT terra
PROMPT 0
LABEL terra
  LINUX nodes/cm-01/vmlinuz
  INITRD nodes/cm-01/initrd.img,nodes/cm-01/steps.img
  APPEND ip=dhcp boot=terra
"""


def test_the_menu_of_a_machine_for_uefi() -> None:
    assert grub_menu(ENTRY) == """\
# cm-01
echo "Terra: cm-01 boots over the network"
linux /nodes/cm-01/vmlinuz ip=dhcp boot=terra
initrd /nodes/cm-01/initrd.img /nodes/cm-01/steps.img
boot
echo "Terra: cm-01 could not be booted; it tries again"
sleep 5
reboot
"""


def test_any_other_machine_is_offered_no_kernel() -> None:
    for menu in (pxelinux_default(), grub_start()):
        assert "Terra has no disk for this machine" in menu
        assert not [line for line in menu.splitlines() if line.strip().lower().startswith(("linux", "kernel", "initrd"))]
    assert "LOCALBOOT" in pxelinux_default()
    assert "configfile /grub/${net_default_mac}.cfg\n" in grub_start()


def test_grub_starts_what_is_on_a_disk_and_never_ends() -> None:
    """Check that GRUB never ends well, since that would end the firmware's boot order, in its setup menu."""
    lines = [line.strip() for line in grub_start().splitlines()]
    (loaders,) = (line for line in lines if line.startswith("for "))
    assert loaders.split()[3] == "(*)/EFI/*/shimx64.efi"
    assert loaders.endswith("(*)/EFI/BOOT/BOOTX64.EFI; do"), "the fallback is the last choice"
    assert 'if chainloader "$file"; then boot; fi' in lines
    assert lines[-1] == "reboot"
    for menu in (grub_start(), grub_menu(ENTRY)):
        assert "exit" not in menu
