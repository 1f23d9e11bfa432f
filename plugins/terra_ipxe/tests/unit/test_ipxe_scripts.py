"""Scripts, word for word; and what cannot be put into one."""

from __future__ import annotations

import pytest
from attrs import evolve

from terra_core.config.values import Hostname, Mac
from terra_core.errors import TerraError
from terra_ipxe.scripts import machine_script, script_path, start_script
from terra_tftp.menus import Entry

ENTRY = Entry(
    hostname=Hostname("cm-01"),
    kernel="nodes/cm-01.0a/vmlinuz",
    initrds=("nodes/cm-01.0a/initrd.img", "nodes/cm-01.0a/steps.img"),
    line="ip=dhcp boot=terra",
)


def test_the_script_of_a_machine() -> None:
    assert machine_script(ENTRY) == """\
#!ipxe
# cm-01
echo Terra: cm-01 boots over the network
kernel --name vmlinuz /nodes/cm-01.0a/vmlinuz initrd=initrd.img initrd=steps.img ip=dhcp boot=terra || goto failed
initrd --name initrd.img /nodes/cm-01.0a/initrd.img || goto failed
initrd --name steps.img /nodes/cm-01.0a/steps.img || goto failed
boot || goto failed
:failed
echo Terra: cm-01 could not be booted; it tries again
sleep 5
reboot
"""


def test_the_script_of_any_machine_asks_for_its_own_and_boots_no_kernel() -> None:
    lines = start_script().splitlines()
    assert lines[0] == "#!ipxe"
    asked = lines[1].removeprefix("chain --autofree ").removesuffix(" ||")
    assert asked.replace("${netX/mac:hexhyp}", "54-b2-03-07-f1-d1") == script_path(Mac("54:b2:03:07:f1:d1"))
    assert not [line for line in lines if line.startswith(("kernel", "initrd", "boot"))]
    assert "Terra has no disk for this machine" in start_script()


@pytest.mark.parametrize("argument", ["a\nshell", "${net0/ip}", "a||shell", "a&&b", "#", "-n", "--", '"a"'])
def test_an_argument_that_could_be_a_command_is_refused(argument: str) -> None:
    for line in (f"ip=dhcp {argument}", argument):
        try:
            script = machine_script(evolve(ENTRY, line=line))
        except TerraError:
            continue
        assert script.splitlines()[3].split()[6:-3] == line.split(), "words of the kernel line, and nothing else"
        assert len(script.splitlines()) == len(machine_script(ENTRY).splitlines())


def test_a_line_that_is_too_long_with_what_names_the_ram_disks_is_refused() -> None:
    line = " ".join(["x" * 500] * 4)
    machine_script(evolve(ENTRY, line=line))
    with pytest.raises(TerraError, match="a kernel takes 2047"):
        machine_script(evolve(ENTRY, line=f"{line} {'y' * 40}"))
