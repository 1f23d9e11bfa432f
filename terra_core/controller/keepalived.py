"""The configuration of keepalived (keepalived.conf(5)) that has the storage address follow the lead."""

from __future__ import annotations

import re
import sys

from terra_core.config.controller import Failover, Paths
from terra_core.config.values import Address
from terra_core.controller import portal_check
from terra_core.controller.portal import priority_file, written
from terra_core.errors import TerraError

_PLAIN = re.compile(r"[A-Za-z0-9/._+:~-]+")
"""What keepalived takes in a path as it is: it knows blanks, quotes, comments and parameters."""
_TEXT = """\
# Made by `terra controller keepalived`: the storage address follows the lead. Make it anew when controller.toml changes.
global_defs {{
    router_id {name}
    script_user root
    enable_script_security
    vrrp_version 3
}}

# Whether this host leads. One that does not has no part in VRRP.
vrrp_script terra_portal {{
    script "{python} -I -S {check} {file}"
    interval 1
    timeout 2
    fall 1
    rise 1
    init_fail
}}

# Whether it has exported all disks; -254 where not, which is no part in VRRP either. Of two hosts that believe to lead, the
# later one has the higher priority.
track_file terra_epoch {{
    file "{priority}"
    weight 1
    init_file -254
}}

vrrp_instance terra {{
    state BACKUP
    interface {interface}
    virtual_router_id {router}
    priority 100
    advert_int 0.2
    garp_master_delay 1
    garp_master_refresh 5
    unicast_src_ip {source}
    unicast_peer {{
{peers}    }}
    virtual_ipaddress {{
        {address} dev {interface}
    }}
    track_script {{
        terra_portal
    }}
    track_file {{
        terra_epoch
    }}
}}
"""


def render(failover: Failover, name: str, address: Address, paths: Paths) -> str:
    """Return keepalived.conf of a host.

    :param name: that of the host.
    :param address: the one that moves.
    :param paths: of the host's controller.
    :raises TerraError: when a path cannot be written there.
    """
    words = {
        "python": sys.executable,
        "check": str(portal_check.__file__),
        "file": str(paths.portal.absolute()),
        "priority": str(priority_file(paths).absolute()),
    }
    for word in words.values():
        if not _PLAIN.fullmatch(word):
            said = f"{word}: keepalived.conf takes no path with such characters"
            raise TerraError(said, hint="put it below another directory")
    others = [addresses[0] for other, addresses in sorted(failover.hosts.items()) if other != name]
    return _TEXT.format(
        name=name,
        **words,
        interface=failover.interface,
        router=failover.router,
        source=failover.hosts[name][0],
        peers="".join(f"        {other}\n" for other in others),
        address=written(address),
    )
