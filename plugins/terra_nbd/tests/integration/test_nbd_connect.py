"""The step that connects a machine, run by a shell with the functions that it has there, and what closes its connections again.

Programs show how they are started.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import Network
from terra_core.hookspecs import RenderedFile
from terra_core.system.process import Completed, run
from terra_core.system.reading import lines_of
from terra_nbd.machine import connect

_SHELL = """
terra_words() { printf '%s\\n' "$disks"; }
panic() { echo "panic: $1"; exit 1; }
sleep() { :; }
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network("nbdstep") as made:
        yield made


def boot(
    network: Network, directory: Path, *disks: str, program: str = "", attach: str = "", before: str = "", after: str = ""
) -> Completed:
    """Run the step with a ``/run`` of its own.

    :param program: what the program does that connects a disk, beside printing its arguments.
    :param attach: what the one does that hands a connection to the kernel, beside printing its arguments on one line.
    """
    for name, body in {
        "qemu-nbd": f'printf "%s\\n" "$@"\n{program}',
        "nbd-client": f'echo "attach $*"\n{attach}',
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    step = directory / "connect"
    step.write_text(connect([]).script)
    script = f"mount -t tmpfs none /run\nPATH={directory}:$PATH\n{_SHELL}\n{before}\n. {step}\n{after}"
    with network.inside():
        return run(["unshare", "--mount", "sh", "-c", script], env={"disks": "\n".join(disks)}, accept=(0, 1))


def test_each_disk_is_connected_to_a_device_of_its_own(network: Network, tmp_path: Path) -> None:
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", "fd00::4,20008,cm-01.8,1")
    said = lines_of(done.text)
    sockets = [line.partition("=")[2] for line in said if line.startswith("--socket")]
    assert [line for line in said if line.startswith("attach")] == [
        f"attach -unix {socket} /dev/nbd{at} -name disk" for at, socket in enumerate(sockets)
    ]
    assert len(set(sockets)) == 2
    assert "--connect" not in done.text, "a disk that a process holds by ioctl(2) is gone when that is stopped for a moment"
    images = [line for line in said if line.startswith("driver=nbd")]
    assert ["server.host=10.0.10.4,server.port=20007," in images[0], "export=0," in images[0]] == [True, True]
    assert ["server.host=fd00::4,server.port=20008," in images[1], "export=1," in images[1]] == [True, True]
    assert [line.rpartition("=")[2] for line in said if line.startswith("tls-creds-psk")] == ["cm-01.7", "cm-01.8"]


def test_a_disk_that_the_kernel_does_not_take_is_connected_anew(network: Network, tmp_path: Path) -> None:
    program = f"sleep 60 & echo $! > /run/terra-nbd/nbd0.pid; echo $! >> {tmp_path}/processes"
    once = f"[ -e {tmp_path}/tried ] || {{ touch {tmp_path}/tried; exit 1; }}"
    first, second = (f"$(sed -n {at}p {tmp_path}/processes)" for at in (1, 2))
    # The step does not wait for what it ends.
    ended = f"while grep -aq sleep /proc/{first}/cmdline 2>/dev/null && [ $((at += 1)) -lt 600 ]; do command sleep 0.1; done"
    state = f"at=0; {ended}; grep -a sleep /proc/{first}/cmdline || echo ended; kill {second}"
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", program=program, attach=once, after=state)
    assert done.text.count("attach") == 2
    assert lines_of(done.text)[-1] == "ended"


@pytest.mark.parametrize("before", ["unset IFS", "IFS=' '"])
def test_words_are_split_afterwards_as_before(network: Network, tmp_path: Path, before: str) -> None:
    after = "for word in $(echo a b); do echo \"word $word\"; done"
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", before=before, after=after)
    assert lines_of(done.text)[-2:] == ["word a", "word b"]


def test_a_server_that_is_late_is_waited_for(network: Network, tmp_path: Path) -> None:
    once = f"[ -e {tmp_path}/tried ] || {{ touch {tmp_path}/tried; exit 1; }}"
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", program=once, after="echo went on")
    assert done.text.count("--socket=/run/terra-nbd/nbd0") == 2
    assert lines_of(done.text)[-1] == "went on"


def test_a_server_that_never_comes_is_named(network: Network, tmp_path: Path) -> None:
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", program="exit 1", after="echo went on")
    assert lines_of(done.text)[-1] == "panic: no connection to the disk 0 of cm-01.7 at 10.0.10.4, port 20007"
    assert "went on" not in done.text


@pytest.mark.parametrize(("root", "code"), [("mount -o remount,bind,ro /", 128 + signal.SIGTERM), ("", 128 + signal.SIGUSR1)])
def test_connections_are_closed_when_the_root_is_read_only(root: str, code: int, tmp_path: Path) -> None:
    (script,) = connect([]).system
    assert isinstance(script, RenderedFile)
    disconnect = tmp_path / "disconnect"
    disconnect.write_bytes(script.content)
    run(["unshare", "--mount", "sh", "-c", f"""\
mount -t tmpfs none /run && mkdir /run/terra-nbd || exit 1
sleep 60 & echo $! > /run/terra-nbd/nbd0.pid
{root}
sh {disconnect} || exit 1
kill -USR1 $! # which comes too late where it is ended already
wait $!
exit $?"""], accept=(code,))
