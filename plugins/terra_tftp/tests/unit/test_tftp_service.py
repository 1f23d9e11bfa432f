"""What can be said of the service without running it."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from terra_core.config.controller import Paths
from terra_core.config.values import Address, Hostname, Mac
from terra_core.errors import TerraError
from terra_tftp import files
from terra_tftp.access import User, check_reachable, find_user, may_enter
from terra_tftp.layout import MenuLayout
from terra_tftp.listening import Listening
from terra_tftp.service import Service, failure
from terra_tftp.settings import Dhcp, Settings
from terra_tftp.tree import BootTree

LISTENING = Listening(Address("10.0.10.3"), "eth0", IPv4Network("10.0.10.0/24"))
NOBODY = User("nobody", 65534, 65534, None)


def test_a_taken_port_is_named_with_address_and_remedy() -> None:
    tftp = failure("dnsmasq: failed to create listening socket for 10.0.10.3: Address already in use", LISTENING)
    assert "cannot answer on 10.0.10.3: its UDP port 69 (TFTP) is taken" in tftp.message
    assert "ss -ulpn" in tftp.hint
    dhcp = failure("dnsmasq: failed to bind DHCP server socket: Address already in use", LISTENING)
    assert "its UDP port 67 (DHCP) is taken" in dhcp.message


def test_any_other_failure_shows_what_dnsmasq_said() -> None:
    assert "bad option at line 3" in failure("dnsmasq: bad option at line 3", LISTENING).message


@pytest.mark.parametrize(
    ("mode", "owner", "group", "allowed"),
    [(0o700, 0, 0, False), (0o701, 0, 0, True), (0o710, 0, 50, True), (0o701, 0, 50, False), (0o077, 99, 0, False),
     (0o100, 99, 0, True)],
)  # fmt: skip
def test_who_may_pass_a_directory(mode: int, owner: int, group: int, allowed: bool) -> None:
    status = os.stat_result((mode, 0, 0, 0, owner, group, 0, 0, 0, 0))
    assert may_enter(status, 99, (50,)) is allowed
    assert may_enter(status, 0, (0,))


def test_the_directory_that_bars_the_way_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "tftp").mkdir(parents=True)
    for directory in (*reversed(tmp_path.parents), tmp_path):
        if not may_enter(directory.stat(), NOBODY.uid, (NOBODY.gid,)):
            closed = directory
            break
    closed.chmod(0o700)
    with pytest.raises(TerraError, match=f"cannot reach .*/tftp: {closed} has mode 0700") as caught:
        check_reachable([tmp_path / "closed/tftp"], NOBODY, "dnsmasq")
    assert caught.value.hint == f"let everybody pass it: chmod o+x {closed}"


def test_a_user_that_does_not_exist_is_named() -> None:
    with pytest.raises(TerraError, match="there is no user no-such-user for dnsmasq to run as") as caught:
        find_user("no-such-user", "dnsmasq", "make it")
    assert caught.value.hint == "make it"


def test_a_machine_that_has_its_reservation_costs_no_look_at_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, settings = Service(Paths(tmp_path), BootTree(tmp_path / "tftp", MenuLayout())), Settings()
    names = [Hostname(f"node-{at}") for at in range(50)]
    macs = [Mac(f"02:00:00:00:00:{at:02x}") for at in range(50)]
    for name, mac in zip(names, macs, strict=True):
        assert service.reserve(name, mac, settings) is True
    read: list[Path] = []
    before = files.read_file

    def counting(path: Path) -> str | None:
        read.append(path)
        return before(path)

    for module in ("files", "tree", "reservation_file"):
        monkeypatch.setattr(f"terra_tftp.{module}.read_file", counting)
    assert not any(service.reserve(name, mac, settings) for name, mac in zip(names, macs, strict=True))
    assert read == []
    assert service.unreserve(names[0], settings) is True
    assert service.unreserve(names[0], settings) is False
    assert service.reserve(names[0], macs[1], settings) is True, "another interface is another reservation"
    assert service.reserve(names[2], macs[2], settings) is False, "and no other machine's is another for that"
    assert service.reserve(names[0], macs[1], settings) is False
    (path,) = [path for path in tmp_path.rglob("reservations") if path.is_file()]
    path.unlink()
    assert service.reserve(names[7], macs[7], settings) is True, "what is lost is back"
    assert len(path.read_text().splitlines()) == len(names)


def test_a_host_that_looked_some_time_ago_gives_nobody_the_address_of_a_machine_of_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, published = BootTree(tmp_path / "tftp", MenuLayout()), dict[Hostname, Mac]()
    tree.root.mkdir()
    monkeypatch.setattr(BootTree, "published", lambda _: dict(published))
    settings = Settings(dhcp=Dhcp.SERVER, range=(Address("10.0.10.50"), Address("10.0.10.99")))
    hosts = [Paths(tmp_path / name) for name in ("a", "b")]
    for paths in hosts:
        paths.root.mkdir()
        paths.tftp.symlink_to(tree.root)
    one, other = (Service(paths, tree) for paths in hosts)
    for number, service in enumerate((one, other, one, other)):
        name, mac = Hostname(f"cm-{number}"), Mac(f"02:00:00:00:00:{number:02x}")
        service.reserve(name, mac, settings)
        published[name] = mac
    text = (tmp_path / "tftp/addresses").read_text()
    assert all(f"02:00:00:00:00:{number:02x}" in text for number in range(4))
    assert all(f"10.0.10.{50 + number}" in text for number in range(4))
