"""Reading what dnsmasq has leased."""

from pathlib import Path

from lab.leases import leased_address

MAC = "52:54:00:12:34:56"


def test_the_latest_lease_of_an_interface_counts(tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    leases.write_text(
        f"1700000200 {MAC} 10.0.10.101 node ff:00\n"
        f"1700000100 {MAC} 10.0.10.100 * 01:{MAC}\n"
        "1700000900 52:54:00:00:00:01 10.0.10.102 other *\n"
    )

    assert leased_address(leases, MAC.upper()) == "10.0.10.101"


def test_of_two_leases_that_end_together_the_later_line_counts(tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    leases.write_text(f"1700000100 {MAC} 10.0.10.100 * *\n1700000100 {MAC} 10.0.10.101 * ff:00\n")

    assert leased_address(leases, MAC) == "10.0.10.101"


def test_a_lease_for_ever_outlasts_every_other(tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    leases.write_text(f"0 {MAC} 10.0.10.100 * *\n1700000100 {MAC} 10.0.10.101 * *\n")

    assert leased_address(leases, MAC) == "10.0.10.100"


def test_no_lease_is_no_address(tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    assert leased_address(leases, MAC) is None
    leases.write_text("")
    assert leased_address(leases, MAC) is None
