"""What machines get: boot loaders by TFTP, the address of a script by DHCP, and the rest by HTTP."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from lab.network import BRIDGE, CONTROLLER
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs import NodeBoot
from terra_core.system.process import run
from terra_core.system.processes import find_daemon, start_time
from terra_core.system.progress import Event
from terra_core.system.waiting import wait_until
from terra_ipxe import IpxePlugin, plugin
from terra_tftp import plugin as tftp
from tftp_lab import BOOT_NETWORK, CLIENT, MakeSession
from tftp_lab.clients import TftpError, accept, ask_boot_server, discover, fetch

pytest_plugins = ["tftp_lab.fixtures"]

HOST, MAC = Hostname("cm-01"), Mac("54:b2:03:07:f1:d1")
PORT = 8069
SCRIPT = "/machines/01-54-b2-03-07-f1-d1.ipxe"
URL = f"http://{CONTROLLER}:{PORT}/boot.ipxe"
LOADERS = {0: "undionly.kpxe", 7: "snponly.efi", 9: "snponly.efi"}
"""The boot file for each client architecture of RFC 4578."""
SERVER = {"dhcp": "server", "range": ["10.0.10.50", "10.0.10.99"]}


@pytest.fixture
def ipxe_session(tftp_network: object, tftp_paths: Paths) -> Iterator[MakeSession]:
    """Yield a function that makes a session with a table ``[ipxe]``; stop the services at the end."""

    def make(**table: object) -> Session:
        return Session(source="controller.toml", tables={"ipxe": table}, paths=tftp_paths)

    yield make
    plugin.stop_boot(make())


@pytest.fixture
def node(tftp_kernel: Path, tmp_path: Path) -> NodeBoot:
    (tmp_path / "steps.img").write_bytes(b"steps")
    return NodeBoot(
        hostname=HOST,
        mac=MAC,
        image=f"sha256:{'a' * 64}",
        kernel=tftp_kernel,
        initrd=tmp_path / "initrd.img",
        steps=tmp_path / "steps.img",
    )


def get(path: str, *, method: str = "GET", port: int = PORT, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(CONTROLLER, port, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def pid(session: Session) -> int:
    process = find_daemon("lighttpd", str(session.paths.run / "ipxe/lighttpd.conf"))
    assert process is not None
    return process.pid


def test_a_machine_follows_its_way_from_the_firmware_to_its_files(ipxe_session: MakeSession, node: NodeBoot) -> None:
    session = ipxe_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [], session)
    plugin.publish_boot(node, session)
    for architecture, loader in LOADERS.items():
        offer = discover(CLIENT, MAC, architecture=architecture)
        assert (offer.boot_file, offer.next_server) == (loader, CONTROLLER)
        assert fetch(CONTROLLER, loader) == Path("/usr/lib/ipxe", loader).read_bytes()
        assert discover(CLIENT, MAC, architecture=architecture, ipxe=True).boot_file == URL
    assert b"machines/01-${netX/mac:hexhyp}.ipxe" in get("/boot.ipxe")[1]
    words = [line.split() for line in get(SCRIPT)[1].decode().splitlines()]
    files = [words[3] for words in words if words[0] in ("kernel", "initrd")]
    assert [get(path)[1] for path in files] == [b"kernel" * 10_000, b"initrd" * 10_000, b"steps"]
    plugin.withdraw_boot(HOST, MAC, session)
    assert all(get(path)[0].status in (403, 404) for path in (SCRIPT, *files))


def test_a_proxy_names_the_boot_loader_or_the_script_and_gives_no_address(ipxe_session: MakeSession) -> None:
    plugin.start_boot(BOOT_NETWORK, [], ipxe_session(dhcp="proxy"))
    own = "10.0.10.77"
    run(["ip", "neighbour", "add", own, "lladdr", MAC, "dev", BRIDGE, "nud", "permanent"])
    for architecture, loader in LOADERS.items():
        assert discover(CLIENT, MAC, architecture=architecture).address == "0.0.0.0"
        assert ask_boot_server(CLIENT, MAC, CONTROLLER, own, architecture=architecture).boot_file == loader
        told = discover(CLIENT, MAC, architecture=architecture, ipxe=True)
        assert (told.address, told.boot_file) == ("0.0.0.0", URL)


def test_nothing_but_what_machines_load_is_offered(ipxe_session: MakeSession, node: NodeBoot) -> None:
    session = ipxe_session()
    plugin.start_boot(BOOT_NETWORK, [], session)
    plugin.publish_boot(node, session)
    tree = session.paths.tftp / "ipxe/http"
    (own,) = (tree / "nodes").iterdir()
    (session.paths.root / "secret").write_text("secret")
    for name in ("vmlinuz", "steps.img"):
        (tree / "kernel" / name).symlink_to(session.paths.root / "secret")
    for path in (
        "/", "/nodes", "/nodes/", "/machines/", f"/nodes/{own.name}", f"/nodes/{own.name}/", f"/nodes/{own.name}/mac",
        "/nodes/cm-01/steps.img", "/kernel/vmlinuz", "/kernel/steps.img", "/etc/passwd", "//etc/passwd",
        "/../../../secret", "/nodes/../../../../secret", "/%2e%2e/%2e%2e/%2e%2e/secret",
        f"/nodes/{own.name}/../../boot.ipxe/../../../../secret",
    ):  # fmt: skip
        answer, content = get(path)
        assert answer.status in (403, 404), path
        assert b"secret" not in content
    assert get(f"/nodes/{own.name}/steps.img")[1] == b"steps"
    with pytest.raises(TftpError):
        fetch(CONTROLLER, f"../http/nodes/{own.name}/steps.img")
    with pytest.raises(TftpError):
        fetch(CONTROLLER, f"nodes/{own.name}/steps.img")


def test_a_boot_tree_that_is_a_link_is_served(ipxe_session: MakeSession, node: NodeBoot) -> None:
    session = ipxe_session()
    place = session.paths.root / "elsewhere"
    if session.paths.tftp.exists():
        session.paths.tftp.rename(place)
    place.mkdir(exist_ok=True)
    session.paths.tftp.symlink_to(place)
    plugin.start_boot(BOOT_NETWORK, [], session)
    plugin.publish_boot(node, session)
    assert b"machines/" in get("/boot.ipxe")[1]
    assert f"# {HOST}".encode() in get(SCRIPT)[1]


def test_nothing_is_taken(ipxe_session: MakeSession) -> None:
    plugin.start_boot(BOOT_NETWORK, [], ipxe_session())
    for method in ("PUT", "POST", "DELETE", "MKCOL"):
        assert get("/boot.ipxe", method=method)[0].status >= 400


def test_parts_of_large_files_go_to_many_at_once(ipxe_session: MakeSession, node: NodeBoot, tmp_path: Path) -> None:
    session = ipxe_session()
    plugin.start_boot(BOOT_NETWORK, [], session)
    with (tmp_path / "initrd.img").open("wb") as file:
        file.truncate(45_000_000)
        file.write(b"begin")
    plugin.publish_boot(node, session)
    (own,) = (session.paths.tftp / "ipxe/http/nodes").iterdir()
    path = f"/nodes/{own.name}/initrd.img"
    answer, content = get(path, Range="bytes=0-4")
    assert (answer.status, content) == (206, b"begin")
    with ExitStack() as stack:
        for _ in range(200):  # they ask for nothing
            stack.enter_context(socket.create_connection((CONTROLLER, PORT), timeout=5))
        with ThreadPoolExecutor(50) as pool:
            sizes = list(pool.map(lambda _: len(get(path)[1]), range(50)))
    assert sizes == [45_000_000] * 50


def test_the_server_has_no_rights_of_roots(ipxe_session: MakeSession) -> None:
    session = ipxe_session()
    plugin.start_boot(BOOT_NETWORK, [], session)
    lines = Path(f"/proc/{pid(session)}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert "0" not in status["Uid"].split()
    assert "0" not in status["Gid"].split()
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"


def test_it_outlives_the_controller_is_found_again_and_comes_back(ipxe_session: MakeSession) -> None:
    session = ipxe_session()
    assert plugin.start_boot(BOOT_NETWORK, [], session)
    first = pid(session)
    again = IpxePlugin()
    assert not again.start_boot(BOOT_NETWORK, [], session)
    assert pid(session) == first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: start_time(first) == "", seconds=60, what="lighttpd to be gone")
    assert again.start_boot(BOOT_NETWORK, [], session)
    assert get("/boot.ipxe")[0].status == 200
    assert again.start_boot(BOOT_NETWORK, [], ipxe_session(port=8070)), "another port is another configuration"
    assert get("/boot.ipxe", port=8070)[0].status == 200
    assert again.stop_boot(session)
    assert not again.stop_boot(session)
    with pytest.raises(ConnectionRefusedError):
        get("/boot.ipxe", port=8070)


def test_one_that_hangs_is_started_again_and_that_is_said(ipxe_session: MakeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_ipxe.http._SILENCE", 1)
    monkeypatch.setattr("terra_ipxe.http._PAUSE", 0)
    told: list[Event] = []
    session = ipxe_session().reporting_to(told.append)
    plugin.start_boot(BOOT_NETWORK, [], session)
    os.kill(pid(session), signal.SIGSTOP)
    assert plugin.start_boot(BOOT_NETWORK, [], session)
    assert get("/boot.ipxe")[0].status == 200
    assert "warning: lighttpd did not answer on 10.0.10.3:8069 for 1 s, and is started again" in [event.text for event in told]


def test_a_taken_port_is_named(ipxe_session: MakeSession) -> None:
    with socket.create_server((CONTROLLER, PORT)), pytest.raises(TerraError, match="its TCP port 8069 is taken"):
        plugin.start_boot(BOOT_NETWORK, [], ipxe_session())
    assert plugin.start_boot(BOOT_NETWORK, [], ipxe_session())


def test_where_tftp_booted_before_its_dnsmasq_is_taken_over(ipxe_session: MakeSession, tftp_session: MakeSession) -> None:
    tftp.start_boot(BOOT_NETWORK, [], tftp_session(**SERVER))
    assert plugin.start_boot(BOOT_NETWORK, [], ipxe_session(**SERVER))
    assert discover(CLIENT, MAC, architecture=0).boot_file == "undionly.kpxe"
    assert not plugin.start_boot(BOOT_NETWORK, [], ipxe_session(**SERVER))


def test_what_a_machine_loads_is_seen_and_no_stranger_passes_for_it(ipxe_session: MakeSession, node: NodeBoot) -> None:
    session = ipxe_session(**SERVER)
    plugin.publish_boot(node, session)
    plugin.start_boot(BOOT_NETWORK, [node], session)
    start = plugin.follow_boots("", session)
    address = accept(CLIENT, MAC, discover(CLIENT, MAC, architecture=0)).address
    run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    kernel = next(word for word in get(SCRIPT)[1].decode().split() if word.endswith("vmlinuz") and word.startswith("/"))
    for source, path in ((BOOT_NETWORK.address, kernel), (address, SCRIPT), (address, kernel), (address, "/no/such")):
        connection = HTTPConnection(CONTROLLER, PORT, timeout=20, source_address=(source, 0))
        connection.request("GET", path)
        connection.getresponse().read()
        connection.close()
    wait_until(lambda: len(plugin.follow_boots(start.position, session).seen) >= 4, seconds=60, what="both logs")
    found = plugin.follow_boots(start.position, session)
    assert [(one.mac, one.text, one.file) for one in found.seen] == [
        (MAC, "asks for an address", ""),
        (MAC, f"has the address {address}", ""),
        (MAC, f"is sent {SCRIPT[1:]} by HTTP", SCRIPT[1:]),
        (MAC, "is sent vmlinuz by HTTP", "vmlinuz"),
    ]
    assert plugin.follow_boots(found.position, session).seen == ()
