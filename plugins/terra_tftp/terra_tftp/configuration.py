"""The configuration of dnsmasq(8). Pure: nothing here reads or writes a file."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from terra_core.config.controller import Paths
from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_tftp.listening import Listening
from terra_tftp.reservations import AddressRange
from terra_tftp.settings import Dhcp, Settings, is_of_one

_PATH = re.compile(r"/[A-Za-z0-9/._+@:~-]*")
TRANSFERS = 4096
"""How many files are sent at once; above it, nobody is answered. Who asks for a file and goes away holds a place for half a
minute, so dnsmasq's own limit of 50 is neither enough for a rack nor for one client that does this all the time."""
_TITLE = "Terra"


@frozen(kw_only=True)
class Loaders:
    """What firmware loads by TFTP.

    :param root: the directory that is served.
    :param known: a file that is always there and smaller than a block (512 bytes): the service answers when it sends that.
    :param bios: the boot loader of a BIOS.
    :param uefi: that of UEFI on x86-64.
    :param script: what iPXE is told to load in its place by HTTP, as ``:PORT/PATH``; nothing when left out.
    """

    root: Path
    known: str
    bios: str
    uefi: str
    script: str | None = None


@frozen
class ServicePaths:
    """The paths of the service.

    :param base: the controller's.
    :param tree: the controller's boot tree, which all hosts of one database have in common, whichever plugin serves it.
    """

    base: Paths
    tree: Path

    @property
    def directory(self) -> Path:
        """The directory for files that are needed only while the service runs."""
        return self.base.run / "tftp"

    @property
    def configuration(self) -> Path:
        """dnsmasq's configuration file; its path tells this dnsmasq from every other."""
        return self.directory / "dnsmasq.conf"

    @property
    def pid(self) -> Path:
        """The file that dnsmasq writes its process id to."""
        return self.directory / "dnsmasq.pid"

    @property
    def log(self) -> Path:
        """What dnsmasq did since it started, with times."""
        return self.directory / "dnsmasq.log"

    @property
    def former_log(self) -> Path:
        """What was in the log before that was made anew."""
        return self.directory / "dnsmasq.log.1"

    @property
    def output(self) -> Path:
        """What dnsmasq said while it started."""
        return self.directory / "dnsmasq.out"

    @property
    def reservations(self) -> Path:
        """A line for each machine, with its reservation (dhcp-host)."""
        return self.directory / "reservations"

    @property
    def former_reservations(self) -> Path:
        """Where earlier versions had a file for each machine; nothing reads it any more."""
        return self.directory / "hosts"

    @property
    def leases(self) -> Path:
        """The addresses that were given out."""
        return self.base.state / "dnsmasq.leases"

    @property
    def addresses(self) -> Path:
        """The addresses that are reserved for machines, by MAC address (JSON): another host gives each machine the same."""
        return self.tree / "addresses"

    @property
    def former_addresses(self) -> Path:
        """Where earlier versions kept them; it is read where there is no such file yet."""
        return self.base.state / "dnsmasq.addresses"


def configuration(
    settings: Settings,
    listening: Listening,
    gateway: Address | None,
    paths: ServicePaths,
    group: str | None,
    loaders: Loaders,
) -> str:
    """Return the configuration file.

    :param gateway: the gateway that machines are told of by ``dhcp = "server"``.
    :param group: the group that dnsmasq runs as.
    :param loaders: what it serves, and names by DHCP.
    :raises TerraError: when a path has characters that the file can't hold.
    """
    lines = [
        f"# Written by Terra whenever the service starts: [{settings.table}] of controller.toml is where to change it.",
        "port=0",
        "no-hosts",
        "no-resolv",
        f"user={settings.user}",
        *([f"group={group}"] if group else []),
        f"pid-file={_plain(paths.pid)}",
        f"log-facility={_plain(paths.log)}",
        "bind-interfaces",
        f"listen-address={listening.address}",
        "enable-tftp",
        f"tftp-root={_plain(loaders.root)}",
        f"tftp-max={TRANSFERS}",
    ]
    if settings.dhcp is Dhcp.PROXY:
        lines += _proxy(listening, loaders)
    elif settings.dhcp is Dhcp.SERVER:
        lines += _server(settings, listening, gateway, paths, loaders)
    return "\n".join(lines) + "\n"


def _proxy(listening: Listening, loaders: Loaders) -> list[str]:
    """Return the options for proxy DHCP, with an entry for each client architecture.

    dnsmasq names those of RFC 4578: BC_EFI is 9, x86-64_EFI is 7, and UEFI on x86-64 uses both.
    """
    other = "tag:!ipxe," if loaders.script else ""
    return [
        f"dhcp-range={listening.network.network_address},proxy,{listening.network.netmask}",
        *_script(listening, loaders),
        f'pxe-service={other}x86PC,"{_TITLE}",{loaders.bios}',
        f'pxe-service={other}BC_EFI,"{_TITLE}",{loaders.uefi}',
        f'pxe-service={other}x86-64_EFI,"{_TITLE}",{loaders.uefi}',
    ]


def _server(
    settings: Settings, listening: Listening, gateway: Address | None, paths: ServicePaths, loaders: Loaders
) -> list[str]:
    """Return the options for a DHCP server.

    An option without a value is not sent: dnsmasq would name itself, or the domain that ends the names of reservations.
    """
    given = AddressRange.parse(settings.range)
    other = ",tag:!ipxe" if loaders.script else ""
    return [
        "dhcp-authoritative",
        f"dhcp-range={given.of_strangers},{given.last},{listening.network.netmask},{settings.lease}",
        f"dhcp-option=option:router{f',{gateway}' if gateway and is_of_one(gateway) else ''}",
        f"dhcp-option=option:dns-server{''.join(f',{address}' for address in settings.dns)}",
        "dhcp-option=option:domain-name",
        f"dhcp-lease-max={given.size}",  # dnsmasq's own limit of 1,000 is less than there may be machines
        f"dhcp-leasefile={_plain(paths.leases)}",
        f"dhcp-hostsfile={_plain(paths.reservations)}",
        "dhcp-match=set:bios,option:client-arch,0",
        "dhcp-match=set:uefi,option:client-arch,7",
        "dhcp-match=set:uefi,option:client-arch,9",
        *_script(listening, loaders),
        f"dhcp-boot=tag:bios{other},{loaders.bios},,{listening.address}",
        f"dhcp-boot=tag:uefi{other},{loaders.uefi},,{listening.address}",
    ]


def _script(listening: Listening, loaders: Loaders) -> list[str]:
    """iPXE names itself as the user class (RFC 3004), and has an option of its own, 175."""
    if loaders.script is None:
        return []
    return [
        "dhcp-userclass=set:ipxe,iPXE",
        "dhcp-match=set:ipxe,175",
        f"dhcp-boot=tag:ipxe,http://{listening.address}{loaders.script},,{listening.address}",
    ]


def _plain(path: Path) -> str:
    if not _PATH.fullmatch(str(path)):
        raise TerraError(
            f"{path}: dnsmasq cannot be given a path with such characters",
            hint="choose a --root of letters, digits and ._+@:~-",
        )
    return str(path)
