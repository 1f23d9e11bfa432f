"""netplan's own examples, as server.toml has them: rendered to what netplan takes, or refused with the key.

The subjects are those of https://github.com/canonical/netplan/tree/main/examples.
"""

from __future__ import annotations

import pytest
import tomli

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_netplan import plugin
from tests.unit.servers import SERVER

TAKEN = {
    "bonding": """
        interfaces = [{ name = "enp3s0" }, { name = "enp4s0" }]
        [[bonds]]
          name = "bond0"
          dhcp4 = true
          interfaces = ["enp3s0", "enp4s0"]
          parameters = { mode = "active-backup", primary = "enp3s0" }
    """,
    "bonding_router": """
        interfaces = [
          { name = "enp1s0", dhcp4 = false }, { name = "enp2s0", dhcp4 = false },
          { name = "enp3s0", dhcp4 = false, optional = true }, { name = "enp4s0", dhcp4 = false, optional = true },
          { name = "enp5s0", dhcp4 = false, optional = true }, { name = "enp6s0", dhcp4 = false, optional = true },
        ]
        [[bonds]]
          name = "bond-lan"
          interfaces = ["enp2s0", "enp3s0"]
          addresses = ["192.168.93.2/24"]
          parameters = { mode = "802.3ad", mii_monitor_interval = 1 }
        [[bonds]]
          name = "bond-wan"
          interfaces = ["enp1s0", "enp4s0"]
          addresses = ["192.168.1.252/24"]
          search = ["local"]
          nameservers = ["8.8.8.8", "8.8.4.4"]
          parameters = { mode = "active-backup", mii_monitor_interval = 1, gratuitous_arp = 5 }
          routes = [{ to = "default", via = "192.168.1.1" }]
        [[bonds]]
          name = "bond-conntrack"
          interfaces = ["enp5s0", "enp6s0"]
          addresses = ["192.168.254.2/24"]
          parameters = { mode = "balance-rr", mii_monitor_interval = 1 }
    """,
    "bridge": """
        interfaces = [{ name = "enp3s0", dhcp4 = false }]
        bridges = [{ name = "br0", dhcp4 = true, interfaces = ["enp3s0"] }]
    """,
    "bridge_vlan": """
        interfaces = [{ name = "enp0s25", dhcp4 = true }]
        vlans = [{ name = "vlan15", accept_ra = false, id = 15, link = "enp0s25" }]
        bridges = [{ name = "br0", addresses = ["10.3.99.25/24"], interfaces = ["vlan15"] }]
    """,
    "dhcp": 'interfaces = [{ name = "enp3s0", dhcp4 = true }]',
    "direct_connect_gateway": """
        [[interfaces]]
          name = "eth0"
          addresses = ["10.10.10.1/24"]
          routes = [{ to = "0.0.0.0/0", via = "9.9.9.9", on_link = true }]
    """,
    "direct_connect_gateway_ipv6": """
        [[interfaces]]
          name = "eth0"
          addresses = ["2001:cafe:face:beef::dead:dead/64"]
          routes = [{ to = "::/0", via = "2001:cafe:face::1", on_link = true }]
    """,
    "ipv6_tunnel": """
        [[interfaces]]
          name = "eth0"
          addresses = ["1.1.1.1/24", "2001:cafe:face::1/64"]
          routes = [{ to = "default", via = "1.1.1.254" }]
        [[tunnels]]
          name = "he-ipv6"
          mode = "sit"
          remote = "2.2.2.2"
          local = "1.1.1.1"
          addresses = ["2001:dead:beef::2/64"]
          routes = [{ to = "default", via = "2001:dead:beef::1" }]
    """,
    "loopback_interface": 'interfaces = [{ name = "lo", addresses = ["7.7.7.7/32"] }]',
    "route_metric": """
        interfaces = [
          { name = "enred", dhcp4 = true, dhcp4_overrides = { route_metric = 100 } },
          { name = "engreen", dhcp4 = true, dhcp4_overrides = { route_metric = 200 } },
        ]
    """,
    "source_routing": """
        [[interfaces]]
          name = "ens3"
          addresses = ["192.168.3.30/24"]
          dhcp4 = false
          routes = [{ to = "192.168.3.0/24", via = "192.168.3.1", table = 101 }]
          routing_policy = [{ from = "192.168.3.0/24", table = 101 }]
        [[interfaces]]
          name = "ens5"
          addresses = ["192.168.5.24/24"]
          dhcp4 = false
          routes = [
            { to = "default", via = "192.168.5.1" },
            { to = "192.168.5.0/24", via = "192.168.5.1", table = 102 },
          ]
          routing_policy = [{ from = "192.168.5.0/24", table = 102 }]
    """,
    "static": """
        [[interfaces]]
          name = "enp3s0"
          addresses = ["10.10.10.2/24"]
          gateway = "10.10.10.1"
          search = ["mydomain", "otherdomain"]
          nameservers = ["10.10.10.1", "1.1.1.1"]
    """,
    "static_multiaddress": """
        [[interfaces]]
          name = "enp3s0"
          addresses = ["10.100.1.38/24", "10.100.1.39/24"]
          routes = [{ to = "default", via = "10.100.1.1" }]
    """,
    "static_singlenic_multiip_multigateway": """
        [[interfaces]]
          name = "eno1"
          addresses = ["10.0.0.10/24", "11.0.0.11/24"]
          nameservers = ["8.8.8.8", "8.8.4.4"]
          routes = [
            { to = "0.0.0.0/0", via = "10.0.0.1", metric = 100 },
            { to = "0.0.0.0/0", via = "11.0.0.1", metric = 200 },
          ]
    """,
    "vlan": """
        [[interfaces]]
          name = "mainif"
          match = { macaddress = "de:ad:be:ef:ca:fe" }
          set_name = "mainif"
          addresses = ["10.3.0.5/23"]
          nameservers = ["8.8.8.8", "8.8.4.4"]
          search = ["example.com"]
          routes = [{ to = "default", via = "10.3.0.1" }]
        [[vlans]]
          name = "vlan15"
          id = 15
          link = "mainif"
          addresses = ["10.3.99.5/24"]
        [[vlans]]
          name = "vlan10"
          id = 10
          link = "mainif"
          addresses = ["10.3.98.5/24"]
          nameservers = ["127.0.0.1"]
          search = ["domain1.example.com", "domain2.example.com"]
    """,
    "vrf": """
        bridges = [{ name = "br1" }, { name = "br1005" }]
        [[vrfs]]
          name = "vrf1005"
          table = 1005
          interfaces = ["br1", "br1005"]
          routes = [{ to = "default", via = "10.10.10.4" }]
          routing_policy = [{ from = "10.10.10.42" }]
    """,
    "vxlan": """
        interfaces = [{ name = "lo", addresses = ["192.168.10.10/32"] }]
        vrfs = [{ name = "vrf1005", table = 1005, interfaces = ["br1", "br1005"] }]
        bridges = [{ name = "br1", interfaces = ["vxlan1"] }, { name = "br1005", interfaces = ["vxlan1005"] }]
        [[tunnels]]
          name = "vxlan1005"
          mode = "vxlan"
          id = 1005
          link = "lo"
          mtu = 8950
          accept_ra = false
          neigh_suppress = true
          mac_learning = false
          port = 4789
          local = "192.168.10.10"
        [[tunnels]]
          name = "vxlan1"
          mode = "vxlan"
          id = 1
          link = "lo"
          mtu = 8950
          accept_ra = false
          neigh_suppress = true
          mac_learning = false
          port = 4789
          local = "192.168.10.10"
    """,
    "windows_dhcp_server": 'interfaces = [{ name = "enp3s0", dhcp4 = true }]',
    "wireguard": """
        [[tunnels]]
          name = "wg0"
          mode = "wireguard"
          addresses = ["10.10.10.20/24"]
          gateway = "10.10.10.21"
          key = "4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8="
          mark = 42
          port = 51820
          [[tunnels.peers]]
            allowed_ips = ["20.20.20.10/24"]
            [tunnels.peers.keys]
              public = "M9nt4YujIOmNrRmpIRTmYSfMdrpvE7u6WkG8FY8WjG4="
              shared = "7voRZ/ojfXgfPOlswo3Lpma1RJq7qijIEEUEMShQFV8="
        [[tunnels]]
          name = "wg1"
          mode = "wireguard"
          addresses = ["20.20.20.10/24"]
          key = "KPt9BzQjejRerEv8RMaFlpsD675gNexELOQRXt/AcH0="
          routes = [{ to = "default", via = "20.20.20.11", metric = 200 }]
          [[tunnels.peers]]
            endpoint = "10.10.10.20:51820"
            allowed_ips = ["0.0.0.0/0"]
            keepalive = 21
            keys = { public = "rlbInAj0qV69CysWPQY7KEBnKxpYCpaWqOs/dLevdWc=" }
    """,
}

