"""What a DHCP server of dnsmasq has given out."""

from __future__ import annotations

from pathlib import Path


def leased_address(leases: Path, mac: str) -> str | None:
    """Return the address that was leased last to an interface; ``None`` when there is none yet.

    A machine can hold several: its firmware, its initramfs and its operating system each name themselves in another way.

    :param leases: dnsmasq's lease file; see dhcp-leasefile in dnsmasq(8).
    :param mac: the interface's address, with colons.
    """
    try:
        lines = leases.read_text().splitlines()
    except FileNotFoundError:
        return None
    held = [line.split() for line in reversed(lines)]
    own = [(_expiry(words[0]), words[2]) for words in held if len(words) >= 4 and words[1].lower() == mac.lower()]
    return max(own, key=lambda lease: lease[0])[1] if own else None


def _expiry(field: str) -> float:
    """Return when a lease ends; the time 0 marks one that never does."""
    return float(field) or float("inf")
