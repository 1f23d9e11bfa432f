"""From ``[netplan]`` to netplan's YAML: https://netplan.readthedocs.io/en/stable/netplan-yaml/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import cast

import attrs
import yaml

from terra_core.config.structure import key_of
from terra_core.hookspecs import RenderedFile
from terra_netplan.arrangement import arranged
from terra_netplan.devices import Device
from terra_netplan.settings import KINDS, Bond, Bridge, Interface, Netplan, Vlan, Vrf
from terra_netplan.topology import members

DIRECTORY = "etc/netplan"
PATH = f"{DIRECTORY}/50-terra.yaml"
SECTIONS = {kind: kind for kind in KINDS} | {"interfaces": "ethernets"}
"""netplan's names for the lists of devices."""
AnyDevice = Device | Vrf
_HEAD = "# Made by Terra from the [netplan] table of server.toml.\n"
_WIRED = {"terra-en": "en*", "terra-eth": "eth*"}
_STEADY = {"critical": True}
"""A machine may have its root disk behind the very interface: the address that it booted with is asked for again (by the
hardware address, as boot firmware does) and is kept, also when networkd is restarted or the DHCP server is away."""


def render(netplan: Netplan) -> list[RenderedFile]:
    """Return the files that configure the machine's network, readable by root only, as netplan wants them."""
    parts = members(netplan.bonds, netplan.bridges)
    devices: Mapping[str, Sequence[AnyDevice]] = {kind: getattr(netplan, kind) for kind in KINDS}
    if not any(devices.values()):
        return [_file(0, {"ethernets": _every_wired_one()})]
    files = []
    for at, kinds in enumerate(arranged(devices)):
        described = {SECTIONS[kind]: {one.name: _described(one, parts) for one in some} for kind, some in kinds.items()}
        files.append(_file(at, described))
    return files


def _file(at: int, described: Mapping[str, object]) -> RenderedFile:
    document = {"network": {"version": 2, "renderer": "networkd", **described}}
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    path = PATH if at == 0 else f"{DIRECTORY}/51-terra-{at:03}.yaml"
    return RenderedFile(path=path, content=(_HEAD + text).encode(), mode=0o600)


def _described(device: AnyDevice, parts: Set[str]) -> dict[str, object]:
    if isinstance(device, Vrf):
        own = {"table": device.table, "interfaces": list(device.interfaces)}
        ways: dict[str, object] = {
            "routes": [_said(route) for route in device.routes],
            "routing-policy": [_said(rule) for rule in device.routing_policy],
        }
        return {**own, **{key: value for key, value in ways.items() if value}}
    return {**_own(device), **_common(device, parts)}


def _own(device: Device) -> dict[str, object]:
    if isinstance(device, Interface):
        return _identity(device)
    if isinstance(device, Vlan):
        return _carried(device)
    if isinstance(device, Bond | Bridge):
        return _whole(device)
    common = {field.name for field in attrs.fields(Device)}
    return {key: value for key, value in _said(device).items() if key.replace("-", "_") not in common}


def _identity(device: Interface) -> dict[str, object]:
    match = {"match": _said(device.match)} if device.match else {}
    return {**match, **({"set-name": device.set_name} if device.set_name else {})}


def _carried(device: Vlan) -> dict[str, object]:
    return {"id": device.id, "link": device.link}


def _whole(device: Bond | Bridge) -> dict[str, object]:
    parameters = _said(device.parameters)
    return {"interfaces": list(device.interfaces), **({"parameters": parameters} if parameters else {})}


def _common(device: Device, parts: Set[str]) -> dict[str, object]:
    is_part = device.name in parts
    asks = device.asks_for_ipv4 and not is_part
    ways: dict[str, object] = {"dhcp4": asks, "dhcp6": device.dhcp6}
    optional: dict[str, object] = {
        "dhcp-identifier": "mac" if asks else None,
        "dhcp4-overrides": _said(device.dhcp4_overrides) if device.dhcp4_overrides else None,
        "dhcp6-overrides": _said(device.dhcp6_overrides) if device.dhcp6_overrides else None,
        "macaddress": device.macaddress,
        "addresses": list(device.addresses),
        "routes": _routes(device),
        "routing-policy": [_said(rule) for rule in device.routing_policy],
        "nameservers": _nameservers(device),
        "mtu": device.mtu,
        "optional": device.optional,
    }
    accept: dict[str, object] = {} if device.accept_ra is None else {"accept-ra": device.accept_ra}
    if device.link_local is not None:
        accept["link-local"] = list(device.link_local)
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
    """Return a model by netplan's keys; what the model leaves out is netplan's to decide."""
    left_out: tuple[object, ...] = (None, [], {})
    plain = {name: _plain(value) for name, value in attrs.asdict(model, recurse=False).items()}
    said = {key: value for key, value in plain.items() if value not in left_out and (key, value) != ("on_link", False)}
    return {key_of(key).replace("_", "-"): value for key, value in said.items()}


def _plain(value: object) -> object:
    """Return a value as YAML has it; the keys of a mapping are names that the user chose."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if attrs.has(type(value)):
        return _said(cast(attrs.AttrsInstance, value))
    return dict(value) if isinstance(value, Mapping) else value


def _every_wired_one() -> dict[str, dict[str, object]]:
    """Return a configuration for every wired port: without one in the file, a machine is still reached and starts unplugged."""
    steady = {"dhcp4": True, "dhcp6": False, **_STEADY, "dhcp-identifier": "mac", "optional": True}
    return {name: {"match": {"name": pattern}, **steady} for name, pattern in _WIRED.items()}
