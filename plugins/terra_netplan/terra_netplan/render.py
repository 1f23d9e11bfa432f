"""From ``[netplan]`` to netplan's YAML: https://netplan.readthedocs.io/en/stable/netplan-yaml/."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import yaml

from terra_core.hookspecs import RenderedFile
from terra_netplan.settings import Bond, Bridge, Device, Interface, Netplan, Vlan
from terra_netplan.topology import members

PATH = "etc/netplan/50-terra.yaml"
_HEAD = "# Made by Terra from the [netplan] table of server.toml.\n"
_WIRED = {"terra-en": "en*", "terra-eth": "eth*"}
_STEADY = {"critical": True}
"""A machine may have its root disk behind the very interface: the address that it booted with is asked for again (by the
hardware address, as boot firmware does) and is kept, also when networkd is restarted or the DHCP server is away."""


def render(netplan: Netplan) -> RenderedFile:
    """The one file that configures the machine's network, readable by root only, as netplan wants it.

    What a device is made of stands before it: netplan reads a file again that names a device before it describes it, and takes
    the costs of a bridge's interfaces for a second, contradicting word then.
    """
    parts = members(netplan.bonds, netplan.bridges)
    kinds: dict[str, dict[str, dict[str, object]]] = {
        "ethernets": {device.name: {**_identity(device), **_common(device, parts)} for device in netplan.interfaces},
        "bonds": {device.name: {**_whole(device), **_common(device, parts)} for device in netplan.bonds},
        "vlans": {device.name: {**_carried(device), **_common(device, parts)} for device in netplan.vlans},
        "bridges": {device.name: {**_whole(device), **_common(device, parts)} for device in netplan.bridges},
    }
    if {device.link for device in netplan.vlans} & kinds["bridges"].keys():
        kinds["vlans"] = kinds.pop("vlans")
    described = {kind: devices for kind, devices in kinds.items() if devices} or {"ethernets": _every_wired_one()}
    document = {"network": {"version": 2, "renderer": "networkd", **described}}
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    return RenderedFile(path=PATH, content=(_HEAD + text).encode(), mode=0o600)


def _identity(device: Interface) -> dict[str, object]:
    match = {"match": _said(device.match)} if device.match else {}
    return {**match, **({"set-name": device.set_name} if device.set_name else {})}


def _carried(device: Vlan) -> dict[str, object]:
    return {"id": device.id, "link": device.link}


def _whole(device: Bond | Bridge) -> dict[str, object]:
    parameters = _said(device.parameters)
    return {"interfaces": list(device.interfaces), **({"parameters": parameters} if parameters else {})}


def _common(device: Device, parts: set[str]) -> dict[str, object]:
    is_part = device.name in parts
    asks = device.asks_for_ipv4 and not is_part
    ways: dict[str, object] = {"dhcp4": asks, "dhcp6": device.dhcp6}
    optional: dict[str, object] = {
        "dhcp-identifier": "mac" if asks else None,
        "addresses": list(device.addresses),
        "routes": _routes(device),
        "nameservers": _nameservers(device),
        "mtu": device.mtu,
        "optional": device.optional,
    }
    accept = {} if device.accept_ra is None else {"accept-ra": device.accept_ra}
    return {
        **ways,
        **accept,
        **({} if is_part else _STEADY),
        **{key: value for key, value in optional.items() if value},
    }


def _routes(device: Device) -> Sequence[object]:
    gateway = [{"to": "default", "via": str(device.gateway)}] if device.gateway else []
    return [*gateway, *(_said(route) for route in device.routes)]


def _nameservers(device: Device) -> dict[str, object]:
    lists = {"search": list(device.search), "addresses": list(device.nameservers)}
    return {key: value for key, value in lists.items() if value}


def _said(model: attrs.AttrsInstance) -> dict[str, object]:
    """What a model says, by netplan's keys; what it leaves out is netplan's to decide."""
    plain = attrs.asdict(model, value_serializer=lambda _, __, value: list(value) if isinstance(value, tuple) else value)
    left_out: tuple[object, ...] = (None, [], {})
    said = {key: value for key, value in plain.items() if value not in left_out and (key, value) != ("on_link", False)}
    return {key.replace("_", "-"): value for key, value in said.items()}


def _every_wired_one() -> dict[str, dict[str, object]]:
    """A machine whose file says nothing of its network shall still be reached, and start with any of its ports unplugged."""
    steady = {"dhcp4": True, "dhcp6": False, **_STEADY, "dhcp-identifier": "mac", "optional": True}
    return {name: {"match": {"name": pattern}, **steady} for name, pattern in _WIRED.items()}