_SOURCE_ROUTING = """
        [[interfaces]]
          name = "eno2"
          addresses = ["192.168.5.78/24"]
"""
REFUSED = {
    "bridge_port_vlans": (
        'bridges = [{ name = "br0", parameters.vlan_filtering = true }]',
        "bridges[0].parameters.vlan_filtering",
    ),
    "dhcp_wired8021x": (
        'interfaces = [{ name = "enp3s0", auth = { key_management = "802.1x", method = "ttls" } }]',
        "interfaces[0].auth",
    ),
    "dummy-devices": ('dummy_devices = [{ name = "dm0", addresses = ["10.1.2.3/24"] }]', "dummy_devices"),
    "infiniband": (
        'interfaces = [{ name = "ib0", match.macaddress = "11:22:33:44:55:66:77:88:99:00:11:22:33:44:55:66:77:88:99:00" }]',
        "interfaces[0].match.macaddress",
    ),
    "infiniband mode": ('interfaces = [{ name = "ib0", infiniband_mode = "connected" }]', "interfaces[0].infiniband_mode"),
    "modem": ('modems = [{ name = "cdc-wdm1", apn = "ISP.CINGULAR" }]', "modems"),
    "offload": ('interfaces = [{ name = "ens1", receive_checksum_offload = false }]', "interfaces[0].receive_checksum_offload"),
    "openvswitch": ("openvswitch = {}", "openvswitch"),
    "source_routing_with_blackhole: interface": (
        f'{_SOURCE_ROUTING}routing_policy = [{{ from = "192.168.5.0/24", iif = "eno1", table = 100 }}]',
        "interfaces[0].routing_policy[0].iif",
    ),
    "source_routing_with_blackhole: gateway": (
        f'{_SOURCE_ROUTING}routes = [{{ to = "default", via = "192.168.4.1", table = 100 }}]',
        "interfaces[0].routes[0].via",
    ),
    "sriov": ('interfaces = [{ name = "eno1", embedded_switch_mode = "switchdev" }]', "interfaces[0].embedded_switch_mode"),
    "sriov link": ('interfaces = [{ name = "eno1" }, { name = "enp1s16f1", link = "eno1" }]', "interfaces[1].link"),
    "sriov_vlan": (
        'interfaces = [{ name = "eno1" }]\nvlans = [{ name = "vlan2_hw", id = 10, link = "eno1", renderer = "sriov" }]',
        "vlans[0].renderer",
    ),
    "static-routes": (
        """
        [[interfaces]]
          name = "enp3s0"
          addresses = ["10.10.10.2/24"]
          routes = [{ to = "172.29.29.0/24", via = "10.10.10.254", advertised_mss = 1400 }]
        """,
        "interfaces[0].routes[0].advertised_mss",
    ),
    "virtual-ethernet": ('virtual_ethernets = [{ name = "veth0-peer1", peer = "veth0-peer2" }]', "virtual_ethernets"),
    "wireguard: two default routes": (
        TAKEN["wireguard"].replace(", metric = 200", ""),
        "tunnels[1].routes[0]",
    ),
    "wireless": ('wifis = [{ name = "wlp2s0b1", access_points = {} }]', "wifis"),
}


def session(text: str) -> Session:
    """Return a session with the table that stands in a text."""
    return Session(source="server.toml", tables={"netplan": tomli.loads(text)})


@pytest.mark.parametrize("name", TAKEN)
def test_netplan_takes_what_an_example_becomes(name: str) -> None:
    files = plugin.render_network(SERVER, session(TAKEN[name]))
    assert plugin.check_network(files, session(TAKEN[name]))


@pytest.mark.parametrize("name", REFUSED)
def test_an_example_with_what_terra_has_not_is_refused_with_the_key(name: str) -> None:
    text, key = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        plugin.render_network(SERVER, session(text))
    assert [problem.startswith(f"server.toml: netplan.{key}: ") for problem in caught.value.problems] == [True]
