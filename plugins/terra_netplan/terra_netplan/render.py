"""From ``[netplan]`` to netplan's YAML: https://netplan.readthedocs.io/en/stable/netplan-yaml/."""

from __future__ import annotations

import yaml

from terra_core.hookspecs import RenderedFile
from terra_netplan.settings import Interface, Netplan

PATH = "etc/netplan/50-terra.yaml"
_HEAD = "# Made by Terra from the [netplan] table of server.toml.\n"
_WIRED = {"terra-en": "en*", "terra-eth": "eth*"}


def render(netplan: Netplan) -> RenderedFile:
    """The one file that configures the machine's network, readable by root only, as netplan wants it."""
    ethernets = {interface.name: _ethernet(interface) for interface in netplan.interfaces} or _every_wired_one()
    document = {"network": {"version": 2, "renderer": "networkd", "ethernets": ethernets}}
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    return RenderedFile(path=PATH, content=(_HEAD + text).encode(), mode=0o600)


def _ethernet(interface: Interface) -> dict[str, object]:
    routes = [{"to": "default", "via": str(interface.gateway)}] if interface.gateway else []
    optional: dict[str, object] = {
        "dhcp-identifier": "mac" if interface.asks_for_ipv4 else None,
        "addresses": list(interface.addresses),
        "routes": routes,
        "nameservers": {"addresses": [str(address) for address in interface.nameservers]} if interface.nameservers else None,
        "mtu": interface.mtu,
        "optional": interface.optional,
    }
    return {
        "dhcp4": interface.asks_for_ipv4,
        "dhcp6": interface.dhcp6,
        **_STEADY,
        **{key: value for key, value in optional.items() if value},
    }


def _every_wired_one() -> dict[str, object]:
    """A machine whose file says nothing of its network shall still be reached, and start with any of its ports unplugged."""
    steady = {"dhcp4": True, "dhcp6": False, **_STEADY, "dhcp-identifier": "mac", "optional": True}
    return {name: {"match": {"name": pattern}, **steady} for name, pattern in _WIRED.items()}


_STEADY = {"critical": True}
"""A machine may have its root disk behind the very interface: the address that it booted with is asked for again (by the
hardware address, as boot firmware does) and is kept, also when networkd is restarted or the DHCP server is away."""
