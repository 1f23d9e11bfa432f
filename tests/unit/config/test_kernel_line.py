"""Kernel lines, and what may stand in them."""

from __future__ import annotations

import pytest

from terra_core.config.kernel_line import is_argument, join_arguments, network_arguments
from terra_core.config.values import Mac
from terra_core.errors import TerraError

MAC = Mac("54:b2:03:07:f1:d1")


def test_the_interface_that_a_machine_boots_from_is_named_as_initramfs_tools_reads_it() -> None:
    assert join_arguments([*network_arguments(MAC), "boot=terra"]) == "ip=dhcp BOOTIF=01-54-b2-03-07-f1-d1 boot=terra"


@pytest.mark.parametrize("argument", ["quiet", "root=UUID=4f-a", "video=1024x768@60", "a=%-+/,:._"])
def test_an_argument(argument: str) -> None:
    assert is_argument(argument)


@pytest.mark.parametrize(
    "argument",
    ["", " ", "a b", "a\nb", "a\n", "a\tb", "a;b", "a#b", '"a"', "'a'", "$(id)", "${a}", "`id`", "{{a}}", "a\0b", "a\\b", "-a",
     "--", "a|b", "a&b", "a>b", "é", "a*", "x" * 513],
)  # fmt: skip
def test_text_that_could_end_a_line_or_start_something_is_refused(argument: str) -> None:
    with pytest.raises(TerraError, match="cannot be a kernel argument"):
        join_arguments(["quiet", argument])


def test_a_line_that_no_kernel_takes_is_refused() -> None:
    with pytest.raises(TerraError, match="a kernel takes 2047"):
        join_arguments([f"argument{number:03}=value" for number in range(150)])
