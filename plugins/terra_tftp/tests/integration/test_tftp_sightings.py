"""What machines do is seen in the real dnsmasq's log, also over its end: theirs alone, once, and with its time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.network import CONTROLLER, GATEWAY
from terra_core.config.kernel_line import bootif
from terra_core.config.values import Hostname, Mac
from terra_core.hookspecs import NodeBoot
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from terra_tftp import plugin
from tftp_lab import BOOT_NETWORK, CLIENT, MakeSession
from tftp_lab.clients import accept, discover, fetch

pytest_plugins = ["tftp_lab.fixtures"]

MAC, STRANGER = Mac("54:b2:03:07:f1:d1"), Mac("02:00:00:00:00:99")
MENU = f"pxelinux.cfg/{bootif(MAC)}"


@contextmanager
def own(address: str) -> Iterator[None]:
    """Have an address in the block, as the machine that has got it."""
    run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    yield
    run(["ip", "address", "del", f"{address}/32", "dev", "lo"])


def test_a_machine_is_seen_and_no_stranger_passes_for_it(tftp_session: MakeSession, tftp_kernel: Path) -> None:
    session = tftp_session(dhcp="server", range=["10.0.10.50", "10.0.10.99"])
    node = NodeBoot(
        hostname=Hostname("cm-01"),
        mac=MAC,
        image=f"sha256:{'a' * 64}",
        kernel=tftp_kernel,
        initrd=tftp_kernel.with_name("initrd.img"),
    )
    plugin.publish_boot(node, session)
    plugin.start_boot(BOOT_NETWORK, [node], session)
    start = plugin.follow_boots("", session)
    assert start.seen == ()
    begun = time.time()
    address = accept(CLIENT, MAC, discover(CLIENT, MAC, architecture=0)).address
    other = accept(CLIENT, STRANGER, discover(CLIENT, STRANGER, architecture=0)).address
    with own(address), own(other):
        fetch(CONTROLLER, MENU, source=other)
        fetch(CONTROLLER, MENU, source=GATEWAY)
        fetch(CONTROLLER, MENU, source=address)
        fetch(CONTROLLER, "nodes/cm-01/vmlinuz", source=address)
        wait_until(lambda: len(plugin.follow_boots(start.position, session).seen) == 6, seconds=60, what="the log")
        found = plugin.follow_boots(start.position, session)
        assert [(one.mac, one.text, one.file) for one in found.seen] == [
            (MAC, "asks for an address", ""),
            (MAC, f"has the address {address}", ""),
            (STRANGER, "asks for an address", ""),
            (STRANGER, f"has the address {other}", ""),
            (MAC, f"is sent {MENU}", MENU),
            (MAC, "is sent vmlinuz", "vmlinuz"),
        ]
        assert all(begun - 2 < one.time <= time.time() for one in found.seen)
        assert plugin.follow_boots(found.position, session).seen == ()
        fetch(CONTROLLER, MENU, source=address)
        plugin.stop_boot(session)
        plugin.start_boot(BOOT_NETWORK, [node], session)
        fetch(CONTROLLER, MENU, source=address)
        wait_until(lambda: len(plugin.follow_boots(found.position, session).seen) == 2, seconds=60, what="both logs")
