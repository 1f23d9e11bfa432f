"""Kernel lines, and what may stand in them."""

from __future__ import annotations

import pytest

from terra_core.config.values import Mac
from terra_core.errors import TerraError
from terra_tftp.kernel_line import is_argument, kernel_line

MAC = Mac("54:b2:03:07:f1:d1")


def test_a_line_has_what_network_boot_needs_then_the_nodes_arguments_then_the_configured_ones() -> None:
    node = ("boot=terra", "ISCSI_TARGET_NAME=iqn.2024.san.example.com.cm-01:fs")
    assert kernel_line(MAC, node, ("console=tty0", "console=ttyS0,115200")) == (
        "ip=dhcp BOOTIF=01-54-b2-03-07-f1-d1 boot=terra ISCSI_TARGET_NAME=iqn.2024.san.example.com.cm-01:fs "
        "console=tty0 console=ttyS0,115200"
    )


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
        kernel_line(MAC, [argument], ())
    with pytest.raises(TerraError, match="cannot be a kernel argument"):
        kernel_line(MAC, [], [argument])


def test_a_line_that_no_kernel_takes_is_refused() -> None:
    with pytest.raises(TerraError, match="a kernel takes 2047"):
        kernel_line(MAC, [f"argument{number:03}=value" for number in range(120)], ())
