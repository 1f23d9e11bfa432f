"""What the next version of a network machine decides its trial by: units of systemd, which do nothing in any other boot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from terra_core.controller.records import TRIAL
from terra_core.system.rendered import RenderedFile, RenderedLink
from terra_core.system.unit_names import OF_USERS

_PLACE = "etc/systemd/system"
_WANTS = f"{_PLACE}/multi-user.target.wants"
_CHECK, _RETURN = "terra-check.service", "terra-return.service"
_REPORT_SECONDS = 300
"""How long the report of a machine that is not well is waited for, before it starts its former version."""


def trial_units(check: Sequence[str], seconds: float) -> Iterator[RenderedFile | RenderedLink]:
    """Yield the units: one runs the machine's own check, and one starts the machine again when it does not come up well.

    They are in the system for good, and run in a boot alone that has the word :data:`TRIAL` on its kernel line.

    :param check: a program with its arguments, which no shell reads; empty for none.
    :param seconds: how long a trial may take.
    """
    if check:
        yield from _unit(_CHECK, _check(check, seconds))
    yield from _unit(_RETURN, _return(seconds))


def _unit(name: str, content: str) -> Iterator[RenderedFile | RenderedLink]:
    yield RenderedFile(path=f"{_PLACE}/{name}", content=content.encode())
    yield RenderedLink(path=f"{_WANTS}/{name}", target=f"../{name}")


def _check(check: Sequence[str], seconds: float) -> str:
    # With a colon, systemd takes a dollar as it is.
    words = " ".join(map(_quoted, (f":{check[0]}", *check[1:])))
    return f"""\
# Written by Terra: [upgrade] check of this machine's node.toml. That it fails is a reason to start the former version.
[Unit]
Description=Check this version of the system, which is on trial
ConditionKernelCommandLine={TRIAL}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={words}
TimeoutStartSec={seconds:.0f}
"""


def _return(seconds: float) -> str:
    state = '\\"$state\\"'
    end = f"timeout {seconds:.0f} systemctl is-system-running --wait"
    units = "systemctl list-units --state=failed --plain --no-legend --no-pager --full"
    # Those of users who log in do not count: any user could keep a machine from being upgraded.
    well = f"{{ test {state} = degraded && ! {units} | grep -Evq '^({OF_USERS}) '; }}"
    reported = f"timeout {_REPORT_SECONDS} sh -c 'while systemctl --quiet is-active terra-report.service; do sleep 1; done'"
    return f"""\
# Written by Terra: the boot files lead to the former version already, so that a restart is the way back.
[Unit]
Description=Start the former version of the system where this one, which is on trial, is not well
ConditionKernelCommandLine={TRIAL}
FailureAction=reboot

[Service]
Type=exec
ExecStart=:/bin/sh -c "state=$({end}); test {state} = running || {well} || {{ {reported}; exit 1; }}"
"""


def _quoted(word: str) -> str:
    """Return a word for a line of a unit (systemd.syntax(7), systemd.service(5))."""
    plain = (
        one if one.isprintable() and one not in '"\\' else "".join(f"\\x{byte:02x}" for byte in one.encode()) for one in word
    )
    return f'"{"".join(plain).replace("%", "%%")}"'
