"""The step that connects a machine, run by a shell with the functions that it has there; a program shows how it is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import Network
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


def boot(network: Network, directory: Path, *disks: str, program: str = "", before: str = "", after: str = "") -> Completed:
    """Run the step with a ``/run`` of its own.

    :param program: what the program does that connects a disk, beside printing its arguments.
    """
    client = directory / "qemu-nbd"
    client.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@"\n{program}\n')
    client.chmod(0o755)
    step = directory / "connect"
    step.write_text(connect([]).script)
    script = f"mount -t tmpfs none /run\nPATH={directory}:$PATH\n{_SHELL}\n{before}\n. {step}\n{after}"
    with network.inside():
        return run(["unshare", "--mount", "sh", "-c", script], env={"disks": "\n".join(disks)}, accept=(0, 1))


def test_each_disk_is_connected_to_a_device_of_its_own(network: Network, tmp_path: Path) -> None:
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", "fd00::4,20008,cm-01.8,1")
    said = lines_of(done.text)
    assert [line for line in said if line.startswith("--connect")] == ["--connect=/dev/nbd0", "--connect=/dev/nbd1"]
    images = [line for line in said if line.startswith("driver=nbd")]
    assert ["server.host=10.0.10.4,server.port=20007," in images[0], "export=0," in images[0]] == [True, True]
    assert ["server.host=fd00::4,server.port=20008," in images[1], "export=1," in images[1]] == [True, True]
    assert [line.rpartition("=")[2] for line in said if line.startswith("tls-creds-psk")] == ["cm-01.7", "cm-01.8"]


@pytest.mark.parametrize("before", ["unset IFS", "IFS=' '"])
def test_words_are_split_afterwards_as_before(network: Network, tmp_path: Path, before: str) -> None:
    after = "for word in $(echo a b); do echo \"word $word\"; done"
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", before=before, after=after)
    assert lines_of(done.text)[-2:] == ["word a", "word b"]


def test_a_server_that_is_late_is_waited_for(network: Network, tmp_path: Path) -> None:
    once = f"[ -e {tmp_path}/tried ] || {{ touch {tmp_path}/tried; exit 1; }}"
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", program=once, after="echo went on")
    assert done.text.count("--connect=/dev/nbd0") == 2
    assert lines_of(done.text)[-1] == "went on"


def test_a_server_that_never_comes_is_named(network: Network, tmp_path: Path) -> None:
    done = boot(network, tmp_path, "10.0.10.4,20007,cm-01.7,0", program="exit 1", after="echo went on")
    assert lines_of(done.text)[-1] == "panic: no connection to the disk 0 of cm-01.7 at 10.0.10.4, port 20007"
    assert "went on" not in done.text
