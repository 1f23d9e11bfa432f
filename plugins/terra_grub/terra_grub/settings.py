"""``[grub]``: the plugin's own table."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from terra_core.config.kernel_line import is_argument
from terra_core.config.structure import Problem, has
from terra_core.config.values import shown

_LONGEST_TIMEOUT = 3600


@frozen(kw_only=True)
class Settings:
    """``[grub]`` of node.toml.

    :param kernel_arguments: what stands at the end of every kernel line.
    :param timeout: how long the menu is shown, in seconds.
    :param serial: the serial port that the menu is shown on besides the screen, by number; none when negative.
    """

    kernel_arguments: tuple[str, ...] = ("net.ifnames=0", "console=tty0", "console=ttyS0,115200")
    timeout: int = 3
    serial: int = 0

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        for at, argument in enumerate(self.kernel_arguments if has(self, "kernel_arguments") else ()):
            if isinstance(argument, str) and not is_argument(argument):
                expected = "one kernel argument of letters, digits and ._:,/=+@%-, beginning with a letter or digit"
                yield Problem(f"kernel_arguments[{at}]", f"expected {expected}, got {shown(argument)}")
        if has(self, "timeout") and not 0 <= self.timeout <= _LONGEST_TIMEOUT:
            yield Problem("timeout", f"expected seconds, from 0 to {_LONGEST_TIMEOUT}, got {shown(self.timeout)}")
        if has(self, "serial") and not -1 <= self.serial <= 3:
            yield Problem("serial", f"expected a serial port from 0 to 3, or -1 for none, got {shown(self.serial)}")
